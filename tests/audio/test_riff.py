"""Chunks of WAV files: what is one, where the next one is, and what the header promises."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from dawnchorus.audio.riff import Chunk, iter_chunks, missing_data_bytes, read_chunk

HEADER = b"RIFF\0\0\0\0WAVE"


def names(content: bytes) -> list[bytes]:
    return [chunk.name for chunk in iter_chunks(io.BytesIO(content))]


@pytest.mark.parametrize(
    "header", [b"RF63\0\0\0\0WAVE", b"SIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0AVI ", b"RIFF\0\0\0\0WAVX", b"", HEADER[:11]]
)
def test_other_files_have_no_chunks(header: bytes) -> None:
    assert names(header + b"abcd\0\0\0\0") == []


def test_rf64_takes_the_length_of_its_samples_from_ds64() -> None:
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 100, 6, 3, 0)
    content = b"RF64\xff\xff\xff\xffWAVE" + ds64 + b"data\xff\xff\xff\xffabcdef" + b"guan\0\0\0\0"
    assert list(iter_chunks(io.BytesIO(content)))[1:] == [Chunk(b"data", 56, 6), Chunk(b"guan", 70, 0)]


def test_chunks_of_wave64_have_long_names_and_sizes() -> None:
    head, form = bytes.fromhex("726966662e91cf11a5d628db04c10000"), bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
    chunks = b"".join(name + form[4:] + struct.pack("<Q", 27) + b"abc" + bytes(5) for name in (b"fmt ", b"data"))
    assert list(iter_chunks(io.BytesIO(head + bytes(8) + form + chunks))) == [
        Chunk(b"fmt ", 64, 3),
        Chunk(b"data", 96, 3),
    ]


def test_chunks_follow_each_other_by_their_sizes() -> None:
    content = HEADER + b"even\2\0\0\0xy" + b"odd \3\0\0\0xyz\0" + b"none\0\0\0\0" + b"last\1\0\0\0x"
    assert list(iter_chunks(io.BytesIO(content))) == [
        Chunk(b"even", 20, 2),
        Chunk(b"odd ", 30, 3),
        Chunk(b"none", 42, 0),
        Chunk(b"last", 50, 1),
    ]


@pytest.mark.parametrize("rest", [b"", b"abc", b"abcd\0\0\0", b"ab\1d\0\0\0\0", b"\xc3\xa9\xc3\xa9\0\0\0\0"])
def test_chunks_end_at_half_a_header_and_at_no_name(rest: bytes) -> None:
    assert names(HEADER + b"even\2\0\0\0xy" + rest) == [b"even"]


def test_a_thousand_chunks_are_read() -> None:
    assert len(names(HEADER + b"junk\0\0\0\0" * 1000)) == 1000
    assert len(names(HEADER + b"junk\0\0\0\0" * 1001)) == 1000


def test_a_mebibyte_of_a_chunk_is_read() -> None:
    file = io.BytesIO(bytes(8) + b"x" * (2**20 + 5))
    assert read_chunk(file, Chunk(b"abcd", 8, 3)) == b"xxx"
    assert len(read_chunk(file, Chunk(b"abcd", 8, 2**20 + 5))) == 2**20
    assert len(read_chunk(file, Chunk(b"abcd", 8, 2**20 - 1))) == 2**20 - 1


@pytest.mark.parametrize(
    ("size", "n_bytes", "missing"),
    [
        (10, 10, 0),
        (10, 9, 1),
        (10, 0, 10),
        (10, 15, 0),
        (0, 10, 0),
        (0xFFFFFFFF, 10, 0),
        (0xFFFFEFFE, 14, 0xFFFFEFF0),
        (0x7FFFFFFF, 10, 0),
    ],
)
def test_samples_beyond_the_end_are_missing(tmp_path: Path, size: int, n_bytes: int, missing: int) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(HEADER + b"fmt \2\0\0\0xy" + b"data" + struct.pack("<I", size) + bytes(n_bytes))
    assert missing_data_bytes(path) == missing


@pytest.mark.parametrize("content", [b"fLaC", HEADER, HEADER + b"fmt \x09\0\0\0xy"])
def test_nothing_is_missing_where_no_samples_are_promised(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    assert missing_data_bytes(path) == 0
