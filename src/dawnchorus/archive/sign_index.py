"""Derived files for searches: the signs and rows of the embeddings in each data file, mapped into memory.

The signs are those of unit vectors from which the mean of all is subtracted, and which are then rotated. The number of
signs in which two vectors differ grows with the angle between them (Charikar 2002, doi:10.1145/509907.509965), so only
the vectors that differ in the fewest signs are compared exactly. Embeddings may be never negative; centering and
rotation make their signs informative.

A derived file is an Arrow IPC file without compression, with a 64-bit column for every 64 signs, the embeddings, and
the columns that decide if a row is current and which window it belongs to. It belongs to one data file, which never
changes, and is removed with that file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import platformdirs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.delta import ArchiveTable
from dawnchorus.archive.location import ArchiveLocation
from dawnchorus.archive.schemas import EMBEDDINGS
from dawnchorus.archive.vectors import HalfArray, read_vectors
from dawnchorus.arrays import FloatArray
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.storage.paths import is_remote

FOLDER = "search"
"""Folder of derived files in an archive."""

LAYOUT = "1"
"""Version of the layout of derived files; files of other versions are replaced."""

BLOCK_ROWS = 8_192
"""Number of rows in a block, which are processed together: their signs fit into a core's cache."""

SAMPLE_ROWS = 20_000
"""Number of embeddings from which the mean is computed."""

SAMPLE_FILES = 64

UNFINISHED_S = 24 * 3600.0
"""Age in seconds from which an unfinished file is considered abandoned."""

SEED = 22
"""Seed of the rotation, so that it is the same in all archives."""

_COPIED = ("recording_id", "attempt", "start_s", "end_s", "channel", "embedding")

_SIGNS = "signs_"
"""Prefix of the names of columns with signs."""

SPACE_NAME = "space.npz"

Words = list[npt.NDArray[np.uint64]]
"""Signs of vectors, as 64-bit words: one array [vectors] for every 64 signs."""


