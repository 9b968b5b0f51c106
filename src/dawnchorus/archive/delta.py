"""Delta Lake tables; the only module that imports deltalake.

A commit can carry transactions (a name and a version), so that it is not repeated. delta-rs refuses a repeated
transaction only if the table object's state is older than that transaction. A transaction is therefore looked up in the
same table object that is then written, and never by a path (delta-rs issue 2580).
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from dawnchorus.archive.location import ArchiveLocation
from dawnchorus.archive.schemas import SCHEMAS, partition_columns
from dawnchorus.errors import FormatError, InputError, MissingExtraError, OutputError, StoreError
from dawnchorus.storage.failures import describe_failure

if TYPE_CHECKING:
    from deltalake import DeltaTable

MAX_TRIES = 30
"""Maximum number of attempts at a commit, which is repeated if another process committed first."""

FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 60.0
"""Longest pause after the first refused commit, which doubles after each further one, and its limit. deltalake itself
has tried 16 versions in a row by then: so many processes commit that some would never be the first without pauses."""

MAX_LOST_REPLIES = 2
"""Maximum number of failed requests of a commit, in addition to the retries of the store's client."""

ROW_GROUP_ROWS = 16_384
"""Rows in a row group, which are read together; in a compacted table, a species has few row groups per month."""

FILE_ROWS = 8_000_000
"""Number of rows in a file of compacted detections: some 100 MB."""

SELECTIVE = ("scientific_name", "site", "score", "start_time", "recording_id", "run", "attempt")
"""Columns with minimum and maximum in the statistics of files, by which readers skip files and row groups."""

NO_TRANSACTIONS: Mapping[str, int] = MappingProxyType({})

N_REQUESTS = 8
"""Number of file parts of a table in a store that are read at the same time."""

