"""The pipeline from recordings to hits, with decoders of the test's own in place of processes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from tests.fixtures.waiting import wait_for

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import AudioError, InvalidBundleError
from dawnchorus.inference import scoring
from dawnchorus.inference.preparation import WHOLE, Cleaner
from dawnchorus.inference.scoring import HIT, FailedRecording, ScoredRecording, ScoreFilter, score_recordings
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.runner import Output, Session, open_session
from dawnchorus.types import AudioInfo, RecordingMetadata, Segment

RATE_HZ = 1_000
PLAN = WindowPlan(rate_hz=RATE_HZ, window_samples=16_000, hop_samples=16_000)
EVERYTHING = ScoreFilter(thresholds=np.array([0, np.inf, np.inf], np.float32))
"""Every window's mean level."""

FloatArray = np.ndarray
Blocks = Iterable[FloatArray]

INFO, METADATA = AudioInfo("WAV", "PCM_16", RATE_HZ, 1, None), RecordingMetadata(recorder="AudioMoth")


def sound(levels: Iterable[float]) -> FloatArray:
    """One window for each level."""
    return np.repeat(np.array(list(levels), np.float32), PLAN.window_samples)


def recording(n: int, *, first_level: float = 0.0) -> list[FloatArray]:
    """The block of a recording whose `n` windows are louder by 1/64 from one to the next."""
    return [sound(first_level + k / 64 for k in range(n))]


class FakeRecording:
    """Stands in for `IsolatedRecording`."""

    info, metadata, warnings, duration_s = INFO, METADATA, ("truncated",), 3.5

    def __init__(self, blocks: Callable[[], Blocks]) -> None:
        self._blocks = blocks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """No process is behind it."""

    def blocks(self) -> Iterator[FloatArray]:
        return iter(self._blocks())


class Decoders:
    """Stands in for `DecoderProcess`: makes decoders that open `recordings`, whose blocks are given by path."""

    def __init__(self, recordings: dict[str, Callable[[], Blocks]]) -> None:
        self.recordings = recordings
        self.begun: list[str] = []
        self.made: list[SimpleNamespace] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> SimpleNamespace:
        made = SimpleNamespace(open=self._open, is_closed=False)
        made.close = lambda: setattr(made, "is_closed", True)
        self.made.append(made)
        return made

    def _open(self, path: Path, *, rate_hz: int, **_limits: int) -> FakeRecording:
        assert rate_hz == RATE_HZ
        self.threads.add(threading.current_thread())
        self.begun.append(path.name)
        return FakeRecording(self.recordings[path.name])


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, level_bundle: Bundle
) -> Callable[..., Iterator[ScoredRecording | FailedRecording]]:
    """Begin to score recordings, given as functions that give their parts."""

    def begin(decoders: Decoders, *, n_workers: int = 1, **more: Any) -> Iterator[ScoredRecording | FailedRecording]:
        monkeypatch.setattr(scoring, "DecoderProcess", decoders)
        given = {"plan": PLAN, "score_filter": EVERYTHING, "cleaner": Cleaner(Cleaning()), **more}
        return score_recordings(map(Path, decoders.recordings), level_bundle, n_workers=n_workers, **given)

    return begin


def levels(result: ScoredRecording | FailedRecording) -> list[float]:
    """The hits' scores, after a check that there is one for each window, in order."""
    assert isinstance(result, ScoredRecording)
    (channel,) = result.channels
    assert channel.hits["window"].tolist() == list(range(result.n_hits))
    return [round(value * 64, 3) for value in channel.hits["score"].tolist()]


# ---------------------------------------------------------------------- which scores are kept


def test_best_scores_of_each_window_come_first() -> None:
    scores = np.array([[0.5, 0.25, 0.75], [0.25, 0.25, 0.0], [0.0, 0.0, 0.0]], np.float32)
    kept = ScoreFilter(thresholds=np.array([0.25, 0.25, 0.5], np.float32)).apply(scores, 7)
    assert kept.dtype == HIT
    assert kept.tolist() == [(7, 2, 0.75), (7, 0, 0.5), (7, 1, 0.25), (8, 0, 0.25), (8, 1, 0.25)]


