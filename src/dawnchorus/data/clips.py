"""Prepared clips on disk: 16-bit samples in large memory-mapped files, and a table that describes them.

Files in the folder:

- `clips-00000.i16`, ... (shards): the samples of all clips in a row, little-endian, without a header.
- `clips.parquet` (the index): a row per clip with its shard, its position there, its recording, start and end in
  seconds, species, license and recordist.
- `prepare.sqlite` (the journal): the recipe (`dawnchorus.data.recipes`) and the recordings prepared so far, from which
  an interrupted run resumes.
- `recordings.parquet`: the recordings table, so that training and evaluation can read the folder as a data set.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from dawnchorus.data.recipes import recipe_fields
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.errors import BusyError, FormatError, InputError, OutputError
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.storage.files import atomic_file
from dawnchorus.storage.parquet_files import reading_parquet

INDEX_NAME, JOURNAL_NAME, LOCK_NAME = "clips.parquet", "prepare.sqlite", ".prepare.lock"
MAX_SHARD_BYTES = 1 << 29
SAMPLE = np.dtype("<i2")
FULL_SCALE = 32_767

INDEX = pa.schema(
    [
        ("recording_id", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("scientific_name", pa.string()),
        ("secondary", pa.list_(pa.string())),
        ("kind", pa.string()),
        ("split", pa.string()),
        ("license", pa.string()),
        ("recordist", pa.string()),
        ("url", pa.string()),
    ]
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS recordings (
    recording_id TEXT PRIMARY KEY, key TEXT NOT NULL, shard INTEGER NOT NULL, first INTEGER NOT NULL,
    times TEXT NOT NULL, cuts TEXT NOT NULL
) STRICT;
"""
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_OLD_TABLE = ("about",)
"""Result row of `_TABLES` in journals written before 2026-12, whose table `metadata` was named `about`."""


@dataclass(frozen=True)
class ClipLocation:
    """Position of a recording's clips in a shard.

    Attributes:
        key: digest of all that the clips depend on: the audio, the recipe, the seed.
        shard: number of the shard.
        first: position of the recording's first clip in the shard, counted in clips; its other clips follow.
        times: start and end of each clip, in seconds of the original recording.
        cuts: start and end of each segment that cleaning removed before clips were cut, in seconds of the original
            recording.
    """

    key: str
    shard: int
    first: int
    times: list[tuple[float, float]]
    cuts: list[tuple[float, float]]


