"""Location of an archive: its tables, and the small files next to them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pyarrow.fs as pa_fs

from dawnchorus.archive.schemas import VERSION
from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.storage.files import atomic_file, cannot_write

MARKER = "archive.json"
FORMAT = "dawnchorus archive"
WORKERS = "workers"


@dataclass(frozen=True)
class ArchiveLocation:
    """Folder of an archive.

    Attributes:
        root: the folder.
    """

    root: Path

    @classmethod
    def parse(cls, url: str | os.PathLike[str]) -> ArchiveLocation:
        """Return the location that a path or a `file://` URL names.

        Raises:
            InputError: a URL of another kind.
        """
        text = os.fspath(url)
        parts = urlsplit(text)
        if "://" not in text:
            return cls(Path(os.path.abspath(text)))
        if parts.scheme != "file":
            raise InputError(
                f"expected a folder or a file:// URL, got {parts.scheme}://. Archives in object stores are not "
                f"supported by this version: write to a folder, and copy it.",
                subject="archive",
            )
        return cls(Path(unquote(parts.path)))

    @property
    def storage_options(self) -> Mapping[str, str]:
        """Options of the store for deltalake."""
        return {}

    def table_uri(self, table: str) -> str:
        """Return the place of a table."""
        return str(self.root / table)

    def filesystem(self, table: str) -> pa_fs.FileSystem:
        """Return the file system in which the paths of a table's files are valid.

        It is Arrow's own, so that Arrow's threads never call Python, which may be about to exit.
        """
        return pa_fs.SubTreeFileSystem(self.table_uri(table), pa_fs.LocalFileSystem())

    @property
    def exists(self) -> bool:
        """True if there is an archive."""
        return (self.root / MARKER).is_file()

    def create(self) -> None:
        """Create the folder and its marker, if they are not there.

        Raises:
            InputError: the folder has other content, or the archive is of a newer version.
            OutputError: it cannot be written.
        """
        if self.exists:
            self.check()
            return
        if self._has_other_content():
            raise InputError(
                "expected an archive, a new folder or an empty one, got other content. Choose another folder.",
                subject=self.root,
            )
        self.put(MARKER, {"format": FORMAT, "version": VERSION})

    def _has_other_content(self) -> bool:
        if not self.root.exists():
            return False
        # Other processes that start now may have unfinished files here, or have made the marker by now.
        is_empty = self.root.is_dir() and all(path.name.startswith(".") for path in self.root.iterdir())
        return not is_empty and not self.exists

    def check(self) -> None:
        """Check that there is an archive that this version can read.

        Raises:
            NotFoundError: there is none.
            InputError: it is of a newer version, or its marker is damaged.
        """
        fields = self.get(MARKER)
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
        """List the tables that are there."""
        return sorted(path.parent.name for path in self.root.glob("*/_delta_log"))

    def put(self, name: str, fields: Mapping[str, Any]) -> None:
        """Write a small file of JSON in one step.

        Raises:
            OutputError: no space, or no permission.
        """
        path = self.root / name
        part = path.with_name(f".{path.name}.{uuid4().hex}")  # several processes may write it at once
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(part) as stream:
                stream.write(json.dumps(fields, ensure_ascii=False).encode())
            os.replace(part, path)
        except OSError as error:
            raise cannot_write(path, error) from error

    def get(self, name: str) -> dict[str, Any] | None:
        """Read a small file; None if it is not there, or is no JSON object.

        Raises:
            InputError: it cannot be read.
        """
        path = self.root / name
        try:
            fields = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            return {}
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror}). Check access rights.", subject=path) from error
        return fields if isinstance(fields, dict) else {}

    def list_workers(self) -> dict[str, float]:
        """Return when each worker's file was written last, in seconds since 1970, by the file's name."""
        folder = self.root / WORKERS
        return {f"{WORKERS}/{path.name}": path.stat().st_mtime for path in sorted(folder.glob("*.json"))}

    def remove(self, name: str) -> None:
        """Remove a small file, if it is there."""
        (self.root / name).unlink(missing_ok=True)
