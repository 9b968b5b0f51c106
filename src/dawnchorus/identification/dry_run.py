"""Estimate of a run's cost before it starts, by decoding and scoring some of its recordings.

Lengths are read from headers. Speed, number of detections and starting time are measured on this machine, with the
run's model, settings and recordings. Nothing is written.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from dawnchorus.audio.parallel import map_recordings
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.errors import AudioError, InputError
from dawnchorus.identification.run import count_active
from dawnchorus.inference.analyses.hits import HIT, ScoreFilter
from dawnchorus.inference.analyses.windows import Table, WindowBatch
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.inference.scoring import score_recordings
from dawnchorus.types import AudioInfo

MAX_PROBED = 400
"""Maximum number of headers that are read; other lengths are extrapolated from file sizes."""

PROBE_S = 20.0
"""Seconds after which no further header is read, since each may take a while in a store."""

MEASURE_S = 10.0
"""Seconds of scoring to measure the speed."""

WARM_UP_S = 1.0
"""Seconds after the first windows that are not measured, since threads open their sessions one after the other."""

SEED = 1
"""Seed of the sample of recordings, so that the same command measures the same ones."""

ROW_BYTES = 54
"""Size in bytes of a CSV row without the path of its recording."""

ARCHIVE_BYTES, ARCHIVE_CLASS_BYTES = 30_000, 22
"""Size in bytes of a new archive without results, and of each class of its model."""

ARCHIVE_UNIT_BYTES, ARCHIVE_TABLE_BYTES = 20_000, 10_000
"""Size in bytes of a unit, a batch of recordings in an archive, without rows.

The first is that of the files of recordings and detections, the second that of a file of each further table.
"""

ARCHIVE_DETECTION_BYTES = 22
"""Size in bytes of a detection in an archive."""

ARCHIVE_RECORDING_BYTES = 110
"""Size in bytes of a recording in an archive: its row, and its row in the manifest."""

EMBEDDING_SHARE = 0.85
"""Compressed size of float16 embeddings, relative to that in memory.

