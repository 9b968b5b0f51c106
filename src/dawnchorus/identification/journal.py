"""The journal of a run: every result is on disk before it is reported.

One SQLite file. A recording's hits are committed in one transaction, so a run that is killed at any moment loses at
most the recordings that were being scored, and the same command resumes from there.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.audio.metadata import metadata_from_json, metadata_to_json
from dawnchorus.audio.sample_analyses import Table, table_from_json, table_to_json
from dawnchorus.errors import JournalDamagedError, OutputError
from dawnchorus.identification.output_paths import printable, shared_folder
from dawnchorus.inference.analyses.hits import HIT
from dawnchorus.inference.preparation import Kept
from dawnchorus.inference.results import FailedRecording, ScoredChannel, ScoredRecording
from dawnchorus.storage.paths import as_path, full_name, listed_version
from dawnchorus.types import AudioInfo, RecordingMetadata, Segment

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS recordings (
    path BLOB PRIMARY KEY, given BLOB NOT NULL, size INTEGER, mtime_ns INTEGER, status TEXT NOT NULL, reason TEXT,
    duration_s REAL, summary TEXT, hits BLOB, version TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS outputs (path BLOB PRIMARY KEY, signature TEXT NOT NULL, digest TEXT) STRICT;
CREATE TABLE IF NOT EXISTS analyses (
    path BLOB NOT NULL, name TEXT NOT NULL, rows TEXT NOT NULL, PRIMARY KEY (path, name)
) STRICT;
"""

FileMark = tuple[int | None, int | str | None]
"""Size, and modification time in nanoseconds; of an object in a store, the version that the store gives."""

NO_FILE: FileMark = (None, None)


@dataclass(frozen=True)
class RecordingSummary:
    """Summary of a scored recording, without its hits."""

    path: Path
    metadata: RecordingMetadata
    warnings: tuple[str, ...]
    speech_s: float
    """Seconds of human voices, if they were looked for."""
    kept_s: tuple[float, ...]
    """Seconds that windows are cut from, for each channel that was scored by itself, or for one signal of all."""
    duration_s: float


def file_mark(path: Path) -> FileMark:
    """Return the file's size and modification time, or an object's size and version, by which changes are detected."""
    try:
        if (version := listed_version(path)) is not None:
            return version
        status = path.stat()
    except OSError:
        return NO_FILE
    return status.st_size, status.st_mtime_ns


_RENAMED_PARAMETERS = {"turns": "tta_shifts"}
"""Names of parameters in journals written before 2026-12, and their names today."""


def _key(path: Path) -> bytes:
    return os.fsencode(full_name(path))


def _as_given(path: bytes, given: bytes) -> Path:
    """Return a path as it was given; a relative one means the same file only while the current folder is the same."""
    named = as_path(os.fsdecode(given))
    return named if _key(named) == path else as_path(os.fsdecode(path))


