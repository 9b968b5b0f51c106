"""From recordings to hits, with decoders of the test's own in place of processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from dawnchorus.audio import decoder_pool
from dawnchorus.audio.sample_analyses import Table
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import AudioError, InvalidBundleError, ModelError
from dawnchorus.inference import recording as recording_module
from dawnchorus.inference import sessions
from dawnchorus.inference.analyses.hits import ScoreFilter
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.preparation import WHOLE, Cleaner
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.inference.results import FailedRecording, ScoredRecording
from dawnchorus.inference.scoring import score_recordings
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.runner import GraphOutput, Session, open_session
from dawnchorus.types import AudioInfo, RecordingMetadata, Segment

RATE_HZ = 1_000
PLAN = WindowPlan(rate_hz=RATE_HZ, window_samples=16_000, hop_samples=16_000)
EVERYTHING = ScoreFilter(thresholds=np.array([0, np.inf, np.inf], np.float32))
"""Every window's mean level."""

FloatArray = np.ndarray
Blocks = Iterable[FloatArray]

INFO, METADATA = AudioInfo("WAV", "PCM_16", RATE_HZ, 1, None), RecordingMetadata(recorder="AudioMoth")


def make_audio(levels: Iterable[float]) -> FloatArray:
    """Return one window for each level."""
    return np.repeat(np.array(list(levels), np.float32), PLAN.window_samples)


def recording(n: int, *, first_level: float = 0.0) -> list[FloatArray]:
    """Return the block of a recording whose `n` windows are louder by 1/64 from one to the next."""
    return [make_audio(first_level + k / 64 for k in range(n))]


class NanSession:
    """Gives NaN for windows above a level."""

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> GraphOutput:
        assert not embeddings
        logits = windows.mean(axis=1, keepdims=True) * np.ones(3, np.float32)
        logits[logits > 0.1] = np.nan
        return GraphOutput(logits, None)


class FakeRecording:
    """Stands in for `IsolatedRecording`."""

    info, metadata, warnings, duration_s = INFO, METADATA, ("truncated",), 3.5

    def __init__(self, blocks: Callable[[], Blocks]) -> None:
        self._blocks = blocks
        self.tables: dict[str, Table] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: no process is behind it."""

    def blocks(self) -> Iterator[FloatArray]:
        return iter(self._blocks())


class FakeDecoder:
    """Stands in for `DecoderProcess`."""

    def __init__(self, made_by: Decoders) -> None:
        self._made_by, self.is_closed = made_by, False

    def open(self, path: Path, *, rate_hz: int, **_limits: int) -> FakeRecording:
        assert rate_hz == RATE_HZ
        self._made_by.threads.add(threading.current_thread())
        return FakeRecording(self._made_by.recordings[path.name])

    def is_ready(self, *, within_s: float) -> bool:
        return within_s >= 0

    def abandon(self) -> None:
        """Do nothing: there is no process."""

    def close(self) -> None:
        self.is_closed = True


class Decoders:
    """Makes decoders that open `recordings`, whose blocks are given by path."""

    def __init__(self, recordings: dict[str, Callable[[], Blocks]]) -> None:
        self.recordings = recordings
        self.made: list[FakeDecoder] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> FakeDecoder:
        self.made.append(FakeDecoder(self))
        return self.made[-1]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, level_bundle: Bundle
) -> Callable[..., Iterator[ScoredRecording | FailedRecording]]:
    """Begin to score recordings, given as functions that give their parts."""

    def begin(
        decoders: Decoders, *, n_workers: int = 1, tta_shifts: int = 1, seen: list[int] | None = None, **more: Any
    ) -> Iterator[ScoredRecording | FailedRecording]:
        monkeypatch.setattr(decoder_pool, "DecoderProcess", decoders)
        model = LoadedModel(level_bundle, Cleaner(Cleaning()), SessionPool(level_bundle, tta_shifts))
        plan = ScoringPlan(**{"windows": PLAN, "analyses": {"hits": EVERYTHING}, **more})
        paths = map(Path, decoders.recordings)
        with closing(score_recordings(paths, model, plan, n_workers=n_workers)) as steps:
            for step in steps:
                if seen is not None:
                    seen.append(step.n_windows)
                if step.scored is not None or step.failed is not None:
                    yield step.scored or step.failed

    return begin


def levels(result: ScoredRecording | FailedRecording) -> list[float]:
    """Return the hits' scores, after a check that there is one for each window, in order."""
    assert isinstance(result, ScoredRecording)
    (channel,) = result.channels
    assert channel.hits["window"].tolist() == list(range(result.n_hits))
    return [round(value * 64, 3) for value in channel.hits["score"].tolist()]