@pytest.mark.parametrize(
    ("top", "classes"),
    [(1, [2, 0]), (2, [2, 0, 0, 1]), (3, [2, 0, 1, 0, 1, 2]), (4, [2, 0, 1, 0, 1, 2])],
)
def test_top_scores_are_the_best_and_then_the_first(top: int, classes: list[int]) -> None:
    scores = np.array([[0.5, 0.25, 0.75], [0.25, 0.25, 0.25]], np.float32)
    kept = ScoreFilter(thresholds=np.zeros(3, np.float32), top=top).apply(scores, 0)
    assert kept["class"].tolist() == classes


@pytest.mark.parametrize("top", [1, 3, 200, 256, 300, 400, 401, 500])
def test_top_scores_are_the_best_of_many_classes(top: int) -> None:
    """Scores are 0/512 to 400/512 in an order of their own; the 273 from 128/512 on reach the threshold."""
    order = np.arange(401) * 177 % 401
    scores = np.stack([order, order[::-1]]).astype(np.float32) / 512
    kept = ScoreFilter(thresholds=np.full(401, 0.25, np.float32), top=top).apply(scores, 0)
    n = min(top, 273)
    assert (kept["score"] * 512).tolist() == list(range(400, 400 - n, -1)) * 2
    assert kept["window"].tolist() == [0] * n + [1] * n
    assert (scores[kept["window"], kept["class"]] == kept["score"]).all()


def test_no_score_is_kept_of_quiet_windows() -> None:
    for top in (None, 1, 3):
        kept = ScoreFilter(thresholds=np.full(3, 0.5, np.float32), top=top).apply(np.zeros((2, 3), np.float32), 0)
        assert kept.tolist() == []


# ---------------------------------------------------------------------- from parts to results


def test_recording_is_scored_to_its_end(run: Callable[..., Iterator[ScoredRecording | FailedRecording]]) -> None:
    seen: list[int] = []
    (result,) = run(Decoders({"a": lambda: recording(20)}), on_windows=seen.append)
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
        yield sound([0.5])
        raise AudioError("b: broken")

    decoders = Decoders({"a": lambda: recording(2), "b": broken, "c": lambda: recording(3)})
    results = {result.path.name: result for result in run(decoders)}
    assert results["b"] == FailedRecording(Path("b"), "b: broken")
    assert (levels(results["a"]), levels(results["c"])) == ([0, 1], [0, 1, 2])
    with pytest.raises(FrozenInstanceError):
        results["b"].reason = ""  # type: ignore[union-attr,misc]
    with pytest.raises(FrozenInstanceError):
        results["a"].speech = ()  # type: ignore[union-attr,misc]


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_each_worker_has_a_decoder(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], n_workers: int
) -> None:
    decoders = Decoders({str(k): lambda k=k: recording(1, first_level=k / 64) for k in range(9)})  # type: ignore[misc]
    found = {result.path.name: levels(result) for result in run(decoders, n_workers=n_workers)}
    assert found == {str(k): [k] for k in range(9)}
    assert len(decoders.made) == n_workers
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

    monkeypatch.setattr(scoring, "VadStream", VadStream)
    parts = {"a": lambda: [sound([0.1]), sound([0.2, 0.3])]}
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

    monkeypatch.setattr(scoring, "open_session", refuse)
    with pytest.raises(InvalidBundleError, match="cannot be loaded"):
        list(run(Decoders({"a": lambda: recording(1)})))


@pytest.mark.parametrize(("given", "tta_shifts"), [({}, 1), ({"tta_shifts": 4}, 4)])
def test_windows_are_turned_as_often_as_asked(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, int],
    tta_shifts: int,
) -> None:
    opened: list[int] = []

    def remember(bundle: Bundle, *, tta_shifts: int) -> Session:
        opened.append(tta_shifts)
        return open_session(bundle)

    monkeypatch.setattr(scoring, "open_session", remember)
    list(run(Decoders({"a": lambda: recording(1)}), **given))
    assert opened == [tta_shifts]


