"""Scoring of units of an archive from the audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from dawnchorus.archive.manifest import Entry
from dawnchorus.archive.rows import (
    SharedValues,
    analysis_rows,
    detection_rows,
    embedding_rows,
    failure_row,
    recording_row,
    recording_rows,
)
from dawnchorus.archive.schemas import ANALYSIS_PREFIX, DETECTIONS, EMBEDDINGS
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import file_version
from dawnchorus.identification.options import Keep
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.result import RecordingFailure, RunCounts, build_provenance
from dawnchorus.identification.run import count_active
from dawnchorus.identification.unit_run import WorkerRun
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.inference.results import FailedRecording, ScoredRecording
from dawnchorus.inference.scoring import ScoringStep, score_recordings
from dawnchorus.storage.stores import CHANGED


class _Unit:
    """A unit in progress: its recordings, and the rows of the finished ones."""

    def __init__(self, name: str, entries: Sequence[Entry]) -> None:
        self.name, self.entries = name, entries
        self.recordings: dict[int, dict[str, Any]] = {}
        self.results: dict[str, list[pa.Table]] = {}
        self.failures: list[RecordingFailure] = []
        self.n_detections = 0

    @property
    def is_complete(self) -> bool:
        """True if all recordings are finished."""
        return len(self.recordings) == len(self.entries)

    def joined(self) -> tuple[pa.Table, dict[str, pa.Table]]:
        """Return the rows of the recordings in order, and the results by table."""
        rows = recording_rows([self.recordings[entry.recording_id] for entry in self.entries])
        tables = {name: pa.concat_tables(parts, promote_options="default") for name, parts in self.results.items()}
        return rows, tables


class AudioRun(WorkerRun):
    """Scoring of units from the recordings' audio, as one stream; a unit is committed when it is complete.

    Args:
        builder: builder of the tables of detections.
        plan: settings of scoring.
        writer: writer of units to the archive.
        model: the loaded model.
        n_workers: number of cores to use.
    """

    def __init__(
        self, builder: TableBuilder, plan: ScoringPlan, writer: UnitWriter, model: LoadedModel, *, n_workers: int
    ) -> None:
        super().__init__(writer)
        self._names: dict[Path, str] = {}
        self._builder = replace(builder, names=self._names)
        self._plan, self._model, self._n_workers = plan, model, n_workers
        has_range = builder.range_filter is not None
        self._provenance = build_provenance(builder.bundle, builder.options, range_filter=has_range)
        self._units: dict[str, _Unit] = {}
        self._entries: dict[Path, list[Entry]] = {}
        """Recordings that are being scored, by path."""

    def score(self, units: Iterable[Sequence[Entry]]) -> Generator[RunCounts, None, None]:
        """Score and commit units, and yield the counts, at the start and after each scoring step.

        Scoring ends when `units` has ended and all its recordings are scored. After its end, an iterator is asked again
        as long as recordings are being scored: that of a queue may then have new units, while for a list nothing
        changes.

        Raises:
            ModelError: the model cannot be run, or its scores are not finite.
            MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
            OutputError: the archive cannot be written.
            StoreError: the archive's store failed.
        """
        yield self.counts
        paths = _Paths(iter(units), self)
        max_active = count_active(paths.peek(), self._n_workers)
        steps = score_recordings(paths, self._model, self._plan, n_workers=self._n_workers, max_active=max_active)
        with closing(steps):
            for step in steps:
                self._finish(step)
                self.worker.beat(self._units)
                yield self.counts

    def start_unit(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Register a unit as started, and return its recordings (`entries`), which are committed together.

        If another worker has committed the unit, the recordings are counted as done before, and none are returned.
        """
        if not self._is_left(entries):
            return ()
        name = entries[0].unit
        self._units[name] = _Unit(name, entries)
        for entry in entries:
            self._entries.setdefault(entry.path, []).append(entry)
            self._names[entry.path] = entry.file.name
        return entries

    def _finish(self, step: ScoringStep) -> None:
        """Add the result of a recording to its unit, and commit the unit if it is complete."""
        self.counts = self.counts.after(step, self._plan.windows)
        result = step.scored or step.failed
        if result is None:
            return
        entry = self._entries[result.path].pop(0)
        unit = self._units[entry.unit]
        shared = SharedValues(entry, self.worker.run, self.worker.attempt(entry.unit))
        if isinstance(result, ScoredRecording):
            changed = _describe_change(entry)
            if changed is not None:
                result = FailedRecording(result.path, changed)
                n_done, n_failed = self.counts.n_done - 1, self.counts.n_failed + 1
                self.counts = replace(self.counts, n_done=n_done, n_failed=n_failed)
        elif result.reason.startswith(CHANGED):
            result = replace(result, reason=f"{CHANGED}. Use --resume to list it again.")
        if isinstance(result, FailedRecording):
            reason = printable(result.reason)
            unit.failures.append(RecordingFailure(entry.file.name, reason))
            unit.recordings[entry.recording_id] = failure_row(shared, reason)
        else:
            self._add(unit, shared, result)
        if unit.is_complete:
            self._commit(unit)

    def _commit(self, unit: _Unit) -> None:
        del self._units[unit.name]
        self.writer.commit(unit.name, *unit.joined())
        self._count_committed(unit.name, len(unit.entries), unit.failures, unit.n_detections)

    def _add(self, unit: _Unit, shared: SharedValues, scored: ScoredRecording) -> None:
        table = self._builder.build(scored)
        unit.n_detections += scored.n_hits
        rows = {DETECTIONS: detection_rows(shared, table, self._provenance)}
        for name in get_args(Keep):
            if name in self._plan.analyses:
                rows[EMBEDDINGS] = embedding_rows(shared, scored, table, self._plan.windows, encoding=name)
        has_speech = self._plan.speech_detector is not None
        speech_s = sum(segment.length_s for segment in scored.speech) if has_speech else None
        for name, analysis in scored.tables.items():
            rows[f"{ANALYSIS_PREFIX}{name}"] = analysis_rows(shared, analysis, table)
        unit.recordings[shared.entry.recording_id] = recording_row(shared, scored, table, speech_s=speech_s)
        for name, each in rows.items():
            unit.results.setdefault(name, []).append(each)