# ---------------------------------------------------------------------- from parts to results


def test_recording_is_scored_to_its_end(run: Callable[..., Iterator[ScoredRecording | FailedRecording]]) -> None:
    seen: list[int] = []
    (result,) = run(Decoders({"a": lambda: recording(20)}), seen=seen)
    assert levels(result) == list(range(20))
    assert isinstance(result, ScoredRecording)
    assert {**vars(result), "channels": [(each.kept, each.channel) for each in result.channels]} == {
        "path": Path("a"),
        "info": INFO,
        "metadata": METADATA,
        "duration_s": 3.5,
        "warnings": ("truncated",),
        "channels": [(WHOLE, None)],
        "speech": (),
        "tables": {},
    }
    assert sum(seen) == 20


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 17])
def test_every_window_is_scored_whatever_their_number(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], n: int
) -> None:
    (result,) = run(Decoders({"a": lambda: recording(n)}))
    assert levels(result) == list(range(n))


def test_recording_without_a_window_has_no_hits(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]],
) -> None:
    (result,) = run(Decoders({"a": list}))
    assert levels(result) == []


def test_recording_that_fails_touches_no_other(run: Callable[..., Iterator[ScoredRecording | FailedRecording]]) -> None:
    def broken() -> Blocks:
        yield make_audio([0.5])
        raise AudioError("broken", subject="b")

    decoders = Decoders({"a": lambda: recording(2), "b": broken, "c": lambda: recording(3)})
    results = {result.path.name: result for result in run(decoders)}
    assert results["b"] == FailedRecording(Path("b"), "broken")
    assert (levels(results["a"]), levels(results["c"])) == ([0, 1], [0, 1, 2])
    with pytest.raises(FrozenInstanceError):
        results["b"].reason = ""  # type: ignore[union-attr,misc]
    with pytest.raises(FrozenInstanceError):
        results["a"].speech = ()  # type: ignore[union-attr,misc]


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_there_are_no_more_decoders_than_workers(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], n_workers: int
) -> None:
    decoders = Decoders({str(k): lambda k=k: recording(1, first_level=k / 64) for k in range(9)})  # type: ignore[misc]
    results = {result.path.name: levels(result) for result in run(decoders, n_workers=n_workers)}
    assert results == {str(k): [k] for k in range(9)}
    assert len(decoders.made) <= n_workers
    assert all(made.is_closed for made in decoders.made)
    assert all(thread.daemon for thread in decoders.threads), "one that hangs does not keep the program from ending"


def test_no_recording_gives_no_result(run: Callable[..., Iterator[ScoredRecording | FailedRecording]]) -> None:
    assert list(run(Decoders({}), n_workers=2)) == []


def test_voices_are_listened_for_in_every_part(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class VadStream:
        def __init__(self, detector: object, *, rate_hz: int) -> None:
            assert (detector, rate_hz) == ("detector", RATE_HZ)
            self.n = 0

        def add(self, samples: FloatArray) -> None:
            self.n += len(samples)

        def finish(self) -> tuple[Segment, ...]:
            return (Segment(0.0, self.n / RATE_HZ),)

    monkeypatch.setattr(recording_module, "VadStream", VadStream)
    parts = {"a": lambda: [make_audio([0.1]), make_audio([0.2, 0.3])]}
    (result,) = run(Decoders(parts), speech_detector="detector")
    assert isinstance(result, ScoredRecording)
    assert result.speech == (Segment(0.0, 48.0),)


def test_other_errors_reach_the_caller(run: Callable[..., Iterator[ScoredRecording | FailedRecording]]) -> None:
    def faulty() -> Blocks:
        raise ZeroDivisionError("a fault of ours")

    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        list(run(Decoders({"a": faulty})))


def test_bundle_that_cannot_be_run_is_an_error(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_bundle: Bundle, **_more: int) -> Session:
        raise InvalidBundleError("cannot be loaded")

    monkeypatch.setattr(sessions, "open_session", refuse)
    with pytest.raises(InvalidBundleError, match="cannot be loaded"):
        list(run(Decoders({"a": lambda: recording(1)})))


@pytest.mark.parametrize(("given", "tta_shifts"), [({}, 1), ({"tta_shifts": 4}, 4)])
def test_windows_are_shifted_the_requested_number_of_times(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, int],
    tta_shifts: int,
) -> None:
    opened: list[int] = []

    def remember(bundle: Bundle, *, tta_shifts: int) -> Session:
        opened.append(tta_shifts)
        return open_session(bundle)

    monkeypatch.setattr(sessions, "open_session", remember)
    list(run(Decoders({"a": lambda: recording(1)}), **given))
    assert opened == [tta_shifts]


