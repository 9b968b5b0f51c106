"""The journal of a run, which stores every result on disk before it is reported.

The journal is an SQLite file. A recording's hits are committed in one transaction. A run that is killed loses at most
the recordings that were being scored, and the same command resumes it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dawnchorus.arguments import option
from dawnchorus.audio.sample_analyses import Table, table_from_json, table_to_json
from dawnchorus.errors import JournalDamagedError, OutputError
from dawnchorus.identification.journal_records import (
    RecordingSummary,
    decode_recording,
    decode_summary,
    encode_recording,
)
from dawnchorus.identification.output_paths import current_folder, printable, shared_folder
from dawnchorus.inference.results import FailedRecording, ScoredRecording
from dawnchorus.storage.paths import as_path, full_name, listed_version

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

FileVersion = tuple[int | None, int | str | None]
"""Size, and modification time in nanoseconds or, for an object in a store, the store's version."""

NO_FILE: FileVersion = (None, None)


def file_version(path: Path) -> FileVersion:
    """Return the version of a file or of an object in a store, by which changes are detected.

    It is a tuple of the size in bytes and, for a file, the modification time in nanoseconds, or, for an object, the
    version in its store. `NO_FILE` if there is no such file, or if it cannot be accessed.
    """
    try:
        if (version := listed_version(path)) is not None:
            return version
        status = path.stat()
    except OSError:
        return NO_FILE
    return status.st_size, status.st_mtime_ns


_RENAMED_PARAMETERS = {"turns": "tta_shifts"}
"""Parameters in journals written before 2026-12, and their names today."""


