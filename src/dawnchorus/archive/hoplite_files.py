"""Reader and writer of Perch-Hoplite databases.

A database has two files: `hoplite.sqlite` with recordings and windows, and `usearch.index` with vectors. The layout is
that of `SQLiteUSearchDB` of perch-hoplite 1.0, github.com/google-research/perch-hoplite. A window is a row with start
and end as two little-endian float64; its id is the key of its vector in the USearch index.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from dawnchorus.archive.vectors import HalfArray
from dawnchorus.errors import FormatError, MissingExtraError, NotFoundError

if TYPE_CHECKING:
    from usearch.index import Index

SQLITE_NAME = "hoplite.sqlite"
INDEX_NAME = "usearch.index"

INDEX_SETTINGS: dict[str, Any] = {
    "dtype": "float16",
    "metric_name": "IP",
    "expansion_add": 256,
    "expansion_search": 128,
}
"""Default settings of perch-hoplite's index, which it also stores in the metadata."""

_OFFSETS = np.dtype("<f8")

_TABLES = """
CREATE TABLE hoplite_metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE deployments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, project TEXT NOT NULL, latitude REAL, longitude REAL,
  UNIQUE (name, project)
);
CREATE TABLE recordings (
  id INTEGER PRIMARY KEY AUTOINCREMENT, filename TEXT NOT NULL, datetime TEXT,
  deployment_id INTEGER REFERENCES deployments (id) ON DELETE CASCADE,
  UNIQUE (id, deployment_id), UNIQUE (filename, deployment_id)
);
CREATE TABLE windows (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  recording_id INTEGER NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
  offsets FLOAT_LIST NOT NULL, UNIQUE (id, recording_id, offsets)
);
CREATE TABLE annotations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  recording_id INTEGER NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
  offsets FLOAT_LIST NOT NULL, label TEXT NOT NULL, label_type INTEGER NOT NULL, provenance TEXT NOT NULL,
  UNIQUE (id, recording_id, offsets)
);
CREATE INDEX idx_annotations ON annotations (recording_id, offsets, label, label_type, provenance);
CREATE INDEX idx_labels ON annotations (label, label_type, provenance);
CREATE INDEX idx_recordings_deployment_id ON recordings (deployment_id);
CREATE INDEX idx_windows_recording_id ON windows (recording_id);
"""


def require_usearch() -> None:
    """Check that USearch is installed.

    Raises:
        MissingExtraError: USearch is not installed.
    """
    try:
        import usearch.index  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            error.name or "usearch", extra="hoplite", purpose="A database of Perch-Hoplite"
        ) from None


class HopliteWriter:
    """Writer of a new database, which is complete after `save`.

    Args:
        folder: an existing, empty folder.
        dim: length of the vectors.

    Raises:
        sqlite3.OperationalError: no space, or no permission; also raised by the methods.
    """

    def __init__(self, folder: Path, *, dim: int) -> None:
        from usearch.compiled import MetricKind, ScalarKind
        from usearch.index import Index

        self._folder = folder
        self._db = sqlite3.connect(folder / SQLITE_NAME)
        self._db.executescript(_TABLES)
        self._index = Index(
            ndim=dim,
            metric=MetricKind.IP,
            dtype=ScalarKind.F16,
            expansion_add=INDEX_SETTINGS["expansion_add"],
            expansion_search=INDEX_SETTINGS["expansion_search"],
        )
        self._n_windows = 0
        self.add_metadata("usearch_config", {"embedding_dim": dim, **INDEX_SETTINGS})

    def add_metadata(self, key: str, value: dict[str, Any]) -> None:
        """Add an entry to the database's metadata: a new key, and a value that is stored as a JSON object."""
        self._db.execute("INSERT INTO hoplite_metadata VALUES (?, ?)", (key, json.dumps(value)))

    def add_deployment(self, name: str, project: str, latitude: float | None, longitude: float | None) -> int:
        """Add a deployment (a site) of a project, and return its id; degrees of an unknown location are None."""
        values = (name, project, latitude, longitude)
        return self._insert("INSERT INTO deployments (name, project, latitude, longitude) VALUES (?, ?, ?, ?)", values)

    def add_recording(self, filename: str, start_time: str | None, deployment: int) -> int:
        """Add a recording, and return its id.

        `filename` is unique among those of the deployment, `start_time` is in ISO 8601, None if unknown, and
        `deployment` is the id that `add_deployment` returned.
        """
        values = (filename, start_time, deployment)
        return self._insert("INSERT INTO recordings (filename, datetime, deployment_id) VALUES (?, ?, ?)", values)

    def _insert(self, statement: str, values: tuple[Any, ...]) -> int:
        number = self._db.execute(statement, values).lastrowid
        return int(number or 0)

    def add_windows(
        self, recordings: Sequence[int], offsets_s: npt.NDArray[np.float64], vectors: HalfArray, *, n_threads: int
    ) -> None:
        """Add windows of any recordings, with their embeddings.

        Args:
            recordings: id of each window's recording, as `add_recording` returned it.
            offsets_s: start and end of each window in seconds from the start of its recording [windows, 2].
            vectors: embeddings [windows, dim].
            n_threads: number of threads that add to the index.
        """
        keys = np.arange(1, len(recordings) + 1, dtype=np.uint64) + np.uint64(self._n_windows)
        blobs = (each.tobytes() for each in offsets_s.astype(_OFFSETS))
        rows = zip(keys.tolist(), recordings, blobs, strict=True)
        self._db.executemany("INSERT INTO windows (id, recording_id, offsets) VALUES (?, ?, ?)", rows)
        self._index.add(keys, np.ascontiguousarray(vectors), threads=n_threads)
        self._n_windows += len(recordings)

    def save(self) -> None:
        """Write all that was added to the folder, and close the database file; nothing can be added later.

        Raises:
            OSError: no space, or no permission.
        """
        self._db.commit()
        self._db.close()
        try:
            self._index.save(str(self._folder / INDEX_NAME))
        except RuntimeError as error:  # USearch has no other
            raise OSError(f"USearch: {error}") from error

    def close(self) -> None:
        """Close the database file, if it is open; without `save` before, the database is incomplete."""
        self._db.close()