class ClipWriter:
    """Writer of prepared clips to a folder, one recording at a time; the folder is locked until `close`.

    Recordings that the folder has already stay; `add` appends others.

    Args:
        folder: the folder, which is created if missing.
        window_samples: number of samples of a clip.
        recipe: `Recipe.as_json()` and the key "seed"; a folder contains clips of one recipe only.
        wait_s: maximum time to wait for another process that writes to the folder; 0: do not wait.

    Raises:
        InputError: the folder contains clips of another recipe or seed.
        BusyError: another process still writes to the folder after `wait_s`.
        OutputError: no space, or no permission; also raised by the methods.
    """

    def __init__(self, folder: Path, *, window_samples: int, recipe: dict[str, Any], wait_s: float = 0.0) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK_NAME, timeout=wait_s)
        self._clip_bytes = window_samples * SAMPLE.itemsize
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._open(recipe)
        except Timeout:
            raise BusyError(
                "another process is preparing clips here. Wait for it, or choose another.", subject=folder
            ) from None
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise OutputError(
                f"cannot be written ({error}). Check free space and access rights.", subject=folder
            ) from error
        except InputError:
            self._lock.release()
            raise

    def _open(self, recipe: dict[str, Any]) -> None:
        """Open the journal and the last shard."""
        self._db = sqlite3.connect(self.folder / JOURNAL_NAME, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        if _OLD_TABLE in self._db.execute(_TABLES).fetchall():
            self._db.execute("ALTER TABLE about RENAME TO metadata")
        self._db.executescript(_SCHEMA)
        known = self._db.execute("SELECT value FROM metadata WHERE name = 'recipe'").fetchone()
        if known is not None and json.loads(known[0]) != recipe:
            self._db.close()
            raise InputError(
                "it holds clips of another recipe. Choose another folder, or delete it.", subject=self.folder
            )
        self._db.execute("INSERT OR IGNORE INTO metadata VALUES ('recipe', ?)", [json.dumps(recipe)])
        self._shard, self._n_rows = self._end()
        self._file: BinaryIO = self._open_shard()

    def find_location(self, recording_id: str) -> ClipLocation | None:
        """Return the position of a recording's clips; None if this recording_id is not prepared."""
        row = self._db.execute(
            "SELECT key, shard, first, times, cuts FROM recordings WHERE recording_id = ?", [recording_id]
        ).fetchone()
        return None if row is None else ClipLocation(row[0], row[1], row[2], _pairs(row[3]), _pairs(row[4]))

    def add(
        self,
        recording_id: str,
        key: str,
        clips: Path,
        times: Sequence[tuple[float, float]],
        cuts: Sequence[tuple[float, float]],
    ) -> None:
        """Append a recording's clips; they survive if the process is killed afterwards.

        Clips that the recording had before are no longer found, but stay in their shard.

        Args:
            recording_id: the recording.
            key: digest of all that the clips depend on, see `ClipLocation.key`.
            clips: file with the samples of all clips in a row, 16-bit, little-endian, without a header.
            times: start and end of each clip, in seconds of the original recording.
            cuts: start and end of each segment that cleaning removed before clips were cut, in seconds of the original
                recording.

        Raises:
            OutputError: no space, or no permission.
        """
        try:
            if self._n_rows and (self._n_rows + len(times)) * self._clip_bytes > MAX_SHARD_BYTES:
                self._file.close()
                self._shard, self._n_rows = self._shard + 1, 0
                self._file = self._open_shard()
            with clips.open("rb") as source:
                shutil.copyfileobj(source, self._file, 1 << 20)
            self._file.flush()
            self._db.execute(
                "INSERT OR REPLACE INTO recordings VALUES (?, ?, ?, ?, ?, ?)",
                [recording_id, key, self._shard, self._n_rows, json.dumps(times), json.dumps(cuts)],
            )
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"cannot be written ({error}). Check free space, and run the same command again to resume.",
                subject=self.folder,
            ) from error
        self._n_rows += len(times)

    def write_index(self, rows: Sequence[RecordingRow]) -> int:
        """Write the index `clips.parquet` of the clips of the recordings `rows`, and return the number of clips.

        Recordings that are not prepared are left out, and so are prepared ones that are not in `rows`. An index that
        exists is replaced.

        Raises:
            OutputError: no space, or no permission.
        """
        n = 0
        with (
            atomic_file(self.folder / INDEX_NAME) as stream,
            pq.ParquetWriter(stream, INDEX, compression="zstd") as out,
        ):
            waiting: list[dict[str, Any]] = []
            for row in rows:
                waiting.extend(self._index_rows(row))
                if len(waiting) >= 50_000:
                    out.write_table(pa.Table.from_pylist(waiting, INDEX))
                    n, waiting = n + len(waiting), []
            out.write_table(pa.Table.from_pylist(waiting, INDEX))
        return n + len(waiting)

    def close(self) -> None:
        """Close the files, and unlock the folder."""
        self._file.close()
        self._db.close()
        self._lock.release()

    def _index_rows(self, row: RecordingRow) -> Iterator[dict[str, Any]]:
        location = self.find_location(row.recording_id)
        if location is None:
            return
        row_fields = {name: getattr(row, name) for name in INDEX.names if hasattr(row, name)}
        for k, (start_s, end_s) in enumerate(location.times):
            yield {**row_fields, "start_s": start_s, "end_s": end_s, "shard": location.shard, "row": location.first + k}

    def _end(self) -> tuple[int, int]:
        """Return the number of the last shard, to which clips are appended, and the number of its valid clips."""
        last = self._db.execute("SELECT shard, first, times FROM recordings ORDER BY shard DESC, first DESC").fetchone()
        return (0, 0) if last is None else (last[0], last[1] + len(json.loads(last[2])))

    def _open_shard(self) -> BinaryIO:
        """Open the last shard, and remove samples that an interrupted run wrote after the last valid clip."""
        path = shard_path(self.folder, self._shard)
        path.touch()
        file = path.open("r+b")
        file.truncate(self._n_rows * self._clip_bytes)
        file.seek(0, 2)
        return file


