"""Units of work that the server submits to the inference engine: uploaded recordings, and decoded windows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.clock_report import ClockReport
from dawnchorus.audio.metadata import with_name
from dawnchorus.audio.windows import UnscoredReport, WindowPlan
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.options import ALL_YEAR, DEFAULT_RANGE_THRESHOLD, Options
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.inference.analyses.windows import WindowOutput
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.recording import RecordingWork
from dawnchorus.inference.work import NumberedWindows
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS
from dawnchorus.server.cost_estimate import CostEstimate
from dawnchorus.types import RecordingMetadata, RecordingTable

Stage = Literal["wait", "decode", "infer", "table"]


@dataclass(frozen=True)
class IdentifyResult:
    """Result of identifying a recording."""

    table: RecordingTable
    """Detections."""
    bundle: Bundle
    """Model that scored the recording."""
    warnings: tuple[str, ...]
    """Sentences on faults of the audio, and on options that have no effect on this recording."""
    notes: tuple[str, ...]
    """Sentences on a start time that was not found, not understood or contradictory."""
    stage_s: Mapping[Stage, float]
    """Seconds spent in each stage of the processing, by stage: "wait" (in queues), "decode", "infer" and "table"."""


class UploadWork:
    """An uploaded recording as work for the inference engine; its result is an `IdentifyResult`.

    Implements `inference.work.Work`. The engine calls the methods.

    Args:
        recording: decoding and scoring of the recording.
        builder: builder of the table from the scores.
        options: options of the identification, for warnings.
        name: client's name of the file, which may contain the recording's start time; "" if unknown.
        costs: estimate of the work per upload, which is updated with the measured duration.
    """

    def __init__(
        self, recording: RecordingWork, builder: TableBuilder, options: Options, name: str, costs: CostEstimate
    ) -> None:
        self.model, self.needs_embeddings = recording.model, recording.needs_embeddings
        self._recording, self._builder, self._options, self._name = recording, builder, options, name
        self._costs, self._n_bytes = costs, recording.path.stat().st_size
        self._stage_s: dict[Stage, float] = {"wait": 0.0, "decode": 0.0, "infer": 0.0, "table": 0.0}
        self._submitted_s = time.monotonic()
        self._pulled_s: dict[int, float] = {}
        """Monotonic time at which the engine took each batch that is not scored yet, by number of its first window."""

    @property
    def share_done(self) -> float:
        """Scored share of the recording, 0 to 1; see `RecordingWork`."""
        return self._recording.share_done

    def open(self) -> None:
        """Start the decoding.

        Raises:
            AudioError, OverloadedError: see `Work.open`.
        """
        self._recording.open()

    def is_ready(self, *, within_s: float) -> bool:
        """Return True if decoded samples are available, or will be within `within_s` seconds."""
        return self._recording.is_ready(within_s=within_s)

    def next_windows(self) -> NumberedWindows | None:
        """Return the next batch of windows to score, None at the end; see `RecordingWork`.

        Raises:
            AudioError: the recording cannot be decoded, or exceeds the limits.
        """
        start_s = time.monotonic()
        windows = self._recording.next_windows()
        end_s = time.monotonic()
        self._stage_s["decode"] += end_s - start_s
        if windows is not None:
            self._pulled_s[windows.first] = end_s
        return windows

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Add the model's output for the batch that starts with the window number `first_window`, from 0.

        Raises:
            ModelError: a score or an embedding is not finite.
        """
        self._stage_s["infer"] += time.monotonic() - self._pulled_s.pop(first_window)
        self._recording.add(first_window, output)

    def result(self) -> IdentifyResult:
        """Build the table after the last batch, and return the result."""
        scored = self._recording.result()
        scored = replace(scored, metadata=with_name(scored.metadata, self._name))
        start_s = time.monotonic()
        table = self._builder.build(scored)
        self._stage_s["table"] = time.monotonic() - start_s
        work_s = sum(self._stage_s.values())
        self._stage_s["wait"] = max(time.monotonic() - self._submitted_s - work_s, 0.0)
        self._costs.update(self._n_bytes, work_s)
        plan = self._builder.plan
        warnings = (
            *scored.warnings,
            *_unused_options(self._options, table, self._builder.range_filter),
            *_unscored_end(self._name, plan, max(scored.kept_s, key=plan.unscored_s)),
        )
        notes = tuple(_notes_on_clock(self._name, table.metadata))
        return IdentifyResult(table, self.model.bundle, warnings, notes, self._stage_s)

    def close(self) -> None:
        """Stop the decoding, if it has not ended."""
        self._recording.close()


class DecodedWindows:
    """Decoded windows as work for the inference engine; the result is the scores and the bundle that computed them.

    Implements `inference.work.Work`. The engine calls the methods.

    Args:
        windows: mono audio, float32 [n, samples].
        model: model that scores the windows.
    """

    needs_embeddings = False
    """False: only scores are computed."""

    def __init__(self, windows: FloatArray, model: LoadedModel) -> None:
        self.model = model
        self._starts = iter(range(0, len(windows), BATCH_WINDOWS))
        self._windows = windows
        self._scores = np.empty((len(windows), len(model.bundle.labels)), np.float32)

    @property
    def share_done(self) -> float:
        """Scored share of the windows; always 0, since windows are scored within a second."""
        return 0.0

    def open(self) -> None:
        """Do nothing, since the windows are decoded already."""

    def is_ready(self, *, within_s: float) -> bool:
        """Return True, since the windows are decoded already."""
        return within_s >= 0

    def next_windows(self) -> NumberedWindows | None:
        """Return the next batch of windows to score, at most `BATCH_WINDOWS`; None at the end."""
        start = next(self._starts, None)
        return None if start is None else NumberedWindows(start, self._windows[start : start + BATCH_WINDOWS])

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Add the scores of the batch that starts with the window number `first_window`, from 0."""
        self._scores[first_window : first_window + len(output.scores)] = output.scores

    def result(self) -> tuple[FloatArray, Bundle]:
        """Return the scores [n, classes], 0 to 1, and the bundle that computed them."""
        return self._scores, self.model.bundle

    def close(self) -> None:
        """Do nothing, since there is no decoding to stop."""


def _unused_options(options: Options, table: RecordingTable, range_filter: RangeFilter | None) -> Iterator[str]:
    """Yield a warning for each given option that has no effect on the recording."""
    if options.latitude is not None and range_filter is not None and (note := range_filter.note()) is not None:
        yield note
    if options.week not in (None, ALL_YEAR) and table.metadata.latitude is None:
        yield f"week {options.week} has no effect: the recording has no location. Give latitude and longitude."
    if options.range_threshold != DEFAULT_RANGE_THRESHOLD and table.metadata.latitude is None:
        yield (
            f"the range threshold {options.range_threshold:g} has no effect: the recording has no location. Give "
            f"latitude and longitude."
        )


def _notes_on_clock(name: str, metadata: RecordingMetadata) -> Iterator[str]:
    """Yield sentences on a time that was not found or not understood, and on sources that contradict each other."""
    report = ClockReport()
    has_time = metadata.start_time is not None
    report.add(name, has_time=has_time, conflict=metadata.conflict, unread=metadata.unread)
    yield from report.notes()


def _unscored_end(name: str, plan: WindowPlan, duration_s: float) -> Iterator[str]:
    """Yield a warning if no window covers the end of a recording."""
    report = UnscoredReport()
    report.add(name, plan, duration_s)
    note = report.note(plan)
    if note is not None:
        yield note
