"""Location of an archive: its folder or URL, and the small JSON files next to its tables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pyarrow.fs as pa_fs

from dawnchorus.archive.schemas import VERSION
from dawnchorus.errors import InputError, NotFoundError, OutputExistsError, StoreError
from dawnchorus.storage.access import store_access
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.storage.paths import RemotePath, absolute_path, as_path
from dawnchorus.storage.stores import ObjectInfo, describe
from dawnchorus.storage.urls import CLOUD_SCHEMES

MARKER = "archive.json"
FORMAT = "dawnchorus archive"
WORKERS = "workers"


@dataclass(frozen=True)
class ArchiveLocation:
    """Folder of an archive, on a disk or in a store.

    Attributes:
        root: path of the folder; in a store, its URL as a `storage.paths.RemotePath`.
    """

    root: Path

    @classmethod
    def parse(cls, url: str | os.PathLike[str]) -> ArchiveLocation:
        """Return the location that a path or URL names; whether there is an archive is not checked.

        Raises:
            InputError: the URL begins with something else than s3://, gs://, az:// or file://.
        """
        root = absolute_path(as_path(url))
        if not isinstance(root, RemotePath):
            return cls(root)
        if root.url.scheme not in CLOUD_SCHEMES:
            raise InputError(
                f"expected a folder, or a URL that begins with s3://, gs:// or az://, got {root.url.scheme}://. Other "
                f"servers cannot be written to by several processes at once.",
                subject="archive",
            )
        return cls(RemotePath(root.url.at(root.url.key.strip("/"))))

    @property
    def is_remote(self) -> bool:
        """True if the archive is in a store."""
        return isinstance(self.root, RemotePath)

    @property
    def storage_options(self) -> Mapping[str, str]:
        """Options of the store for deltalake, with credentials; empty for an archive on a disk.

        Raises:
            InputError: the credentials cannot be read; see `storage.access.store_access`.
        """
        return store_access(self.root).options

    def table_uri(self, table: str) -> str:
        """Return the path or URL of the folder of the table with the name `table`."""
        return str(self.root / table)

    def filesystem(self, table: str) -> pa_fs.FileSystem:
        """Return the local file system with the folder of the table with the name `table` as its root.

        The file system is implemented by Arrow, so that Arrow's threads never call Python, which may be exiting. For an
        archive on a disk only.
        """
        return pa_fs.SubTreeFileSystem(self.table_uri(table), pa_fs.LocalFileSystem())

    @cached_property
    def allows_many_writers(self) -> bool:
        """True if a new file never overwrites an existing one, as commits of several writers require.

        Always True on a disk. A store is tested, since some S3 servers ignore `If-None-Match`.

        Raises:
            StoreError: the store failed.
        """
        if not isinstance(self.root, RemotePath):
            return True
        probe = self.root / f".{uuid4().hex}"
        try:
            return probe.store.keeps_existing(probe.url.key)
        except OSError as error:
            raise StoreError(describe(error), subject=self.root) from None

    @property
    def exists(self) -> bool:
        """True if the folder has the marker file of an archive (`archive.json`), of any version.

        Raises:
            StoreError: the store failed.
        """
        return (self.root / MARKER).is_file()

    def create(self) -> None:
        """Create the folder and its marker file (`archive.json`), if they do not exist.

        Raises:
            InputError: the folder has other content, or it has an archive of a newer version or with a damaged marker
                file.
            OutputError: the folder cannot be written.
            StoreError: the store failed.
        """
        if self.exists:
            self.check()
            return
        # Other processes that start now may have made the marker by now.
        if self._has_other_content() and not self.exists:
            raise InputError(
                "expected an archive, a new folder or an empty one, got other content. Choose another folder.",
                subject=self.root,
            )
        try:
            self.put(MARKER, {"format": FORMAT, "version": VERSION})
        except OutputExistsError:
            self.check()

    def _has_other_content(self) -> bool:
        """Return True if the folder has files other than hidden ones, which are unfinished files of other processes."""
        root = self.root
        if isinstance(root, RemotePath):
            return any(not key.removeprefix(_prefix(root)).startswith(".") for key, _ in self._objects(""))
        if not root.exists():
            return False
        return not root.is_dir() or not all(path.name.startswith(".") for path in root.iterdir())

    def check(self) -> None:
        """Check that there is an archive that this version can read.

        Raises:
            NotFoundError: there is no archive.
            InputError: the archive is of a newer version, or its marker file is damaged.
            StoreError: the store failed.
        """
        fields = self.get(MARKER)
        if fields is None and not self.is_remote and not os.path.isdir(self.root):
            raise NotFoundError("expected the folder of an archive, found no folder.", subject=self.root)
        if fields is None:
            raise NotFoundError(
                f"it is no archive: there is no {MARKER} in it. Give the folder that `dawnchorus identify PATHS "
                f"--archive FOLDER` wrote.",
                subject=self.root,
            )
        version = fields.get("version")
        if fields.get("format") != FORMAT or not isinstance(version, int):
            raise InputError(f"expected the format '{FORMAT}', got {fields!r}.", subject=self.root / MARKER)
        if version > VERSION:
            raise InputError(
                f"the archive has version {version}, and this software reads versions up to {VERSION}. Update "
                f"dawnchorus.",
                subject=self.root,
            )

    def list_tables(self) -> list[str]:
        """Return the names of the existing tables, in alphabetical order.

        Raises:
            StoreError: the store failed.
        """
        root = self.root
        if not isinstance(root, RemotePath):
            return sorted(path.parent.name for path in root.glob("*/_delta_log"))
        try:
            folders = root.store.list_folders(_prefix(root))
        except OSError as error:
            raise StoreError(describe(error), subject=root) from None
        # The log is the first that is written of a table.
        return sorted(name for name in folders if name != WORKERS)

    def has_log(self, table: str) -> bool:
        """Return True if the archive has a table of this name; must be called for an archive in a store only.

        Raises:
            StoreError: the store failed.
        """
        return next(self._objects(f"{table}/_delta_log/"), None) is not None

    def put(self, name: str, fields: Mapping[str, Any]) -> None:
        """Write a small JSON file atomically; an existing file is replaced.

        Args:
            name: path relative to the archive's folder.
            fields: content of the file, a JSON object.

        Raises:
            OutputExistsError: another process has written the file to the store during this call.
            OutputError: no space, no permission, or the store failed.
        """
        path = self.root / name
        content = json.dumps(fields, ensure_ascii=False).encode()
        if self.is_remote:
            with atomic_file(path) as stream:
                stream.write(content)
            return
        part = path.with_name(f".{path.name}.{uuid4().hex}")  # several processes may write it at once
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(part) as stream:
                stream.write(content)
            os.replace(part, path)
        except OSError as error:
            raise cannot_write(path, error) from error

    def get(self, name: str) -> dict[str, Any] | None:
        """Read a small JSON file; None if there is no such file, an empty dict if its content is not a JSON object.

        `name` is the path relative to the archive's folder.

        Raises:
            InputError: the file cannot be read.
            StoreError: the store failed.
        """
        path = self.root / name
        try:
            fields = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            return {}
        except OSError as error:
            if self.is_remote:
                raise StoreError(describe(error), subject=path) from None
            raise InputError(f"cannot be read ({error.strerror}). Check access rights.", subject=path) from error
        return fields if isinstance(fields, dict) else {}

    def list_workers(self) -> dict[str, float]:
        """Return the time of each worker's last heartbeat, in seconds since 1970, by path of its heartbeat file.

        The path, "workers/ID.json" with the worker's id, is relative to the archive's folder. The time is 0 if a store
        does not give it, so that the worker counts as lost.

        Raises:
            StoreError: the store failed.
        """
        if self.is_remote:
            written = {
                f"{WORKERS}/{key.rpartition('/')[2]}": 0.0 if info.modified is None else info.modified.timestamp()
                for key, info in self._objects(f"{WORKERS}/")
            }
        else:
            paths = (self.root / WORKERS).glob("*.json")
            written = {f"{WORKERS}/{path.name}": path.stat().st_mtime for path in paths}
        return {name: written[name] for name in sorted(written) if name.endswith(".json")}

    def _objects(self, folder: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield key, size and version of the objects below a folder of an archive in a store.

        Raises:
            StoreError: the store failed.
        """
        root = cast(RemotePath, self.root)
        try:
            yield from root.store.list(f"{_prefix(root)}{folder}")
        except OSError as error:
            raise StoreError(describe(error), subject=root) from None

    def remove(self, name: str) -> None:
        """Remove a small JSON file, if it exists; `name` is the path relative to the archive's folder.

        Raises:
            StoreError: the store failed.
        """
        (self.root / name).unlink(missing_ok=True)


def _prefix(root: RemotePath) -> str:
    """Return the prefix of the keys of all objects in a folder."""
    return f"{root.url.key}/" if root.url.key else ""
