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


class PartialFile:
    """The bytes of a download before it has its name, with a note of their origin next to them.

    Bytes without a note, or from another address, are not resumed.
    """

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._target = target
        self._note = target.with_name(f".{target.name}.part.json")
        self._url_digest = hashlib.sha256(url.encode()).hexdigest()  # an address may have a key in it

    @property
    def n_bytes(self) -> int:
        """Bytes that have come; 0 where there is no file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def read_version(self) -> ContentVersion | None:
        """Return the origin of the bytes; None if it is not known, or another address."""
        try:
            fields = json.loads(self._note.read_bytes())
            return ContentVersion(**fields["origin"]) if fields["address"] == self._url_digest else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def start(self, version: ContentVersion) -> None:
        """Forget the bytes that are there, and note the origin of those that will come."""
        self.remove()
        self._note.write_text(json.dumps({"address": self._url_digest, "origin": asdict(version)}))

    def remove(self) -> None:
        """Forget the bytes and their origin."""
        self.path.unlink(missing_ok=True)  # first: bytes without a note are harmless, a note without its bytes as well
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self._target)
        self._note.unlink(missing_ok=True)
