"""Archives that lie."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from tests.fixtures.uploads import packed

from dawnchorus.errors import InputError, UploadTooLargeError
from dawnchorus.limits import ZipLimits
from dawnchorus.server.training.archives import unpack


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_malicious_zips_are_rejected_and_write_nothing_outside(tmp_path: Path) -> None:
    names = ["../x.wav", "a/../../x.wav", "/etc/x.wav", "C:\\x.wav", "..\\x.wav", "a/" + "b" * 300, "\\\\server\\share"]
    cases: list[tuple[type[Exception], dict[str, bytes]]] = [(InputError, {name: b"x"}) for name in names]
    cases.append((InputError, {"a.wav": b"x", "A.WAV": b"y"}))
    cases.append((InputError, {"a": b"x", "a/b": b"y"}))
    cases.append((UploadTooLargeError, {"bomb.wav": bytes(5_000_000)}))
    for k, (kind, members) in enumerate(cases):
        path = tmp_path / f"{k}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name) if "\\" in name else name, content, zipfile.ZIP_DEFLATED)
        target = tmp_path / f"out{k}" / "in"
        target.mkdir(parents=True)
        with pytest.raises(kind):
            unpack(path, target, max_bytes=1 << 30, limits=ZipLimits())
        assert list((tmp_path / f"out{k}").iterdir()) == [target]
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link("a.wav"), "/etc/passwd")
    with pytest.raises(InputError):
        unpack(tmp_path / "link.zip", tmp_path / "out0", max_bytes=1 << 20, limits=ZipLimits())
    (tmp_path / "many.zip").write_bytes(packed({f"{k}.wav": b"" for k in range(6)}))
    with pytest.raises(UploadTooLargeError, match="at most 5 files"):
        unpack(tmp_path / "many.zip", tmp_path / "out0", max_bytes=1 << 20, limits=ZipLimits(max_members=5))
    assert not (tmp_path / "x.wav").exists()


def test_zip_with_false_size_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(3_000_000))
    data = bytearray(path.read_bytes())
    offset = data.rindex(b"PK\x01\x02")
    data[offset + 24 : offset + 28] = struct.pack("<I", 1000)  # the directory's word for the size
    path.write_bytes(data)
    with pytest.raises((InputError, UploadTooLargeError)):
        unpack(path, tmp_path, max_bytes=100_000, limits=ZipLimits())
    assert not (tmp_path / "a.wav").exists() or (tmp_path / "a.wav").stat().st_size <= 100_000