class Journal:
    """Journal of a run in an SQLite file, which is created if missing.

    Args:
        path: path of the file; None for a temporary one.
        replaced: path to which a damaged earlier journal was moved; None if there was none.

    Raises:
        JournalDamagedError: the file is not a journal, or parts of it cannot be read; raised by all methods.
        OutputError: the file cannot be created or written; raised by all methods.
    """

    def __init__(self, path: Path | None, *, replaced: Path | None = None) -> None:
        self.path = path
        self.replaced = replaced
        self._folder = current_folder()
        with self._explain():
            self._db = sqlite3.connect(path or "", isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except sqlite3.Error:
                self._db.close()
                raise

    def _key(self, path: Path) -> bytes:
        """Return the absolute path, relative to the working directory when the journal was opened."""
        return os.fsencode(full_name(path, self._folder))

    def _as_given(self, path: bytes, given: bytes) -> Path:
        named = as_path(os.fsdecode(given))
        return named if self._key(named) == path else as_path(os.fsdecode(path))

    def _prepare(self) -> None:
        (state,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._update_columns()

    def _update_columns(self) -> None:
        """Update the columns of tables written before 2026-12."""
        if "about" in self._columns("recordings"):
            self._db.execute("ALTER TABLE recordings RENAME COLUMN about TO summary")
        if "digest" not in self._columns("outputs"):
            self._db.execute("ALTER TABLE outputs ADD COLUMN digest TEXT")
        if "version" not in self._columns("recordings"):
            self._db.execute("ALTER TABLE recordings ADD COLUMN version TEXT")

    def _columns(self, table: str) -> set[str]:
        return {name for (name,) in self._db.execute("SELECT name FROM pragma_table_info(?)", [table])}

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
                f"{name}: the journal of this run is damaged ({error}). Start again with "
                f"{option('overwrite')}; the damaged file is kept under another name."
            ) from error

    def _read_row(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        """Return the first row of a query's result; None if it is empty."""
        with self._explain():
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row

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
        """Return the parameters of the run by name, as given to `start`; None for a new journal.

        Parameters that were renamed in later versions have their new names.
        """
        row = self._read_row("SELECT value FROM run WHERE key = 'parameters'")
        if row is None:
            return None
        parameters: dict[str, Any] = json.loads(row[0])
        return {_RENAMED_PARAMETERS.get(name, name): value for name, value in parameters.items()}

    @property
    def root(self) -> str | None:
        """Absolute path (or URL) of the common folder of the run's recordings; None if there is none."""
        row = self._read_row("SELECT value FROM run WHERE key = 'root'")
        root: str | None = shared_folder(self.paths()) if row is None else json.loads(row[0])
        return root

    def paths(self) -> list[Path]:
        """Return the paths of all scored and failed recordings, as given by the user, in order of completion.

        A relative path that means another file today, since the working directory has changed, is returned as absolute.
        """
        with self._explain():
            rows = self._db.execute("SELECT path, given FROM recordings ORDER BY rowid").fetchall()
        # A relative path means the same file only while the current folder is the same.
        return [self._as_given(path, given) for path, given in rows]

    def start(self, parameters: dict[str, Any], *, root: str | None = None) -> None:
        """Clear the journal, and start a run with `parameters`, which must be JSON values.

        `root` is the absolute path (or URL) of the common folder of the run's recordings; None if there is none.
        """
        with self._transaction():
            for name in ("recordings", "analyses", "outputs", "run"):
                self._db.execute(f"DELETE FROM {name}")  # noqa: S608 - names of ours
            self._db.execute("INSERT INTO run VALUES ('parameters', ?)", [json.dumps(parameters)])
            self._db.execute("INSERT INTO run VALUES ('root', ?)", [json.dumps(root)])

    def scored_version(self, path: Path) -> FileVersion | None:
        """Return the `file_version` of a recording from before it was scored; None if it was not scored, or failed."""
        row = self._read_row(
            "SELECT size, mtime_ns, version FROM recordings WHERE path = ? AND status = 'done'", self._key(path)
        )
        if row is None:
            return None
        size, mtime_ns, version = row
        return size, mtime_ns if version is None else version

    def is_done(self, path: Path, version: FileVersion, *, analyses: Collection[str] = ()) -> bool:
        """Return True if the recording was scored with all `analyses`, and its file has not changed since.

        `version` is what `file_version` returns now. If it is `NO_FILE`, the result is True for every scored recording,
        because it cannot be scored again. Otherwise, the result is also False if one of the `analyses`, given by name,
        failed or was not run.
        """
        scored = self.scored_version(path)
        if scored is None or version == NO_FILE:
            return scored is not None
        return version == scored and all(self.read_analysis(path, name) is not None for name in analyses)

    def add(self, scored: ScoredRecording, version: FileVersion) -> None:
        """Store the result of a recording durably, in place of a former result or failure.

        `version` is the file's version before it was read.
        """
        summary, hits = encode_recording(scored)
        self._replace(scored.path, version, ("done", None, scored.duration_s, summary, hits), scored.tables)

    def add_failure(self, failed: FailedRecording, version: FileVersion) -> None:
        """Store the failure of a recording durably, in place of a former result.

        `version` is the file's version before it was read.
        """
        self._replace(failed.path, version, ("failed", printable(failed.reason), None, None, None), {})

    def _replace(self, path: Path, version: FileVersion, values: tuple[Any, ...], tables: Mapping[str, Table]) -> None:
        key = self._key(path)
        size, changed = version
        mtime_ns, etag = (None, changed) if isinstance(changed, str) else (changed, None)
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO recordings"
                " (path, given, size, mtime_ns, version, status, reason, duration_s, summary, hits)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [key, os.fsencode(path), size, mtime_ns, etag, *values],
            )
            self._db.execute("DELETE FROM analyses WHERE path = ?", [key])
            self._db.executemany(
                "INSERT INTO analyses VALUES (?, ?, ?)",
                [(key, name, json.dumps(table_to_json(table))) for name, table in tables.items()],
            )

    def output_signature(self, name: str) -> str | None:
        """Return the signature of an output (a hash of all that determines its content).

        None if the output was not recorded as written, so that it may be missing or incomplete. `name` is the output's
        name by `RunFiles.name`.
        """
        row = self._read_row("SELECT signature FROM outputs WHERE path = ?", os.fsencode(name))
        return None if row is None else row[0]

    def output_digest(self, name: str) -> str | None:
        """Return the digest of an output's bytes (see `output.hash_file`); None if the output was not recorded.

        `name` is the output's name by `RunFiles.name`.
        """
        row = self._read_row("SELECT digest FROM outputs WHERE path = ?", os.fsencode(name))
        return None if row is None else row[0]

    def note_output(self, name: str, signature: str, *, digest: str) -> None:
        """Record that an output was written, with its signature and the digest of its bytes.

        `name` is the output's name by `RunFiles.name`.
        """
        with self._explain():
            self._db.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?)", [os.fsencode(name), signature, digest])

    def forget_output(self, name: str) -> None:
        """Delete signature and digest of an output, if they are recorded; to be called before the output is written.

        `name` is the output's name by `RunFiles.name`.
        """
        with self._explain():
            self._db.execute("DELETE FROM outputs WHERE path = ?", [os.fsencode(name)])

    def earlier_layout(self) -> dict[str, Any] | None:
        """Return the journal's entry on tables that a program version of before 2026-12 wrote; None without an entry.

        The keys are "formats" (names of table formats) and "provenance" (fields of `Provenance` by name).
        """
        row = self._read_row("SELECT value FROM run WHERE key = 'written'")
        return None if row is None else json.loads(row[0])

    def earlier_tables(self) -> set[Path]:
        """Return the absolute paths of the recordings for which a program version of before 2026-12 wrote tables.

        To be called only if `earlier_layout` is not None.
        """
        with self._explain():
            rows = self._db.execute("SELECT path FROM recordings WHERE in_table").fetchall()
        return {Path(os.fsdecode(path)) for (path,) in rows}

    def forget_earlier_layout(self) -> None:
        """Delete the entry that `earlier_layout` returns from the journal; the tables and all results stay."""
        with self._explain():
            self._db.execute("DELETE FROM run WHERE key = 'written'")

    def read_failure(self, path: Path) -> str | None:
        """Return the reason why a recording failed; None if it did not fail, or is not in the journal."""
        row = self._read_row("SELECT reason FROM recordings WHERE path = ? AND status = 'failed'", self._key(path))
        return None if row is None else row[0]

    def read(self, path: Path) -> ScoredRecording | None:
        """Return the result of a recording, without analyses; None if it was not scored, or failed."""
        row = self._read_row(
            "SELECT duration_s, summary, hits FROM recordings WHERE path = ? AND status = 'done'", self._key(path)
        )
        return None if row is None else decode_recording(path, *row)

    def read_analysis(self, path: Path, name: str) -> Table | None:
        """Return the rows of an analysis (given by name) of a recording; None if the analysis failed or was not run.

        An analysis that ran without giving rows has an empty table.
        """
        row = self._read_row("SELECT rows FROM analyses WHERE path = ? AND name = ?", self._key(path), name)
        return None if row is None else table_from_json(json.loads(row[0]))

    def read_summary(self, path: Path) -> RecordingSummary | None:
        """Return a recording's summary, faster than `read`; None if the recording failed or was not scored."""
        row = self._read_row(
            "SELECT duration_s, summary FROM recordings WHERE path = ? AND status = 'done'", self._key(path)
        )
        return None if row is None else decode_summary(path, *row)

    def close(self) -> None:
        """Close the journal file; a temporary one is deleted."""
        self._db.close()
