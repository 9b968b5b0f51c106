"""Spans of speech by exact numbers: frames, hysteresis, pauses, padding, and the ramps of silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures.recordings import VOICE_RATE_HZ as RATE_HZ
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import read_mono, resampler
from dawnchorus.inference.speech import VadStream, VoiceActivityDetector, build_segments
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.store import ModelStore
from dawnchorus.types import Segment


def segments(probabilities: list[float], *, duration_s: float = 60.0) -> list[tuple[float, float]]:
    built = build_segments(np.array(probabilities, np.float32), duration_s=duration_s)
    return [(round(segment.start_s, 6), round(segment.end_s, 6)) for segment in built]


def frames(*parts: tuple[int, float]) -> list[float]:
    """Return a number of frames of 32 ms for each probability."""
    return [value for n, value in parts for _ in range(n)]


def test_speech_begins_at_0_4_and_ends_below_0_2() -> None:
    assert segments(frames((20, 0.0), (1, 0.4), (19, 0.2), (30, 0.19))) == [(0.34, 1.58)]
    assert segments(frames((20, 0.0), (20, 0.39), (30, 0.0))) == []
    assert segments(frames((20, 0.3), (20, 0.9), (10, 0.3), (30, 0.1))) == [(0.34, 1.9)]
    assert segments([]) == []


def test_speech_is_padded_within_the_recording() -> None:
    assert segments(frames((10, 1.0)), duration_s=0.31) == [(0.0, 0.31)]
    assert segments(frames((80, 0.0), (20, 1.0)), duration_s=3.2) == [(2.26, 3.2)]
    assert segments(frames((80, 0.0), (20, 1.0)), duration_s=10.0) == [(2.26, 3.5)]
    assert segments(frames((9, 0.0), (20, 1.0)), duration_s=10.0) == [(0.0, 1.228)]


def test_less_than_a_fifth_of_a_second_is_no_speech() -> None:
    assert segments(frames((20, 0.0), (6, 1.0), (20, 0.0))) == []
    assert segments(frames((20, 0.0), (7, 1.0), (20, 0.0))) == [(0.34, 1.164)]
    assert segments(frames((200, 0.0), (6, 1.0), (20, 0.0))) == [], "its length counts, not its time"


def test_pauses_of_a_second_belong_to_speech() -> None:
    """31 frames are 0.992 s and 32 frames are 1.024 s."""
    assert segments(frames((20, 0.0), (10, 1.0), (31, 0.0), (10, 1.0), (20, 0.0))) == [(0.34, 2.572)]
    assert segments(frames((20, 0.0), (10, 1.0), (32, 0.0), (10, 1.0), (20, 0.0))) == [(0.34, 1.26), (1.684, 2.604)]
    assert segments(frames((20, 0.0), (4, 1.0), (5, 0.0), (4, 1.0), (20, 0.0))) == [(0.34, 1.356)], (
        "short, but together"
    )
    three = frames((20, 0.0), (10, 1.0), (31, 0.0), (10, 1.0), (31, 0.0), (10, 1.0), (60, 0.0), (10, 1.0))
    assert segments(three) == [(0.34, 3.884), (5.204, 6.124)]


class Loudness(VoiceActivityDetector):
    """A detector whose probability is 1 in frames with a loud sample; it notes what it is given."""

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def probabilities(
        self, frames: np.ndarray, state: np.ndarray, cell: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert state.shape == cell.shape == (1, 1, 128), "Silero's"
        assert (state == sum(map(len, self.given))).all(), "the state after the frames before"
        assert (cell == -state).all()
        self.given.append(frames.copy())
        loud = (np.abs(frames[:, 64:]).max(axis=1) > 0.5).astype(np.float32)
        return loud, state + len(frames), cell - len(frames)


@pytest.mark.parametrize("n", [1, 511, 512, 513, 5000])
@pytest.mark.parametrize("n_block", [100, 512, 5000])
def test_frames_of_512_see_64_samples_before_them(n: int, n_block: int) -> None:
    samples = np.random.default_rng(n).uniform(-0.4, 0.4, n).astype(np.float32)
    detector = Loudness()
    vad_stream = VadStream(detector, rate_hz=16_000)
    for start in range(0, n, n_block):
        vad_stream.add(samples[start : start + n_block])
    assert vad_stream.finish() == ()
    given = np.concatenate(detector.given)
    padded = np.concatenate([samples, np.zeros(-n % 512, np.float32)])
    np.testing.assert_array_equal(given[:, 64:].ravel(), padded)
    before = np.concatenate([np.zeros(64, np.float32), padded])
    np.testing.assert_array_equal(given[:, :64], [before[k * 512 : k * 512 + 64] for k in range(len(given))])


@pytest.mark.parametrize(
    ("n_block", "parts"),
    [(2_000_000, [1024, 1024]), (524_288, [1024, 1024]), (524_287, [1024, 1023]), (100_000, [1024, 147])],
)
def test_speech_detection_processes_long_audio_in_blocks(n_block: int, parts: list[int]) -> None:
    """Memory for frames is bounded by 1024 of them, and a block with less than these waits for the next."""
    samples = np.zeros(1_200_000, np.float32)
    samples[1_000_000:1_010_000] = 1
    detector = Loudness()
    vad_stream = VadStream(detector, rate_hz=16_000)
    for start in range(0, len(samples), n_block):
        vad_stream.add(samples[start : start + n_block])
    (segment,) = vad_stream.finish()
    assert (segment.start_s, segment.end_s) == (pytest.approx(1953 * 0.032 - 0.3), pytest.approx(1973 * 0.032 + 0.3))
    assert [len(part) for part in detector.given][:2] == parts
    assert sum(map(len, detector.given)) == -(-len(samples) // 512)


def test_callers_samples_may_change_after_processing() -> None:
    detector = Loudness()
    vad_stream = VadStream(detector, rate_hz=16_000)
    samples = np.full(16_000, 0.9, np.float32)
    vad_stream.add(samples)
    samples[:] = 0
    assert vad_stream.finish() == (Segment(0.0, 1.0),)


def test_empty_audio_has_no_speech() -> None:
    assert VadStream(Loudness(), rate_hz=16_000).finish() == ()


@pytest.mark.parametrize("rate_hz", [16_000, 8_000, 48_000])
def test_graph_runs_on_audio_of_any_rate(tmp_path: Path, rate_hz: int) -> None:
    """A graph with Silero's inputs and outputs whose probability is the loudest sample."""
    graph = helper.make_graph(
        [
            helper.make_node("Abs", ["input"], ["sizes"]),
            helper.make_node("ReduceMax", ["sizes", "axes"], ["speech_probs"], keepdims=1),
            helper.make_node("Identity", ["h"], ["hn"]),
            helper.make_node("Identity", ["c"], ["cn"]),
        ],
        "loudest",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 576]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 128]) for name in "hc"),
        ],
        [
            helper.make_tensor_value_info("speech_probs", TensorProto.FLOAT, ["n", 1]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 128]) for name in ("hn", "cn")),
        ],
        [numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "x.onnx")
    detector = VoiceActivityDetector(tmp_path / "x.onnx")
    signal = np.concatenate([np.zeros(2 * rate_hz), tone(seconds=2, rate_hz=rate_hz, level=0.9)]).astype(np.float32)
    (segment,) = detector.find(signal, rate_hz=rate_hz)
    assert (segment.start_s, segment.end_s) == (pytest.approx(1.7, abs=0.035), 4.0)
    if rate_hz == 16_000:
        assert detector.find(signal) == (segment,)


