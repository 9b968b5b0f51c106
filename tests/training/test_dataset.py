"""Training from a folder that `dawnchorus prepare` wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fixtures.commands import Command
from tests.fixtures.training import SMALL, Train

from dawnchorus.data.clips import Clips
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.errors import FormatError, InputError
from dawnchorus.models.store import ModelStore
from dawnchorus.training.compose import compose_config
from dawnchorus.training.dataset import DistributedBatchSampler, LabeledClips, load_labeled_clips

SHAPE = ("--sample-rate", "22050", "--window", "2")


@pytest.fixture(scope="module")
def prepared(birds: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """Clips of the birds; no test may change them."""
    folder = tmp_path_factory.mktemp("prepared") / "my clips"
    done = command("prepare", birds, folder, *SHAPE, "--select", "loudest")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def own(prepared: Path, tmp_path: Path) -> Path:
    """The clips, in a folder that a test may change."""
    return Path(shutil.copytree(prepared, tmp_path / "own"))


@contextmanager
def read_only(source: Path, folder: Path) -> Iterator[None]:
    """Show a folder at another path where nothing can be written; skip the test where this user may not mount."""
    for options in (["--bind", str(source)], ["-o", "remount,bind,ro"]):
        if subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode:
            pytest.skip("this user may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def loaded(folder: Path, store: ModelStore, *more: str, rate_hz: int = 22_050, window_s: float = 2.0) -> LabeledClips:
    config = compose_config([f"data={folder}", "model=acoustic_mlp", *more])
    return load_labeled_clips(config.data, rate_hz=rate_hz, window_s=window_s, clips_folder=None, store=store)


def test_training_takes_exactly_the_prepared_clips(
    prepared: Path, birds: Path, run_training: Train, command: Command
) -> None:
    run = run_training(*SMALL, "trainer.epochs=1", f"data={prepared}")
    clips = Clips(prepared).index.to_pylist()
    assert run.metadata["n_train"] == sum(clip["split"] == "train" for clip in clips)
    assert not (prepared / "clips").exists(), "nothing was prepared again"
    of_set, of_clips = (
        json.loads(command("evaluate", run.folder, folder, "--json").stdout)["evaluations"][0]
        for folder in (birds, prepared)
    )
    assert of_clips["n_recordings"] == of_set["n_recordings"] > 0
    assert of_clips["by_recording"]["top_1"] == of_set["by_recording"]["top_1"], "the recordings are the same"


def test_clips_of_another_shape_are_refused_with_both_shapes(prepared: Path, store: ModelStore) -> None:
    message = r"expected clips of 3 s at 48000 Hz .*found clips of 2 s at 22050 Hz.*--sample-rate 48000 --window 3"
    with pytest.raises(InputError, match=message):
        loaded(prepared, store, rate_hz=48_000, window_s=3.0)
    with pytest.raises(InputError, match=r"data\.auxiliary: .*holds prepared clips"):
        loaded(prepared, store, f"data.auxiliary={prepared}")


def test_options_that_the_clips_do_not_have_are_named(prepared: Path, store: ModelStore) -> None:
    warnings = loaded(prepared, store, "data.clip_selection=first", "data.n_clips=1").warnings
    assert any(
        "data.clip_selection=first is not used" in line and "clip_selection=loudest" in line for line in warnings
    )
    assert not any("n_clips" in line for line in warnings)
    assert not loaded(prepared, store, "data.clip_selection=loudest").warnings


def test_labels_and_split_are_the_data_sets_when_it_was_prepared_last(
    birds: Path, tmp_path: Path, store: ModelStore, command: Command
) -> None:
    table = read_table(birds)
    own, folder = tmp_path / "set", tmp_path / "clips"
    own.mkdir()
    rows = [replace(row, path=str(table.file(row).resolve()), split=None) for row in table.rows]
    write_table(RecordingsTable(own, tuple(rows)))
    assert command("prepare", own, folder, *SHAPE, "--select", "first").returncode == 0
    with pytest.raises(InputError, match="not split yet"):
        loaded(folder, store)
    assert command("data", "split", own).returncode == 0
    split = read_table(own)
    renamed = replace(split.rows[0], scientific_name="Avis nova", split="train")
    write_table(split.with_rows([renamed, *split.rows[1:]]))
    before = (folder / "clips-00000.i16").read_bytes()
    again = command("prepare", own, folder, *SHAPE, "--select", "first")
    assert f"({len(rows)} of them before)".encode() in again.stderr
    assert (folder / "clips-00000.i16").read_bytes() == before, "no clip was made again"
    assert "Avis nova" in loaded(folder, store).classes


def test_the_folder_can_be_split_by_itself_and_needs_no_recordings_to_train(
    own: Path, store: ModelStore, command: Command
) -> None:
    assert command("data", "split", own, "--folds", "3").returncode == 0
    table = read_table(own)
    write_table(table.with_rows(replace(row, path=f"/away/{row.recording_id}.wav") for row in table.rows))
    clips = loaded(own, store, "data.validation_fold=1")
    assert len(clips.train) + len(clips.validation) == len(Clips(own))


def test_species_without_clips_are_no_classes_and_named(own: Path, store: ModelStore) -> None:
    table = read_table(own)
    extra = replace(table.rows[0], recording_id="broken", scientific_name="Avis fracta", split="train")
    write_table(table.with_rows([*table.rows, extra]))
    clips = loaded(own, store)
    assert "Avis fracta" not in clips.classes
    assert any("Avis fracta" in line for line in clips.warnings)


def test_clips_are_not_prepared_into_their_own_data_set(birds: Path, command: Command) -> None:
    done = command("prepare", birds, birds)
    assert done.returncode == 2
    assert b"expected another folder" in done.stderr


def test_tensors_have_the_values_of_the_arrays(birds: Path, own: Path, command: Command) -> None:
    for export_format in ("npy", "pt"):
        done = command("prepare", birds, own, *SHAPE, "--select", "loudest", "--format", export_format)
        assert done.returncode == 0, done.stderr
    names = sorted(path.stem for path in (own / "npy").glob("*.npy"))
    assert names == sorted(path.stem for path in (own / "pt").glob("*.pt"))
    assert not list((own / "pt").glob("*.npy"))
    for name in names:
        tensor = torch.load(own / "pt" / f"{name}.pt", weights_only=True)
        np.testing.assert_array_equal(tensor.numpy(), np.load(own / "npy" / f"{name}.npy"))


def test_a_folder_of_any_name_that_cannot_be_written_is_enough_to_train(
    birds: Path, tmp_path: Path, run_training: Train, command: Command
) -> None:
    source, mounted = tmp_path / "source", tmp_path / "50% clips #1?"
    assert (
        command("prepare", birds, source, "--sample-rate", "16000", "--window", "1", "--select", "first").returncode
        == 0
    )
    for path in source.glob("*.sqlite-*"):
        path.unlink()
    mounted.mkdir()
    with read_only(source, mounted):
        run = run_training("model=embedding_head", "model.hidden=4", "trainer.epochs=1", f"data={mounted}")
    assert run.metadata["status"] == "done"
    assert not list(source.glob("features*"))


@pytest.mark.parametrize("missing", ["prepare.sqlite", "clips-00000.i16"])
def test_a_folder_that_was_copied_in_part_is_named(missing: str, own: Path, store: ModelStore) -> None:
    (own / missing).unlink()
    with pytest.raises(FormatError, match=rf"{missing}: expected .*Copy the folder as a whole"):
        loaded(own, store)


def test_unusable_training_data_is_named(tmp_path: Path, birds: Path, store: ModelStore) -> None:
    table = read_table(birds)

    def refused(rows: list[RecordingRow], message: str, *more: str) -> None:
        folder = tmp_path / f"set-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        write_table(RecordingsTable(folder, tuple(rows)))
        config = compose_config([f"data={folder}", "model=acoustic_mlp", *more])
        with pytest.raises(InputError, match=message):
            load_labeled_clips(config.data, rate_hz=22_050, window_s=2.0, clips_folder=None, store=store)

    rows = [replace(row, path=str(table.file(row).absolute())) for row in table.rows]
    refused([replace(row, split=None) for row in rows], "not split yet. Run `dawnchorus data split`")
    refused([replace(row, split="fold1") for row in rows], "no recording is in the split 'train'")
    one = [row for row in rows if row.scientific_name == rows[0].scientific_name]
    refused(one, "expected background besides the only species, .*Add recordings without it: a folder 'noise'")
    refused([replace(row, scientific_name=None, kind="background") for row in one], "at least one species to learn")
    silent = tmp_path / "silent.wav"
    import soundfile

    soundfile.write(silent, np.zeros(44_100), 22_050)
    quiet = [replace(row, path=str(silent), split="train") for row in rows[:8]]
    names = ["Avis a", "Avis b"]
    refused(
        [replace(row, scientific_name=names[k % 2], audio_hash=None, duplicate_of=None) for k, row in enumerate(quiet)],
        "all .* clips for training are silent",
        "data.validation=0",
    )


def test_batches_of_an_epoch_hold_every_clip_once_and_processes_share_them() -> None:
    batches = DistributedBatchSampler(10, batch=5, seed=1, weights=None)
    first = [k for batch in batches for k in batch]
    assert sorted(first) == list(range(10))
    batches.set_epoch(1)
    assert [k for batch in batches for k in batch] != first
    rare = torch.tensor([1.0] * 9 + [91.0])
    drawn = [k for batch in DistributedBatchSampler(1000, batch=100, seed=1, weights=rare) for k in batch]
    assert drawn.count(9) == pytest.approx(910, abs=40)
