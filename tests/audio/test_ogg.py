"""Ogg files: cut off or whole, by their last page."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.audio.ogg import is_cut_off

LARGEST_PAGE = 27 + 255 + 255 * 255
"""RFC 3533, section 6: a header, and 255 segments of 255 bytes."""


def page(*, flags: int, segments: tuple[int, ...] = (3, 5)) -> bytes:
    """Return a page of RFC 3533, with zeros for its position, serial number and checksum."""
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([len(segments), *segments]) + b"x" * sum(segments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.ogg"


def cut_off(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    return is_cut_off(path)


@pytest.mark.parametrize("content", [b"", b"Ogg", b"OggX" + bytes(100), b"fLaC" + bytes(100)])
def test_other_files_are_not_cut_off(path: Path, content: bytes) -> None:
    assert cut_off(path, content) is False


@pytest.mark.parametrize(
    ("flags", "expected"), [(0x04, False), (0x05, False), (0x06, False), (0x00, True), (0x01, True), (0x08, True)]
)
def test_the_last_page_must_be_marked(path: Path, flags: int, expected: bool) -> None:
    assert cut_off(path, page(flags=0x02) + page(flags=0) + page(flags=flags)) is expected
    assert cut_off(path, page(flags=flags)) is expected


@pytest.mark.parametrize("n_missing", range(1, len(page(flags=4)) - 3))
def test_the_last_page_must_be_whole(path: Path, n_missing: int) -> None:
    whole = page(flags=0x02) + page(flags=0x04)
    assert cut_off(path, whole[:-n_missing]) is True


def test_pages_without_segments_and_of_the_largest_size_are_known(path: Path) -> None:
    largest = page(flags=0x04, segments=(255,) * 255)
    assert len(largest) == LARGEST_PAGE
    for last in (largest, page(flags=0x04, segments=())):
        assert cut_off(path, page(flags=0x02) * 3000 + last) is False
        assert cut_off(path, page(flags=0x02) * 3000 + last[:-1]) is True


@pytest.mark.parametrize(("flags", "expected"), [(0x04, False), (0x00, True)])
def test_bytes_behind_the_last_page_do_not_hide_it(path: Path, flags: int, expected: bool) -> None:
    """Two headers' and a largest page's bytes hold the start of any last page; with more behind it pages are walked."""
    last = page(flags=flags)
    room = LARGEST_PAGE + 27 - len(last)
    assert cut_off(path, last + bytes(room)) is expected
    assert cut_off(path, page(flags=0x02) + last + bytes(room + 1)) is expected
