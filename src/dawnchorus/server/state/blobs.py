"""Content-addressed file store, in a folder or an object store: files are named by their sha256."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database, lock
from dawnchorus.server.state.tables import ACTIVE_STATUSES, FILE_REFERENCES, Job, JobFile, StoredFile
from dawnchorus.storage.file_systems import open_folder
from dawnchorus.storage.files import cannot_write
from dawnchorus.storage.paths import RemotePath, as_path, is_remote
from dawnchorus.storage.stores import Store, open_store

LOG = logging.getLogger(__name__)

GRACE = timedelta(hours=1)
"""Default time for which a file without references stays, since the same file may be used again."""

PART_AGE = timedelta(days=1)
"""Age from which a partly written file counts as abandoned, because its server was killed."""

_PART = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{64})\.[0-9a-f]{32}\.part$")


class BlobStore:
    """Store of files by their sha256; a file is complete or absent.

    Files without a reference in the database (`tables.FILE_REFERENCES`) are deleted by `sweep`. Methods raise OSError
    if the object store or the disk fails.

    Args:
        database: database with the rows that refer to the files.
        root: folder of the files, or URL in an object store.
        cache: folder for local copies, if `root` is a URL.
        scratch: folder for incomplete local copies, on the same drive as `cache`.
        grace: time for which a file without references stays.

    Raises:
        InputError: the URL's scheme is not supported.
        MissingExtraError: the package for this kind of object store is not installed.
    """

    def __init__(
        self, database: Database, root: str | Path, *, cache: Path, scratch: Path, grace: timedelta = GRACE
    ) -> None:
        self._root = as_path(root)
        try:
            self._store, self._prefix = _open(self._root)
        except InputError as error:
            raise InputError(f"--files: {error}") from error
        self._database, self._cache, self._scratch = database, cache, scratch
        self._grace = grace

    @contextmanager
    def keep(self, path: Path) -> Iterator[tuple[Session, str]]:
        """Store a copy of the file at `path`, and open a write transaction to add rows that refer to the copy.

        The copy is complete when the `with` block starts, and the transaction is committed at its end. If the block
        raises, the copy is deleted unless other rows refer to it; if the server is killed, `sweep` deletes the copy
        later.

        Yields:
            The session of the transaction, and the file's sha256.

        Raises:
            OutputError: the file cannot be stored: no space, or no permission.
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
    def protect(self, sha256: str) -> Iterator[Session]:
        """Open a write transaction during which a stored file is not deleted, to add rows that refer to the file.

        The transaction is committed at the end of the `with` block.

        Yields:
            The session of the transaction.

        Raises:
            NotFoundError: the file is not in the store.
        """
        with self._database.write() as session:
            lock(session, sha256)
            if self.size(sha256) is None:
                raise _absent(sha256)
            yield session

    def sweep(self) -> None:
        """Delete files that no row refers to, and that were last stored longer ago than `grace`.

        Partly written files older than `PART_AGE` are deleted, too. The server calls this method at its start and every
        hour. Errors of single files are logged.
        """
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
        """Delete a file at once, without the grace period; do nothing if a row refers to it or it does not exist."""
        with self._database.write() as session:
            lock(session, sha256)
            if session.scalar(select(exists().where(FILE_REFERENCES.c.sha256 == sha256))):
                return
            (self._cache / sha256).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                self._store.delete(self._key(sha256))
            session.execute(delete(StoredFile).where(StoredFile.sha256 == sha256))

    def size(self, sha256: str) -> int | None:
        """Return the size of a file in bytes, or None if the file is not in the store."""
        try:
            return self._store.head(self._key(sha256)).size
        except FileNotFoundError:
            return None

    def local(self, sha256: str) -> Path:
        """Return a local path of a file, downloading the file if necessary; the caller must not change the file.

        Raises:
            NotFoundError: the file is not in the store.
        """
        if self.size(sha256) is None:
            raise _absent(sha256)
        if not is_remote(self._root):
            return self._root.absolute() / self._key(sha256)
        copy = self._cache / sha256
        if not copy.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            partial_path = self._scratch / f"{sha256}.{uuid.uuid4().hex}.part"
            with partial_path.open("wb") as file:
                self._store.copy_to(self._key(sha256), file)
            partial_path.replace(copy)
        return copy

    def _put(self, path: Path, sha256: str) -> None:
        if self.size(sha256) is not None:
            return
        try:
            with path.open("rb") as file:
                self._store.write(self._key(sha256), file, replaces=None)
        except FileExistsError:  # by another server, in the meantime: the same bytes
            return
        except OSError as error:
            raise cannot_write(self._root, error) from error

    def _delete_abandoned_parts(self) -> None:
        """Delete partly written files older than `PART_AGE`; other servers may be writing newer ones."""
        if not self._store.leaves_parts:
            return
        try:
            before = self.store_now() - PART_AGE
        except NotImplementedError:  # a store without modification times
            return
        for key, info in list(self._store.list(self._prefix)):
            match = _PART.search(f"/{key}")
            is_part = match is not None and match[1] == match[2][:2]
            if is_part and info.modified is not None and info.modified < before:
                with suppress(OSError):  # deleted by another server
                    self._store.delete(key)

    def store_now(self) -> datetime:
        """Return the time (with time zone) by the store's clock, which may differ from this machine's clock.

        The store's clock sets the modification times of files.

        Raises:
            OSError: the store cannot be written.
            NotImplementedError: the store has no modification times.
        """
        probe = f"{self._prefix}.clock.{uuid.uuid4().hex}"
        self._store.write(probe, io.BytesIO(b"now"), replaces=None)
        try:
            moment = self._store.head(probe).modified
        finally:
            self._store.delete(probe)
        if moment is None:
            raise NotImplementedError
        return moment

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}{sha256[:2]}/{sha256}"


def _open(root: Path) -> tuple[Store, str]:
    """Return the store of a folder or URL, and the prefix of its keys.

    Raises:
        InputError: the URL's scheme is not supported.
    """
    if isinstance(root, RemotePath):
        folder = root.url.key.strip("/")
        return open_store(root.url), f"{folder}/" if folder else ""
    return open_folder(root), ""


def _record(session: Session, sha256: str) -> None:
    """Set the file's `kept_at` to now, and lock the file's row and content until the end of the transaction."""
    lock(session, sha256)
    session.merge(StoredFile(sha256=sha256, kept_at=now()))


def _absent(sha256: str) -> NotFoundError:
    return NotFoundError(f"the file {sha256[:12]} is not in the store any more.")