class _Paths:
    """Iterator over the paths of the units' recordings, which continues after its end if units are added."""

    def __init__(self, units: Iterator[Sequence[Entry]], run: AudioRun) -> None:
        self._units, self._run = units, run
        self._left: deque[Entry] = deque()

    def peek(self) -> list[Path]:
        """Return the paths of the next unit; empty at the end."""
        with suppress(StopIteration):
            self._fill()
        return [entry.path for entry in self._left]

    def _fill(self) -> None:
        """Start units until there are recordings.

        Raises:
            StopIteration: there are no more units.
        """
        while not self._left:
            self._left.extend(self._run.start_unit(next(self._units)))

    def __iter__(self) -> Iterator[Path]:
        return self

    def __next__(self) -> Path:
        self._fill()
        return self._left.popleft().path


def read_signature(path: Path) -> tuple[int | None, str | None]:
    """Return size in bytes and version (as text) of a file; (None, None) if the file does not exist.

    `ListedFile.signature` has the same values from the time of listing.
    """
    n_bytes, changed = file_version(path)
    return n_bytes, None if changed is None else str(changed)


def _describe_change(entry: Entry) -> str | None:
    """Return a reason if the file has changed since it was listed, so that its result is not used; else None."""
    n_bytes, version = read_signature(entry.path)
    if (n_bytes, version) == entry.file.signature:
        return None
    difference = (
        f"expected {entry.file.n_bytes} bytes, got {n_bytes}"
        if n_bytes != entry.file.n_bytes
        else "it has the same size, but another time or version"
    )
    return f"the file was changed since it was listed ({difference}). Use --resume to list it again."
