"""Delta Lake tables: the only module that imports deltalake.

delta-rs refuses a repeated transaction only while the table's object has an older state than the transaction. So a
transaction is looked up in the same object that is written then, and never by a path (delta-rs issue 2580).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq

from dawnchorus.archive.location import ArchiveLocation
from dawnchorus.archive.schemas import SCHEMAS, partition_columns
from dawnchorus.errors import InputError, MissingExtraError, OutputError

if TYPE_CHECKING:
    from deltalake import DeltaTable

MAX_TRIES = 20
"""Maximum number of attempts at a commit, which is repeated if another process was faster."""

ROW_GROUP_ROWS = 16_384
"""Rows that are read together. A species of a month fills few of these groups once a table is compacted."""

FILE_ROWS = 8_000_000
"""Rows of a file of compacted detections: some 100 MB."""

SELECTIVE = ("scientific_name", "site", "score", "start_time", "recording_id", "run", "attempt")
"""Columns with minimum and maximum in the statistics of files, by which readers skip parts of them."""

NO_TRANSACTIONS: Mapping[str, int] = MappingProxyType({})


def require_deltalake() -> None:
    """Check that deltalake is installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import deltalake  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "deltalake", extra="archive", purpose="An archive") from None


@dataclass(frozen=True)
class DataFile:
    """A file with rows of a table.

    Attributes:
        path: path in the folder of the table.
        n_bytes: size of the file.
        n_rows: number of its rows.
        month: month of its rows, where the table is divided by months.
    """

    path: str
    n_bytes: int
    n_rows: int
    month: str | None


