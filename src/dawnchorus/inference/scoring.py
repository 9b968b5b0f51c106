"""Scoring of many recordings on all cores, in order of completion."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.errors import AudioError, DecoderCrashError
from dawnchorus.inference.engine import InferenceEngine
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.recording import RecordingWork, ScoringPlan
from dawnchorus.inference.results import FailedRecording, ScoredRecording
from dawnchorus.inference.work import WorkFuture

PROGRESS_S = 0.2
"""Time after which a step is yielded though no recording has finished."""

MAX_BATCH_DELAY_S = 0.1
"""Maximum time for which a batch waits for windows of other recordings."""


@dataclass(frozen=True)
class ScoringStep:
    """Progress of scoring many recordings: newly scored windows, and a finished recording if any."""

    n_windows: int
    """Windows that were scored since the step before."""
    scored: ScoredRecording | None = None
    """A recording that has finished."""
    failed: FailedRecording | None = None
    """A recording that could not be scored."""


def score_recordings(
    paths: Iterable[Path],
    model: LoadedModel,
    plan: ScoringPlan,
    *,
    n_workers: int,
    max_active: int | None = None,
) -> Generator[ScoringStep, None, None]:
    """Score recordings and yield a step whenever one finishes, and several times per second.

    A recording that cannot be decoded gives a `FailedRecording` and touches no other. Memory is bounded by the number
    of workers, not by the length or number of recordings. At most `max_active` recordings are decoded at the same time,
    by default as many as there are workers. Recordings on which the decoder crashes with analyses of other packages are
    scored once more, without these.

    Raises:
        ModelError: the bundle cannot be run, or gives scores that are not finite.
    """
    n_reported = 0
    with InferenceEngine(
        n_threads=n_workers, max_active=max_active or n_workers, max_batch_delay_s=MAX_BATCH_DELAY_S
    ) as engine:
        recordings = _Recordings(paths, model, plan, engine.decoders)
        for future in engine.complete(recordings, interval_s=PROGRESS_S):
            n_new = engine.n_windows - n_reported
            n_reported += n_new
            if future is None or recordings.repeat(future):
                yield ScoringStep(n_new)
            else:
                yield _finish_step(n_new, future)


class _Recordings:
    """Recordings to score, some of them once more: after its end, there may be another one."""

    def __init__(self, paths: Iterable[Path], model: LoadedModel, plan: ScoringPlan, decoders: DecoderPool) -> None:
        self._paths, self._model, self._plan, self._decoders = iter(paths), model, plan, decoders
        self._own_plan = replace(plan, sample_analyses=[each for each in plan.sample_analyses if each.plug_in is None])
        plug_ins = [str(each.plug_in) for each in plan.sample_analyses if each.plug_in is not None]
        self._plug_ins = ", ".join(plug_ins)
        self._crashed: list[Path] = []

    def __iter__(self) -> Iterator[RecordingWork]:
        return self

    def __next__(self) -> RecordingWork:
        if not self._crashed:
            return RecordingWork(next(self._paths), self._model, self._plan, decoders=self._decoders)
        reason = f"the decoder crashed with {self._plug_ins} and not without, so it has no rows"
        path = self._crashed.pop()
        return RecordingWork(path, self._model, self._own_plan, decoders=self._decoders, warnings=(reason,))

    def repeat(self, future: WorkFuture[ScoredRecording]) -> bool:
        """Return True for a recording on which the decoder crashed, if it is tried again without others' analyses."""
        work = cast(RecordingWork, future.work)
        is_repeated = work.plan is self._own_plan or not self._plug_ins
        if is_repeated or not isinstance(future.exception(), DecoderCrashError):
            return False
        self._crashed.append(work.path)
        return True


def _finish_step(n_windows: int, future: WorkFuture[ScoredRecording]) -> ScoringStep:
    """Return the step in which a recording has finished."""
    try:
        return ScoringStep(n_windows, scored=future.result())
    except AudioError as error:
        return ScoringStep(n_windows, failed=FailedRecording(cast(RecordingWork, future.work).path, error.reason))
