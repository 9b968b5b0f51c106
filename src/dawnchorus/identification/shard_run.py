"""Scoring of one shard of an archive's units."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from dawnchorus.archive.manifest import Entry, Manifest, Shard, read_entries, unit_sizes
from dawnchorus.archive.rows import (
    RowOrigin,
    analysis_rows,
    detection_rows,
    embedding_rows,
    failure_row,
    recording_row,
    recording_rows,
)
from dawnchorus.archive.schemas import ANALYSIS_PREFIX, DETECTIONS, EMBEDDINGS, MANIFEST
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import file_version
from dawnchorus.identification.options import Keep
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.result import RecordingFailure, RunCounts, build_provenance
from dawnchorus.identification.run import count_active
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.inference.results import FailedRecording, ScoredRecording
from dawnchorus.inference.scoring import ScoringStep, score_recordings
from dawnchorus.storage.stores import CHANGED


class _Unit:
    """A unit under way: its recordings, and the rows of those that are finished."""

    def __init__(self, name: str, entries: list[Entry]) -> None:
        self.name, self.entries = name, entries
        self.recordings: dict[int, dict[str, Any]] = {}
        self.results: dict[str, list[pa.Table]] = {}

    @property
    def is_complete(self) -> bool:
        """True if all recordings are finished."""
        return len(self.recordings) == len(self.entries)

    def joined(self) -> tuple[pa.Table, dict[str, pa.Table]]:
        """Return the rows of the recordings in their order, and the results by table."""
        rows = recording_rows([self.recordings[entry.recording_id] for entry in self.entries])
        tables = {name: pa.concat_tables(parts, promote_options="default") for name, parts in self.results.items()}
        return rows, tables


class ShardRun:
    """Scoring of the units of one shard: one stream of recordings, whose units are committed as they are complete."""

    def __init__(self, builder: TableBuilder, plan: ScoringPlan, writer: UnitWriter) -> None:
        self.builder, self.plan, self.writer, self.worker = builder, plan, writer, writer.worker
        has_range = builder.range_filter is not None
        self._provenance = build_provenance(builder.bundle, builder.options, range_filter=has_range)
        self.counts = RunCounts(0)
        self.n_units = self.n_ended = self.n_failed_before = 0
        self.failures: list[RecordingFailure] = []
        self._units: dict[str, _Unit] = {}
        self._entries: dict[Path, list[Entry]] = {}
        """Recordings that are submitted and not finished, by path."""

    def score(
        self, manifests: Sequence[Manifest], shard: Shard, model: LoadedModel, *, n_workers: int
    ) -> Generator[RunCounts, None, None]:
        """Score what is missing of the shard's units, and yield the counts.

        Raises:
            ModelError: the model cannot be run, or gives scores that are not finite.
            OutputError: the archive cannot be written.
        """
        table = self.writer.archive.table(MANIFEST)
        units = shard.select(unit_sizes(table, manifests))
        entries = read_entries(table, manifests, units)
        ended = self.writer.list_ended()
        self.n_units, self.n_ended = len(units), len(ended.intersection(units))
        missing = [entry for entry in entries if entry.unit not in ended]
        self.builder = replace(self.builder, names={entry.path: entry.file.name for entry in missing})
        before = {entry.file.path for entry in entries if entry.unit in ended}
        before -= {entry.file.path for entry in missing}  # they were listed again
        self._count_before(before, RunCounts(len(missing) + len(before)))
        yield self.counts
        if not missing:
            return
        max_active = count_active((entry.path for entry in missing), n_workers)
        steps = score_recordings(self._submit(missing), model, self.plan, n_workers=n_workers, max_active=max_active)
        with closing(steps):
            for step in steps:
                self._finish(step)
                self.worker.beat(self._units)
                yield self.counts

    def _submit(self, entries: Iterable[Entry]) -> Iterator[Path]:
        """Yield the paths of recordings, unit by unit, without those of units that another worker has ended."""
        by_unit: dict[str, list[Entry]] = {}
        for entry in entries:
            by_unit.setdefault(entry.unit, []).append(entry)
        for name, members in by_unit.items():
            if self.writer.has_ended(name):
                self.n_ended += 1
                self._count_before({entry.file.path for entry in members}, self.counts)
                continue
            self._units[name] = _Unit(name, members)
            for entry in members:
                self._entries.setdefault(entry.path, []).append(entry)
                yield entry.path

    def _count_before(self, paths: set[bytes], counts: RunCounts) -> None:
        """Count recordings of units that had ended, those that failed as failures."""
        n_failed = len(paths & self.writer.list_failed()) if paths else 0
        self.n_failed_before += n_failed
        n_resumed = counts.n_resumed + len(paths) - n_failed
        self.counts = replace(counts, n_resumed=n_resumed, n_failed=counts.n_failed + n_failed)

    def _finish(self, step: ScoringStep) -> None:
        """Take the result of a recording, and commit its unit if it was the last one."""
        self.counts = self.counts.after(step, self.plan.windows)
        result = step.scored or step.failed
        if result is None:
            return
        entry = self._entries[result.path].pop(0)
        unit = self._units[entry.unit]
        origin = RowOrigin(entry, self.worker.run, self.worker.attempt(entry.unit))
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
            self.failures.append(RecordingFailure(entry.file.name, reason))
            unit.recordings[entry.recording_id] = failure_row(origin, reason)
        else:
            self._add(unit, origin, result)
        if unit.is_complete:
            del self._units[unit.name]
            self.writer.commit(unit.name, *unit.joined())
            self.n_ended += 1

    def _add(self, unit: _Unit, origin: RowOrigin, scored: ScoredRecording) -> None:
        table = self.builder.build(scored)
        rows = {DETECTIONS: detection_rows(origin, table, self._provenance)}
        for name in get_args(Keep):
            if name in self.plan.analyses:
                rows[EMBEDDINGS] = embedding_rows(origin, scored, table, self.plan.windows, kept=name)
        has_speech = self.plan.speech_detector is not None
        speech_s = sum(segment.length_s for segment in scored.speech) if has_speech else None
        for name, analysis in scored.tables.items():
            rows[f"{ANALYSIS_PREFIX}{name}"] = analysis_rows(origin, analysis, table)
        unit.recordings[origin.entry.recording_id] = recording_row(origin, scored, table, speech_s=speech_s)
        for name, each in rows.items():
            unit.results.setdefault(name, []).append(each)


def read_mark(path: Path) -> tuple[int | None, str | None]:
    """Return size and version of a file, by which changes are detected; see `ListedFile`."""
    n_bytes, changed = file_version(path)
    return n_bytes, None if changed is None else str(changed)


def _describe_change(entry: Entry) -> str | None:
    """Return the reason why a result does not count, if the file is not the one that was listed."""
    n_bytes, version = read_mark(entry.path)
    if (n_bytes, version) == entry.file.mark:
        return None
    return (
        f"the file was changed since it was listed (expected {entry.file.n_bytes} bytes, got {n_bytes}, or another "
        f"time of modification). Use --resume to list it again."
    )
