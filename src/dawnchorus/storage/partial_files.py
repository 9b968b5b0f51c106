"""Unfinished downloads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ContentVersion:
    """Version of the content at a URL, by the headers of the server's reply."""

    validator: str | None
    """Strong ETag, or else the Last-Modified time; equal validators mean equal bytes. None if unknown."""
    n_bytes: int | None
    """Length of the whole content in bytes; None if unknown."""
    n_bytes_read: int | None = None
    """Number of bytes received until the connection ended, if the server gave no length; otherwise None."""


_RENAMED_FIELDS = {"address": "url_sha256", "origin": "version"}
"""Fields in note files that were written before 2026-12, and their names today."""


class PartialFile:
    """An unfinished download `.NAME.part` next to the complete file, and a note file with the version of its content.

    Received bytes without a note, or from another URL, are not resumed.

    Args:
        out_path: path of the complete file.
        url: URL of the content.

    Attributes:
        path: path of the file with the received bytes.
    """

    def __init__(self, out_path: Path, url: str) -> None:
        self.path = out_path.with_name(f".{out_path.name}.part")
        self._out_path = out_path
        self._note = out_path.with_name(f".{out_path.name}.part.json")
        self._url_digest = hashlib.sha256(url.encode()).hexdigest()  # a URL may have a key in it

    @property
    def n_bytes(self) -> int:
        """Number of bytes received; 0 if there is no file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def read_version(self) -> ContentVersion | None:
        """Return the version of the received bytes; None without a readable note, or if they are from another URL."""
        try:
            note = json.loads(self._note.read_bytes())
            fields = {_RENAMED_FIELDS.get(name, name): value for name, value in note.items()}
            return ContentVersion(**fields["version"]) if fields["url_sha256"] == self._url_digest else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def start(self, version: ContentVersion) -> None:
        """Delete the bytes received before, and write the note with the version of the content to be received."""
        self.remove()
        self._note.write_text(json.dumps({"url_sha256": self._url_digest, "version": asdict(version)}))

    def remove(self) -> None:
        """Delete received bytes and note."""
        self.path.unlink(missing_ok=True)  # first: bytes without a note are harmless, a note without its bytes as well
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the completed download to `out_path`, replacing a file there, and delete the note."""
        self.path.replace(self._out_path)
        self._note.unlink(missing_ok=True)