def _pairs(text: str) -> list[tuple[float, float]]:
    return [(a, b) for a, b in json.loads(text)]


def shard_path(folder: Path, number: int) -> Path:
    """Return the path of the shard with this number (from 0), such as `clips-00000.i16` in `folder`."""
    return folder / f"clips-{number:05d}.i16"


@contextmanager
def lock_clips(folder: Path) -> Iterator[None]:
    """Lock a folder of prepared clips against other writers (`ClipWriter`, exports) during the block; do not wait.

    Raises:
        BusyError: another process has locked it.
    """
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise BusyError(
            "another process is writing here. Wait for it, or choose another folder.", subject=folder
        ) from None


def write_prepared_table(table: RecordingsTable, folder: Path) -> Path:
    """Write a recordings table into the folder of clips, with absolute paths of the recordings.

    Returns the path of the written `recordings.parquet`.

    Raises:
        OutputError: no space, or no permission.
    """
    rows = (replace(row, path=str(table.file(row).absolute())) for row in table.rows)
    return write_table(RecordingsTable(folder, tuple(rows)))


def replace_index(folder: Path, index: pa.Table) -> None:
    """Replace the index `clips.parquet` in the folder of clips atomically by `index`, which has the schema `INDEX`.

    Raises:
        OutputError: no space, or no permission.
    """
    with atomic_file(folder / INDEX_NAME) as stream:
        pq.write_table(index, stream, compression="zstd")


def has_clips(data_set: Path) -> bool:
    """Return True if a data set's folder contains prepared clips with their index, `clips.parquet`."""
    return (data_set / INDEX_NAME).is_file()


@dataclass(frozen=True)
class WholeRecording:
    """A recording stored as consecutive windows, so that any segment is a slice of a shard."""

    shard: int
    """Number of the shard."""
    first_sample: int
    """Index of the recording's first sample in the shard, counted in samples."""
    n_samples: int
    """Number of stored samples, without the padding of the last window."""
    cuts: tuple[tuple[float, float], ...]
    """Start and end, in seconds of the original recording, of each segment that cleaning removed before storing."""

    def recorded_s(self, kept_s: float) -> float:
        """Convert a time in the stored audio, from which `cuts` are missing, to the time in the original recording.

        Both are in seconds. At a cut, this is the time after it.
        """
        recorded_s = kept_s
        for start_s, end_s in self.cuts:
            if start_s <= recorded_s:
                recorded_s += end_s - start_s
        return recorded_s


