"""Time and location from recorders' metadata and names."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.metadata import READERS, metadata_from_json, metadata_to_json, read_metadata, with_name
from dawnchorus.audio.recorder_notes import MetadataChunks
from dawnchorus.audio.riff import iter_chunks, missing_data_bytes
from dawnchorus.types import RecordingMetadata


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("SMU04123_20260501_043000.wav", datetime(2026, 5, 1, 4, 30)),
        ("20260501_043000.WAV", datetime(2026, 5, 1, 4, 30)),
        ("20260501_043000Z.wav", datetime(2026, 5, 1, 4, 30, tzinfo=UTC)),
        ("site7_20260501T043000+0200.flac", datetime(2026, 5, 1, 4, 30, tzinfo=timezone(timedelta(hours=2)))),
        ("20260501_043000_part2.wav", datetime(2026, 5, 1, 4, 30)),
        ("5EA8E3D0.WAV", datetime(2020, 4, 29, 2, 17, 52, tzinfo=UTC)),
        ("20261399_993000.wav", None),
        ("song.wav", None),
        ("DEADBEE.wav", None),
        ("20230501_043000-2501.wav", datetime(2023, 5, 1, 4, 30)),
    ],
)
def test_file_names(tmp_path: Path, name: str, time: datetime | None) -> None:
    soundfile.write(tmp_path / name, tone(seconds=0.1), 16_000)
    metadata = read_metadata(tmp_path / name)
    assert metadata.start_time == time
    assert metadata.source == ("file name" if time else None)
    assert metadata_from_json(metadata_to_json(metadata)) == metadata


def add_chunk(path: Path, name: bytes, content: bytes) -> None:
    content += b"\0" * (len(content) % 2)
    data = path.read_bytes() + name + struct.pack("<I", len(content)) + content
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


def test_guano_gives_time_and_location_and_wins_over_the_name(tmp_path: Path) -> None:
    path = tmp_path / "X_20200101_000000.wav"
    soundfile.write(path, tone(seconds=0.1), 16_000)
    text = "GUANO|Version: 1.0\nMake: Wildlife Acoustics\nModel: SM4\nTimestamp: 2026-05-01T04:30:00+02:00\n"
    add_chunk(path, b"guan", (text + "Loc Position: 47.5 8.25\n").encode())
    metadata = read_metadata(path)
    assert metadata.start_time == datetime(2026, 5, 1, 4, 30, tzinfo=timezone(timedelta(hours=2)))
    assert (metadata.latitude, metadata.longitude) == (47.5, 8.25)
    assert metadata.recorder == "Wildlife Acoustics SM4"


def test_audiomoth_comment_gives_the_time_with_its_zone(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(seconds=0.1), 16_000)
    comment = (
        "Recorded at 04:30:00 01/05/2022 (UTC+2) by AudioMoth 24E144085F256BE5 at medium gain "
        "while battery was 4.2V and temperature was 12.3C."
    )
    content = comment.encode() + b"\0"
    add_chunk(path, b"LIST", b"INFOICMT" + struct.pack("<I", len(content)) + content)
    metadata = read_metadata(path)
    assert metadata.start_time is not None
    assert metadata.start_time.astimezone(UTC) == datetime(2022, 5, 1, 2, 30, tzinfo=UTC)
    assert metadata.recorder == "AudioMoth 24E144085F256BE5"


@pytest.mark.parametrize("position", ["52.5", "999 999", "32U 691604 5334760", "0.0 0.0", "nan nan", "north"])
def test_a_location_that_is_none_is_left_out_and_said(tmp_path: Path, position: str) -> None:
    path = tmp_path / "X_20200101_000000.wav"
    soundfile.write(path, tone(seconds=0.1), 16_000)
    add_chunk(path, b"guan", f"GUANO|Version: 1.0\nLoc Position: {position}\n".encode())
    metadata = read_metadata(path)
    assert (metadata.latitude, metadata.longitude) == (None, None)
    assert metadata.start_time == datetime(2020, 1, 1)
    is_known = position in ("0.0 0.0", "nan nan")
    assert metadata.unread == (None if is_known else f"guano has a location that is not understood: {position!r}")


def test_broken_metadata_is_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(seconds=0.1), 16_000)
    add_chunk(path, b"guan", b"\xff\xfe nonsense")
    add_chunk(path, b"LIST", b"INFOICMT" + struct.pack("<I", 999_999) + b"Recorded by AudioMoth sometime")
    assert read_metadata(path).start_time is None


@pytest.mark.parametrize("time", ["2026-05-01T04:30:00+99:00", "9999-12-31T23:59:59"])
def test_a_time_that_cannot_be_written_or_added_to_is_left_out(tmp_path: Path, time: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(seconds=0.1), 16_000)
    add_chunk(path, b"guan", f"GUANO|Version: 1.0\nTimestamp: {time}\nLoc Position: 52.5 13.4\n".encode())
    metadata = read_metadata(path)
    assert (metadata.start_time, metadata.latitude) == (None, 52.5)


def test_samples_behind_a_size_that_was_never_written_are_no_chunks(tmp_path: Path) -> None:
    """A recorder that loses its power leaves these; reading millions of empty chunks took a minute."""
    path = tmp_path / "20260501_043000.wav"
    soundfile.write(path, tone(seconds=0.1, level=0.0), 16_000)
    content = bytearray(path.read_bytes())
    content[40:44] = bytes(4)
    path.write_bytes(content + bytes(100_000))
    with path.open("rb") as file:
        assert [chunk.name for chunk in iter_chunks(file)] == [b"fmt ", b"data"]
    assert missing_data_bytes(path) == 0
    assert read_metadata(path).start_time == datetime(2026, 5, 1, 4, 30)


def test_odd_chunks_are_padded_and_names_may_hold_spaces(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + b"abc \x03\0\0\0xyz\0" + b"data\x02\0\0\0" + b"\0")
    with path.open("rb") as file:
        assert [(chunk.name, chunk.start, chunk.size) for chunk in iter_chunks(file)] == [
            (b"abc ", 20, 3),
            (b"data", 32, 2),
        ]
    assert missing_data_bytes(path) == 1


def wav(path: Path, guano: str = "") -> Path:
    soundfile.write(path, tone(seconds=0.01), 16_000)
    if guano:
        add_chunk(path, b"guan", f"GUANO|Version: 1.0\n{guano}".encode())
    return path


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("58684680", datetime(2017, 1, 1, tzinfo=UTC)),
        ("5868467F", None),
        ("19700101_000000", datetime(1970, 1, 1)),
        ("19691231_235959", None),
        ("21001231_235959", datetime(2100, 12, 31, 23, 59, 59)),
        ("21010101_000000", None),
        ("20260501_043000-0330", datetime(2026, 5, 1, 4, 30, tzinfo=timezone(-timedelta(hours=3, minutes=30)))),
        ("20260501_043000+1245", datetime(2026, 5, 1, 4, 30, tzinfo=timezone(timedelta(hours=12, minutes=45)))),
    ],
)
def test_times_in_names_at_their_limits(name: str, time: datetime | None) -> None:
    metadata = with_name(RecordingMetadata(latitude=1.0), f"{name}.WAV")
    assert metadata.start_time == time
    assert (metadata.start_time and metadata.start_time.utcoffset()) == (time and time.utcoffset())
    assert metadata.latitude == 1.0


def test_a_name_adds_only_what_is_not_known() -> None:
    known = RecordingMetadata(start_time=datetime(2020, 1, 1), source="guano")
    assert with_name(known, "20200101_000000.wav") == known
    assert with_name(known, "20260501_043000.wav").start_time == known.start_time
    assert with_name(RecordingMetadata(), "20261399_993000.wav") == RecordingMetadata()
    assert with_name(RecordingMetadata(recorder="x"), "20260501_043000.wav") == RecordingMetadata(
        start_time=datetime(2026, 5, 1, 4, 30), recorder="x", source="file name"
    )


@pytest.mark.parametrize(("year", "is_known"), [(2099, True), (2100, True), (2101, False)])
def test_guanos_times_end_with_the_year_2100(tmp_path: Path, year: int, is_known: bool) -> None:
    metadata = read_metadata(wav(tmp_path / "a.wav", f"Timestamp: {year}-05-01T04:30:00\n"))
    assert metadata.start_time == (datetime(year, 5, 1, 4, 30) if is_known else None)
    assert metadata.source == "guano"
    assert (metadata.recorder, metadata.latitude) == (None, None)


def test_a_reader_that_fails_leaves_it_to_the_next(tmp_path: Path) -> None:
    def fail(_path: Path, _notes: MetadataChunks) -> None:
        raise RuntimeError

    path = wav(tmp_path / "20260501_043000.wav")
    assert read_metadata(path, (fail, *READERS)).start_time == datetime(2026, 5, 1, 4, 30)


def test_comments_of_other_programs_say_nothing(tmp_path: Path) -> None:
    for content in (b"INFOICMT\x09\0\0\0by Sox\0\0", b"INFOIART\4\0\0\0AudioMoth\0", b"INFO"):
        path = wav(tmp_path / "a.wav")
        add_chunk(path, b"LIST", content)
        assert read_metadata(path) == RecordingMetadata()
