"""Safe extraction of zip archives from clients: no links, no paths outside the folder, no decompression bombs."""

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
from dawnchorus.limits import ZipLimits
from dawnchorus.storage.files import cannot_write

CHUNK_BYTES = 1 << 20

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
"""Errors of reading a damaged zip; MemoryError because the header of LZMA states how much memory it needs."""


def unpack(path: Path, folder: Path, *, max_bytes: int, limits: ZipLimits) -> int:
    """Unpack a zip archive into a folder, and return the number of unpacked bytes.

    After an error, files that were unpacked before the error stay in the folder.

    Args:
        path: file of the archive.
        folder: folder for the unpacked files, which is created if necessary.
        max_bytes: maximum size of all unpacked files together.
        limits: limits on the archive's files, paths and compression ratio.

    Raises:
        InputError: the file is not a zip archive, is damaged or encrypted, or one of its files is a link, occurs twice
            (ignoring case), or has a path that leads out of the folder, has a backslash or a colon, or is longer than
            `limits.max_path_bytes`.
        UploadTooLargeError: the archive has more than `limits.max_members` files, unpacks to more than `max_bytes`, or
            unpacks to more than `limits.unchecked_bytes` with a compression ratio above `limits.max_ratio`.
        OutputError: the files cannot be written: no space, or no permission.
    """
    try:
        with _open(path) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            _check(members, path.stat().st_size, max_bytes, limits)
            remaining_bytes = max_bytes
            for member in members:
                out_path = folder / member.filename
                out_path.parent.mkdir(parents=True, exist_ok=True)
                remaining_bytes -= _extract(archive, member, out_path, remaining_bytes)
            return max_bytes - remaining_bytes
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError("expected a zip in which every name is a file or a folder, and not both.") from error
    except OSError as error:
        raise cannot_write(folder, error) from error


def _open(path: Path) -> zipfile.ZipFile:
    with _reading():
        return zipfile.ZipFile(path)


@contextmanager
def _reading() -> Iterator[None]:
    """Convert the various exceptions of reading a damaged zip archive to `InputError`.

    Raises:
        InputError: the zip is damaged, encrypted, or packed in a way that is not supported.
    """
    try:
        yield
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # an error of the system; bz2 sets no errno, and offsets before the start of the file are EINVAL
        raise InputError(f"expected a zip of recordings; this one cannot be unpacked ({error}).") from error


def _check(members: list[zipfile.ZipInfo], n_packed: int, max_bytes: int, limits: ZipLimits) -> None:
    if len(members) > limits.max_members:
        raise UploadTooLargeError(f"expected at most {limits.max_members} files in a zip, got {len(members)}.")
    total = sum(member.file_size for member in members)
    if total > max_bytes or total > max(n_packed * limits.max_ratio, limits.unchecked_bytes):
        raise UploadTooLargeError(f"expected a zip of at most {max_bytes} bytes, got {total} by its headers.")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        is_inside = (
            0 < len(name.encode()) <= limits.max_path_bytes
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


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, out_path: Path, max_bytes: int) -> int:
    """Unpack a member of at most `max_bytes`, regardless of the size in its header, and return its size."""
    n = 0
    with out_path.open("xb") as file:
        for chunk in _read_chunks(archive, member):
            n += len(chunk)
            if n > max_bytes:
                raise UploadTooLargeError("the zip unpacks to more than its headers state.")
            file.write(chunk)
    return n


def _read_chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with _reading(), archive.open(member) as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