@dataclass(frozen=True)
class Space:
    """Transformation of embeddings before their signs are taken, fixed at the first search for a model's embeddings.

    The mean is subtracted, and the result is rotated.

    Attributes:
        mean: mean of the embeddings, each scaled to length 1 [dim].
        rotation: orthogonal matrix [dim, dim].
    """

    mean: FloatArray
    rotation: FloatArray

    @classmethod
    def create(cls, sample: FloatArray) -> Space:
        """Create the space from a sample of embeddings [n, dim]; without embeddings (n = 0), the mean is 0."""
        dim = sample.shape[1]
        mean = normalize(sample).mean(axis=0) if len(sample) else np.zeros(dim)
        gaussian = np.random.default_rng(SEED).standard_normal((dim, dim))
        return cls(mean.astype(np.float32), np.linalg.qr(gaussian)[0].astype(np.float32))

    @cached_property
    def id(self) -> str:
        """First 16 hexadecimal digits of the sha256 of mean and rotation, stored in the derived files of this space."""
        return hashlib.sha256(self.mean.tobytes() + self.rotation.tobytes()).hexdigest()[:16]

    @property
    def n_words(self) -> int:
        """Number of 64-bit words for a vector's signs."""
        return -(-len(self.mean) // 64)

    def signs(self, vectors: FloatArray) -> Words:
        """Return the signs of vectors [n, dim] as `n_words` arrays [n] of 64-bit words.

        A bit is 1 if the transformed value is positive; bits beyond `dim` are 0.
        """
        rotated = (normalize(vectors) - self.mean) @ self.rotation
        packed = np.zeros((len(vectors), 8 * self.n_words), np.uint8)
        bits = np.packbits(rotated > 0, axis=1)
        packed[:, : bits.shape[1]] = bits
        return list(np.ascontiguousarray(packed.view("<u8").T))


def normalize(vectors: FloatArray) -> FloatArray:
    """Return a copy of vectors [n, dim] scaled to Euclidean length 1; zero vectors stay zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    lengths[lengths == 0] = 1
    unit: FloatArray = vectors / lengths[:, np.newaxis]
    return unit


@dataclass(frozen=True)
class Block:
    """A block of rows of a derived file, one row per embedding.

    Attributes:
        batch: the columns `recording_id`, `attempt`, `start_s`, `end_s`, `channel`, `signs_0` and so on, and
            `embedding`, in mapped memory.
        attempts: names of attempts; the column `attempt` has indices into them.
        dim: length of an embedding.
    """

    batch: pa.RecordBatch
    attempts: tuple[str, ...]
    dim: int

    def __len__(self) -> int:
        return len(self.batch)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return the numeric column with the name `name` [rows]."""
        values: npt.NDArray[Any] = self.batch[name].to_numpy()
        return values

    @property
    def words(self) -> Words:
        """Signs of the rows, as 64-bit words: one array [rows] for every 64 signs."""
        return [self.column(name) for name in self.batch.schema.names if name.startswith(_SIGNS)]

    @property
    def vectors(self) -> HalfArray:
        """Embeddings [rows, dim], float16."""
        column = self.batch["embedding"]
        values = np.frombuffer(column.buffers()[1], "<f2").reshape(-1, self.dim)
        return values[column.offset : column.offset + len(column)]


class SignIndex:
    """Derived files for the embeddings of one model in an archive.

    The files are in the archive's folder, or in this machine's cache if the archive cannot be written or is in a store.

    Args:
        location: location of the archive.
        bundle_id: id of the model.
        runs: ids of the model's runs with embeddings.
        dim: length of an embedding.
        cache: folder of this machine's cache; None for the user's cache.
        workers: number of threads that create derived files.
    """

    def __init__(
        self,
        location: ArchiveLocation,
        *,
        bundle_id: str,
        runs: Sequence[str],
        dim: int,
        cache: Path | None = None,
        workers: int = 1,
    ) -> None:
        self._table, self._dim, self._workers = ArchiveTable(location, EMBEDDINGS), dim, workers
        self._runs = pa.array(list(runs), pa.string())
        self._folders = [folder / bundle_id for folder in index_folders(location, cache)]

    def open(self) -> list[Block]:
        """Return the rows of all data files in blocks; create missing derived files.

        Raises:
            OutputError: the derived files cannot be written.
            FormatError: a data file on a disk is damaged or missing.
            StoreError: the store failed.
        """
        files = self._list_files()
        opened = {file.path: self._find(file) for file in files}
        missing = [file for file in files if opened[file.path] is None]
        with ThreadPoolExecutor(self._workers) as pool:
            opened |= dict(zip((file.path for file in missing), pool.map(self._make, missing), strict=True))
        return [block for blocks in opened.values() for block in blocks or ()]

    @cached_property
    def space(self) -> Space:
        """Mean and rotation for the model's embeddings; created and stored at the first search, read at later ones.

        Raises:
            OutputError: the space cannot be written.
            StoreError, FormatError: the embeddings cannot be read, see `delta.ArchiveTable.reading`.
        """
        for folder in self._folders:
            if (space := _read_space(folder / SPACE_NAME, self._dim)) is not None:
                return space
        space = Space.create(self._sample())
        path = self._folder / SPACE_NAME
        with _new_file(path, is_kept=not path.exists()) as stream:  # a damaged one is replaced
            np.savez(stream, mean=space.mean, rotation=space.rotation)
        return _read_space(path, self._dim) or space  # of two processes at once, the first one's

    @cached_property
    def _folder(self) -> Path:
        """The first folder that can be written.

        Raises:
            OutputError: no folder can be written.
        """
        *firsts, last = self._folders
        for folder in firsts:
            if _can_write(folder):
                return folder
        try:
            last.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(last, error) from error
        return last

    def _sample(self) -> FloatArray:
        """Return a sample of embeddings from all parts of the archive [n, dim]."""
        files = self._list_files()
        chosen = files[:: max(len(files) // SAMPLE_FILES, 1)]
        n_each = SAMPLE_ROWS // max(len(chosen), 1) + 1
        parts = [np.zeros((0, self._dim), np.float32)]
        for file in chosen:
            n_left = n_each
            for rows in self._read(file, columns=["embedding"]):
                parts.append(read_vectors(rows["embedding"], self._dim)[:n_left].astype(np.float32))
                n_left -= len(parts[-1])
                if not n_left:
                    break
        return np.concatenate(parts)

    def _list_files(self) -> list[pa_dataset.ParquetFileFragment]:
        with self._table.reading():
            return list(self._table.dataset().get_fragments()) if self._table.exists else []

    def _find(self, file: pa_dataset.ParquetFileFragment) -> list[Block] | None:
        """Return the blocks of an existing derived file of the current space; None if there is none."""
        for folder in self._folders:
            blocks = _map_blocks(folder / _derived_name(file.path), self.space, self._dim)
            if blocks is not None:
                return blocks
        return None

    def _make(self, file: pa_dataset.ParquetFileFragment) -> list[Block]:
        """Create the derived file of a data file, and return its blocks."""
        path = self._folder / _derived_name(file.path)
        rows = (batch["attempt"].unique().to_pylist() for batch in self._read(file, columns=["attempt"]))
        attempts = sorted({name for names in rows for name in names})
        schema = _derived_schema(self.space, attempts)
        with _new_file(path) as stream, pa.ipc.new_file(stream, schema) as writer:
            for batch in self._read(file, columns=_COPIED):
                writer.write_batch(_derive(batch, self.space, schema, pa.array(attempts, pa.string())))
        return _map_blocks(path, self.space, self._dim) or []

    def _read(self, file: pa_dataset.ParquetFileFragment, *, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the model's runs in a data file."""
        with self._table.reading():
            # Little ahead, and on this thread: many files are read at the same time.
            batches = file.to_batches(
                columns=[*columns, "run"], batch_size=BLOCK_ROWS, batch_readahead=1, use_threads=False
            )
            for batch in batches:
                rows = batch.filter(pc.is_in(batch["run"], value_set=self._runs))
                if len(rows):
                    yield rows


def _can_write(folder: Path) -> bool:
    """Return True if files can be created in a folder, which is created if it does not exist."""
    probe = folder / f".{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)  # which is said when it is written
    return True


@contextmanager
def _new_file(path: Path, *, is_kept: bool = False) -> Iterator[BinaryIO]:
    """Open a file that is put in place when it is complete, even if other processes write the same file.

    If `is_kept` is True, a file that exists by then is not replaced.

    Raises:
        OutputError: no space, or no permission.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with atomic_file(part) as stream:
            yield stream
        if not (is_kept and _link(part, path)):
            os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _link(part: Path, path: Path) -> bool:
    """Link a file to a second path unless that exists; return False on a file system without links."""
    try:
        os.link(part, path)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _derived_schema(space: Space, attempts: Sequence[str]) -> pa.Schema:
    columns = [
        ("recording_id", pa.int64()),
        ("attempt", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("channel", pa.int16()),
        *((f"{_SIGNS}{k}", pa.uint64()) for k in range(space.n_words)),
        ("embedding", pa.binary(2 * len(space.mean))),
    ]
    return pa.schema(columns, {"layout": LAYOUT, "space": space.id, "attempts": json.dumps(attempts)})


def _derive(rows: pa.RecordBatch, space: Space, schema: pa.Schema, attempts: pa.Array) -> pa.RecordBatch:
    """Return a block of a derived file for rows of a data file."""
    vectors = read_vectors(rows["embedding"], len(space.mean))
    content = pa.py_buffer(np.ascontiguousarray(vectors))
    columns = {
        **{name: rows[name] for name in _COPIED},
        "attempt": pc.index_in(rows["attempt"], value_set=attempts),
        **{f"{_SIGNS}{k}": pa.array(word) for k, word in enumerate(space.signs(vectors.astype(np.float32)))},
        "embedding": pa.Array.from_buffers(schema.field("embedding").type, len(rows), [None, content]),
    }
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _read_space(path: Path, dim: int) -> Space | None:
    """Read a space; None if the file does not exist, is damaged, or has another dimension."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            space = Space(arrays["mean"], arrays["rotation"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return space if space.mean.shape == (dim,) and space.rotation.shape == (dim, dim) else None


def _map_blocks(path: Path, space: Space, dim: int) -> list[Block] | None:
    """Map a derived file into memory; None if it does not exist, is damaged, or has another space or layout."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowInvalid):
        return None
    metadata = reader.schema.metadata or {}
    if (metadata.get(b"layout"), metadata.get(b"space")) != (LAYOUT.encode(), space.id.encode()):
        return None
    attempts = tuple(json.loads(metadata[b"attempts"]))
    return [Block(reader.get_batch(k), attempts, dim) for k in range(reader.num_record_batches)]


def _derived_name(path: str) -> str:
    return f"{path.replace('/', '_')}.arrow"


# ---------------------------------------------------------------------- folders


def index_folders(location: ArchiveLocation, cache: Path | None = None) -> list[Path]:
    """Return the folders for derived files, in order of preference.

    For an archive on a disk, the first is in the archive's folder. The last one, for a store the only one, is in this
    machine's cache: in the folder `cache`, or, if that is None, in the user's cache.
    """
    name = hashlib.sha256(os.fsencode(location.root)).hexdigest()[:16]
    cached = (cache or platformdirs.user_cache_path("dawnchorus") / FOLDER) / name
    # Those of a store are on this machine, since they are mapped into memory.
    return [cached] if is_remote(location.root) else [location.root / FOLDER, cached]


def drop_unused(location: ArchiveLocation, cache: Path | None = None) -> int:
    """Remove derived files whose data file is no longer part of the archive, and return the number of removed files.

    Unfinished files are removed as well if they are older than `UNFINISHED_S` seconds. `cache` is as for
    `index_folders`.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    used = {_derived_name(file.path) for file in ArchiveTable(location, EMBEDDINGS).list_files()}
    folders = index_folders(location, cache)
    unused = [path for folder in folders for path in folder.glob("*/[!.]*.arrow") if path.name not in used]
    old_s = time.time() - UNFINISHED_S
    unused += [path for folder in folders for path in folder.glob("*/.*") if path.stat().st_mtime < old_s]
    for path in unused:
        path.unlink(missing_ok=True)
    return len(unused)
