"""Bytes behind the sound of a file are counted and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import open_recording
from dawnchorus.audio.trailing_bytes import MIN_UNKNOWN_BYTES, find_trailing_bytes

RATE_HZ = 16_000
NOT_IN_HEADER = bytes(MIN_UNKNOWN_BYTES)
BOX = (16).to_bytes(4, "big")
MP4 = BOX + b"ftypM4A \0\0\0\0" + BOX + b"mdatabcdefgh"


def make_audio(path: Path, **options: str) -> bytes:
    soundfile.write(path, tone(seconds=0.3), RATE_HZ, **options)
    return path.read_bytes()


def decode(path: Path) -> tuple[float, list[str]]:
    with open_recording(path) as recording:
        n = sum(map(len, recording.blocks()))
        return n / RATE_HZ, recording.warnings


CASES = [
    ("wav", "WAV"),
    ("flac", "FLAC"),
    ("ogg", "Ogg"),
    ("aiff", "AIFF"),
    ("au", "AU"),
    ("caf", "CAF"),
    ("mp3", "MP3"),
]


@pytest.mark.parametrize(("suffix", "name"), CASES)
def test_a_second_file_behind_the_first_is_said(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"x.{suffix}"
    content = make_audio(path)
    length_s, warnings = decode(path)
    assert warnings == []
    second = make_audio(path)  # of another serial number, if it is Ogg
    path.write_bytes(content + second)
    expected = (
        f"rest of the file: {len(second)} bytes with another {name} file follow the sound and are not read: cut the "
        f"file at byte {len(content)} into two"
    )
    assert decode(path) == (length_s, [expected])


@pytest.mark.parametrize("suffix", ["wav", "aiff", "ogg", "mp3"])
def test_large_data_behind_the_audio_is_reported(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    content = make_audio(path)
    path.write_bytes(content + NOT_IN_HEADER[:-1])
    assert decode(path)[1] == []
    path.write_bytes(content + NOT_IN_HEADER)
    expected = f"rest of the file: {MIN_UNKNOWN_BYTES} bytes of no known kind follow the sound and are not read"
    assert decode(path)[1] == [expected]


def test_truncated_second_file_is_not_part_of_the_first(tmp_path: Path) -> None:
    content = make_audio(tmp_path / "x.wav")
    (tmp_path / "x.wav").write_bytes(content + content[:-500])
    length_s, (warning,) = decode(tmp_path / "x.wav")
    assert length_s == pytest.approx(0.3)
    assert "with another WAV file" in warning


@pytest.mark.parametrize("flags", [0, 1, 2])
def test_an_mp3_without_counts_has_no_end(tmp_path: Path, flags: int) -> None:
    content = bytearray(make_audio(tmp_path / "x.mp3"))
    at = max(content.find(b"Xing"), content.find(b"Info")) + 7
    content[at] = flags
    (tmp_path / "x.mp3").write_bytes(content + NOT_IN_HEADER)
    assert find_trailing_bytes(tmp_path / "x.mp3") is None
    content[at], content[at + 5 : at + 9] = 3, bytes(4)
    (tmp_path / "x.mp3").write_bytes(content + NOT_IN_HEADER)
    assert find_trailing_bytes(tmp_path / "x.mp3") is None


def test_a_second_mp4_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.m4a").write_bytes(MP4)
    assert find_trailing_bytes(tmp_path / "x.m4a") is None
    (tmp_path / "x.m4a").write_bytes(MP4 + MP4)
    trailing_bytes = find_trailing_bytes(tmp_path / "x.m4a")
    assert trailing_bytes is not None
    assert (trailing_bytes.start, trailing_bytes.n_bytes, trailing_bytes.container) == (len(MP4), len(MP4), "MP4")


def test_digits_behind_a_wave64_file_are_no_chunk(tmp_path: Path) -> None:
    """A chunk's size of eight printable bytes leads beyond any file."""
    path = tmp_path / "x.w64"
    content = make_audio(path, format="W64")
    path.write_bytes(content + b"0123456789 " * 20)
    assert decode(path)[0] == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    "start", [b"RIFF", b"FORM", b".snd", b"caff", b"OggS", b"\xff\xfb", b"ID3\3", b"\0\0\0\x10ftyp"]
)
def test_damaged_headers_have_no_trailing_bytes(tmp_path: Path, start: bytes) -> None:
    rng = np.random.default_rng(1)
    for rest in (b"", bytes(40), b"\xff" * 40, rng.bytes(4096), b"Xing\xff\xff\xff\xff", b"Info"):
        (tmp_path / "x").write_bytes(start + rest)
        trailing_bytes = find_trailing_bytes(tmp_path / "x")
        assert trailing_bytes is None or trailing_bytes.container is None
