"""Files that are being downloaded: the bytes that have come, and the content that they are the beginning of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ContentVersion:
    """The content that a download brings, as its server describes it."""

    validator: str | None
    """A strong ETag, or else a time of last modification: the same bytes have the same one."""
    n_bytes: int | None
    """Length of the whole content; None where it is unknown."""
    n_bytes_read: int | None = None
    """Bytes up to the end of the connection, of content of unknown length."""


_RENAMED_FIELDS = {"address": "url_sha256", "origin": "version"}
"""Fields of notes that were written before 2026-12, and their names today."""


class PartialFile:
    """The bytes of a download before it has its name, with a note of their version next to them.

    Bytes without a note, or from another URL, are not resumed.
    """

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._target = target
        self._note = target.with_name(f".{target.name}.part.json")
        self._url_digest = hashlib.sha256(url.encode()).hexdigest()  # a URL may have a key in it

    @property
    def n_bytes(self) -> int:
        """Bytes that have come; 0 where there is no file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def read_version(self) -> ContentVersion | None:
        """Return the version of the bytes; None if it is not known, or of another URL."""
        try:
            note = json.loads(self._note.read_bytes())
            fields = {_RENAMED_FIELDS.get(name, name): value for name, value in note.items()}
            return ContentVersion(**fields["version"]) if fields["url_sha256"] == self._url_digest else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def start(self, version: ContentVersion) -> None:
        """Delete the bytes that are there, and note the version of those that will come."""
        self.remove()
        self._note.write_text(json.dumps({"url_sha256": self._url_digest, "version": asdict(version)}))

    def remove(self) -> None:
        """Delete the bytes and their note."""
        self.path.unlink(missing_ok=True)  # first: bytes without a note are harmless, a note without its bytes as well
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self._target)
        self._note.unlink(missing_ok=True)
