"""Scoring of many recordings on all cores; results come in order of completion."""

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
"""Maximum time between two steps; a step without a finished recording reports progress."""

MAX_BATCH_DELAY_S = 0.1
"""Maximum time for which an incomplete batch waits for windows of other recordings."""


@dataclass(frozen=True)
class ScoringStep:
    """Progress of scoring many recordings: number of newly scored windows, and a finished recording, if any.

    At most one of `scored` and `failed` is set.
    """

    n_windows: int
    """Number of windows, of all recordings, that were scored since the previous step."""
    scored: ScoredRecording | None = None
    """Results of a recording that has just finished; None if there is none."""
    failed: FailedRecording | None = None
    """A recording that has just failed, with the reason; None if there is none."""


def score_recordings(
    paths: Iterable[Path],
    model: LoadedModel,
    plan: ScoringPlan,
    *,
    n_workers: int,
    max_active: int | None = None,
) -> Generator[ScoringStep, None, None]:
    """Score recordings; yield a step whenever a recording finishes, and at least every `PROGRESS_S` seconds.

    A recording that cannot be decoded becomes a `FailedRecording` and does not affect others. Memory depends on the
    number of workers, not on the length or number of recordings. A recording on which the decoder crashed while it ran
    analyses of plug-ins is scored again without these analyses.

    Args:
        paths: files of the recordings, read lazily.
        model: the model.
        plan: settings of the scoring.
        n_workers: number of threads that score.
        max_active: maximum number of recordings that are decoded at the same time; None or 0 for `n_workers`.

    Yields:
        Steps: one with the outcome of each recording, in order of completion, and between them steps that report only
        the number of newly scored windows.

    Raises:
        ModelError: the model cannot be run, or its scores are not finite.
        MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
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
    """Iterator over the recordings to score, which may continue after its end with recordings to score again."""

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
        """Return True, and queue the recording again, if its decoder crashed and it had analyses of plug-ins."""
        work = cast(RecordingWork, future.work)
        is_repeated = work.plan is self._own_plan or not self._plug_ins
        if is_repeated or not isinstance(future.exception(), DecoderCrashError):
            return False
        self._crashed.append(work.path)
        return True


def _finish_step(n_windows: int, future: WorkFuture[ScoredRecording]) -> ScoringStep:
    """Return the step for a recording that has finished or failed."""
    try:
        return ScoringStep(n_windows, scored=future.result())
    except AudioError as error:
        return ScoringStep(n_windows, failed=FailedRecording(cast(RecordingWork, future.work).path, error.reason))
