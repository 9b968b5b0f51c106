"""The self-test names what cannot be decoded."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.audio import decode
from dawnchorus.audio.selftest import broken_formats
from dawnchorus.errors import AudioDecodeError


def fail_import(monkeypatch: pytest.MonkeyPatch, package: str, error: Exception) -> None:
    original = builtins.__import__

    def fail(name: str, *args: Any, **more: Any) -> Any:
        if name == package:
            raise error
        return original(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", fail)


def test_nothing_is_broken_here() -> None:
    assert broken_formats() == []


@pytest.mark.parametrize("error", [ImportError("not there"), OSError("no library")])
def test_libraries_that_cannot_be_loaded_are_named(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with monkeypatch.context() as patch:
        fail_import(patch, "soundfile", error)
        assert broken_formats() == [f"anything ({error})"]
    fail_import(monkeypatch, "av", error)
    assert broken_formats() == [f"FFmpeg's formats ({error})"]


def test_every_format_is_tried_and_named_if_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, **_more: object) -> tuple[np.ndarray, int]:
        assert path.stat().st_size > 0
        if path.suffix == ".mp3":
            raise RuntimeError
        raise AudioDecodeError("no", subject="x.wav")

    monkeypatch.setattr(decode, "read_mono", fail)
    expected = ["wav (AudioDecodeError)", "flac (AudioDecodeError)", "mp3 (RuntimeError)", "ogg (AudioDecodeError)"]
    assert broken_formats() == expected