# ---------------------------------------------------------------------- what waits, and for whom


class LateSession:
    """A session that is open once `is_time` says so, and remembers how many windows came in each call."""

    def __init__(self, is_time: Callable[[], bool]) -> None:
        self.calls: list[int] = []
        self._is_time = is_time

    def open(self, bundle: Bundle, *, tta_shifts: int) -> LateSession:
        wait_for(self._is_time, within_s=10)
        self._session = open_session(bundle, tta_shifts=tta_shifts)
        return self

    def run(self, windows: FloatArray) -> Output:
        self.calls.append(len(windows))
        return self._session.run(windows)


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
    """The first two wait when the model is loaded; the third is decoded after they are scored."""
    session = LateSession(lambda: "c" in decoders.begun)
    first, second = sizes

    def third() -> Blocks:
        wait_for(lambda: sum(session.calls) == first + second, within_s=10)
        yield from recording(1, first_level=40 / 64)

    decoders = Decoders(
        {"a": lambda: recording(first), "b": lambda: recording(second, first_level=20 / 64), "c": third}
    )
    monkeypatch.setattr(scoring, "open_session", session.open)
    found = {result.path.name: levels(result) for result in run(decoders)}
    assert found == {"a": list(range(first)), "b": [20 + k for k in range(second)], "c": [40]}
    assert session.calls == [*calls, 1]


def test_recording_is_whole_when_it_was_decoded_before_the_model_was_loaded(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders = Decoders({"a": lambda: recording(9)})
    session = LateSession(lambda: all(made.is_closed for made in decoders.made))
    monkeypatch.setattr(scoring, "open_session", session.open)
    (result,) = run(decoders)
    assert levels(result) == list(range(9))
    assert session.calls == [8, 1]


class ImpatientQueue(queue.Queue[Any]):
    """A queue that gives up each first wait at once, as others do after a fifth of a second."""

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self.most, self.n_full = 0, 0
        self._gets, self._puts = [True], [True]

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT002 - as queue's
        if timeout is not None and self._gets:
            self._gets.clear()
            raise queue.Empty
        return super().get(block, timeout)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT002 - as queue's
        if timeout is not None and self._puts:
            self._puts.clear()
            raise queue.Full
        self.n_full += self.full()
        super().put(item, block, timeout)
        self.most = max(self.most, self.qsize())


@pytest.mark.parametrize("n_workers", [1, 3])
def test_what_waits_is_bounded_by_the_workers_and_nothing_is_lost(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]], monkeypatch: pytest.MonkeyPatch, n_workers: int
) -> None:
    queues: list[ImpatientQueue] = []

    def make(maxsize: int) -> ImpatientQueue:
        queues.append(ImpatientQueue(maxsize))
        return queues[-1]

    monkeypatch.setattr(scoring, "queue", SimpleNamespace(Queue=make, Empty=queue.Empty, Full=queue.Full))
    session = LateSession(lambda: queues[0].n_full > 0)
    monkeypatch.setattr(scoring, "open_session", session.open)
    decoders = Decoders({"a": lambda: recording(60), "b": lambda: recording(30)})
    found = {result.path.name: levels(result) for result in run(decoders, n_workers=n_workers)}
    assert found == {"a": list(range(60)), "b": list(range(30))}
    assert queues[0].most <= 2 * n_workers


def test_run_that_is_given_up_ends_decoders_and_threads(
    run: Callable[..., Iterator[ScoredRecording | FailedRecording]],
) -> None:
    def endless() -> Blocks:
        while True:
            yield sound([0.5])

    before = threading.active_count()
    decoders = Decoders({"a": lambda: recording(1), "b": endless, "c": endless})
    results = run(decoders, n_workers=2)
    next(results)
    assert threading.active_count() > before
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert all(made.is_closed for made in decoders.made)


def test_score_filter_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        EVERYTHING.top = 1  # type: ignore[misc]
