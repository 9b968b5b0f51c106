"""The unpacking of zips that clients send."""

from __future__ import annotations

import io
import shutil
import zipfile

from dawnchorus.limits import ZipLimits
from dawnchorus.server.training.archives import unpack
from fuzz.contract import ContractError, Reader, Target, scratch_folder

_MAX_BYTES = 1 << 20


def _unpack(content: bytes) -> None:
    path, folder = scratch_folder() / "upload.zip", scratch_folder() / "unpacked"
    path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    before = set(scratch_folder().iterdir())
    try:
        unpack(path, folder, max_bytes=_MAX_BYTES, limits=ZipLimits())
    finally:
        entries = list(folder.rglob("*"))
        shutil.rmtree(folder)
    if any(entry.is_symlink() for entry in entries) or set(scratch_folder().iterdir()) != before - {folder}:
        raise ContractError(f"the zip unpacked to links, or outside its folder: {entries}")


def _zip(method: int, *names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"RIFF" * 20, method)
    return out.getvalue()


TARGET = Target(
    "archives",
    (
        Reader(
            "zip",
            _unpack,
            (
                _zip(zipfile.ZIP_STORED, "a.wav"),
                _zip(zipfile.ZIP_DEFLATED, "Parus major/a.wav", "Parus major/b.wav"),
                _zip(zipfile.ZIP_BZIP2, "ä/c.wav"),
                _zip(zipfile.ZIP_LZMA, "d.wav"),
                _zip(zipfile.ZIP_STORED, "folder/", "folder/e.wav"),
                _zip(zipfile.ZIP_STORED, ""),
            ),
        ),
    ),
)