# ---------------------------------------------------------------------- how much at a time


class CountingSession:
    """A session that remembers how many windows came in each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def open(self, bundle: Bundle, *, tta_shifts: int) -> CountingSession:
        self._session = open_session(bundle, tta_shifts=tta_shifts)
        return self

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> GraphOutput:
        self.calls.append(len(windows))
        return self._session.run(windows, embeddings=embeddings)


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [((3, 5), [8]), ((1, 1), [2]), ((3, 6), [3, 6]), ((7, 2), [7, 2]), ((8, 1), [8, 1]), ((8, 8), [8, 8])],
)
def test_short_recordings_share_a_call_of_the_model(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]],
    monkeypatch: pytest.MonkeyPatch,
    sizes: tuple[int, int],
    calls: list[int],
) -> None:
    session = CountingSession()
    first, second = sizes
    decoders = Decoders({"a": lambda: recording(first), "b": lambda: recording(second, first_level=20 / 64)})
    monkeypatch.setattr(sessions, "open_session", session.open)
    results = {result.path.name: levels(result) for result in run(decoders)}
    assert results == {"a": list(range(first)), "b": [20 + k for k in range(second)]}
    assert session.calls == calls


@pytest.mark.parametrize("n_workers", [1, 3])
def test_recordings_are_read_a_few_ahead(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], n_workers: int
) -> None:
    class Endless(dict[str, Callable[[], Blocks]]):
        n_read = 0

        def __iter__(self) -> Iterator[str]:
            while True:
                self.n_read += 1
                yield "a"

    decoders = Decoders(Endless(a=lambda: recording(1)))
    results = run(decoders, n_workers=n_workers)
    for n_done in range(1, 30):
        assert levels(next(results)) == [0]
        assert decoders.recordings.n_read <= n_done + 9 * n_workers  # type: ignore[attr-defined]
    results.close()  # type: ignore[attr-defined]


def test_long_recording_is_scored_by_all_workers_and_comes_in_order(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch is done after the second one, in another thread."""
    is_overtaken, threads = threading.Event(), set()

    class Overtaken(CountingSession):
        def run(self, windows: FloatArray, *, embeddings: bool = False) -> GraphOutput:
            threads.add(threading.get_ident())
            if windows[0, 0]:
                is_overtaken.set()
            else:
                assert is_overtaken.wait(60)
            return super().run(windows, embeddings=embeddings)

    monkeypatch.setattr(sessions, "open_session", lambda bundle, **more: Overtaken().open(bundle, **more))
    (result,) = run(Decoders({"a": lambda: recording(40)}), n_workers=2)
    assert levels(result) == list(range(40))
    assert len(threads) == 2


def test_run_that_is_given_up_ends_decoders_and_threads(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]],
) -> None:
    def endless() -> Blocks:
        while True:
            yield make_audio([0.5])

    before = threading.active_count()
    decoders = Decoders({"a": lambda: recording(1), "b": endless, "c": endless})
    results = run(decoders, n_workers=2)
    next(results)
    assert threading.active_count() > before
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert all(made.is_closed for made in decoders.made)


def test_scores_that_are_not_finite_stop_the_run_and_are_located(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "open_session", lambda *_args, **_more: NanSession())
    decoders = Decoders({"a.wav": lambda: recording(20)})
    with pytest.raises(ModelError, match=r"^level: expected finite scores, got NaN.* window at 112 s of a\.wav"):
        list(run(decoders))
