"""Comments and chunks as recorders write them."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.sounds import tone
from tests.fixtures.wav_chunks import bext, chunk, guano, info, wamd, wav

from dawnchorus.audio.metadata import read_metadata
from dawnchorus.audio.recorder_notes import read_guano, read_wamd

BATTERY = "at medium gain while battery was 4.0V and temperature was 14.5C."

AT = "Recorded at 01:30:02 01/06/2024"


@pytest.mark.parametrize(
    ("comment", "time"),
    [
        # mbsantiago/metamoth, docs/firmware_versions: 1.0 to 1.8; kitzeslab/opensoundscape#457, #745, #974
        (f"{AT} by AudioMoth 24E1440355DDD320 at gain setting 2 while battery state was 4.0V", "01:30:02+00:00"),
        (
            f"{AT} (UTC) by AudioMoth 24E1440355DDD320 at gain setting 2 while battery state was > 4.9V",
            "01:30:02+00:00",
        ),
        (f"{AT} (UTC-5) by AudioMoth 24E1440355DDD320 at medium gain setting while battery state", "01:30:02-05:00"),
        (f"{AT} (UTC+5:45) by AudioMoth 24E1440355DDD320 {BATTERY}", "01:30:02+05:45"),
        (f"{AT} (UTC-3:30) by AudioMoth 24E1440355DDD320 {BATTERY}", "01:30:02-03:30"),
        (f"{AT} (UTC) during deployment 0123456789ABCDEF {BATTERY}", "01:30:02+00:00"),
        (f"{AT} (UTC+10) during deployment 0123456789ABCDEF {BATTERY} Amplitude threshold was 2%.", "01:30:02+10:00"),
        ("Recorded at 01:30:02.345 01/06/2024 (UTC+2) by AudioMoth 24E1440355DDD320 at low gain", "01:30:02.345+02:00"),
        (f"{AT} (UTC+1) by a machine of the year 2030 whose words nobody knows", "01:30:02+01:00"),
        (f"{AT} (UTC+99) by AudioMoth 24E1440355DDD320 {BATTERY}", None),
        (f"{AT} (half past one) by AudioMoth 24E1440355DDD320", None),
        (f"{AT} in my garden", None),
        ("Recorded at 01:30:02 31/06/2024 (UTC) by AudioMoth 24E1440355DDD320", None),
    ],
)
def test_audiomoth_comments_of_every_firmware(tmp_path: Path, comment: str, time: str | None) -> None:
    metadata = read_metadata(wav(tmp_path / "a.wav", info(ICMT=comment, IART="AudioMoth 24E1440355DDD320")))
    assert metadata.start_time == (None if time is None else datetime.fromisoformat(f"2024-06-01T{time}"))
    if time:
        assert metadata.start_time is not None
        assert metadata.start_time.isoformat(timespec="milliseconds")[-6:] == time[-6:]
        assert (metadata.recorder, metadata.source) == ("AudioMoth 24E1440355DDD320", "AudioMoth comment")


@pytest.mark.parametrize(
    ("chunks", "time", "location", "source"),
    [
        # riggsd/guano-py: GUANO specification; QutEcoacoustics/emu#441: a space instead of T
        ([guano(Timestamp="2024-06-01T01:30:05-03:30")], "2024-06-01T01:30:05-03:30", None, "guano"),
        ([guano(Timestamp="2023-11-17 09:52:00+11:00")], "2023-11-17T09:52:00+11:00", None, "guano"),
        ([guano(Timestamp="2024-06-01T01:30:05Z", Loc_Position="32.34322 -110.96443")], None, None, "guano"),
        # riggsd/guano-py, bin/wamd2guano.py; QutEcoacoustics/baw-server#854: -00:00 is no zone
        ([wamd(time="2014-04-02 22:59:14-05:00")], "2014-04-02T22:59:14-05:00", None, "wamd"),
        ([wamd(time="2014-04-02 22:59:14.000")], "2014-04-02T22:59:14", None, "wamd"),
        ([wamd(time="2016-05-17 16:00:00-00:00")], "2016-05-17T16:00:00", None, "wamd"),
        (
            [wamd(model="SM4", serial="S4A1", time="2014-04-02 22:59:14", location="WGS84,42.5,N,71.25,W,55")],
            *("2014-04-02T22:59:14", (42.5, -71.25), "wamd"),
        ),
        (
            [wamd(time="2014-04-02 22:59:14", location="WGS84,-42.5,71.25")],
            "2014-04-02T22:59:14",
            (-42.5, 71.25),
            "wamd",
        ),
        # EBU Tech 3285: any of - _ : space and . between the numbers
        ([bext("2024-06-01", "01:30:05", "ZOOM Handy Recorder H5")], "2024-06-01T01:30:05", None, "bext"),
        ([bext("2024:06:01", "01-30-05")], "2024-06-01T01:30:05", None, "bext"),
        ([bext("", "")], None, None, "bext"),
        ([bext("0000-00-00", "00:00:00")], None, None, "bext"),
        # Gallery: iXML specification, BEXT and LOCATION
        (
            [
                chunk(
                    b"iXML",
                    b"<BWFXML><BEXT><BWF_ORIGINATION_DATE>2024-06-01</BWF_ORIGINATION_DATE>"
                    b"<BWF_ORIGINATION_TIME>01:30:05</BWF_ORIGINATION_TIME></BEXT>"
                    b"<LOCATION><LOCATION_GPS>47.756787, -123.729977</LOCATION_GPS></LOCATION></BWFXML>",
                )
            ],
            *("2024-06-01T01:30:05", (47.756787, -123.729977), "iXML"),
        ),
        ([info(ICRD="2024-06-01T01:30:05Z")], "2024-06-01T01:30:05+00:00", None, "ICRD"),
        ([info(ICRD="2024-06-01")], None, None, "ICRD"),
    ],
)
def test_chunks_of_recorders(
    tmp_path: Path, chunks: list[bytes], time: str | None, location: tuple[float, float] | None, source: str
) -> None:
    if b"Loc Position" in chunks[0]:
        time, location = "2024-06-01T01:30:05+00:00", (32.34322, -110.96443)
    metadata = read_metadata(wav(tmp_path / "a.wav", *chunks))
    assert (metadata.start_time and metadata.start_time.isoformat()) == time
    assert (metadata.latitude, metadata.longitude) == (location or (None, None))
    assert (metadata.source, metadata.conflict) == (source, None)


def test_comments_of_frontier_labs_flac_files(tmp_path: Path) -> None:
    """QutEcoacoustics/emu, docs/metadata.md: RecordingStart and SensorLocation; ffmpeg keeps AudioMoths' comment."""
    soundfile.write(tmp_path / "a.flac", tone(seconds=0.01), 16_000)
    content = (tmp_path / "a.flac").read_bytes()
    texts = [
        b"RecordingStart=2022-03-13T12:00:00.000+10:00",
        b"SensorLocation=-27.3888+152.8808",
        b"SensorUid=00015141",
    ]
    comments = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    block = struct.pack("<I", 0) + struct.pack("<I", len(texts)) + comments
    (tmp_path / "a.flac").write_bytes(content[:42] + b"\x04" + len(block).to_bytes(3, "big") + block + content[42:])
    metadata = read_metadata(tmp_path / "a.flac")
    assert metadata.start_time == datetime(2022, 3, 13, 12, tzinfo=timezone(timedelta(hours=10)))
    assert (metadata.latitude, metadata.longitude, metadata.recorder) == (-27.3888, 152.8808, "Frontier Labs 00015141")


def test_locations_of_recorders_are_read_in_any_notation() -> None:
    for position in (
        "-33.8,151.2",
        "(-33.8, 151.2)",
        "S33.8 E151.2",
        "33\u00b048.0' S 151\u00b012.0' E",
        "-33.8 151.2",
    ):
        metadata = read_guano({"guan": f"GUANO|Version: 1.0\nLoc Position: {position}\n".encode()})
        assert metadata is not None
        assert (metadata.latitude, metadata.longitude, metadata.unread) == (-33.8, 151.2, None), position
    for location, latitude in (("WGS84,0.0,11.5", 0.0), ("WGS84,42.12,N,71.12,W,55", 42.12), ("UTM,32U,691604", None)):
        fields = ((5, b"2024-06-01 01:30:05"), (6, location.encode()))
        metadata = read_wamd({"wamd": b"".join(struct.pack("<HI", k, len(text)) + text for k, text in fields)})
        assert metadata is not None
        assert (metadata.latitude, metadata.start_time) == (latitude, datetime(2024, 6, 1, 1, 30, 5))
        assert (metadata.unread is None) == (latitude is not None)
