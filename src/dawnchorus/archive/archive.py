"""The archive's Python interface: runs, and results that are read lazily as Arrow."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.delta import ArchiveTable, check_columns, require_deltalake
from dawnchorus.archive.location import ArchiveLocation
from dawnchorus.archive.manifest import list_manifests
from dawnchorus.archive.runs import ArchiveRun, StoredRun
from dawnchorus.archive.schemas import (
    ANALYSIS_PREFIX,
    CLASSES,
    DETECTIONS,
    EMBEDDINGS,
    MANIFEST,
    RECORDINGS,
    RUNS,
    SCHEMAS,
)
from dawnchorus.archive.selection import Selection, select_results
from dawnchorus.archive.thresholds import COLUMNS as THRESHOLD_COLUMNS
from dawnchorus.archive.thresholds import lowest_score, select_rows
from dawnchorus.archive.vectors import read_vectors
from dawnchorus.errors import FormatError, InputError, NotFoundError
from dawnchorus.suggestions import suggestion
from dawnchorus.taxonomy.labels import Label

Names = str | Iterable[str]
"""One name or several."""

Time = str | date | datetime
"""A day or a time by the recorders' clocks, without a zone; a text is in ISO 8601."""

Status = Literal["done", "failed"]
"""Outcome of identifying a recording."""

_field = pa_dataset.field


