"""The contract that every fuzzed reader must keep, and the parts of a target."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dawnchorus.errors import DawnChorusError


class ContractError(Exception):
    """A reader took bytes that it should have refused, or refused them without naming the file."""


@dataclass(frozen=True)
class Reader:
    """A reader to be fuzzed, with small inputs that fuzzing starts from, most of them valid.

    `read` may return, or raise a DawnChorusError; anything else is a finding.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


@dataclass(frozen=True)
class Target:
    """Readers that are fuzzed together: the first byte of an input chooses the reader, the others are its content."""

    name: str
    readers: tuple[Reader, ...]

    def run(self, data: bytes) -> None:
        """Give an input to its reader.

        Raises:
            ContractError: the error does not name the file.
            Exception: whatever else the reader raised.
        """
        if not data:
            return
        try:
            self.readers[data[0] % len(self.readers)].read(data[1:])
        except DawnChorusError:
            return

    def seeds(self) -> list[bytes]:
        """Return the seeds of all readers, as inputs."""
        return [bytes([k]) + seed for k, reader in enumerate(self.readers) for seed in reader.seeds]

    def input_for(self, reader: str, content: bytes) -> bytes:
        """Return the input that gives `content` to the reader of this name."""
        names = [each.name for each in self.readers]
        return bytes([names.index(reader)]) + content


@cache
def scratch_folder() -> Path:
    """Return a folder for temporary files, which goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="dawnchorus-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def from_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    """Return a reader of bytes that writes them to a file called `name` and reads that, checking the errors raised."""

    def read_bytes(content: bytes) -> object:
        path = scratch_folder() / name
        path.write_bytes(content)
        try:
            return read(path)
        except DawnChorusError as error:
            if path.name not in str(error):
                raise ContractError(f"expected the file's name in the message, found: {error}") from error
            raise

    return read_bytes
