"""Times and locations as recorders, phones and programs write them: names and chunks after their own documentation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from tests.fixtures.wav_chunks import bext, guano, info, wamd, wav

from dawnchorus.audio.clocks import parse_time, parse_zone
from dawnchorus.audio.metadata import merge_metadata, read_metadata, with_name
from dawnchorus.types import RecordingMetadata


def test_a_time_in_the_future_contradicts_the_clock_of_the_computer() -> None:
    conflict = with_name(RecordingMetadata(), "20990601_013005.wav").conflict
    assert conflict
    assert conflict.startswith("file name says 2099-06-01 01:30:05, this computer's clock ")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        *(
            ("UTC", 0),
            ("Z", 0),
            ("UTC+2", 120),
            ("UTC-3:30", -210),
            ("UTC+5:45", 345),
            ("+0200", 120),
            ("-03:30", -210),
        ),
        *(("GMT-11", -660), ("+14:00", 840), ("UTC-0:30", -30)),
        *(("", None), ("+15", None), ("-0001", None), ("+02:07", None), ("CET", None), ("UTC+", None)),
    ],
)
def test_zones_on_both_sides_of_greenwich(text: str, minutes: int | None) -> None:
    zone = parse_zone(text)
    assert zone == (None if minutes is None else timezone(timedelta(minutes=minutes)))


def test_times_without_a_known_zone_are_unknown() -> None:
    assert parse_time("2024-06-01 01:30") == datetime(2024, 6, 1, 1, 30)
    assert parse_time("2024-06-01 01:30:05 CEST") is None
    assert parse_time("yesterday") is None


def test_a_time_that_is_not_understood_is_said_where_the_name_has_another(tmp_path: Path) -> None:
    comment = "Recorded at 01:30:02 01/06/2024 (CEST) by AudioMoth 24E1440355DDD320"
    chunks = info(ICMT=comment), wamd(time="01.06.2024 01h30"), guano(Timestamp="9999-06-01T01:30:05")
    metadata = read_metadata(wav(tmp_path / "20240601_013002.WAV", *chunks))
    assert (metadata.start_time, metadata.source) == (datetime(2024, 6, 1, 1, 30, 2), "file name")
    assert metadata.conflict is None
    assert metadata.unread == (
        "guano has a time that is not understood: '9999-06-01T01:30:05'; "
        "AudioMoth comment has a time that is not understood: 'Recorded at 01:30:02 01/06/2024 (CEST)'; "
        "wamd has a time that is not understood: '01.06.2024 01h30'"
    )


def test_a_time_without_a_zone_takes_that_of_another_source(tmp_path: Path) -> None:
    metadata = read_metadata(wav(tmp_path / "S_20240601_013005+1000.wav", bext("2024-06-01", "01:30:05")))
    assert (metadata.start_time, metadata.source) == (datetime.fromisoformat("2024-06-01T01:30:05+10:00"), "bext")
    assert metadata.conflict is None


@pytest.mark.parametrize("clock", ["013002", "033002", "013003"])
def test_a_name_in_utc_or_local_time_contradicts_no_zone(tmp_path: Path, clock: str) -> None:
    comment = "Recorded at 03:30:02 01/06/2024 (UTC+2) by AudioMoth 24E1440355DDD320"
    assert read_metadata(wav(tmp_path / f"20240601_{clock}.WAV", info(ICMT=comment))).conflict is None


def test_sources_that_contradict_each_other_are_said_and_the_first_counts(tmp_path: Path) -> None:
    chunks = guano(Timestamp="2024-06-01T01:30:05Z", Loc_Position="10 20"), wamd(location="WGS84,10.5,N,20,E")
    metadata = read_metadata(wav(tmp_path / "20230601_013005.wav", *chunks))
    assert metadata.start_time == datetime(2024, 6, 1, 1, 30, 5, tzinfo=UTC)
    assert metadata.conflict == (
        "guano says 2024-06-01 01:30:05+00:00, file name 2023-06-01 01:30:05; "
        "guano says (10.0, 20.0), wamd (10.5, 20.0)"
    )
    assert with_name(metadata, "x.wav") == metadata
    assert merge_metadata([]) == RecordingMetadata()