class Journal:
    """Journal of a run in an SQLite file, created if missing; temporary if `path` is None.

    `replaced` is the new name of a damaged journal that was there before.

    Raises:
        JournalDamagedError: If the file is not a journal, or parts of it cannot be read.
        OutputError: If it cannot be created or written. So do all methods.
    """

    def __init__(self, path: Path | None, *, replaced: Path | None = None) -> None:
        self.path = path
        self.replaced = replaced
        with self._explain():
            self._db = sqlite3.connect(path or "", isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except sqlite3.Error:
                self._db.close()
                raise

    def _prepare(self) -> None:
        (state,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        if ("about",) in self._db.execute("SELECT name FROM pragma_table_info('recordings')").fetchall():  # to 2026-12
            self._db.execute("ALTER TABLE recordings RENAME COLUMN about TO summary")
        if ("digest",) not in self._db.execute(
            "SELECT name FROM pragma_table_info('outputs')"
        ).fetchall():  # to 2026-12
            self._db.execute("ALTER TABLE outputs ADD COLUMN digest TEXT")
        if ("version",) not in self._db.execute("SELECT name FROM pragma_table_info('recordings')").fetchall():
            self._db.execute("ALTER TABLE recordings ADD COLUMN version TEXT")  # to 2026-12

    @contextmanager
    def _explain(self) -> Iterator[None]:
        name = self.path or "temporary files"
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"{name}: cannot write the journal of this run ({error}). Check free space and access rights; "
                f"then run the same command again to resume."
            ) from error
        except sqlite3.Error as error:
            raise JournalDamagedError(
                f"{name}: the journal of this run is damaged ({error}). Use --overwrite to start again; the damaged "
                f"file is kept under another name."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explain():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it
                    self._db.execute("ROLLBACK")
                raise

    def parameters(self) -> dict[str, Any] | None:
        """Return the parameters of the run; None for a new journal."""
        with self._explain():
            row = self._db.execute("SELECT value FROM run WHERE key = 'parameters'").fetchone()
        if row is None:
            return None
        parameters: dict[str, Any] = json.loads(row[0])
        return {_RENAMED_PARAMETERS.get(name, name): value for name, value in parameters.items()}

    @property
    def root(self) -> str | None:
        """Return the common folder of the run's recordings, stored on the first call."""
        with self._explain():
            row = self._db.execute("SELECT value FROM run WHERE key = 'root'").fetchone()
        root: str | None = shared_folder(self.paths()) if row is None else json.loads(row[0])
        return root

    def paths(self) -> list[Path]:
        """Return the paths of all scored and failed recordings, as given by the user, in order of completion."""
        with self._explain():
            rows = self._db.execute("SELECT path, given FROM recordings ORDER BY rowid").fetchall()
        return [_as_given(path, given) for path, given in rows]

    def start(self, parameters: dict[str, Any], *, root: str | None = None) -> None:
        """Clear the journal and start a run with `parameters`."""
        with self._transaction():
            for name in ("recordings", "analyses", "outputs", "run"):
                self._db.execute(f"DELETE FROM {name}")  # noqa: S608 - names of ours
            self._db.execute("INSERT INTO run VALUES ('parameters', ?)", [json.dumps(parameters)])
            self._db.execute("INSERT INTO run VALUES ('root', ?)", [json.dumps(root)])

    def scored_mark(self, path: Path) -> FileMark | None:
        """Return the mark that a scored recording's file had; None for one that was not scored."""
        with self._explain():
            row = self._db.execute(
                "SELECT size, mtime_ns, version FROM recordings WHERE path = ? AND status = 'done'", [_key(path)]
            ).fetchone()
        if row is None:
            return None
        size, mtime_ns, version = row
        return size, mtime_ns if version is None else version

    def is_done(self, path: Path, mark: FileMark, *, analyses: Collection[str] = ()) -> bool:
        """Return True if the recording was scored, and its file has not changed since.

        It must have rows of all `analyses`, for the others failed. A missing file is done: it cannot be scored again.
        """
        scored = self.scored_mark(path)
        if scored is None or mark == NO_FILE:
            return scored is not None
        return mark == scored and all(self.read_analysis(path, name) is not None for name in analyses)

    def add(self, scored: ScoredRecording, mark: FileMark) -> None:
        """Write a result durably; `mark` is the file's mark from before it was read."""
        summary = {
            "info": asdict(scored.info),
            "metadata": metadata_to_json(scored.metadata),
            "warnings": [printable(warning) for warning in scored.warnings],
            "speech": [(segment.start_s, segment.end_s) for segment in scored.speech],
        }
        hits, fields = _pack(scored.channels)
        values = ("done", None, scored.duration_s, json.dumps(summary | fields), hits)
        self._replace(scored.path, mark, values, scored.tables)

    def add_failure(self, failed: FailedRecording, mark: FileMark) -> None:
        """Write the failure of a recording durably; see `add`."""
        self._replace(failed.path, mark, ("failed", printable(failed.reason), None, None, None), {})

    def _replace(self, path: Path, mark: FileMark, values: tuple[Any, ...], tables: Mapping[str, Table]) -> None:
        key = _key(path)
        size, changed = mark
        mtime_ns, version = (None, changed) if isinstance(changed, str) else (changed, None)
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO recordings"
                " (path, given, size, mtime_ns, version, status, reason, duration_s, summary, hits)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [key, os.fsencode(path), size, mtime_ns, version, *values],
            )
            self._db.execute("DELETE FROM analyses WHERE path = ?", [key])
            self._db.executemany(
                "INSERT INTO analyses VALUES (?, ?, ?)",
                [(key, name, json.dumps(table_to_json(table))) for name, table in tables.items()],
            )

    def output_signature(self, name: str) -> str | None:
        """Return the signature of a written output; None if it may be incomplete."""
        with self._explain():
            row = self._db.execute("SELECT signature FROM outputs WHERE path = ?", [os.fsencode(name)]).fetchone()
        return None if row is None else row[0]

    def output_digest(self, name: str) -> str | None:
        """Return the digest of a written output's bytes; None if it is unknown."""
        with self._explain():
            row = self._db.execute("SELECT digest FROM outputs WHERE path = ?", [os.fsencode(name)]).fetchone()
        return None if row is None else row[0]

    def note_output(self, name: str, signature: str, *, digest: str) -> None:
        """Record that an output is written, with its signature and the digest of its bytes."""
        with self._explain():
            self._db.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?)", [os.fsencode(name), signature, digest])

    def forget_output(self, name: str) -> None:
        """Delete signature and digest of an output; called before it is written."""
        with self._explain():
            self._db.execute("DELETE FROM outputs WHERE path = ?", [os.fsencode(name)])

    def earlier_layout(self) -> dict[str, Any] | None:
        """Return formats and provenance of the tables that a version before 2026-12 wrote; None if none did."""
        with self._explain():
            row = self._db.execute("SELECT value FROM run WHERE key = 'written'").fetchone()
        return None if row is None else json.loads(row[0])

    def earlier_tables(self) -> set[Path]:
        """Return the recordings whose own tables that version wrote, by absolute path."""
        with self._explain():
            rows = self._db.execute("SELECT path FROM recordings WHERE in_table").fetchall()
        return {Path(os.fsdecode(path)) for (path,) in rows}

    def forget_earlier_layout(self) -> None:
        """Delete the record of tables written before 2026-12."""
        with self._explain():
            self._db.execute("DELETE FROM run WHERE key = 'written'")

    def read_failure(self, path: Path) -> str | None:
        """Return the reason why a recording failed; None for others."""
        with self._explain():
            row = self._db.execute(
                "SELECT reason FROM recordings WHERE path = ? AND status = 'failed'", [_key(path)]
            ).fetchone()
        return None if row is None else row[0]

    def read(self, path: Path) -> ScoredRecording | None:
        """Read the result of a recording; None if it has not been scored."""
        with self._explain():
            row = self._db.execute(
                "SELECT duration_s, summary, hits FROM recordings WHERE path = ? AND status = 'done'", [_key(path)]
            ).fetchone()
        if row is None:
            return None
        duration_s, summary, hits = row
        fields = json.loads(summary)
        return ScoredRecording(
            path=path,
            info=AudioInfo(**fields["info"]),
            metadata=_read_metadata(fields),
            duration_s=duration_s,
            warnings=tuple(fields["warnings"]),
            channels=_unpack(hits, fields),
            speech=tuple(Segment(*times) for times in fields.get("speech", ())),
        )

    def read_analysis(self, path: Path, name: str) -> Table | None:
        """Read the rows of an analysis of a recording; None if it has none."""
        with self._explain():
            row = self._db.execute(
                "SELECT rows FROM analyses WHERE path = ? AND name = ?", [_key(path), name]
            ).fetchone()
        return None if row is None else table_from_json(json.loads(row[0]))

    def read_summary(self, path: Path) -> RecordingSummary | None:
        """Read a recording's summary without its hits, which is fast."""
        with self._explain():
            row = self._db.execute(
                "SELECT duration_s, summary FROM recordings WHERE path = ? AND status = 'done'", [_key(path)]
            ).fetchone()
        if row is None:
            return None
        duration_s, summary = row
        fields = json.loads(summary)
        speech_s = sum(end - start for start, end in fields.get("speech", ()))
        kept_s = tuple(each.kept_s(duration_s) for each in _unpack(b"", fields))
        return RecordingSummary(path, _read_metadata(fields), tuple(fields["warnings"]), speech_s, kept_s, duration_s)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _read_metadata(summary: dict[str, Any]) -> RecordingMetadata:
    """Return the recorder's metadata in a summary; its name was "origin" before 2026-12."""
    return metadata_from_json(summary["metadata"] if "metadata" in summary else summary["origin"])