class Table:
    """A table of an archive, which may not exist yet."""

    def __init__(self, location: ArchiveLocation, name: str) -> None:
        self.location, self.name = location, name

    @cached_property
    def _delta(self) -> DeltaTable:
        from deltalake import DeltaTable

        uri = self.location.table_uri(self.name)
        return DeltaTable(uri, storage_options=dict(self.location.storage_options) or None)

    @property
    def exists(self) -> bool:
        """True if the table is there."""
        from deltalake import DeltaTable

        uri = self.location.table_uri(self.name)
        return "_delta" in vars(self) or DeltaTable.is_deltatable(uri, dict(self.location.storage_options) or None)

    def refresh(self) -> None:
        """Read what was committed since."""
        if "_delta" in vars(self):
            self._delta.update_incremental()

    # ------------------------------------------------------------------ reading

    def dataset(self) -> pa_dataset.Dataset:
        """Return the rows as an Arrow data set, whose files are opened when they are read."""
        dataset: pa_dataset.Dataset = self._delta.to_pyarrow_dataset(filesystem=self.location.filesystem(self.name))
        return dataset

    def read(self, columns: Sequence[str] | None = None, condition: pa_dataset.Expression | None = None) -> pa.Table:
        """Read rows; no rows where there is no table."""
        if not self.exists:
            schema = SCHEMAS[self.name]
            return schema.empty_table().select(columns or schema.names)
        return self.dataset().to_table(columns=None if columns is None else list(columns), filter=condition)

    def list_partitions(self) -> list[dict[str, str]]:
        """List the values of the partition columns."""
        return list(self._delta.partitions()) if self.exists else []

    def has_transaction(self, name: str, version: int = 1) -> bool:
        """Return True if a transaction, in this version or a later one, is in the state that was read last."""
        done = self._delta.transaction_version(name) if self.exists else None
        return done is not None and done >= version

    def _has_any(self, transactions: Mapping[str, int]) -> bool:
        return any(self.has_transaction(*each) for each in transactions.items())

    def count_values(self, column: str) -> Counter[str]:
        """Count the rows with each value of a column of texts."""
        counts: Counter[str] = Counter()
        if self.exists:
            for batch in self.dataset().scanner(columns=[column]).to_batches():
                counted = pc.value_counts(batch.column(0))
                counts.update(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)))
        return counts

    def list_files(self) -> list[DataFile]:
        """List the files that hold the rows."""
        if not self.exists:
            return []
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        months = actions["partition.month"] if "partition.month" in actions.schema.names else [None] * len(actions)
        names = ("path", "size_bytes", "num_records")
        columns = [actions[name].to_pylist() for name in names]
        months = months if isinstance(months, list) else months.to_pylist()
        return [DataFile(*each) for each in zip(*columns, months, strict=True)]

    # ------------------------------------------------------------------ writing

    def create(self, schema: pa.Schema | None = None) -> None:
        """Create the table, if it is not there.

        Raises:
            OutputError: it cannot be written.
        """
        if self.exists:
            return
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        options = dict(self.location.storage_options) or None
        columns = SCHEMAS[self.name] if schema is None else schema
        try:
            DeltaTable.create(
                self.location.table_uri(self.name),
                columns,
                mode="ignore",
                partition_by=list(partition_columns(self.name)),
                storage_options=options,
            )
        except (DeltaError, OSError) as error:
            if not self.exists:  # else another process has created it meanwhile
                raise self._cannot_write(error) from error

    def append(self, rows: pa.Table, transactions: Mapping[str, int] = NO_TRANSACTIONS) -> bool:
        """Append rows in one commit, and return True; False if one of the transactions was committed before.

        Args:
            rows: the rows; columns that the table does not have are added to it.
            transactions: versions of transactions, by name.

        Raises:
            OutputError: they cannot be written.
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
        """Write, again where another process was faster; False if a transaction is there."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        self.refresh()
        for left in range(MAX_TRIES, 0, -1):
            if self._has_any(transactions):
                return False
            try:
                write()
            except (DeltaError, OSError) as error:
                with suppress(DeltaError, OSError):
                    self.refresh()
                if self._has_any(transactions):
                    return False
                if not isinstance(error, CommitFailedError) or left == 1:
                    raise self._cannot_write(error) from error
            else:
                return True
        return False

    def delete(self, condition: str) -> None:
        """Delete the rows of a SQL condition.

        Raises:
            OutputError: they cannot be deleted.
        """
        self._commit(lambda: self._delta.delete(condition, writer_properties=_writer_properties()))

    def replace_files(self, files: Sequence[DataFile], pieces: Iterable[pa.Table]) -> None:
        """Replace files of a month by new ones, with the rows of `pieces` in their order.

        Files that other processes add meanwhile stay. (An overwrite with a predicate would not be sure of that:
        delta-rs issue 3622.)

        Raises:
            OutputError: they cannot be written, or another process has replaced them.
        """
        from deltalake.exceptions import DeltaError
        from deltalake.transaction import AddAction, RemoveAction

        now_ms = time.time_ns() // 1_000_000
        partition: dict[str, str | None] = {"month": files[0].month}
        try:
            written = list(self._write_files(f"month={files[0].month}", pieces))
            added = [
                AddAction(path, n_bytes, partition, now_ms, data_change=False, stats=json.dumps(stats))
                for path, n_bytes, stats in written
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
        except (DeltaError, OSError) as error:
            raise self._cannot_write(error) from error

    def _write_files(self, folder: str, pieces: Iterable[pa.Table]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Write rows into files of at most about `FILE_ROWS`, and yield path, size and statistics of each."""
        files = self.location.filesystem(self.name)
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

    def compact(self) -> int:
        """Join small files, and return how many there were."""
        metrics = self._delta.optimize.compact(writer_properties=_writer_properties())
        return int(metrics["numFilesRemoved"])

    def checkpoint(self) -> None:
        """Write the state of the log into one file."""
        self._delta.create_checkpoint()

    def remove_unused_files(self, *, older_than_h: float) -> list[str]:
        """Remove files that no state of the last hours refers to, and return their names.

        Raises:
            OutputError: they cannot be removed.
        """
        from deltalake.exceptions import DeltaError

        try:
            return self._delta.vacuum(
                retention_hours=round(older_than_h), dry_run=False, enforce_retention_duration=False, full=True
            )
        except (DeltaError, OSError) as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: Exception) -> OutputError:
        return OutputError(
            f"the table cannot be written ({_first_line(error)}). Check free space and access rights; what was "
            f"committed is kept: run the same command again to resume.",
            subject=self.location.table_uri(self.name),
        )


def _open_writer(stream: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file of compacted rows; statistics of other columns would only make its footer longer."""
    selective = [name for name in SELECTIVE if name in schema.names]
    return pq.ParquetWriter(stream, schema, compression="zstd", compression_level=3, write_statistics=selective)


def _read_statistics(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Return the statistics of a file as Delta has them: number of rows, and smallest and largest values by column."""
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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _writer_properties() -> Any:
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP_ROWS)


def check_columns(table: Table, columns: Sequence[str] | None) -> list[str]:
    """Return the columns to read: those that are asked for, or all.

    Raises:
        InputError: the table has no such column.
    """
    names: list[str] = table.dataset().schema.names if table.exists else SCHEMAS[table.name].names
    for column in columns or ():
        if column not in names:
            raise InputError(f"columns: expected some of {', '.join(names)}, got '{column}'.", subject=table.name)
    return list(columns or names)