@dataclass(frozen=True)
class Archive:
    """Results of runs over recordings; opened by `open_archive`.

    A unit is a batch of recordings that are committed together; only results of committed units are read. If there are
    several results of a recording, by other models or of earlier versions of its file, the latest one is read, or, if
    runs are named, the latest one of each run. These results are called current; `select_results` has the exact rule.

    Readers of rows are lazy, and yield the rows in no particular order. All methods that read or write raise StoreError
    if the store fails, and FormatError if a file of an archive on a disk is damaged, missing or not readable; readers
    raise them while they are read.

    Attributes:
        location: folder of the archive.
    """

    location: ArchiveLocation

    def table(self, name: str) -> ArchiveTable:
        """Return a table as it is stored, including rows that are not current; the table may not exist yet.

        `name` is a key of `schemas.SCHEMAS`, or `analysis_` and the name of an analysis ("analysis_health").
        """
        return ArchiveTable(self.location, name)

    # ------------------------------------------------------------------ contents

    def runs(self) -> list[StoredRun]:
        """Return the runs in the order in which their first recordings were listed, and last the runs without any.

        Raises:
            StoreError, FormatError: see `delta.ArchiveTable.reading`.
        """
        first = {each.run: each.number for each in reversed(list_manifests(self.table(MANIFEST)))}
        runs = [StoredRun.from_row(row) for row in self.table(RUNS).read().to_pylist()]
        return sorted(runs, key=lambda each: (first.get(each.id, math.inf), each.id))

    def analyses(self) -> list[str]:
        """Return the names of the analyses that have a table, in alphabetical order."""
        tables = self.location.list_tables()
        return [name.removeprefix(ANALYSIS_PREFIX) for name in tables if name.startswith(ANALYSIS_PREFIX)]

    def detections(
        self,
        *,
        species: Names | None = None,
        since: Time | None = None,
        until: Time | None = None,
        sites: Names | None = None,
        min_score: float | None = None,
        runs: Names | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Read detections lazily; of each recording, those of its latest result.

        A row must meet all conditions. Times are days or times by the recorder's clock without a zone, as date,
        datetime or ISO 8601 text; a day stands for the midnight at its start.

        Args:
            species: whole scientific or common names, upper and lower case alike; a name of several classes selects all
                of them. None for all.
            since: earliest start of a detection; detections without a time are left out. None for any time.
            until: time before which detections start; detections without a time are left out. None for any time.
            sites: names of sites, as in the column `site`; an unknown site has no rows. None for all.
            min_score: minimum score, 0 to 1. If the model has a minimum score for a class (`ArchiveRun.thresholds`),
                that one is used for the class instead, be it higher or lower. None for all stored detections, without
                any of these minimum scores.
            runs: ids of runs; the latest result of a recording in each of these runs is read. None for the latest
                result in any run.
            columns: names of columns of the table "detections" in `schemas.SCHEMAS`; None or empty for all.

        Raises:
            NotFoundError: there is no run with one of these ids.
            InputError: an unknown species or column, a score that is not from 0 to 1, or a time in another format.
        """
        known = self.find_runs(runs)
        special = [each for each in known if each.run.thresholds] if min_score is not None else []
        condition = None if min_score is None else _score_condition(lowest_score(special, min_score))
        if species is not None:
            condition = _and(condition, is_in("scientific_name", self._find_species(species, known)))
        where: dict[str, Any] = {"runs": runs, "since": since, "until": until, "sites": sites, "condition": condition}
        kept = [each.id for each in known if each.run.top != 0]
        if len(kept) < len(known):  # imported embeddings replace no detections
            where |= {"runs": kept, "per_run": runs is not None}
        if min_score is None or not special:
            return self._read(DETECTIONS, columns=columns, **where)
        selected = check_columns(self.table(DETECTIONS), columns)
        rows = self._read(DETECTIONS, columns=list(dict.fromkeys([*selected, *THRESHOLD_COLUMNS])), **where)
        return select_rows(rows, special, min_score, columns=selected)

    def recordings(
        self,
        *,
        since: Time | None = None,
        until: Time | None = None,
        sites: Names | None = None,
        status: Status | None = None,
        runs: Names | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Read the latest result of each recording lazily, including recordings without detections, and failed ones.

        `status` is "done" or "failed" to read only such recordings, None for all; the column `reason` says why a
        recording failed. The other filters are those of `detections`, but `since` and `until` refer to the start of the
        recording, and `columns` to the table "recordings".

        Raises:
            NotFoundError: there is no run with one of these ids.
            InputError: an unknown status or column, or a time in another format.
        """
        if status is not None and status not in get_args(Status):
            raise InputError(f"status: expected {' or '.join(get_args(Status))}, got {status!r}.")
        self.find_runs(runs)
        condition = None if status is None else _field("status") == status
        where: dict[str, Any] = {"since": since, "until": until, "sites": sites, "condition": condition}
        return self._read(RECORDINGS, runs=runs, columns=columns, **where)

    def analysis(
        self, name: str, *, runs: Names | None = None, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """Read the rows of an analysis lazily; of each recording, those of its latest result with this analysis.

        Args:
            name: name of the analysis, one of `analyses()`.
            runs: ids of runs; the latest result of a recording in each of these runs is read. None for the latest
                result in any run.
            columns: names of columns of the analysis's table; None or empty for all.

        Raises:
            NotFoundError: there is no such analysis, or no run with one of these ids.
            InputError: an unknown column.
        """
        if name not in self.analyses():
            listed = ", ".join(self.analyses()) or "none"
            raise NotFoundError(f"analysis: the archive has {listed}, got '{name}'.{suggestion(name, self.analyses())}")
        known = self.find_runs(runs)
        kept = [each.id for each in known if name in each.run.analyses]
        return self._read(f"{ANALYSIS_PREFIX}{name}", runs=kept, per_run=runs is not None, columns=columns)

    def embeddings(
        self,
        *,
        since: Time | None = None,
        until: Time | None = None,
        sites: Names | None = None,
        runs: Names | None = None,
    ) -> pa.RecordBatchReader:
        """Read the latest embeddings of each recording lazily, one row per window and channel.

        The columns are those of the table "embeddings" in `schemas.SCHEMAS`; the column `embedding` has float16 lists
        of equal length. The filters are those of `detections`, but `since` and `until` refer to the start of the
        recording.

        A later run replaces the embeddings of a recording only if that run kept embeddings itself. A run that rescored
        stored embeddings keeps none.

        Raises:
            NotFoundError: there is no run with one of these ids, or none of the runs has embeddings.
            InputError: the runs have embeddings of different lengths, or a time has an unknown format.
        """
        kept = [each for each in self.find_runs(runs) if each.run.embedding_dim]
        dims = {each.run.embedding_dim for each in kept}
        if not dims:
            raise NotFoundError(
                "embeddings: none are kept. Identify with --keep embeddings.", subject=self.location.root
            )
        if len(dims) > 1:
            lengths = ", ".join(map(str, sorted(map(int, filter(None, dims)))))
            raise InputError(f"embeddings: expected runs with embeddings of one length, got {lengths}. Name the runs.")
        (dim,) = dims
        condition = None
        if since is not None or until is not None:
            started = self.table(RECORDINGS).read(["recording_id"], _time_condition(since, until))
            condition = _field("recording_id").isin(started["recording_id"].combine_chunks())
        ids = [each.id for each in kept]
        reader = self._read(EMBEDDINGS, runs=ids, per_run=runs is not None, sites=sites, condition=condition)
        index = reader.schema.get_field_index("embedding")
        field = pa.field("embedding", pa.list_(pa.float16(), dim))
        schema = reader.schema.set(index, field)
        batches = (_with_vectors(batch, index, schema) for batch in reader)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def search(
        self,
        vector: npt.ArrayLike,
        k: int = 100,
        *,
        species: Names | None = None,
        since: Time | None = None,
        until: Time | None = None,
        sites: Names | None = None,
        runs: Names | None = None,
        bundle_id: str | None = None,
        exact: bool = False,
        workers: int | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> pa.Table:
        """Find the windows whose embeddings are most similar to a vector, by the cosine of the angle between them.

        The first search derives a file with the signs of the (centered and rotated) embeddings from each data file.
        Later searches compare all signs, and then only the embeddings with the most similar signs. Only the
        latest embeddings of each recording are searched.

        Args:
            vector: an embedding [dim] by the model that computed the stored embeddings, or several [vectors, dim]; the
                score of a window is then that of the most similar vector. At most `search.MAX_VECTORS` vectors.
            k: maximum number of windows to return, at least 1.
            species: scientific or common names; only windows in which one of them was detected, with a score of at
                least `search.SPECIES_MIN_SCORE`, are searched; None for all windows.
            since: earliest start of a window by the recorder's clock, as in `detections`; windows without a time are
                left out. None for any time.
            until: time before which windows start; windows without a time are left out. None for any time.
            sites: names of sites; None for all.
            runs: ids of runs, of which a recording's latest embeddings are searched; None for all runs with embeddings.
            bundle_id: id of the model that computed the vector, to refuse embeddings of another model; None not to
                check.
            exact: True to compare all embeddings; False to compare only those with the most similar signs, which is
                faster and may miss some windows.
            workers: number of threads; None for one per core that this process may use.
            cache: folder for derived files if the archive cannot be written or is in a store; None for a folder in the
                user's cache.

        Returns:
            Up to `k` rows, one per window, the most similar first, with the columns of `search.HIT_SCHEMA`.

        Raises:
            NotFoundError: there is no run with one of these ids, or none of the runs has embeddings.
            InputError: a vector of another shape, with values that are not finite, or with a length or `bundle_id`
                that no stored embeddings have; stored embeddings of several models fit the vector; `k` below 1; an
                unknown species; or a time in another format.
            OutputError: the derived files cannot be written.
        """
        from dawnchorus.archive.search import search_archive

        return search_archive(
            self,
            vector,
            k=k,
            species=species,
            sites=sites,
            since=since,
            until=until,
            runs=runs,
            bundle_id=bundle_id,
            exact=exact,
            workers=workers,
            cache=cache,
        )

    def _read(
        self,
        table: str,
        *,
        runs: Names | None = None,
        per_run: bool = True,
        since: Time | None = None,
        until: Time | None = None,
        sites: Names | None = None,
        columns: Sequence[str] | None = None,
        condition: pa_dataset.Expression | None = None,
    ) -> pa.RecordBatchReader:
        rows = self.table(table)
        if not rows.exists:
            schema = SCHEMAS[table]
            return pa.RecordBatchReader.from_batches(pa.schema([schema.field(n) for n in columns or schema.names]), [])
        names = check_columns(rows, columns)
        condition = _and(condition, _time_condition(since, until))
        if sites is not None:
            condition = _and(condition, is_in("site", list_names(sites)))
        # Last, for a unit that ends meanwhile has its rows then.
        condition = _and(condition, self.select(runs, per_run=per_run).condition)
        return ArchiveTable(self.location, table).scan(names, condition)

    def select(self, runs: Names | None = None, *, per_run: bool = True) -> Selection:
        """Return the selection of each recording's latest result; see `select_results`.

        `runs` are the ids of runs to select from, None for all. `per_run` is True to select the latest result in each
        of these runs, False for the latest in any of them; without effect if `runs` is None.

        Raises:
            StoreError, FormatError: see `delta.ArchiveTable.reading`.
        """
        names = None if runs is None else list_names(runs)
        return select_results(self.table(RECORDINGS), names, per_run=per_run)

    def find_runs(self, runs: Names | None) -> list[StoredRun]:
        """Return the runs with these ids, in the given order; None for all runs, as from `runs()`.

        Raises:
            NotFoundError: there is no run with one of these ids.
        """
        known = {each.id: each for each in self.runs()}
        if runs is None:
            return list(known.values())
        for run in list_names(runs):
            if run not in known:
                listed = ", ".join(known) or "none"
                raise NotFoundError(f"run: the archive has {listed}, got '{run}'.{suggestion(run, known)}")
        return [known[run] for run in list_names(runs)]

    def _find_species(self, species: Names, runs: Sequence[StoredRun]) -> list[str]:
        """Return the scientific names of species that are given by any name.

        Raises:
            InputError: no model of the runs has a class of one of these names.
        """
        rows = self.table(CLASSES).read(condition=is_in("run", [each.id for each in runs]))
        scientific, common = rows["scientific_name"].to_pylist(), rows["common_name"].to_pylist()
        names: dict[str, set[str]] = {}
        for name, other in zip(scientific, common, strict=True):
            names.setdefault(name.casefold(), set()).add(name)
            names.setdefault(other.casefold(), set()).add(name)
        scientific_names: set[str] = set()
        for name in list_names(species):
            if name.casefold() not in names:
                advice = suggestion(name, [*scientific, *common])
                raise InputError(f"species: '{name}' is no class of the archive's models.{advice}")
            scientific_names |= names[name.casefold()]
        return sorted(scientific_names)

    # ------------------------------------------------------------------ writing

    def add_run(self, run: ArchiveRun, labels: Sequence[Label]) -> None:
        """Add a run and `labels`, the classes of its model in their order, unless the archive has the run already.

        Raises:
            OutputError: the archive cannot be written.
        """
        columns = {
            "run": pa.array([run.id] * len(labels), pa.string()),
            "index": pa.array(range(len(labels)), pa.int32()),
            **{
                name: pa.array([getattr(label, name) for label in labels], pa.string())
                for name in ("scientific_name", "common_name", "kind")
            },
        }
        # A run that is listed has its classes.
        self.table(CLASSES).append(pa.table(columns, schema=SCHEMAS[CLASSES]), {f"run-{run.id}": 1})
        self.table(RUNS).append(run.to_rows(), {f"run-{run.id}": 1})


def open_archive(url: str | os.PathLike[str]) -> Archive:
    """Open an archive for reading.

    Args:
        url: the folder, or its URL in a store, that `dawnchorus identify PATHS --archive FOLDER` wrote.

    Raises:
        NotFoundError: there is no archive.
        InputError: the archive is of a newer version, its marker file (`archive.json`) is damaged, or the URL is
            neither s3://, gs://, az:// nor file://.
        FormatError: a table is lost.
        StoreError: the store failed.
        MissingExtraError: deltalake is not installed.
    """
    require_deltalake()
    location = ArchiveLocation.parse(url)
    location.check()
    archive = Archive(location)
    _check_tables(archive)
    return archive


def create_archive(url: str | os.PathLike[str]) -> Archive:
    """Open an archive for writing; create it if it does not exist.

    Args:
        url: the archive's folder, or its URL in a store (s3://, gs:// or az://).

    Raises:
        InputError: the folder has other content, the archive is of a newer version, its marker file (`archive.json`)
            is damaged, or the URL is of another kind.
        OutputError: the archive cannot be written.
        StoreError: the store failed.
        MissingExtraError: deltalake is not installed.
    """
    require_deltalake()
    location = ArchiveLocation.parse(url)
    location.create()
    return create_tables(location)


def create_tables(location: ArchiveLocation) -> Archive:
    """Create the tables that an archive has from its start, if they do not exist, and return the archive.

    They have no rows. The tables of embeddings and of analyses are created with their first rows.

    Raises:
        OutputError: the tables cannot be written.
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    archive = Archive(location)
    _check_tables(archive)
    for name in _FIRST_TABLES:
        archive.table(name).create()
    return archive


_FIRST_TABLES = (MANIFEST, CLASSES, RUNS, DETECTIONS, RECORDINGS)
"""Tables that an archive has from its start, before any of them has rows."""


def _check_tables(archive: Archive) -> None:
    """Check that no table is lost, which would look like a table without rows.

    Raises:
        FormatError: a table is missing, and another one has rows.
        StoreError: the store failed.
    """
    there = archive.location.list_tables()
    lost = [name for name in _FIRST_TABLES if name not in there]
    # Without rows, the tables are being created, or their creation was interrupted.
    if not any(archive.table(name).list_files() for name in there if lost):
        return
    if lost := [name for name in lost if name not in archive.location.list_tables()]:
        raise FormatError(
            f"its table {lost[0]} is missing or not readable, though {', '.join(there)} are there: the archive was "
            f"copied in part, a folder was deleted, or its access rights are too narrow. Restore it from a copy, or "
            f"change the rights; nothing is read or removed until then.",
            subject=archive.location.root,
        )


def list_names(names: Names) -> list[str]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else list(names)


def is_in(column: str, values: Sequence[str]) -> pa_dataset.Expression:
    """Return the Arrow expression that is true where the text column `column` has one of `values`."""
    if len(values) == 1:  # by which row groups are left out in all versions of Arrow
        return _field(column) == values[0]
    return _field(column).isin(pa.array(values, pa.string()))


def _and(first: pa_dataset.Expression | None, second: pa_dataset.Expression | None) -> pa_dataset.Expression | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _score_condition(min_score: float) -> pa_dataset.Expression:
    """Return the condition on scores; `min_score` is rounded to float32, as scores are stored.

    Raises:
        InputError: the score is not from 0 to 1.
    """
    if not 0 <= min_score <= 1:
        raise InputError(f"min_score: expected 0 to 1, got {min_score!r}.")
    return _field("score") >= pa.scalar(np.float32(min_score), pa.float32())


def _time_condition(since: Time | None, until: Time | None) -> pa_dataset.Expression | None:
    """Return the condition on the clock time, as text, and on the month, which skips files of other months."""
    condition = None
    if since is not None:
        text = clock_text("since", since)
        condition = (_field("start_time") >= text) & (_field("month") >= text[:7])
    if until is not None:
        text = clock_text("until", until)
        condition = _and(condition, (_field("start_time") < text) & (_field("month") <= text[:7]))
    if since is not None and until is not None and clock_text("since", since) >= clock_text("until", until):
        raise InputError(f"until: expected a later time than since ({since}), got {until}.")
    return condition


def clock_text(name: str, value: Time) -> str:
    """Return a time as tables store it, in ISO 8601 with milliseconds, such as "2026-05-01T04:00:00.000".

    A date object gives its day alone, "2026-05-01", which as text sorts before all times of that day; the text of a day
    gives its midnight. `name` is the argument's name, for the error.

    Raises:
        InputError: the value is a text that is not in ISO 8601, or has a zone.
    """
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise InputError(
            f"{name}: expected a day or time like 2026-05-01 or 2026-05-01T04:00, got {value!r}."
        ) from None
    if isinstance(time, datetime) and time.tzinfo is not None:
        raise InputError(f"{name}: expected a time of the recorders' clocks, without a zone, got {value!r}.")
    return time.isoformat(timespec="milliseconds") if isinstance(time, datetime) else f"{time:%Y-%m-%d}"


def _with_vectors(batch: pa.RecordBatch, index: int, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch whose stored embeddings are converted to lists of numbers."""
    dim = schema.field(index).type.list_size
    values = pa.array(read_vectors(batch.column(index), dim).ravel(), pa.float16())
    columns = list(batch.columns)
    columns[index] = pa.FixedSizeListArray.from_arrays(values, dim)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
