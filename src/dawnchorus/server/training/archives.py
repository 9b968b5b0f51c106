"""Unpacking what a stranger packed."""

from __future__ import annotations

import errno
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from dawnchorus.errors import InputError, UploadTooLargeError
from dawnchorus.storage.files import cannot_write

MAX_MEMBERS = 10_000
MAX_PATH = 1000
MAX_RATIO = 200
"""Sound is not packed more tightly than this; a bomb is."""

FREE_BYTES = 1 << 20
"""Up to here, the ratio does not matter: headers and silence are short."""

PART = 1 << 20

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    EOFError,
    ValueError,
    struct.error,
    MemoryError,
)
"""MemoryError: LZMA's header says how much memory it wants."""


def unpack(path: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack a zip into a folder.

    Raises:
        InputError: it is no zip, or a member has a name that leads elsewhere, is a link, or comes twice.
        UploadTooLargeError: it has too many members, or unpacks to more than `max_bytes`.
    """
    try:
        with _opened(path) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            _check(members, path.stat().st_size, max_bytes)
            left = max_bytes
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                left -= _copied(archive, member, target, left)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError("expected a zip in which every name is a file or a folder, and not both.") from error
    except OSError as error:
        raise cannot_write(folder, error) from error


def _opened(path: Path) -> zipfile.ZipFile:
    with _reading():
        return zipfile.ZipFile(path)


@contextmanager
def _reading() -> Iterator[None]:
    """Report the errors of reading a zip as one kind.

    Raises:
        InputError: the zip is damaged, encrypted, or packed in a way that is not supported.
    """
    try:
        yield
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the system's; bz2 gives no number, and offsets before the start of the file are EINVAL
        raise InputError(f"expected a zip of recordings; this one cannot be unpacked ({error}).") from error


def _check(members: list[zipfile.ZipInfo], n_packed: int, max_bytes: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise UploadTooLargeError(f"expected at most {MAX_MEMBERS} files in a zip, got {len(members)}.")
    total = sum(member.file_size for member in members)
    if total > max_bytes or total > max(n_packed * MAX_RATIO, FREE_BYTES):
        raise UploadTooLargeError(f"expected a zip of at most {max_bytes} bytes, this one says that it has {total}.")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        is_inside = (
            0 < len(name.encode()) <= MAX_PATH
            and parts
            and ".." not in parts
            and not name.startswith("/")
            and not any(c in name for c in "\\:\0")
        )
        if is_link or not is_inside or any(len(part.encode()) > 255 for part in parts):
            raise InputError(f"expected names of files inside the zip, got {name[:100]!r}.")
        if name.casefold() in seen:
            raise InputError(f"expected every file once, {name[:100]!r} is there twice.")
        seen.add(name.casefold())


def _copied(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Unpack a member, whatever its header says of its size, up to `left` bytes."""
    n = 0
    with target.open("xb") as file:
        for part in _parts(archive, member):
            n += len(part)
            if n > left:
                raise UploadTooLargeError("the zip unpacks to more than it says.")
            file.write(part)
    return n


def _parts(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with _reading(), archive.open(member) as source:
        while part := source.read(PART):
            yield part