BirdNET embeddings, in which a fifth of the values are 0, have 0.82.
"""


@dataclass(frozen=True)
class SourceSize:
    """Size of the recordings of a run, extrapolated from some headers.

    Attributes:
        n_files: number of recordings, including missing files, which add no bytes, seconds or windows.
        n_bytes: number of bytes to read; a recording whose channels are scored separately is read once per channel.
        duration_s: seconds to score, summed over channels if they are scored separately.
        n_windows: number of windows to score.
        n_probed: number of recordings whose header was read.
        n_unreadable: number of those recordings whose header is not readable.
        path_length: mean length of the paths in characters.
    """

    n_files: int
    n_bytes: int
    duration_s: float
    n_windows: int
    n_probed: int
    n_unreadable: int
    path_length: float


@dataclass(frozen=True)
class MeasuredSpeed:
    """Measured speed of scoring.

    Attributes:
        n_workers: number of cores that were used.
        elapsed_s: duration of the measurement in seconds, without the time until all workers were busy.
        start_s: time in seconds until all workers were busy.
        windows_per_s: number of windows per second, by all workers together.
        hits_per_window: number of detections per window.
        n_failed: number of recordings that could not be scored.
    """

    n_workers: int
    elapsed_s: float
    start_s: float
    windows_per_s: float
    hits_per_window: float
    n_failed: int


@dataclass(frozen=True)
class RunCost:
    """Estimated cost of a run."""

    source: SourceSize
    """Size of the recordings."""
    speed: MeasuredSpeed
    """Measured speed of scoring."""

    @property
    def x_real_time(self) -> float:
        """Seconds of audio that all cores of the measurement together score in a second."""
        return self.speed.windows_per_s * self.source.duration_s / max(self.source.n_windows, 1)

    @property
    def scoring_core_s(self) -> float:
        """Estimated seconds that one core needs to score all windows of the run."""
        return self.source.n_windows * self.speed.n_workers / max(self.speed.windows_per_s, 1e-9)

    @property
    def n_detections(self) -> int:
        """Estimated number of detections of the run, before detections in neighboring windows are merged."""
        return round(self.source.n_windows * self.speed.hits_per_window)

    @property
    def table_bytes(self) -> int:
        """Estimated size in bytes of a CSV of the `n_detections` detections."""
        return round(self.n_detections * (ROW_BYTES + self.source.path_length))

    def wall_s(self, n_workers: int, *, share: float = 1.0) -> float:
        """Return the seconds that a process with `n_workers` cores needs for a share (0 to 1) of the windows to score.

        They include the seconds until all workers are busy (`speed.start_s`).
        """
        return self.speed.start_s + share * self.scoring_core_s / n_workers

    def core_s(self, n_workers: int, *, n_processes: int = 1) -> float:
        """Return the core seconds (cores x seconds) of a run by `n_processes` processes with `n_workers` cores each.

        Each process takes `speed.start_s` to start; the recordings are divided among the processes.
        """
        return n_processes * n_workers * self.speed.start_s + self.scoring_core_s

    def archive_bytes(self, *, n_units: int, n_classes: int | None) -> int:
        """Return the bytes that are added to an archive, without embeddings and analyses.

        Args:
            n_units: number of units to commit; a unit is a batch of recordings that are committed together.
            n_classes: number of the model's classes; None if the archive has the run already.
        """
        base = 0 if n_classes is None else ARCHIVE_BYTES + n_classes * ARCHIVE_CLASS_BYTES
        rows = self.n_detections * ARCHIVE_DETECTION_BYTES + self.source.n_files * ARCHIVE_RECORDING_BYTES
        return base + n_units * ARCHIVE_UNIT_BYTES + rows

    def embeddings_bytes(self, dim: int, *, n_units: int, is_short: bool = False) -> int:
        """Return the bytes of the embeddings in an archive, in half precision, or in 8 bits if `is_short` is True.

        Args:
            dim: number of values of the model's embedding of a window.
            n_units: number of units to commit, as in `archive_bytes`.
            is_short: True for 8 bits per value.
        """
        value_bytes = 1 if is_short else 2 * EMBEDDING_SHARE
        return round(self.source.n_windows * dim * value_bytes) + n_units * ARCHIVE_TABLE_BYTES


def estimate_cost(
    files: Sequence[tuple[Path, int | None]],
    model: LoadedModel,
    plan: ScoringPlan,
    *,
    n_workers: int,
    clock: Callable[[], float],
    measure_s: float = MEASURE_S,
) -> RunCost:
    """Return the cost of a run, from headers and some seconds of scoring.

    Without files, all numbers are 0.

    Args:
        files: recordings with their sizes in bytes; None as the size of a missing file.
        model: model of the run.
        plan: settings of the run; its analysis "hits" is a `ScoreFilter`.
        n_workers: number of cores to measure on.
        clock: function that returns the time in seconds.
        measure_s: seconds of scoring to measure, from `WARM_UP_S` after the first windows; fewer if all recordings are
            scored before.

    Raises:
        InputError: none of the recordings can be scored.
        ModelError: the model cannot be run, or its scores are not finite.
        MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
    """
    order = random.Random(SEED).sample(range(len(files)), len(files))  # noqa: S311 - a sample, no secret
    shuffled = [files[k] for k in order]
    source = _probe_source(shuffled, plan, n_workers=n_workers, clock=clock)
    paths = [path for path, _ in shuffled]
    return RunCost(source, _measure_speed(paths, model, plan, n_workers, clock=clock, measure_s=measure_s))


# ---------------------------------------------------------------------- size


@dataclass(frozen=True)
class _Sums:
    """Sums over recordings whose headers were read; `n_read` counts a file once per separately scored channel."""

    n_bytes: int = 0
    n_read: int = 0
    duration_s: float = 0.0
    n_windows: int = 0

    def with_recording(self, n_bytes: int, info: AudioInfo | None, plan: ScoringPlan) -> _Sums:
        """Return the sums with one more recording; `info` is None if its header could not be read."""
        duration_s = 0.0 if info is None else info.duration_s
        if duration_s is None:  # like other recordings of its kind
            return self
        n_signals = info.n_channels if info is not None and plan.channel == "each" else 1
        windows = plan.windows
        return _Sums(
            self.n_bytes + n_bytes,
            self.n_read + n_bytes * n_signals,
            self.duration_s + duration_s * n_signals,
            self.n_windows + windows.count(round(duration_s * windows.rate_hz)) * n_signals,
        )


def _probe_source(
    files: Sequence[tuple[Path, int | None]],
    plan: ScoringPlan,
    *,
    n_workers: int,
    clock: Callable[[], float],
) -> SourceSize:
    """Read some headers, and extrapolate to all files by their sizes, separately for each suffix."""
    present = [(path, n_bytes) for path, n_bytes in files if n_bytes is not None]
    sizes: defaultdict[str, int] = defaultdict(int)
    for path, n_bytes in present:
        sizes[path.suffix.lower()] += n_bytes
    probed = present[:MAX_PROBED]
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    total = _Sums()
    n_probed = n_unreadable = 0
    end_s = clock() + PROBE_S
    with closing(map_recordings(_read_header, [path for path, _ in probed], n_workers=n_workers)) as headers:
        for (path, n_bytes), info in zip(probed, headers, strict=True):
            n_probed += 1
            n_unreadable += info is None
            suffix = path.suffix.lower()
            sums[suffix] = sums[suffix].with_recording(n_bytes, info, plan)
            total = total.with_recording(n_bytes, info, plan)
            if clock() > end_s:
                break
    n_read, duration_s, n_windows = 0, 0.0, 0
    for suffix, n_bytes in sizes.items():
        known = sums[suffix] if sums[suffix].n_bytes else total
        share = n_bytes / max(known.n_bytes, 1)
        n_read += round(known.n_read * share) if known.n_bytes else n_bytes
        duration_s += known.duration_s * share
        n_windows += round(known.n_windows * share)
    path_length = sum(len(str(path)) for path, _ in files) / max(len(files), 1)
    return SourceSize(len(files), n_read, duration_s, n_windows, n_probed, n_unreadable, path_length)


def _read_header(decoder: DecoderProcess, path: Path) -> AudioInfo | None:
    try:
        return decoder.probe(path).info
    except AudioError:
        return None


# ---------------------------------------------------------------------- speed


class _HitCounter:
    """Window analysis that counts hits, also in unfinished recordings; all signals share one state."""

    needs_embeddings: ClassVar[bool] = False

    def __init__(self, score_filter: ScoreFilter) -> None:
        self._score_filter = score_filter
        self._lock = threading.Lock()
        self.n_windows = self.n_hits = 0

    def create(self) -> _HitCounter:
        """Return this object."""
        return self

    def on_windows(self, batch: WindowBatch) -> None:
        """Count the hits in a batch of windows."""
        n_hits = len(self._score_filter.apply(batch.output.scores, batch.first))
        with self._lock:
            self.n_windows += len(batch.samples)
            self.n_hits += n_hits

    def finish(self) -> Table:
        """Return an empty table."""
        return np.empty(0, HIT)


def _measure_speed(
    paths: Sequence[Path],
    model: LoadedModel,
    plan: ScoringPlan,
    n_workers: int,
    *,
    clock: Callable[[], float],
    measure_s: float,
) -> MeasuredSpeed:
    counter = _HitCounter(cast(ScoreFilter, plan.analyses["hits"]))
    plan = replace(plan, analyses={**plan.analyses, "hits": counter})
    n_windows = n_failed = 0
    reason = ""
    marks: list[tuple[float, int]] = []
    started_s = clock()
    max_active = count_active(paths, n_workers)
    with closing(score_recordings(paths, model, plan, n_workers=n_workers, max_active=max_active)) as steps:
        for step in steps:
            n_windows += step.n_windows
            if step.failed is not None:
                n_failed, reason = n_failed + 1, f"{step.failed.path.name}: {step.failed.reason}"
            if step.n_windows:
                marks.append((clock() - started_s, n_windows))
            if marks and marks[-1][0] - marks[0][0] >= WARM_UP_S + measure_s:
                break
    if not marks and not paths:
        return MeasuredSpeed(n_workers, 0.0, 0.0, 0.0, 0.0, 0)
    if not marks:
        raise InputError(f"none of {len(paths)} recordings could be scored, so nothing can be estimated ({reason}).")
    elapsed_s, start_s, windows_per_s = _fit(marks)
    return MeasuredSpeed(
        n_workers=n_workers,
        elapsed_s=elapsed_s,
        start_s=start_s,
        windows_per_s=windows_per_s,
        hits_per_window=counter.n_hits / max(counter.n_windows, 1),
        n_failed=n_failed,
    )


def _fit(marks: Sequence[tuple[float, int]]) -> tuple[float, float, float]:
    """Return the measured seconds, the seconds until all workers were busy, and the number of windows per second.

    `marks` are pairs of the seconds since the start and the number of windows scored until then.
    """
    last_s, n_last = marks[-1]
    warm = [mark for mark in marks if mark[0] >= marks[0][0] + WARM_UP_S]
    # Little was there to be scored where so few marks are left: then the start is part of the speed.
    first_s, n_first = warm[0] if len(warm) > 1 else (0.0, 0)
    windows_per_s = (n_last - n_first) / max(last_s - first_s, 1e-9)
    return last_s - first_s, max(first_s - n_first / max(windows_per_s, 1e-9), 0.0), windows_per_s