def _pack(channels: Sequence[ScoredChannel]) -> tuple[bytes, dict[str, Any]]:
    """Return the hits of all channels, one channel after the other, and the fields that distinguish them."""
    hits = b"".join(each.hits.tobytes() for each in channels)
    if len(channels) == 1 and channels[0].channel is None:
        return hits, _kept_fields(channels[0].kept)
    return hits, {
        "channels": [
            {"channel": each.channel, "n_hits": len(each.hits), **_kept_fields(each.kept)} for each in channels
        ]
    }


def _unpack(hits: bytes, fields: dict[str, Any]) -> tuple[ScoredChannel, ...]:
    """Return what `_pack` was given."""
    rest = np.frombuffer(hits, HIT)
    if "channels" not in fields:
        return (ScoredChannel({"hits": rest}, _read_kept(fields)),)
    channels = []
    for each in fields["channels"]:
        channels.append(ScoredChannel({"hits": rest[: each["n_hits"]]}, _read_kept(each), each["channel"]))
        rest = rest[each["n_hits"] :]
    return tuple(channels)


def _kept_fields(kept: Kept) -> dict[str, Any]:
    return {} if kept.is_whole else {"kept": [(segment.start_s, segment.end_s) for segment in kept.segments]}


def _read_kept(fields: dict[str, Any]) -> Kept:
    return Kept(tuple(Segment(*times) for times in fields.get("kept", ())), is_whole="kept" not in fields)
