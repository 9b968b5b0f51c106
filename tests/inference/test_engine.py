"""The engine's two queues, with work of the test's own in place of recordings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.waiting import wait_for

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import AudioDecodeError, OverloadedError
from dawnchorus.inference.analyses.hits import ScoreFilter
from dawnchorus.inference.analyses.windows import WindowOutput
from dawnchorus.inference.engine import InferenceEngine
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.preparation import Cleaner
from dawnchorus.inference.recording import RecordingWork, ScoringPlan
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.inference.work import NumberedWindows
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.cleaning import Cleaning


@pytest.fixture
def model(level_bundle: Bundle) -> LoadedModel:
    return LoadedModel(level_bundle, Cleaner(Cleaning()), SessionPool(level_bundle))


class Steps:
    """Work that does a step whenever windows are pulled, and gives one window for each."""

    needs_embeddings, share_done = False, 0.0

    def __init__(self, model: LoadedModel, *steps: Callable[[], object]) -> None:
        self.model, self._steps = model, iter(enumerate(steps))
        self.n_added = 0
        self.is_open = self.is_pulled = self.is_closed = False

    def open(self) -> None:
        self.is_open = True

    def is_ready(self, *, within_s: float) -> bool:
        return within_s >= 0

    def next_windows(self) -> NumberedWindows | None:
        self.is_pulled = True
        k, step = next(self._steps, (0, None))
        if step is None:
            return None
        step()
        return NumberedWindows(k, np.full((1, self.model.bundle.window_samples), 0.5, np.float32))

    def add(self, first_window: int, output: WindowOutput) -> None:
        assert output.scores.shape == (1, 3)
        assert first_window >= self.n_added - 1
        self.n_added += 1

    def result(self) -> int:
        return self.n_added

    def close(self) -> None:
        self.is_closed = True


def nothing() -> None:
    """Do nothing."""


@pytest.fixture
def engine() -> Iterator[InferenceEngine]:
    with InferenceEngine(n_threads=1, max_active=2) as engine:
        yield engine


def test_recordings_are_admitted_in_their_order_up_to_a_limit(model: LoadedModel, engine: InferenceEngine) -> None:
    """Two are active: the third begins when the first has ended, and the second goes on in turn."""
    order: list[str] = []
    names = {"a": 2, "b": 4, "c": 2}
    is_over = threading.Event()
    blocking = engine.submit(Steps(model, is_over.wait))
    futures = [
        engine.submit(Steps(model, *[lambda name=name: order.append(name)] * n))  # type: ignore[misc]
        for name, n in names.items()
    ]
    assert engine.n_queued >= 2
    is_over.set()
    assert [future.result(60) for future in futures] == list(names.values())
    assert blocking.result(60) == 1
    assert order.index("c") > order.index("b")
    assert order[-1] == "b" or order.count("b") == 4
    assert engine.n_queued == 0


def test_recordings_are_opened_no_further_ahead_than_threads_need_them(model: LoadedModel) -> None:
    """There is room for nine, but the two that were opened have given nothing yet."""
    is_over = threading.Event()
    works = [Steps(model, is_over.wait) for _ in range(9)]
    with InferenceEngine(n_threads=2, max_active=9) as engine:
        futures = [engine.submit(work) for work in works]
        wait_for(lambda: sum(work.is_pulled for work in works) == 2)
        assert sum(work.is_open for work in works) == 2
        is_over.set()
        assert [future.result(60) for future in futures] == [1] * 9


def test_error_is_that_of_its_own_recording(model: LoadedModel, engine: InferenceEngine) -> None:
    def fail() -> None:
        raise AudioDecodeError("broken", subject="b.wav")

    works = [Steps(model, nothing, fail), Steps(model, nothing, nothing)]
    failed, other = [engine.submit(work) for work in works]
    with pytest.raises(AudioDecodeError, match="broken"):
        failed.result(60)
    assert other.result(60) == 2
    wait_for(lambda: works[0].is_closed)
    assert not works[1].is_closed, "it has nothing left to give up"


def test_model_that_fails_fails_all_that_share_its_call(
    model: LoadedModel, engine: InferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_windows: FloatArray, **_more: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(model.sessions, "run", fail)
    works = [Steps(model, nothing) for _ in range(2)]
    for future in [engine.submit(work) for work in works]:
        with pytest.raises(MemoryError, match="no room"):
            future.result(60)
    assert all(work.is_closed for work in works)


def test_cancelled_recording_is_closed_and_makes_room(model: LoadedModel, engine: InferenceEngine) -> None:
    is_started = threading.Event()
    endless = Steps(model, *[is_started.set] * 1_000_000)
    waits = Steps(model, nothing)
    first, second = engine.submit(endless), engine.submit(waits)
    assert is_started.wait(60)
    assert first.cancel()
    assert second.result(60) == 1
    wait_for(lambda: endless.is_closed)


def test_recordings_that_wait_too_long_or_are_cancelled_are_not_begun(
    model: LoadedModel, engine: InferenceEngine
) -> None:
    is_started, is_over = threading.Event(), threading.Event()

    def wait() -> None:
        is_started.set()
        is_over.wait()

    blocking = engine.submit(Steps(model, wait))
    assert is_started.wait(60)
    late = engine.submit(Steps(model, pytest.fail), work_s=5, wait_s=0)
    left = engine.submit(Steps(model, pytest.fail), work_s=3)
    assert engine.waiting_s == 8
    assert left.cancel()
    assert engine.waiting_s == 5
    is_over.set()
    with pytest.raises(OverloadedError, match="has waited for 0 s"):
        late.result(60)
    assert blocking.result(60) == 1


def test_closing_finishes_what_it_can_and_cancels_the_rest(model: LoadedModel) -> None:
    is_started, is_over = threading.Event(), threading.Event()

    def wait() -> None:
        is_started.set()
        is_over.wait()

    engine = InferenceEngine(n_threads=1, max_active=1)
    done = engine.submit(Steps(model, nothing))
    assert done.result(60) == 1
    pulled, waiting = engine.submit(Steps(model, wait, nothing)), engine.submit(Steps(model, nothing))
    assert is_started.wait(60)
    closing = threading.Thread(target=engine.close)
    closing.start()
    for future in (pulled, waiting):
        with pytest.raises(CancelledError):
            future.result(60)
    is_over.set()
    closing.join(60)
    assert not closing.is_alive()
    with pytest.raises(OverloadedError, match="closing"):
        engine.submit(Steps(model, nothing))
    patient = InferenceEngine(n_threads=2, max_active=1)
    futures = [patient.submit(Steps(model, nothing)) for _ in range(9)]
    patient.close(grace_s=60)
    assert [future.result(0) for future in futures] == [1] * 9


@pytest.mark.usefixtures("own_decoders")
def test_recording_that_is_cancelled_gives_its_decoder_back(model: LoadedModel, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.full(600 * 16_000, 0.5, np.float32), 16_000)
    soundfile.write(tmp_path / "short.wav", np.full(16_000, 0.5, np.float32), 16_000)
    plan = ScoringPlan(
        windows=WindowPlan.from_seconds(rate_hz=16_000, window_s=1.0),
        analyses={"hits": ScoreFilter(np.zeros(3, np.float32))},
    )
    with InferenceEngine(n_threads=1, max_active=1) as engine:

        def submit(name: str) -> RecordingWork:
            return RecordingWork(tmp_path / name, model, plan, decoders=engine.decoders)

        work = submit("long.wav")
        future = engine.submit(work)
        wait_for(lambda: work.share_done > 0)
        assert future.cancel()
        assert engine.submit(submit("short.wav")).result(60).n_hits == 3
        wait_for(lambda: not engine.decoders._borrowed)
        assert len(engine.decoders._idle) == 1