def test_hysteresis_gaps_and_edges_of_speech() -> None:
    probabilities = np.zeros(200, np.float32)
    probabilities[50:80] = 0.9  # 1.6 to 2.56 s
    probabilities[60] = 0.4  # not low enough to end it
    probabilities[90:100] = 0.9  # 2.88 to 3.2 s: a short pause before
    probabilities[150:153] = 0.9  # too short
    (segment,) = build_segments(probabilities, duration_s=6.4)
    assert (segment.start_s, segment.end_s) == (pytest.approx(1.3), pytest.approx(3.5))


FloatArray = np.ndarray


@pytest.fixture(scope="session")
def detector(store: ModelStore) -> VoiceActivityDetector:
    return VoiceActivityDetector(speech_graph(store.folder))


def test_block_by_block_is_the_same_as_at_once(detector: VoiceActivityDetector, spoken: Path) -> None:
    samples, _ = read_mono(spoken)
    whole = detector.find(samples)
    assert whole
    assert all(9.5 < segment.start_s < segment.end_s < 14.5 for segment in whole)
    for n_block in (100, 4_096, 77_777):
        vad_stream = VadStream(detector, rate_hz=RATE_HZ)
        for start in range(0, len(samples), n_block):
            vad_stream.add(samples[start : start + n_block])
        assert vad_stream.finish() == whole
    at_48k = resampler(RATE_HZ, 48_000).resample_chunk(samples, last=True)
    for a, b in zip(detector.find(at_48k, rate_hz=48_000), whole, strict=True):
        assert (a.start_s, a.end_s) == (pytest.approx(b.start_s, abs=0.1), pytest.approx(b.end_s, abs=0.1))
