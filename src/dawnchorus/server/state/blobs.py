"""Content-addressed file store, in a folder or in any file system of fsspec: equal files are stored once."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import delete, exists, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database, lock
from dawnchorus.server.state.tables import ACTIVE_STATUSES, FILE_REFERENCES, Job, JobFile, StoredFile
from dawnchorus.storage.files import cannot_write

LOG = logging.getLogger(__name__)

GRACE = timedelta(hours=1)
"""Default time for which a file without references stays, so that the next use of it needs no new copy."""

PART_AGE = timedelta(days=1)
"""Age from which a partly written file counts as abandoned."""

_PART = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{64})\.[0-9a-f]{32}\.part$")


class BlobStore:
    """Files by their sha256, each complete or absent; they stay while `tables.FILE_REFERENCES` has them."""

    def __init__(
        self, database: Database, root: str | Path, *, cache: Path, scratch: Path, grace: timedelta = GRACE
    ) -> None:
        """Open the store.

        Args:
            database: The rows that refer to its files.
            root: A folder or a URL of fsspec.
            cache: Folder of local copies, if `root` is not on this machine.
            scratch: Folder of incomplete files, on the same drive as `cache`.
            grace: Time for which a file without references stays.

        Raises:
            InputError: fsspec does not know the URL.
        """
        try:
            # Without the cache, changes by other servers are visible at once.
            self._system, self._root = fsspec.core.url_to_fs(str(root), use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise InputError(f"--files: {root}: {error}") from error
        self._is_local = isinstance(self._system, LocalFileSystem)
        self._database, self._cache, self._scratch = database, cache, scratch
        self._grace = grace

    @contextmanager
    def keep(self, path: Path) -> Iterator[tuple[Session, str]]:
        """Store a copy of a file, and yield a transaction for the rows that refer to it, with its sha256.

        The copy is complete when the block begins. If the block raises, it is deleted, unless something else refers to
        it; after a kill, a sweep does that.

        Raises:
            OutputError: no space, no permission.
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with self._database.write() as session:  # before the copy, so that a sweep knows of it, whatever happens
            _record(session, sha256)
        self._put(path, sha256)
        try:
            with self._database.write() as session:
                _record(session, sha256)
                if self.size(sha256) is None:  # deleted in between
                    self._put(path, sha256)
                yield session, sha256
        except Exception:
            with suppress(SQLAlchemyError, OSError):
                self.delete_unused(sha256)
            raise

    @contextmanager
    def hold(self, sha256: str) -> Iterator[Session]:
        """Yield a transaction for rows that refer to a stored file, which nothing deletes before its end.

        Raises:
            NotFoundError: the file is absent.
        """
        with self._database.write() as session:
            lock(session, sha256)
            if self.size(sha256) is None:
                raise _absent(sha256)
            yield session

    def sweep(self) -> None:
        """Delete the files that nothing refers to and that were kept before the grace period, and abandoned parts."""
        is_unused = StoredFile.sha256.not_in(select(FILE_REFERENCES.c.sha256))
        with self._database.write() as session:
            ended = select(Job.id).where(Job.status.not_in(ACTIVE_STATUSES))
            session.execute(delete(JobFile).where(JobFile.job.in_(ended)))
            old = select(StoredFile.sha256).where(StoredFile.kept_at < now() - self._grace, is_unused)
            unused = list(session.scalars(old))
        for sha256 in unused:
            try:
                self.delete_unused(sha256)
            except OSError as error:
                LOG.error("the file %s of the store cannot be deleted: %s", sha256, error)
        self._delete_abandoned_parts()

    def delete_unused(self, sha256: str) -> None:
        """Delete a file at once if nothing refers to it."""
        with self._database.write() as session:
            lock(session, sha256)
            if session.scalar(select(exists().where(FILE_REFERENCES.c.sha256 == sha256))):
                return
            (self._cache / sha256).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                self._system.rm_file(self._path(sha256))
            session.execute(delete(StoredFile).where(StoredFile.sha256 == sha256))

    def size(self, sha256: str) -> int | None:
        """Return the size of a file in bytes, or None if it is absent."""
        try:
            return int(self._system.size(self._path(sha256)))
        except FileNotFoundError:
            return None

    def local(self, sha256: str) -> Path:
        """Return the path of a local copy, which must not be changed.

        Raises:
            NotFoundError: the file is absent.
        """
        if self.size(sha256) is None:
            raise _absent(sha256)
        if self._is_local:
            return Path(self._path(sha256))
        copy = self._cache / sha256
        if not copy.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            partial_path = self._scratch / f"{sha256}.{uuid.uuid4().hex}.part"
            self._system.get_file(self._path(sha256), str(partial_path))
            partial_path.replace(copy)
        return copy

    def _put(self, path: Path, sha256: str) -> None:
        stored_path = self._path(sha256)
        if self._system.exists(stored_path):
            return
        # Written under another name first, so that an interrupted write leaves no incomplete file.
        partial_path = f"{stored_path}.{uuid.uuid4().hex}.part"
        try:
            self._system.makedirs(stored_path.rsplit("/", 1)[0], exist_ok=True)
            self._system.put_file(str(path), partial_path)
            self._system.mv(partial_path, stored_path)
        except OSError as error:
            with suppress(OSError):
                self._system.rm_file(partial_path)
            raise cannot_write(Path(self._root), error) from error

    def _delete_abandoned_parts(self) -> None:
        """Delete parts of files by age; other servers may be writing some."""
        try:
            before = self.store_now() - PART_AGE
        except NotImplementedError:  # a store without modification times
            return
        for path in self._system.find(self._root):
            match = _PART.search(path)
            if match is not None and match[1] == match[2][:2]:
                # Deleted by another server, or a store without modification times.
                with suppress(OSError, NotImplementedError):
                    if self._system.modified(path) < before:
                        self._system.rm_file(path)

    def store_now(self) -> datetime:
        """Return the time by the clock that dates the store's files, which may differ from this machine's.

        Raises:
            OSError: the store cannot be written.
            NotImplementedError: the store has no modification times.
        """
        probe = f"{self._root}/.clock.{uuid.uuid4().hex}"
        self._system.makedirs(self._root, exist_ok=True)
        self._system.pipe_file(probe, b"now")
        try:
            moment: datetime = self._system.modified(probe)
        finally:
            self._system.rm_file(probe)
        return moment

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"


def _record(session: Session, sha256: str) -> None:
    """Write that a file is kept now; no other transaction records or deletes it until the end of this one."""
    lock(session, sha256)
    session.merge(StoredFile(sha256=sha256, kept_at=now()))


def _absent(sha256: str) -> NotFoundError:
    return NotFoundError(f"the file {sha256[:12]} is not in the store any more.")
