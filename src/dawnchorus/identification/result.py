"""Results of a run: tables that are read from the journal, counts, failures and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np

from dawnchorus.audio.sample_analyses import Table, build_table
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import InputError
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.exports import DetectionExports, DetectionsSummary
from dawnchorus.formats.registry import TableFormat, channel_note
from dawnchorus.identification.analysis_tables import Columns, build_tables, describe_misfit, find_columns, fit_rows
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import Journal
from dawnchorus.identification.journal_records import RecordingSummary
from dawnchorus.identification.notes import (
    describe_dropped,
    describe_range_check,
    describe_thresholds,
    describe_times,
    describe_unknown_names,
)
from dawnchorus.identification.options import Options
from dawnchorus.identification.output_paths import WrittenOutputs, printable
from dawnchorus.inference.analyses.base import AnalyzedRecording
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.inference.results import ScoredRecording
from dawnchorus.inference.scoring import ScoringStep
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.labels import kind_of
from dawnchorus.types import Detection, Progress, Provenance, RecordingTable
from dawnchorus.version import __version__

SOFTWARE = f"dawnchorus {__version__}"


@dataclass(frozen=True)
class RecordingFailure:
    """A recording that could not be scored or, in `Run.warnings`, a problem of a recording or file.

    Attributes:
        recording: name of the recording, as in tables: its path, unless the sound was in memory.
        reason: a sentence on the reason or problem.
    """

    recording: str
    reason: str


@dataclass(frozen=True)
class RunCounts:
    """Counts of a run, during the run and at its end."""

    n_files: int
    """Number of all recordings of the run."""
    n_resumed: int = 0
    """Number of recordings that an earlier call had scored, and whose results were used."""
    n_done: int = 0
    """Number of recordings scored in this call."""
    n_failed: int = 0
    """Number of recordings that could not be scored in this call; of a run into an archive, also in earlier calls."""
    n_detections: int = 0
    """Number of detections in the `n_done` recordings, without those in the `n_resumed` ones.

    They are counted before some are merged, or left out because the species is out of range at the location and time
    of year.
    """
    scored_s: float = 0.0
    """Seconds of audio scored in this call, without the `n_resumed` recordings.

    They are summed over channels if these are scored separately, and include the scored windows of recordings that are
    not finished or failed.
    """

    def after(self, step: ScoringStep, plan: WindowPlan) -> RunCounts:
        """Return new counts that include a step of scoring; `plan` gives the length and spacing of its windows."""
        counts = replace(self, scored_s=self.scored_s + step.n_windows * plan.hop_samples / plan.rate_hz)
        if step.failed is not None:
            return replace(counts, n_failed=self.n_failed + 1)
        if step.scored is None:
            return counts
        # Windows overlap, and the last one is filled up.
        excess_s = sum(_windows_s(kept_s, plan) - plan.scored_s(kept_s) for kept_s in step.scored.kept_s)
        return replace(
            counts,
            n_done=self.n_done + 1,
            n_detections=self.n_detections + step.scored.n_hits,
            scored_s=counts.scored_s - excess_s,
        )

    def as_progress(self, stage: str) -> Progress:
        """Return the progress in recordings; `metrics` are all counts except `n_files`, by name of the field.

        Resumed, scored and failed recordings count as done. `stage` is the name of the stage, such as "identifying".
        """
        n_finished = self.n_resumed + self.n_done + self.n_failed
        metrics = {name: value for name, value in vars(self).items() if name != "n_files"}
        return Progress(stage, n_finished, self.n_files, "recordings", metrics)


def _windows_s(kept_s: float, plan: WindowPlan) -> float:
    return plan.start_s(plan.count(round(kept_s * plan.rate_hz)))


_REPLACED = "the journal of an earlier run was damaged, so its results could not be used; it is kept"
_CHANGED = "it was changed since it was written; it is written again, and the changed file is kept as {name}"
_GONE = "the file no longer exists; the detections of an earlier run are kept"


@dataclass(frozen=True, eq=False, repr=False)
class Run(DetectionExports):
    """Read-only view of a finished run; results are read from its journal on access.

    What reads results raises JournalDamagedError if parts of the journal are damaged, and OutputError if the journal
    cannot be accessed.

    Attributes:
        bundle: the model that scored the recordings.
        paths: all recordings, in order.
        counts: numbers of recordings, failures and detections, and the seconds of audio that were scored; of detections
            and seconds only those of this call, not of the run that it resumed.
        journal: store of the results on disk, from which the methods of the run read.
        builder: builder of tables from results, by the options of the run.
        analyses: names of the analyses that were computed.
        formats: formats of the tables that were written; empty without `out`.
        gone: recordings of an earlier run whose files no longer exist.
        written: tables that were written, and tables of an earlier run that were found changed.
    """

    bundle: Bundle
    paths: tuple[Path, ...]
    counts: RunCounts
    journal: Journal
    builder: TableBuilder
    analyses: tuple[str, ...] = ()
    formats: tuple[TableFormat, ...] = ()
    gone: tuple[Path, ...] = ()
    written: WrittenOutputs = field(default_factory=WrittenOutputs)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            TypeError: always; the message names alternatives.
        """
        raise TypeError(
            "a Run cannot be pickled: it reads from its journal, a database that this process has open. Give another "
            "process dawnchorus.Detections(run.tables(), run.provenance), run.to_arrow(), or the path of a table."
        )

    def tables(self) -> Iterator[RecordingTable]:
        """Yield the table of every scored recording, in the order of `paths`.

        Raises:
            JournalDamagedError: parts of the journal are damaged.
            OutputError: the journal cannot be accessed.
        """
        for result in self._results():
            yield self.builder.build(result)

    def table(self, path: Path) -> RecordingTable | None:
        """Return the table of a recording, by its path as in `paths`; None if it failed, or is not in the journal.

        Raises:
            JournalDamagedError: parts of the journal are damaged.
            OutputError: the journal cannot be accessed.
        """
        result = self.journal.read(path)
        return None if result is None else self.builder.build(result)

    def species_counts(self) -> Counter[tuple[str, str, str]]:
        """Count the detections in all tables by (kind, scientific name, common name)."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for table in self.tables():
            columns = DetectionColumns.from_detections(table.detections)
            counts.update(columns.rows("kind", "scientific_name", "common_name"))
        return counts

    def analysis_tables(self, name: str) -> dict[str, Table]:
        """Return the tables of an analysis, given by name, by suffix of the table's name; "" is the main table.

        A table without rows of any recording has no columns.

        Raises:
            InputError: the run has no such analysis.
            PlugInError: the analysis is a plug-in's, and its summary failed.
        """
        tables = {end: list(pieces) for end, pieces in self.iter_analysis(name)}
        return {end: np.concatenate(pieces) if pieces else build_table({}) for end, pieces in tables.items()}

    def iter_analysis(self, name: str) -> Iterator[tuple[str, Iterable[Table]]]:
        """Yield (suffix of the table's name, pieces) for each table of an analysis, given by name.

        The pieces are arrays whose concatenation is the table; they are read one at a time.

        Raises:
            InputError: the run has no such analysis.
            PlugInError: the analysis is a plug-in's, and its summary failed.
        """
        if name not in self.analyses:
            expected = ", ".join(self.analyses) or "none"
            raise InputError(f"analysis: the run has {expected}, got {name!r}. Run it with this analysis.")
        yield from build_tables(ANALYSES.lookup(name), self._analyzed(name))

    def _analyzed(self, name: str) -> Iterator[AnalyzedRecording]:
        columns = self._columns.get(name)
        for summary, rows in self._rows(name):
            fitted = rows if columns is None else fit_rows(rows, columns)
            if fitted is not None:
                metadata = self.builder.metadata(summary.path, summary.metadata)
                yield AnalyzedRecording(self.builder.name(summary.path), summary.duration_s, metadata, fitted)

    def _rows(self, name: str) -> Iterator[tuple[RecordingSummary, Table]]:
        """Yield the rows of an analysis for each recording, unconverted."""
        for summary in self._scored():
            rows = self.journal.read_analysis(summary.path, name)
            if rows is not None:
                yield summary, rows

    @cached_property
    def _columns(self) -> dict[str, Columns]:
        """Columns by analysis, for the analyses whose table has the rows of all recordings."""
        names = [name for name in self.analyses if ANALYSES.lookup(name).summarize is None]
        return {name: find_columns(rows for _, rows in self._rows(name)) for name in names}

    def _misfits(self) -> Iterator[RecordingFailure]:
        """Yield the recordings in which the columns of an analysis differ from those in the first recording."""
        for name, columns in self._columns.items():
            for summary, rows in self._rows(name):
                if fit_rows(rows, columns) is None:
                    warning = describe_misfit(name, rows, columns)
                    yield RecordingFailure(self.builder.name(summary.path), warning)

    @cached_property
    def failures(self) -> tuple[RecordingFailure, ...]:
        """Recordings that could not be scored, in the order of `paths`."""
        return tuple(
            RecordingFailure(self.builder.name(path), reason)
            for path in self.paths
            if (reason := self.journal.read_failure(path)) is not None
        )

    @cached_property
    def warnings(self) -> tuple[RecordingFailure, ...]:
        """Problems that did not stop the run.

        First are a damaged journal, recordings that no longer exist, and tables that others changed, each by its path;
        then problems of recordings, such as truncated audio, in the order of `paths`; last are recordings whose rows of
        an analysis are left out.
        """
        replaced = self.journal.replaced
        before = [] if replaced is None else [RecordingFailure(printable(replaced), _REPLACED)]
        before += [RecordingFailure(printable(path), _GONE) for path in self.gone]
        before += [
            RecordingFailure(printable(path), _CHANGED.format(name=printable(kept.name)))
            for path, kept in self.written.changed.items()
        ]
        of_recordings = (
            RecordingFailure(self.builder.name(summary.path), warning)
            for summary in self._scored()
            for warning in summary.warnings
        )
        return (*before, *of_recordings, *self._misfits())

    @cached_property
    def speech_s(self) -> float:
        """Total length of detected speech in seconds; 0 if speech detection was off."""
        return sum(summary.speech_s for summary in self._scored())

    @cached_property
    def has_location(self) -> bool:
        """True if the range filter was used for at least one recording."""
        return self.builder.range_filter is not None and any(
            self.builder.metadata(summary.path, summary.metadata).latitude is not None for summary in self._scored()
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences on several recordings, such as those without a time, or on options without effect."""
        return tuple(self._describe())

    def _describe(self) -> Iterator[str]:
        options = self.builder.options
        yield from describe_unknown_names(self.bundle, options)
        yield from describe_times(self._scored(), self.builder)
        if options.drop_out_of_range:
            yield from describe_dropped(self._results(), self.builder)
        yield from describe_thresholds(self.bundle, options)
        yield from describe_range_check(self.builder, has_location=self.has_location)
        if options.channel == "each" and (note := channel_note(self.formats)) is not None:
            yield note

    def _scored(self) -> Iterator[RecordingSummary]:
        """Yield the summary of each scored recording, without its hits."""
        for path in self.paths:
            summary = self.journal.read_summary(path)
            if summary is not None:
                yield summary

    def _results(self) -> Iterator[ScoredRecording]:
        """Yield each scored recording with its hits."""
        for path in self.paths:
            result = self.journal.read(path)
            if result is not None:
                yield result

    def __repr__(self) -> str:
        return f"<Run: {self._headline(self.summary())}>"

    def _headline(self, summary: DetectionsSummary) -> str:
        return f"{super()._headline(summary)}, {len(self.failures)} failed; {self.bundle.info.name}"

    @cached_property
    def provenance(self) -> Provenance:
        """Model, software and options that made the rows; `build_provenance` describes the parameters."""
        return build_provenance(self.bundle, self.builder.options, range_filter=self.has_location)


def has_range(detections: Sequence[Detection]) -> bool:
    """Return True if at least one of the detections was checked by a range filter."""
    return not DetectionColumns.from_detections(detections).is_null("in_range").all()


def build_provenance(bundle: Bundle, options: Options, *, range_filter: bool) -> Provenance:
    """Return the provenance of rows: bundle, software and options.

    The parameters are all options by name; `range_filter`, True if a range filter was used; `cleaning`, the settings,
    if the bundle cleans recordings; and `kinds`, True, if a class has another kind than `kind_of` infers from its name.
    """
    parameters = {**asdict(options), "range_filter": range_filter}
    if bundle.info.cleaning:
        parameters["cleaning"] = bundle.info.cleaning.model_dump(exclude_defaults=True)
    if any(label.kind != kind_of(label.scientific_name) for label in bundle.labels):
        parameters["kinds"] = True  # so that tables get a column for it
    return Provenance(
        model=bundle.info.name,
        model_version=bundle.info.version,
        bundle_id=bundle.id,
        software=SOFTWARE,
        parameters=parameters,
    )
