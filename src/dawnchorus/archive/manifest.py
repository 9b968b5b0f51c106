"""Manifests: listings of recordings that are made once, divided into units, and stored ("pinned") in the archive.

A unit is a batch of recordings that are committed together. Since the manifest fixes the units, any number of shards
work on the same units, and a committed unit is never processed again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.delta import ArchiveTable
from dawnchorus.archive.schemas import MANIFEST, SCHEMAS
from dawnchorus.audio.file_names import read_name
from dawnchorus.errors import InputError
from dawnchorus.storage.paths import as_path

POSITION_BITS = 32
"""Number of bits, in a recording's id, for its position in the manifest; the manifest's number is before them."""

_TRANSACTION = "manifest"


@dataclass(frozen=True)
class UnitSize:
    """Limits of a unit; the limit that is reached first determines its size.

    Attributes:
        max_bytes: maximum size of the recordings in a unit, unless a single recording is larger.
        max_recordings: maximum number of recordings in a unit.
        min_bytes: lower bound for the maximum size that follows from `n_units`.
        n_units: number of units to aim at, so that shards get equal shares: the maximum size is the total size divided
            by `n_units`, but at least `min_bytes` and at most `max_bytes`.
        max_units: if units of `max_bytes` would be more than this number, units get larger, and `max_recordings` grows
            by the same factor. Each unit is a commit to every table, which takes longer the more commits there are
            (docs/SCALE.md).
        largest_bytes: maximum size of these larger units; it limits the memory of a process, and the work that is
            repeated when one is lost.

    Raises:
        InputError: a limit is not positive.
    """

    max_bytes: float = 1e9
    max_recordings: int = 500
    min_bytes: float = 64e6
    n_units: int = 200
    max_units: int = 5_000
    largest_bytes: float = 50e9

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            InputError: a limit is not positive.
        """
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"{name}: expected a positive number, got {value!r}.")

    def limit_bytes(self, total: float) -> float:
        """Return the maximum size in bytes of a unit of several recordings, in a manifest of `total` bytes."""
        usual = min(max(total / self.n_units, min(self.min_bytes, self.max_bytes)), self.max_bytes)
        return max(usual, min(total / self.max_units, self.largest_bytes))

    def limit_recordings(self, total: float) -> int:
        """Return the maximum number of recordings in a unit in a manifest of `total` bytes."""
        return round(self.max_recordings * max(self.limit_bytes(total) / self.max_bytes, 1.0))


@dataclass(frozen=True)
class ListedFile:
    """A file in a manifest.

    Attributes:
        name: path as it was given, for tables.
        path: absolute path or URL, encoded by `os.fsencode`.
        n_bytes: size in bytes; None if the file does not exist, and in an import.
        version: text that changes with the file: its modification time in nanoseconds, the store's version of the
            object, or in an import the number of windows, such as "12 windows"; None if the file does not exist.
    """

    name: str
    path: bytes
    n_bytes: int | None
    version: str | None

    @property
    def signature(self) -> tuple[int | None, str | None]:
        """Size in bytes and version of the file, by which changes are detected; see the attributes."""
        return self.n_bytes, self.version

    @property
    def full_path(self) -> Path:
        """Absolute path of the file; in a store, its URL as a `storage.paths.RemotePath`."""
        return as_path(os.fsdecode(self.path))


@dataclass(frozen=True)
class Entry:
    """A recording in a manifest.

    Attributes:
        recording_id: id of the recording in this manifest, unique in the archive; a recording that a later manifest
            lists again gets another id there.
        unit: name of the recording's unit, the batch of recordings that it is committed with.
        file: the file, with size and version at the time of listing.
    """

    recording_id: int
    unit: str
    file: ListedFile

    @property
    def path(self) -> Path:
        """Absolute path of the file; in a store, its URL as a `storage.paths.RemotePath`."""
        return self.file.full_path


