"""Results of a run: tables read from its journal, counts, failures and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dawnchorus.audio.clock_report import ClockReport
from dawnchorus.audio.sample_analyses import Table, build_table
from dawnchorus.audio.windows import RestReport
from dawnchorus.errors import InputError
from dawnchorus.formats.exports import DetectionExports, DetectionsSummary
from dawnchorus.formats.registry import TableFormat, channel_note
from dawnchorus.identification.analysis_tables import build_tables
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import Journal, RecordingSummary
from dawnchorus.identification.options import Options
from dawnchorus.inference.analyses.base import AnalyzedRecording
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.inference.results import FailedRecording, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.tables.notes import counted
from dawnchorus.types import Detection, Provenance, RecordingTable
from dawnchorus.version import __version__

SOFTWARE = f"dawnchorus {__version__}"


@dataclass(frozen=True)
class RecordingFailure:
    """A recording that could not be scored, or not to its end, and why."""

    recording: str
    reason: str


@dataclass
class Progress:
    """Progress of a run; the same object is passed to every call of the progress function."""

    n_files: int
    n_resumed: int = 0
    """Recordings that an earlier, interrupted run had scored."""
    n_done: int = 0
    """Recordings scored now."""
    n_failed: int = 0
    n_detections: int = 0
    scored_s: float = 0.0
    """Seconds of sound scored now; of channels that are scored by themselves, the sum."""


@dataclass(repr=False)
class Run(DetectionExports):
    """A finished run: its tables, read from the journal one recording at a time, and what went wrong."""

    bundle: Bundle
    paths: list[Path]
    progress: Progress
    journal: Journal
    builder: TableBuilder
    failures: list[RecordingFailure] = field(default_factory=list)
    warnings: list[RecordingFailure] = field(default_factory=list)
    speech_s: float = 0.0
    """Seconds of human voices, if they were looked for."""
    notes: list[str] = field(default_factory=list)
    """Sentences on all recordings together: those without a time, contradicting sources, ends that are not scored."""
    analyses: tuple[str, ...] = ()
    """Names of the analyses that were computed."""
    has_location: bool = False
    """True if the range filter was used for at least one recording."""

    def tables(self) -> Iterator[RecordingTable]:
        """Yield the table of every scored recording, in the order of `paths`."""
        for path in self.paths:
            table = self.table(path)
            if table is not None:
                yield table

    def table(self, path: Path) -> RecordingTable | None:
        """Return the table of one recording; None if it failed."""
        result = self.journal.read(path)
        return self.builder.build(result) if isinstance(result, ScoredRecording) else None

    def species_counts(self) -> Counter[tuple[str, str, str]]:
        """Count detections by kind, scientific and common name."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for table in self.tables():
            counts.update((d.kind, d.scientific_name, d.common_name) for d in table.detections)
        return counts

    def analysis_tables(self, name: str) -> dict[str, Table]:
        """Return the tables of an analysis that the run was asked for, by the end of their names; "" is its own.

        Raises:
            InputError: the run has no such analysis.
        """
        tables = {end: list(pieces) for end, pieces in self.iter_analysis(name)}
        return {end: np.concatenate(pieces) if pieces else build_table({}) for end, pieces in tables.items()}

    def iter_analysis(self, name: str) -> Iterator[tuple[str, Iterable[Table]]]:
        """Yield the tables as `analysis_tables` returns them, each in pieces that are read one at a time."""
        if name not in self.analyses:
            expected = ", ".join(self.analyses) or "none"
            raise InputError(f"analysis: the run has {expected}, got {name!r}. Run it with this analysis.")
        yield from build_tables(ANALYSES.lookup(name), self._analyzed(name))

    def _analyzed(self, name: str) -> Iterator[AnalyzedRecording]:
        for path in self.paths:
            summary, rows = self.journal.read_summary(path), self.journal.read_analysis(path, name)
            if isinstance(summary, RecordingSummary) and rows is not None:
                metadata = self.builder.metadata(path, summary.metadata)
                yield AnalyzedRecording(self.builder.name(path), summary.duration_s, metadata, rows)

    def take_notes(self) -> None:
        """Gather failures, warnings and locations from the journal, in the order of `paths`."""
        clocks, rests = ClockReport(), RestReport()
        for path in self.paths:
            summary, name = self.journal.read_summary(path), self.builder.name(path)
            if isinstance(summary, FailedRecording):
                self.failures.append(RecordingFailure(name, summary.reason))
            elif isinstance(summary, RecordingSummary):
                self.warnings.extend(RecordingFailure(name, warning) for warning in summary.warnings)
                self.speech_s += summary.speech_s
                rests.add(name, self.builder.plan, max(summary.kept_s, key=self.builder.plan.rest_s))
                metadata = self.builder.metadata(path, summary.metadata)
                has_time = metadata.start_time is not None
                clocks.add(name, has_time=has_time, conflict=metadata.conflict, unread=metadata.unread)
                if self.builder.range_filter and metadata.latitude is not None:
                    self.has_location = True
        self.notes += clocks.notes()
        rest = rests.note(self.builder.plan)
        self.notes += [] if rest is None else [rest]

    def note_dropped(self) -> None:
        """Note the detections that the tables leave out as out of range, with the first recording that has some."""
        if not self.builder.options.drop_out_of_range:
            return
        counts: Counter[str] = Counter()
        example = ""
        for path in self.paths:
            result = self.journal.read(path)
            dropped = self.builder.count_dropped(result) if isinstance(result, ScoredRecording) else Counter()
            counts += dropped
            if dropped and not example:
                example = f"{next(iter(dropped))} in {self.builder.name(path)}"
        if counts:
            self.notes.append(
                f"{counted(counts.total(), 'detection')} of {len(counts)} species left out as out of range, as "
                f"{example}."
            )

    def note_channels(self, formats: Sequence[TableFormat]) -> None:
        """Note which formats have no place for the channel, where each was scored by itself."""
        note = channel_note(formats) if self.builder.options.channel == "each" else None
        self.notes += [] if note is None else [note]

    def __repr__(self) -> str:
        return f"<Run: {self._headline(self.summary())}>"

    def _headline(self, summary: DetectionsSummary) -> str:
        return f"{super()._headline(summary)}, {len(self.failures)} failed; {self.bundle.info.name}"

    @cached_property
    def provenance(self) -> Provenance:
        """Provenance of the rows; available after the run has ended."""
        return build_provenance(self.bundle, self.builder.options, range_filter=self.has_location)


def has_range(detections: Iterable[Detection]) -> bool:
    """Return True if the range filter was used for detections."""
    return any(detection.in_range is not None for detection in detections)


def build_provenance(bundle: Bundle, options: Options, *, range_filter: bool) -> Provenance:
    """Return the provenance of rows: bundle, software and options; `range_filter` is True if a location was known."""
    parameters = {**asdict(options), "range_filter": range_filter}
    if bundle.info.cleaning:
        parameters["cleaning"] = bundle.info.cleaning.model_dump(exclude_defaults=True)
    return Provenance(
        model=bundle.info.name,
        model_version=bundle.info.version,
        bundle_id=bundle.id,
        software=SOFTWARE,
        parameters=parameters,
    )
