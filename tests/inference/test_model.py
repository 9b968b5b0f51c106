"""A model in Python: arrays, files, open files and bytes in; arrays out; threads, processes and notebooks."""

from __future__ import annotations

import io
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import AudioError, InputError, ModelError, ModelNotFoundError
from dawnchorus.identification import identify
from dawnchorus.inference.model import Model, load_model
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import GraphOutput

RATE_HZ = 16_000
LEVELS = np.repeat(np.float32([0.25, 0.5, 0.75]), RATE_HZ)


class Differentiable:
    """Refuses to become an array, as tensors with a gradient do."""

    def __array__(self, dtype: object = None, copy: object = None) -> FloatArray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.fixture
def model(level_bundle: Bundle) -> Model:
    """The model whose score of "loud" is the mean level of a second."""
    return load_model(level_bundle.folder)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "levels.wav"
    soundfile.write(path, LEVELS, RATE_HZ, subtype="FLOAT")
    return path


def test_a_model_says_what_it_is(model: Model, level_bundle: Bundle) -> None:
    assert (model.name, model.sample_rate_hz, model.window_s, model.embedding_dim) == ("level", RATE_HZ, 1.0, None)
    assert [label.common_name for label in model.labels] == ["Loud Bird", "Quiet Bird", "Engine"]
    assert load_model(model) is model
    assert load_model(str(level_bundle.folder)).bundle == level_bundle
    with pytest.raises(ModelNotFoundError, match="Did you mean 'birdnet'"):
        load_model("birdnett")
    assert "3: Loud Bird, Quiet Bird, Engine" in model._repr_html_()
    assert repr(model).endswith(": 3 classes, windows of 1 s at 16000 Hz>"), "not a line for each class"
    assert "Loud Bird" not in repr(model.bundle)


def test_every_audio_input_type_has_the_same_scores(model: Model, recording: Path) -> None:
    expected = [[0.25, 0.75, 0], [0.5, 0.5, 0], [0.75, 0.25, 0]]
    stereo = np.stack([LEVELS, LEVELS], axis=1)
    content = recording.read_bytes()
    with recording.open("rb") as stream:
        recordings = [
            recording,
            str(recording),
            content,
            io.BytesIO(content),
            stream,
            (LEVELS, RATE_HZ),
            (stereo, RATE_HZ),
        ]
        for audio in recordings:
            scores = model.predict(audio)
            assert scores.dtype == np.float32
            assert scores.tolist() == pytest.approx(np.array(expected), abs=1e-6)
    assert model.predict(LEVELS, RATE_HZ).tolist() == scores.tolist()
    assert model.predict(np.round(LEVELS * 32768).astype(np.int16), RATE_HZ).tolist() == scores.tolist()
    assert model.predict(LEVELS.tolist(), RATE_HZ).tolist() == scores.tolist()


def test_scores_are_those_of_identify_at_other_rates_and_overlaps(model: Model) -> None:
    rng = np.random.default_rng(1)
    samples = rng.uniform(-0.5, 0.5, 44_100 * 3).astype(np.float32)
    scores = model.predict(samples, 44_100, overlap_s=0.5)
    run = identify((samples, 44_100), model=model, min_score=0.0, overlap_s=0.5, species=("Avis magna",))
    (table,) = run.tables()
    assert table.recording == "samples.wav"
    assert [detection.score for detection in table.detections] == scores[:, 0].tolist()
    assert [detection.start_s for detection in table.detections] == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_one_channel_is_chosen(model: Model) -> None:
    stereo = np.stack([LEVELS, -LEVELS], axis=1)
    assert model.predict(stereo, RATE_HZ)[:, 0].tolist() == [0, 0, 0]
    assert model.predict(stereo, RATE_HZ, channel="right")[:, 0] == pytest.approx([0.25, 0.5, 0.75])