@dataclass(frozen=True)
class HopliteRecording:
    """A recording in a database.

    Attributes:
        id: id of the recording.
        filename: path of the recording's file, absolute, or relative to a folder that the database's metadata may
            state.
        start_time: start time in ISO 8601 as in the database, with or without a UTC offset; None if unknown.
        site: name of the recording's deployment; None without a deployment.
        project: project of the deployment; None without a deployment.
        latitude: latitude of the deployment in degrees; None if unknown.
        longitude: longitude of the deployment in degrees; None if unknown.
        n_windows: number of the recording's windows.
    """

    id: int
    filename: str
    start_time: str | None
    site: str | None
    project: str | None
    latitude: float | None
    longitude: float | None
    n_windows: int


class HopliteReader:
    """Reader of an existing database; all methods raise FormatError if the files are damaged.

    Args:
        folder: folder of the database.

    Raises:
        NotFoundError: the folder has no database.
    """

    def __init__(self, folder: Path) -> None:
        for name in (SQLITE_NAME, INDEX_NAME):
            if not (folder / name).is_file():
                raise NotFoundError(f"it is no database of Perch-Hoplite: there is no {name} in it.", subject=folder)
        self._folder = folder

    def metadata(self) -> dict[str, Any]:
        """Return the database's metadata by key, each a dict of JSON values; see `HopliteWriter.add_metadata`.

        Raises:
            FormatError: the file is damaged, has other tables, or a value is not JSON.
        """
        try:
            return {key: json.loads(value) for key, value in self._query("SELECT key, value FROM hoplite_metadata")}
        except ValueError as error:
            raise FormatError(f"metadata: expected JSON ({error}).", subject=self._folder / SQLITE_NAME) from error

    def recordings(self) -> list[HopliteRecording]:
        """Return the recordings that have windows, in the order of their ids."""
        rows = self._query(
            "SELECT r.id, r.filename, r.datetime, d.name, d.project, d.latitude, d.longitude, count(w.id) "
            "FROM recordings r JOIN windows w ON w.recording_id = r.id "
            "LEFT JOIN deployments d ON d.id = r.deployment_id GROUP BY r.id ORDER BY r.id"
        )
        return [HopliteRecording(*row) for row in rows]

    def count_annotations(self) -> int:
        """Return the number of annotations, labels of windows by people or programs."""
        ((n,),) = self._query("SELECT count(*) FROM annotations")
        return int(n)

    def windows(self, recording: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
        """Return keys [windows], and start and end in seconds [windows, 2], of a recording's windows.

        The keys are those of the windows' vectors in the index, in ascending order. `recording` is the id of the
        recording; both arrays are empty if the database lacks it.

        Raises:
            FormatError: a window does not have exactly a start and an end.
        """
        rows = list(self._query("SELECT id, offsets FROM windows WHERE recording_id = ? ORDER BY id", (recording,)))
        content = b"".join(blob for _, blob in rows)
        if any(len(blob) != 2 * _OFFSETS.itemsize for _, blob in rows):
            raise FormatError("windows: expected a start and an end each.", subject=self._folder / SQLITE_NAME)
        return np.array([key for key, _ in rows], np.uint64), np.frombuffer(content, _OFFSETS).reshape(-1, 2)

    def _query(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query.

        Raises:
            FormatError: the file is damaged, or has other tables.
        """
        path = self._folder / SQLITE_NAME
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
                yield from db.execute(statement, values)
        except sqlite3.Error as error:
            raise FormatError(
                f"expected the tables of perch-hoplite 1.0 ({error}). Open it with that version first.", subject=path
            ) from error

    def open_index(self) -> Index:
        """Open the index of vectors, mapped into memory.

        Raises:
            FormatError: the file is damaged.
        """
        from usearch.index import Index

        path = self._folder / INDEX_NAME
        try:
            index = Index.restore(str(path), view=True)
        except (RuntimeError, ValueError, TypeError) as error:
            raise FormatError(f"cannot be read ({error}).", subject=path) from error
        if index is None:
            raise FormatError("it is no index of USearch.", subject=path)
        return index


def read_index(index: Index, keys: npt.NDArray[np.uint64], path: Path) -> HalfArray:
    """Return the vectors [windows, dim] with these keys, in their order; `path` is that of the index, for the error.

    Raises:
        FormatError: the index has no vector for one of the keys.
    """
    stored = cast("Iterable[npt.NDArray[np.float16] | None]", index.get(keys, "f16"))
    vectors = [None if each is None else np.asarray(each, "<f2") for each in stored]
    known = [each for each in vectors if each is not None]
    if len(known) < len(vectors):
        raise FormatError("the index has no vector for some windows.", subject=path)
    return np.stack(known).reshape(len(keys), index.ndim)