class Clips:
    """Reader of prepared clips; samples are memory-mapped.

    Args:
        folder: the folder of the clips.

    Attributes:
        index: the content of `clips.parquet`, a row per clip with the columns `INDEX`.
        recipe: values by field of `Recipe`, and the "seed".
        rate_hz: sample rate of the clips.
        window_s: length of a clip in seconds.
        window_samples: number of samples of a clip.

    Raises:
        InputError: the folder has no prepared clips.
        FormatError: the index cannot be read, a shard is missing or shorter than the index says, or the journal is
            missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / INDEX_NAME
        if not path.is_file():
            raise InputError("no such file. Make it with `dawnchorus prepare`.", subject=path)
        with reading_parquet(path):
            self.index: pa.Table = pq.read_table(path)
        name = "about" if _OLD_TABLE in self._query(_TABLES) else "metadata"
        ((recipe,),) = self._query(f"SELECT value FROM {name} WHERE name = 'recipe'")  # noqa: S608 - names of ours
        self.recipe: dict[str, Any] = recipe_fields(json.loads(recipe))
        self.rate_hz: int = self.recipe["rate_hz"]
        self.window_s: float = self.recipe["window_s"]
        self.window_samples = round(self.window_s * self.rate_hz)
        shards = np.asarray(self.index["shard"])
        self._rows = np.asarray(self.index["row"])
        self._shards = shards
        self._samples: dict[int, npt.NDArray[np.int16]] = {}
        for number in np.unique(shards).tolist():
            file = shard_path(folder, number)
            n_rows = int(self._rows[shards == number].max()) + 1
            if not file.is_file() or file.stat().st_size < n_rows * self.window_samples * SAMPLE.itemsize:
                raise FormatError(
                    f"expected {n_rows} clips, found fewer. Copy the folder as a whole, or prepare another.",
                    subject=file,
                )
            mapped = np.memmap(file, SAMPLE, mode="r")
            self._samples[number] = mapped[: len(mapped) // self.window_samples * self.window_samples].reshape(
                -1, self.window_samples
            )

    @property
    def cleaning(self) -> Cleaning:
        """Cleaning (trimming, noise reduction, removal of speech) that was applied before clips were cut."""
        names = Cleaning.model_fields
        return Cleaning.model_validate({name: value for name, value in self.recipe.items() if name in names})

    def __len__(self) -> int:
        return len(self._rows)

    def samples(self, number: int) -> npt.NDArray[np.float32]:
        """Return the samples [window_samples] of the clip in row `number` of the index, float32, -1 to 1."""
        return as_float(self.stored_clip(number))

    def stored_clip(self, number: int) -> npt.NDArray[np.int16]:
        """Return the samples [window_samples] of the clip in row `number` of the index, int16, memory-mapped."""
        clip: npt.NDArray[np.int16] = self._samples[int(self._shards[number])][self._rows[number]]
        return clip

    def whole_recordings(self) -> dict[str, WholeRecording]:
        """Return the recordings that are stored as consecutive windows, by recording_id.

        Raises:
            InputError: the clips are selected, overlap or were normalized, so they do not form whole recordings.
            FormatError: the journal is missing or damaged.
        """
        if self.recipe["clip_selection"] != "all" or self.recipe["overlap_s"] or self.recipe.get("normalize"):
            raise InputError(
                f"expected clips that are consecutive windows of whole recordings, found clip_selection="
                f"{self.recipe['clip_selection']}, overlap={self.recipe['overlap_s']:g}, normalize="
                f"{self.recipe.get('normalize')}. Prepare into another folder with `dawnchorus prepare --select all "
                f"--overlap 0 --keep-level`.",
                subject=self.folder,
            )
        known = set(self.index["recording_id"].to_pylist())
        return {
            name: self._whole_recording(shard, first, _pairs(times), _pairs(cuts))
            for name, shard, first, times, cuts in self._query(
                "SELECT recording_id, shard, first, times, cuts FROM recordings"
            )
            if name in known
        }

    def _whole_recording(
        self, shard: int, first: int, times: list[tuple[float, float]], cuts: list[tuple[float, float]]
    ) -> WholeRecording:
        end_s = times[-1][1]
        kept_s = end_s - sum(stop - start for start, stop in cuts if start < end_s)
        n_full = (len(times) - 1) * self.window_samples
        n_samples = min(max(round(kept_s * self.rate_hz), n_full + 1), n_full + self.window_samples)
        return WholeRecording(shard, first * self.window_samples, n_samples, tuple(cuts))

    def stored_samples(self, recording: WholeRecording) -> npt.NDArray[np.int16]:
        """Return the samples [n_samples] of a recording of `whole_recordings`, int16, memory-mapped."""
        flat = self._samples[recording.shard].reshape(-1)
        return flat[recording.first_sample : recording.first_sample + recording.n_samples]

    def crop(self, recording: WholeRecording, start: int) -> npt.NDArray[np.float32]:
        """Return the window [window_samples] that begins at sample `start` of a whole recording, float32, -1 to 1.

        `start` is at most `n_samples - window_samples`. For a recording shorter than a window `start` is 0, and the
        rest of the window is the stored padding.
        """
        first = recording.first_sample + start
        return as_float(self._samples[recording.shard].reshape(-1)[first : first + self.window_samples])

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        path = self.folder / JOURNAL_NAME
        database_uri = path.absolute().as_uri()
        try:
            try:
                return _rows(f"{database_uri}?mode=ro", statement)
            except sqlite3.OperationalError:
                # SQLite wants to write next to a database even to read it; where it may not, no other process does.
                return _rows(f"{database_uri}?immutable=1", statement)
        except sqlite3.Error as error:
            raise FormatError(
                f"expected the journal of the clips ({error}). Copy the folder as a whole, or prepare again.",
                subject=path,
            ) from error


def _rows(database_uri: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database_uri, uri=True)) as db:
        return db.execute(statement).fetchall()


def as_float(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Convert 16-bit samples of any shape to float32, -1 to 1."""
    scaled: npt.NDArray[np.float32] = samples.astype(np.float32) / np.float32(FULL_SCALE)
    return scaled