def test_less_than_a_window_is_padded_and_embeddings_have_a_row_for_each_window(band_bundle: Bundle) -> None:
    model = load_model(band_bundle.folder)
    samples = np.sin(np.arange(RATE_HZ // 2) / 5).astype(np.float32)
    assert model.predict(samples, RATE_HZ).shape == (1, 2)
    assert model.embed(np.tile(samples, 5), RATE_HZ).shape == (3, 12)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, RATE_HZ), np.float32), r"got the shape \(2, 16000\).*Transpose it"),
        (np.zeros((2, 2, 2)), r"got the shape \(2, 2, 2\)"),
        (np.zeros(0), r"got the shape \(0,\)"),
        (np.array([0.0, np.nan]), "got NaN or infinity"),
        (np.zeros((300, 257)), "expected at most 256 channels, got 257"),
        (Differentiable(), r"got Differentiable, which NumPy cannot read .*as of a tensor by samples\.detach\(\)"),
        ([[0.5], [0.5, 0.5]], "got list, which NumPy cannot read"),
        (np.zeros(4, np.uint8), "got uint8"),
        (np.zeros(4, complex), "got complex128"),
        (np.zeros(4, np.int64), r"got int64, whose full scale is not known. Divide them .*numpy\.int16"),
        ([0, 1, 0], "got a list of integers"),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(model: Model, samples: FloatArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.predict(samples, RATE_HZ)


def test_other_wrong_requests_are_refused_with_a_sentence(model: Model, recording: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the rate of the samples"):
        model.predict(LEVELS)
    with pytest.raises(InputError, match="expected a rate with samples only"):
        model.predict(recording, RATE_HZ)
    with pytest.raises(InputError, match="expected a whole number of Hz, 500 to 500000, got 0"):
        model.predict(LEVELS, 0)
    for rate_hz in (float("nan"), float("inf"), "16000", 1, 10**9, True):
        with pytest.raises(InputError, match="^sample_rate_hz: expected a whole number of Hz, 500 to 500000, got"):
            model.predict((LEVELS, rate_hz))
    for overlap_s in (float("nan"), float("inf"), -0.5, 1.0, "0.5", None):
        with pytest.raises(InputError, match="overlap: expected 0 or more and less than the model's window of 1 s"):
            model.predict(LEVELS, RATE_HZ, overlap_s=overlap_s)
    for channel in (0, -1, True, "middle", "each", None):
        with pytest.raises(InputError, match="channel: expected one of mean, left, right, best, or a channel's number"):
            model.predict(LEVELS, RATE_HZ, channel=channel)
    for audio in (LEVELS, None, [LEVELS], 3):
        with pytest.raises(InputError, match=r"audio: expected paths.* Give samples with their rate"):
            identify(audio, model=model)
    with pytest.raises(InputError, match=r"expected \(samples, sample_rate_hz\), got a tuple of 3"):
        model.predict((LEVELS, RATE_HZ, 1))
    with recording.with_suffix(".txt").open("w+") as text, pytest.raises(InputError, match="open for bytes"):
        text.write("no sound")
        text.seek(0)
        model.predict(text)
    with pytest.raises(InputError, match="model: expected a built-in model's name.* got NoneType"):
        load_model(None)
    with pytest.raises(InputError, match="expected a path, bytes, an open file, or samples with their rate, got int"):
        model.predict(3)
    with pytest.raises(ModelError, match="no embeddings"):
        model.embed(LEVELS, RATE_HZ)
    with pytest.raises(InputError, match=r"expected float32 \[windows, 16000\], got float32 \[1, 3\]"):
        model.loaded.run(np.zeros((1, 3), np.float32))
    with pytest.raises(AudioError, match="^recording: not a sound file"):
        model.predict(b"no sound at all")
    with pytest.raises(AudioError, match="no such file"):
        model.predict(tmp_path / "none.wav")


def test_threads_share_a_model(model: Model) -> None:
    with ThreadPoolExecutor(4) as threads:
        scores = list(threads.map(lambda level: float(model.predict(LEVELS * level, RATE_HZ)[0, 0]), [1, 0.5] * 8))
    assert scores == [0.25, 0.125] * 8


def first_score(model: Model) -> float:
    return float(model.predict(LEVELS, RATE_HZ)[0, 0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_get_a_model_that_was_used_before(model: Model, method: str) -> None:
    assert first_score(model) == 0.25
    with multiprocessing.get_context(method).Pool(1) as processes:
        assert processes.map(first_score, [model]) == [0.25]
        assert processes.map(count_detections, [model]) == [2]
    assert first_score(pickle.loads(pickle.dumps(model))) == 0.25  # noqa: S301 - our own bytes


inherited: list[Model] = []


def first_inherited_score() -> float:
    return first_score(inherited[0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_opens_sessions_of_its_own(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.inherited", [model])
    assert first_score(model) == 0.25
    with multiprocessing.get_context("fork").Pool(1) as processes:
        assert processes.apply(first_inherited_score) == 0.25


def test_identify_reads_open_files_and_bytes_under_their_names(model: Model, recording: Path) -> None:
    with recording.open("rb") as stream:
        run = identify(stream, model=model, min_score=0.5)
    (table,) = run.tables()
    assert table.recording == str(recording)
    assert [(d.start_s, d.common_name) for d in table.detections if d.score > 0.6] == [
        (0.0, "Quiet Bird"),
        (2.0, "Loud Bird"),
    ]
    (failure,) = identify(b"no sound", model=model).failures
    assert failure.recording == "recording"


def test_options_are_keyword_arguments(model: Model, recording: Path) -> None:
    assert len(identify(recording, model=model, min_score=0.7).to_arrow()) == 2
    with pytest.raises(TypeError, match=r"'latitud' is no option of identify\(\)\. Did you mean 'latitude'"):
        identify(recording, model=model, latitud=1.0)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="min_score"):
        identify(recording, model=model, min_score=2.0)


def count_detections(model: Model) -> int:
    return identify((LEVELS, RATE_HZ), model=model, min_score=0.6, workers=1).summary().n_detections


def test_identify_works_in_threads_at_once(model: Model) -> None:
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(count_detections, [model] * 3)) == [2, 2, 2]


def test_a_run_shows_itself_in_notebooks(model: Model) -> None:
    run = identify((LEVELS, RATE_HZ), model=model, min_score=0.6)
    assert repr(run) == "<Run: 1 recordings, 2 detections, 2 classes, 0 failed; level>"
    assert "<td>Quiet Bird</td><td><i>Avis parva</i></td><td>1</td><td>1</td><td>0.75</td>" in run._repr_html_()


def test_scores_that_are_not_finite_are_no_result(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_pool: SessionPool, windows: FloatArray, *, embeddings: bool) -> GraphOutput:
        assert not embeddings
        return GraphOutput(np.where(windows[:, :3] > 0.4, np.float32("nan"), windows[:, :3]), None)

    monkeypatch.setattr(SessionPool, "run", run)
    with pytest.raises(
        ModelError, match=r"^level: expected finite scores, got NaN or infinity for the window at 1 s of "
    ):
        model.predict(LEVELS, RATE_HZ)


def test_embeddings_that_are_not_finite_are_no_result(band_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_pool: SessionPool, windows: FloatArray, *, embeddings: bool) -> GraphOutput:
        assert embeddings
        return GraphOutput(windows[:, :2], np.where(windows[:, :3] > 0.4, np.float32("inf"), windows[:, :3]))

    monkeypatch.setattr(SessionPool, "run", run)
    with pytest.raises(
        ModelError, match=r"^bands: expected finite embeddings, got NaN or infinity for the window at 1 s of samples\."
    ):
        load_model(band_bundle.folder).embed(LEVELS, RATE_HZ)


def test_integers_as_floats_are_refused_in_arrays_and_said_of_files(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match="samples: expected -1 to 1, but samples of floating point reach 24576"):
        model.predict(LEVELS * 32768, RATE_HZ)
    with pytest.raises(InputError, match="samples: expected -1 to 1"):
        identify((LEVELS * 32768, RATE_HZ), model=model)
    soundfile.write(tmp_path / "x.wav", LEVELS * 32768, RATE_HZ, subtype="FLOAT")
    model.predict(tmp_path / "x.wav")
    assert "x.wav: scale: samples of floating point reach 24576" in caplog.text