GROUPS_AT_A_TIME = 16
"""Number of row groups in such a part, which are in memory together."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def require_deltalake() -> None:
    """Check that deltalake is installed.

    Raises:
        MissingExtraError: deltalake is not installed.
    """
    try:
        import deltalake  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "deltalake", extra="archive", purpose="An archive") from None


@dataclass(frozen=True)
class DataFile:
    """A data file of a table.

    Attributes:
        path: path relative to the table's folder.
        n_bytes: size of the file in bytes.
        n_rows: number of rows.
        month: month of the rows' recordings, such as "2024-06", or "unknown"; None if the table is not partitioned by
            month.
    """

    path: str
    n_bytes: int
    n_rows: int
    month: str | None


class ArchiveTable:
    """A table of an archive, which may not exist yet.

    An object sees the table's state at its first read or its last write, until `refresh`. All methods, also those that
    write, raise StoreError or FormatError if the table cannot be read; see `reading`.

    Args:
        location: location of the archive.
        name: name of the table: a key of `schemas.SCHEMAS`, or `analysis_` and the name of an analysis.
    """

    def __init__(self, location: ArchiveLocation, name: str) -> None:
        self.location, self.name = location, name
        self._opened: tuple[int, pa_dataset.Dataset] | None = None

    @property
    def uri(self) -> str:
        """Path or URL of the table's folder."""
        return self.location.table_uri(self.name)

    @cached_property
    def _delta(self) -> DeltaTable:
        from deltalake import DeltaTable

        with self.reading():
            return DeltaTable(self.uri, storage_options=self._options)

    @property
    def _options(self) -> dict[str, str] | None:
        return dict(self.location.storage_options) or None

    @property
    def exists(self) -> bool:
        """True if the table exists.

        Raises:
            StoreError: the store failed.
        """
        from deltalake import DeltaTable

        if "_delta" in vars(self):
            return True
        # Of a store, deltalake would ask with the interpreter's lock, so that no other thread could go on.
        return self.location.has_log(self.name) if self.location.is_remote else DeltaTable.is_deltatable(self.uri)

    def refresh(self) -> None:
        """Update this object's state with the commits of other processes; no effect before the first read or write.

        Raises:
            StoreError, FormatError: see `reading`.
        """
        if "_delta" in vars(self):
            with self.reading():
                self._delta.update_incremental()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Convert errors of reading the table's files that are raised in the `with` block.

        A StoreError has no `__cause__`, which could quote secrets.

        Raises:
            StoreError: the store failed.
            FormatError: a file of an archive on a disk is damaged, missing or not readable.
        """
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (DeltaError, OSError, pa.ArrowException) as error:
            if self.location.is_remote:
                raise StoreError(
                    f"the table cannot be read: {describe_failure(error)}, and run the same command again.",
                    subject=self.uri,
                ) from None
            raise FormatError(
                f"the table cannot be read ({_first_line(error)}). Restore its files from a copy, or identify the "
                f"recordings again into a new archive.",
                subject=self.uri,
            ) from error

    # ------------------------------------------------------------------ reading

    def dataset(self) -> pa_dataset.Dataset:
        """Return the rows of an existing table as an Arrow data set, whose files are opened when they are read.

        Raises:
            StoreError, FormatError: see `reading`.
        """
        # Of a store, deltalake gives one with the same credentials.
        files = None if self.location.is_remote else self.location.filesystem(self.name)
        version = self._delta.version()
        if self._opened is None or self._opened[0] != version:  # of many files, it takes a while to make
            with self.reading():
                self._opened = version, self._delta.to_pyarrow_dataset(filesystem=files)
        return self._opened[1]

    def read(self, columns: Sequence[str] | None = None, condition: pa_dataset.Expression | None = None) -> pa.Table:
        """Read the rows that meet a condition; a table without rows if this one does not exist.

        `columns` are names of columns, None for all; None as `condition` selects all rows.

        Raises:
            StoreError, FormatError: see `reading`.
        """
        if not self.exists:
            schema = SCHEMAS[self.name]
            return schema.empty_table().select(columns or schema.names)
        dataset = self.dataset()
        with self.reading():
            return dataset.to_table(columns=None if columns is None else list(columns), filter=condition)

    def scan(self, columns: Sequence[str], condition: pa_dataset.Expression | None) -> pa.RecordBatchReader:
        """Return a reader of the rows of an existing table that meet a condition; the reader reads ahead.

        `columns` are names of columns; None as `condition` selects all rows. The reader raises the errors of `reading`.
        """
        scanner = self.dataset().scanner(columns=list(columns), filter=condition)
        if self.location.is_remote:
            batches = self._read_ahead(list(columns), condition)
        else:
            batches = self._read_batches(scanner.to_reader())
        return pa.RecordBatchReader.from_batches(scanner.projected_schema, batches)

    def _read_batches(self, reader: pa.RecordBatchReader) -> Generator[pa.RecordBatch, None, None]:
        """Yield the batches of a reader.

        Raises:
            FormatError: a file is damaged, missing or not readable.
        """
        with self.reading():
            yield from reader

    def _read_ahead(
        self, columns: list[str], condition: pa_dataset.Expression | None
    ) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a table in a store, some requests ahead.

        A store's file system is implemented in Python. Arrow's read-ahead threads would call it while the process
        exits, and abort the process; Python's threads end first.
        """
        dataset = self.dataset()
        threads = ThreadPoolExecutor(N_REQUESTS, thread_name_prefix="dawnchorus-archive")
        split = partial(_split_fragment, condition=condition, schema=dataset.schema)
        read = partial(_read_fragment, columns=columns, condition=condition, schema=dataset.schema)
        try:
            with self.reading():
                pieces = chain.from_iterable(_map_ahead(threads, split, dataset.get_fragments(condition)))
                for rows in _map_ahead(threads, read, pieces):
                    yield from rows.to_batches()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def list_partitions(self) -> list[dict[str, str]]:
        """Return a dict for each partition, with the values of the partition columns by name; empty without a table.

        Raises:
            StoreError, FormatError: see `reading`.
        """
        with self.reading():
            return list(self._delta.partitions()) if self.exists else []

    def has_transaction(self, name: str, version: int = 1) -> bool:
        """Return True if the table exists, and its state includes transaction `name` in `version` or a later version.

        Raises:
            StoreError, FormatError: see `reading`.
        """
        with self.reading():
            done = self._delta.transaction_version(name) if self.exists else None
        return done is not None and done >= version

    def _has_any(self, transactions: Mapping[str, int]) -> bool:
        return any(self.has_transaction(*each) for each in transactions.items())

    def count_values(self, column: str) -> Counter[str]:
        """Return the number of rows by value of the text column `column`; empty if the table does not exist.

        Raises:
            StoreError, FormatError: see `reading`.
        """
        counts: Counter[str] = Counter()
        if self.exists:
            for batch in self.scan([column], None):
                counted = pc.value_counts(batch.column(0))
                counts.update(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)))
        return counts

    def list_files(self) -> list[DataFile]:
        """Return the data files of the table's state; empty if the table does not exist.

        Raises:
            StoreError, FormatError: see `reading`.
        """
        if not self.exists:
            return []
        with self.reading():
            actions = pa.table(self._delta.get_add_actions(flatten=True))
        months = actions["partition.month"] if "partition.month" in actions.schema.names else [None] * len(actions)
        names = ("path", "size_bytes", "num_records")
        columns = [actions[name].to_pylist() for name in names]
        months = months if isinstance(months, list) else months.to_pylist()
        return [DataFile(*each) for each in zip(*columns, months, strict=True)]

    # ------------------------------------------------------------------ writing

    def create(self, schema: pa.Schema | None = None) -> None:
        """Create the table, if it does not exist, with the columns of `schema`; None for `SCHEMAS[self.name]`.

        Raises:
            OutputError: the table cannot be written.
        """
        if self.exists:
            return
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        columns = SCHEMAS[self.name] if schema is None else schema
        try:
            DeltaTable.create(
                self.uri,
                columns,
                mode="ignore",
                partition_by=list(partition_columns(self.name)),
                storage_options=self._options,
            )
        except (DeltaError, OSError) as error:
            if not self.exists:  # else another process has created it meanwhile
                raise self._cannot_write(error) from (None if self.location.is_remote else error)

    def append(self, rows: pa.Table, transactions: Mapping[str, int] = NO_TRANSACTIONS) -> bool:
        """Append rows in one commit, and return True; return False, without a commit, if a transaction exists already.

        The table is created if it does not exist.

        Args:
            rows: the rows; columns that the table lacks are added to it.
            transactions: version by name of the transactions that the commit carries. If one of them was committed
                before, in this or a later version, nothing is appended. Empty to append in any case.

        Raises:
            OutputError: the table cannot be written.
        """
        self.create(rows.schema)
        return self._commit(lambda: self._append(rows, transactions), transactions)

    def _append(self, rows: pa.Table, transactions: Mapping[str, int]) -> None:
        from deltalake import CommitProperties, Transaction, write_deltalake

        write_deltalake(
            self._delta,
            rows,
            mode="append",
            schema_mode=None if set(rows.schema.names) == self._column_names() else "merge",
            writer_properties=_writer_properties(),
            commit_properties=CommitProperties(app_transactions=[Transaction(*each) for each in transactions.items()]),
        )

    def _column_names(self) -> set[str]:
        return {each.name for each in self._delta.schema().fields}

    def _commit(self, write: Callable[[], object], transactions: Mapping[str, int] = NO_TRANSACTIONS) -> bool:
        """Call `write` until it commits, or fails for good; return False if one of the transactions exists already."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        self.refresh()
        n_failures = 0
        for left in range(MAX_TRIES, 0, -1):
            if self._has_any(transactions):
                return False
            try:
                write()
            except (DeltaError, OSError) as error:
                with suppress(DeltaError, OSError, StoreError):
                    self.refresh()
                if self._has_any(transactions):
                    return False
                n_failures += not isinstance(error, CommitFailedError)
                # A request to a store may have been carried out though it failed: a transaction tells.
                max_failures = MAX_LOST_REPLIES if self.location.is_remote and transactions else 0
                if n_failures > max_failures or left == 1:
                    raise self._cannot_write(error) from (None if self.location.is_remote else error)
            else:
                return True
            time.sleep(random.uniform(0, longest_pause_s(MAX_TRIES - left)))  # noqa: S311 - no secret
        return False

    def delete(self, condition: str) -> None:
        """Delete the rows of an existing table that meet a SQL condition, such as `run = 'ID'`.

        Raises:
            OutputError: the rows cannot be deleted.
        """
        self._commit(lambda: self._delta.delete(condition, writer_properties=_writer_properties()))

    def replace_files(self, files: Sequence[DataFile], pieces: Iterable[pa.Table]) -> None:
        """Replace some data files by new files of about `FILE_ROWS` rows each, in one commit.

        Files that other processes add in the meantime stay. (An overwrite with a predicate would not guarantee that:
        delta-rs issue 3622.)

        Args:
            files: the files to replace, all of one month; at least one.
            pieces: all rows of the new files, in their order, as one table after the other.

        Raises:
            OutputError: the files cannot be written, or another process has replaced them.
        """
        from deltalake.transaction import AddAction, RemoveAction

        now_ms = time.time_ns() // 1_000_000
        partition: dict[str, str | None] = {"month": files[0].month}
        with self._writing():
            added = [
                AddAction(path, n_bytes, partition, now_ms, data_change=False, stats=json.dumps(stats))
                for path, n_bytes, stats in self._write_files(f"month={files[0].month}", pieces)
            ]
            removed = [
                RemoveAction(
                    path=file.path,
                    data_change=False,
                    deletion_timestamp=now_ms,
                    size=file.n_bytes,
                    partition_values=partition,
                )
                for file in files
            ]
            self._delta.create_write_transaction(
                [*added, *removed], mode="append", schema=self._delta.schema(), partition_by=["month"]
            )

    def _write_files(self, folder: str, pieces: Iterable[pa.Table]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Write rows into files of about `FILE_ROWS` rows, and yield path, size and statistics of each file."""
        files = self._filesystem()
        waiting = iter(pieces)
        piece = next(waiting, None)
        while piece is not None:
            path = f"{folder}/part-{uuid4().hex}.zstd.parquet"
            schema = piece.drop_columns(["month"]).schema
            with (
                files.open_output_stream(path) as stream,
                _open_writer(stream, schema) as writer,
            ):
                n_rows = 0
                while piece is not None and n_rows < FILE_ROWS:
                    writer.write_table(piece.drop_columns(["month"]), row_group_size=ROW_GROUP_ROWS)
                    n_rows += len(piece)
                    piece = next(waiting, None)
            with files.open_input_file(path) as file:
                yield path, file.size(), _read_statistics(pq.read_metadata(file))

    def _filesystem(self) -> pa_fs.FileSystem:
        """Return the file system for writing the table's files; paths are relative to the table's folder."""
        if not self.location.is_remote:
            return self.location.filesystem(self.name)
        from deltalake.fs import DeltaStorageHandler

        return pa_fs.PyFileSystem(DeltaStorageHandler(self.uri, self._options))

    def compact(self) -> int:
        """Merge data files that are smaller than deltalake's target size; return the number of files that were merged.

        Raises:
            OutputError: the files cannot be written.
        """
        with self._writing():
            metrics = self._delta.optimize.compact(writer_properties=_writer_properties())
        return int(metrics["numFilesRemoved"])

    def checkpoint(self) -> None:
        """Write the state of the table's log into one file, which later readers need instead of the whole log.

        Raises:
            OutputError: the file cannot be written.
        """
        with self._writing():
            self._delta.create_checkpoint()

    def remove_unused_files(self, *, older_than_h: float) -> list[str]:
        """Remove files that no state of the table in the last `older_than_h` hours refers to.

        `older_than_h` is rounded up to whole hours. The returned paths of the removed files are relative to the table's
        folder.

        Raises:
            OutputError: the files cannot be removed.
        """
        with self._writing():
            return self._delta.vacuum(
                retention_hours=math.ceil(older_than_h), dry_run=False, enforce_retention_duration=False, full=True
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Convert errors of a disk or store to OutputErrors.

        Those of a store without a cause, which could quote secrets.

        Raises:
            OutputError: the table cannot be written.
        """
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (DeltaError, OSError) as error:
            raise self._cannot_write(error) from (None if self.location.is_remote else error)

    def _cannot_write(self, error: Exception) -> OutputError:
        cause = f"({_first_line(error)}). Check free space and access rights; what"
        if self.location.is_remote:
            cause = f"({describe_failure(error)}). What"
        return OutputError(
            f"the table cannot be written {cause} was committed is kept: run the same command again to resume.",
            subject=self.uri,
        )


def _open_writer(stream: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file for compacted rows, with statistics of the columns in `SELECTIVE` only, to keep its footer short."""
    selective = [name for name in SELECTIVE if name in schema.names]
    return pq.ParquetWriter(stream, schema, compression="zstd", compression_level=3, write_statistics=selective)


def _read_statistics(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Return the statistics of a file as Delta stores them: number of rows, and minimum and maximum by column."""
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    unknown: set[str] = set()
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            values, name = column.statistics, column.path_in_schema
            if values is not None and values.has_min_max and type(values.min) in (str, int, float):
                lowest[name] = min(lowest.get(name, values.min), values.min)
                highest[name] = max(highest.get(name, values.max), values.max)
            elif values is None or values.null_count is None or values.null_count < column.num_values:
                unknown.add(name)
    for name in unknown & lowest.keys():
        del lowest[name], highest[name]
    return {"numRecords": metadata.num_rows, "minValues": lowest, "maxValues": highest}


def longest_pause_s(n_refused: int) -> float:
    """Return the longest pause in seconds before a commit is repeated; the actual pause is random, from 0 to this.

    Args:
        n_refused: number of refused commits of the same rows before the latest refused one: 0 after the first refusal,
            which gives `FIRST_PAUSE_S`. The result doubles with each refusal, up to `MAX_PAUSE_S`.
    """
    return min(FIRST_PAUSE_S * 2.0**n_refused, MAX_PAUSE_S)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _writer_properties() -> Any:
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP_ROWS)


def check_columns(table: ArchiveTable, columns: Sequence[str] | None) -> list[str]:
    """Return the names of the columns to read: the given ones, or all if None or empty.

    Raises:
        InputError: the table has no column of one of these names.
        StoreError, FormatError: see `ArchiveTable.reading`.
    """
    names: list[str] = table.dataset().schema.names if table.exists else SCHEMAS[table.name].names
    for column in columns or ():
        if column not in names:
            raise InputError(f"columns: expected some of {', '.join(names)}, got '{column}'.", subject=table.name)
    return list(columns or names)


def _map_ahead(threads: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the results of `work` in the order of the items; the threads work on some items in advance."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(threads.submit(work, item))
        if len(waiting) > N_REQUESTS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _split_fragment(
    fragment: pa_dataset.ParquetFileFragment, *, condition: pa_dataset.Expression | None, schema: pa.Schema
) -> list[pa_dataset.ParquetFileFragment]:
    """Return the parts of a file with row groups that may meet a condition, each of up to `GROUPS_AT_A_TIME` groups."""
    parts = fragment.split_by_row_group(condition, schema)
    ids = [group.id for part in parts for group in part.row_groups]
    return [fragment.subset(row_group_ids=ids[k : k + GROUPS_AT_A_TIME]) for k in range(0, len(ids), GROUPS_AT_A_TIME)]


def _read_fragment(
    fragment: pa_dataset.ParquetFileFragment,
    *,
    columns: list[str],
    condition: pa_dataset.Expression | None,
    schema: pa.Schema,
) -> pa.Table:
    return fragment.to_table(schema=schema, columns=columns, filter=condition)