@dataclass(frozen=True)
class Shard:
    """One of several about equally large parts of a manifest's units.

    Attributes:
        index: number of this shard, from 1 to `count`.
        count: number of shards.

    Raises:
        InputError: `index` is not from 1 to `count`.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard in a text like `2/8`.

        Raises:
            InputError: the text is not two numbers, or the first is not from 1 to the second.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.strip().isdecimal() and count.strip().isdecimal()):
            raise InputError(f"shard: expected a number and their count like 2/8, got {text!r}.")
        return cls(int(index), int(count))

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: `index` is not from 1 to `count`.
        """
        if not 1 <= self.index <= self.count:
            raise InputError(
                f"shard: expected a number from 1 to the count of shards, got {self.index}/{self.count}."
                + (" The first shard is 1." if self.index == 0 else "")
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def select(self, sizes: Mapping[str, int]) -> list[str]:
        """Return the names of this shard's units, which follow each other in the manifest; may be empty.

        `sizes` has the size in bytes of each unit by name, in the manifest's order. The total size is divided into
        `count` equal parts, and a unit belongs to the shard whose part contains the unit's middle.
        """
        shards = assign_shards(list(sizes.values()), self.count)
        return [unit for unit, each in zip(sizes, shards.tolist(), strict=True) if each == self.index]


def assign_shards(sizes: Sequence[int], count: int) -> npt.NDArray[np.int64]:
    """Return the number of each unit's shard, from 1 to `count` [units]; see `Shard.select`.

    `sizes` are the units' sizes in bytes, and `count` is the number of shards.
    """
    n_bytes = np.maximum(np.array(sizes, np.float64), 1.0)
    middle = np.cumsum(n_bytes) - n_bytes / 2
    shards: npt.NDArray[np.int64] = np.floor(middle * count / max(n_bytes.sum(), 1.0)).astype(np.int64)
    return np.minimum(shards, count - 1) + 1


def cut_units(files: Sequence[ListedFile], size: UnitSize) -> list[int]:
    """Divide files into units within the limits of `size`; return the number of each file's unit, from 0 [files].

    A unit has files of one month by their names; files without a time in their names have units of their own. Tables
    are partitioned by month, so that a unit then adds one file to each table. Files are sorted by month first, or each
    folder of a listing would have small units.
    """
    total = sum(file.n_bytes or 0 for file in files)
    limit, max_recordings = size.limit_bytes(total), size.limit_recordings(total)
    units = [0] * len(files)
    months = [_month(file) for file in files]
    number, n_bytes, n_files, month = 0, 0, 0, ""
    for index in sorted(range(len(files)), key=months.__getitem__):
        file_bytes = files[index].n_bytes or 0
        is_full = n_files >= max_recordings or n_bytes + file_bytes > limit or months[index] != month
        if n_files and is_full:
            number, n_bytes, n_files = number + 1, 0, 0
        units[index] = number
        n_bytes, n_files, month = n_bytes + file_bytes, n_files + 1, months[index]
    return units


def _month(file: ListedFile) -> str:
    named = read_name(PurePath(file.name))
    return "" if named is None or named.start_time is None else f"{named.start_time:%Y-%m}"


@dataclass(frozen=True)
class Manifest:
    """A listing of recordings that is stored in the archive.

    Attributes:
        number: number of the manifest in the archive, from 1.
        run: id of the run.
        source: digest of the paths that the run was given, or of the path of the imported database; in a run that
            rescores embeddings, the id of the run that stored them.
    """

    number: int
    run: str
    source: str

    @property
    def condition(self) -> pa_dataset.Expression:
        """Condition that selects this manifest's rows in the table of manifests."""
        field = pa_dataset.field
        return (field("run") == self.run) & (field("source") == self.source) & (field("manifest") == self.number)


def list_manifests(table: ArchiveTable) -> list[Manifest]:
    """Return the manifests of an archive in the order in which they were stored.

    `table` is the archive's table of manifests (`schemas.MANIFEST`), of which the latest version is read.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    table.refresh()
    listed = {(int(each["manifest"]), each["run"], each["source"]) for each in table.list_partitions()}
    return [Manifest(*each) for each in sorted(listed)]


def next_number(manifests: Iterable[Manifest]) -> int:
    """Return the number of the next manifest: 1 more than the highest, or 1."""
    return max((manifest.number for manifest in manifests), default=0) + 1


def pin_manifest(
    table: ArchiveTable, *, number: int, run: str, source: str, files: Sequence[ListedFile], size: UnitSize
) -> bool:
    """Store a manifest; return False, without storing it, if one with this number was stored in the meantime.

    Args:
        table: table of manifests.
        number: `next_number` of the manifests that existed before the files were listed.
        run: id of the run.
        source: value for `Manifest.source`.
        files: files of the recordings to list.
        size: limits of the units.

    Raises:
        OutputError: the manifest cannot be written.
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    ids = (number << POSITION_BITS) + np.arange(len(files), dtype=np.int64)
    columns = {
        "recording_id": pa.array(ids, pa.int64()),
        "unit": pa.array([name_unit(number, unit) for unit in cut_units(files, size)], pa.string()),
        "recording": pa.array([file.name for file in files], pa.string()),
        "path": pa.array([file.path for file in files], pa.binary()),
        "n_bytes": pa.array([file.n_bytes for file in files], pa.int64()),
        "version": pa.array([file.version for file in files], pa.string()),
        "run": pa.array([run] * len(files), pa.string()),
        "source": pa.array([source] * len(files), pa.string()),
        "manifest": pa.array([number] * len(files), pa.int32()),
    }
    rows = pa.table(columns, schema=SCHEMAS[MANIFEST])
    return table.append(rows, {_TRANSACTION: number})


def name_unit(manifest: int, unit: int) -> str:
    """Return the name of unit `unit` (from 0) in the manifest with the number `manifest`, such as "1-000004"."""
    return f"{manifest}-{unit:06d}"


def unit_sizes(table: ArchiveTable, manifests: Iterable[Manifest]) -> dict[str, int]:
    """Return the size in bytes of each unit by name, in the order of `manifests`; missing files count as 0.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    sizes: dict[str, int] = {}
    for manifest in manifests:
        rows = table.read(["unit", "n_bytes"], manifest.condition)
        grouped = rows.group_by("unit").aggregate([("n_bytes", "sum")]).sort_by("unit")
        units, n_bytes = grouped["unit"].to_pylist(), grouped["n_bytes_sum"].to_pylist()
        sizes |= {unit: size or 0 for unit, size in zip(units, n_bytes, strict=True)}
    return sizes


def read_entries(table: ArchiveTable, manifests: Iterable[Manifest], units: Iterable[str]) -> list[Entry]:
    """Return the recordings of those units of the manifests whose names are in `units`.

    They are in the order of `manifests`, and in each manifest in ascending order of `recording_id`.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    condition = pa_dataset.field("unit").isin(pa.array(list(units), pa.string()))
    entries: list[Entry] = []
    for manifest in manifests:
        rows = table.read(condition=manifest.condition & condition).sort_by("recording_id")
        columns = ("recording_id", "unit", "recording", "path", "n_bytes", "version")
        for recording_id, unit, *file in zip(*(rows[name].to_pylist() for name in columns), strict=True):
            entries.append(Entry(recording_id, unit, ListedFile(*file)))
    return entries


def latest_signatures(table: ArchiveTable, run: str) -> dict[bytes, tuple[int | None, str | None]]:
    """Return `ListedFile.signature` by `ListedFile.path` of all files that a run has listed.

    If several manifests of the run list a file, the latest one counts.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    rows = table.read(["path", "n_bytes", "version", "recording_id"], pa_dataset.field("run") == run)
    rows = rows.sort_by("recording_id")
    columns = (rows[name].to_pylist() for name in ("path", "n_bytes", "version"))
    return {path: (n_bytes, version) for path, n_bytes, version in zip(*columns, strict=True)}
