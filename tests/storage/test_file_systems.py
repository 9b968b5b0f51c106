"""Stores on file systems of fsspec."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec")

from dawnchorus.storage.file_systems import FileSystemStore  # noqa: E402 - needs fsspec


def test_a_file_that_cannot_be_replaced_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("file")
    store = FileSystemStore(system, str(tmp_path))
    store.write("a/x.csv", io.BytesIO(b"old"), replaces=None)
    info = store.head("a/x.csv")
    rename = system.mv

    def fail_for_new_files(source: str, path: str) -> None:
        if source.endswith(".part"):
            raise OSError("the connection was lost")
        rename(source, path)

    monkeypatch.setattr(system, "mv", fail_for_new_files)
    with pytest.raises(OSError, match="the connection was lost"):
        store.write("a/x.csv", io.BytesIO(b"new"), replaces=info)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {"x.csv": b"old"}
    monkeypatch.undo()
    store.write("a/x.csv", io.BytesIO(b"new"), replaces=info)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {"x.csv": b"new"}
