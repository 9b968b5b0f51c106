"""The steps from recordings to a measured model, in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawnchorus.data.recordings import read_table
from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.identification import identify
from dawnchorus.inference.model import load_model
from dawnchorus.models.bundle import Bundle
from dawnchorus.workflows import evaluate, import_recordings, plot_spectrogram, prepare, split

RATE_HZ = 16_000


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A data set of a loud and a quiet species, four recordings of each, as `level_bundle` tells them apart."""
    for name, level in (("Avis magna", 0.9), ("Avis parva", 0.1)):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for k in range(4):
            samples = np.full(RATE_HZ * 2, level - k / 100)
            soundfile.write(tmp_path / "birds" / name / f"{name} {k}.wav", samples, RATE_HZ)
    import_recordings(tmp_path / "birds", tmp_path / "set", models_folder=tmp_path / "models", workers=1)
    return tmp_path / "set"


def test_a_data_set_is_imported_once_and_replaced_on_request(data_set: Path) -> None:
    birds = data_set.with_name("birds")
    assert len(read_table(data_set).rows) == 8
    with pytest.raises(OutputExistsError, match=r"Add to it with --append \(in Python: append=True\), replace"):
        import_recordings(birds, data_set)
    (birds / "Avis magna" / "Avis magna 3.wav").unlink()
    models = data_set.with_name("models")
    with pytest.raises(InputError, match="append and overwrite: expected one of them"):
        import_recordings(birds, data_set, append=True, overwrite=True, models_folder=models)
    with pytest.raises(InputError, match="columns: expected the layout csv, .*, got folders"):
        import_recordings(birds, data_set, overwrite=True, columns={"path": "x"}, models_folder=models)
    assert len(import_recordings(birds, data_set, overwrite=True, models_folder=models, workers=1).rows) == 7
    assert len(import_recordings(birds, data_set, append=True, models_folder=models, workers=1).rows) == 7


def test_a_model_is_measured_on_a_split(data_set: Path, level_bundle: Bundle) -> None:
    split(data_set, ratios={"train": 0.5, "test": 0.5}, seed=1)
    model = load_model(level_bundle.folder)
    evaluation = evaluate(model, data_set, workers=1)
    assert repr(evaluation).startswith(f"<Evaluation of {model.name} {model.bundle.id}: ")
    assert evaluation.n_recordings == 4
    assert evaluation.by_recording["accuracy"].value == 1
    for arguments, message in (
        ({"pool": "median"}, "pool: expected one of mean, max, got 'median'"),
        ({"secondary": "ignore"}, "secondary: expected one of count, mask, got 'ignore'"),
        ({"workers": -1}, "workers: expected a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(model, data_set, **arguments)
    with pytest.raises(InputError, match="split: expected one of test, train or all, got 'valid'"):
        evaluate(model, data_set, split="valid")


def test_clips_are_prepared_by_a_recipe_and_its_changes(data_set: Path, tmp_path: Path) -> None:
    summary = prepare(data_set, tmp_path / "clips", window_s=1.0, rate_hz=RATE_HZ, workers=1)
    assert (summary.n_recordings, summary.n_clips) == (8, 16)
    assert (tmp_path / "clips" / "ATTRIBUTION.md").is_file()
    with pytest.raises(InputError, match="another folder than the data set's own"):
        prepare(data_set, data_set)
    with pytest.raises(InputError, match="Did you mean 'birdclef-5s'"):
        prepare(data_set, tmp_path / "clips", "birdclef-5")
    with pytest.raises(TypeError, match="'windows' is no field of a recipe. Did you mean 'window_s'"):
        prepare(data_set, tmp_path / "clips", windows=1.0)


def test_a_spectrogram_is_drawn_of_samples_too(tmp_path: Path) -> None:
    plot = plot_spectrogram((np.sin(np.arange(RATE_HZ) / 3), RATE_HZ))
    assert plot._repr_png_().startswith(b"\x89PNG")
    plot.write(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == plot.png
    with pytest.raises(InputError, match=r"x\.jpg: expected a name that ends in \.png"):
        plot.write(tmp_path / "x.jpg")
    assert not (tmp_path / "x.jpg").exists()


def test_a_spectrogram_has_the_detections_of_one_recording(level_bundle: Bundle) -> None:
    samples = np.sin(np.arange(RATE_HZ) / 3), RATE_HZ
    run = identify(samples, model=level_bundle.folder, min_score=0.0)
    assert plot_spectrogram(samples, next(run.tables())).png.startswith(b"\x89PNG")
    with pytest.raises(
        InputError, match=r"expected the table of one recording, such as next\(run.tables\(\)\), got Run"
    ):
        plot_spectrogram(samples, run)  # type: ignore[arg-type]


def test_wrong_arguments_of_an_import_are_refused_by_name(tmp_path: Path) -> None:
    for arguments, message in (
        ({"per_species": 0}, "per_species: expected a whole number, 1 or more, got 0"),
        ({"workers": "all"}, "workers: expected a whole number, 1 or more, got 'all'"),
        ({"layout": "folder"}, "^layout: expected one of .*got 'folder'"),
    ):
        with pytest.raises(InputError, match=message):
            import_recordings(tmp_path, tmp_path / "set", **arguments)
