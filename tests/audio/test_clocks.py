"""Times and locations as recorders, phones and programs write them: names and chunks after their own documentation."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path, PurePath

import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.clock_report import ClockReport
from dawnchorus.audio.clocks import parse_time, parse_zone
from dawnchorus.audio.file_names import read_name
from dawnchorus.audio.metadata import merge_metadata, read_metadata, with_name
from dawnchorus.types import RecordingMetadata

# AudioMoth: rhine3/audiomoth-guide; hexadecimal names: CRAN seewave, audiomoth().
AUDIOMOTH = [
    ("20240601_013005.WAV", "2024-06-01T01:30:05"),
    ("20240601_013005T.WAV", "2024-06-01T01:30:05"),
    ("24E1440355DDD320_20240601_013005.WAV", "2024-06-01T01:30:05"),
    ("20240601_013005_SYNC.WAV", "2024-06-01T01:30:05"),
    ("5E9089F0.WAV", "2020-04-10T15:00:00+00:00"),
    ("5E9F1A20.wav", "2020-04-21T16:06:56+00:00"),
    ("59000000.WAV", "2017-04-26T02:03:44+00:00"),
    ("2020-05-20-21-30-00-UTC.wav", "2020-05-20T21:30:00+00:00"),  # nwolek/audiomoth-scripts
]

# Wildlife Acoustics: user guides of Song Meter Mini 2 (SD card contents), SM3BAT (file names) and SMART.
SONG_METER = [
    ("WALDEN_20240601_140505.wav", "2024-06-01T14:05:05"),
    ("2MA12345_20240601_140505.wav", "2024-06-01T14:05:05"),
    ("SM3BAT01_0+1_20161023_195550.wav", "2016-10-23T19:55:50"),
    ("ARIZONA-1_20161023$195550.wav", "2016-10-23T19:55:50"),
    ("SMART1_20240601_140505_123456.wav", "2024-06-01T14:05:05"),
    ("AVA__20160517_160000.wav", "2016-05-17T16:00:00"),  # QutEcoacoustics/baw-server#854
    ("SITE-20240601_140505.wav", "2024-06-01T14:05:05"),
    ("S4A01234_20240601_140505_000.wav", "2024-06-01T14:05:05"),  # Kaleidoscope, split files
]

# Frontier Labs: QutEcoacoustics/emu docs/metadata.md, baw-server#812 (start and end), CRAN ARUtools (zone
# offsets of create_pattern_tz_offset).
FRONTIER_LABS = [
    ("20190913T151503+1000_REC.flac", "2019-09-13T15:15:03+10:00"),
    ("20190913T151503+1000_REC [-27.3888 152.8808].flac", "2019-09-13T15:15:03+10:00"),
    ("S20240815T063156+1000_E20240815T064156+1000.wav", "2024-08-15T06:31:56+10:00"),
    ("S20240815T063156.123456+1000_E20240815T064156.654321+1000_-12.34567+78.98102.wav", None),
    ("P01_1_20200503T052000-0400_ARU.wav", "2020-05-03T05:20:00-04:00"),
    ("20240601T013005-0330.wav", "2024-06-01T01:30:05-03:30"),
    ("20240601T013005+0545.wav", "2024-06-01T01:30:05+05:45"),
]

# Zones behind the time, with and without a gap: orcasound/orcanode#7; Cornell's Swift: from memory.
ZONES = [
    ("SWIFT1_20240601_013005Z.wav", "2024-06-01T01:30:05+00:00"),
    ("YARD_20240601_013005_Z.wav", "2024-06-01T01:30:05+00:00"),
    ("S1138_20240601_013005-0500.wav", "2024-06-01T01:30:05-05:00"),
    ("20240601_013005 +02:00.wav", "2024-06-01T01:30:05+02:00"),
    ("20240601-013005+02.wav", "2024-06-01T01:30:05+02:00"),
    ("20240601_013005_UTC-3.wav", "2024-06-01T01:30:05-03:00"),
    ("20240601_013005 UTC+5:45.wav", "2024-06-01T01:30:05+05:45"),
    ("20240601_013005_GMT.wav", "2024-06-01T01:30:05+00:00"),
    ("SITE_20240601_013005-0001.wav", "2024-06-01T01:30:05"),  # a counter
    ("SITE_20240601_013005_Zoo.wav", "2024-06-01T01:30:05"),
    ("20240601_013005-014005.wav", "2024-06-01T01:30:05"),  # the end
]

# mcguirepr89/BirdNET-Pi#204 and Nachtzuster/BirdNET-Pi#177; BirdNET-Go clips; joeweiss/birdnetlib PR#40.
BIRDNET = [
    ("2024-06-01-birdnet-01:30:05.wav", "2024-06-01T01:30:05"),
    ("2025-03-12-birdnet-RTSP_1-10:54:26.wav", "2025-03-12T10:54:26"),
    ("Gray_Wagtail-84-2024-04-22-birdnet-RTSP_1-09:29:05.mp3", "2024-04-22T09:29:05"),
    ("2022-08-15-birdnet-21:05:54_9s-12s.flac", "2022-08-15T21:05:54"),
    ("parus_major_87p_20240601T013005Z.wav", "2024-06-01T01:30:05+00:00"),
]

# BirdVox/birdvoxdetect#44; Zoom F3 manual (a date and a number are no time). Fourteen digits: from memory.
HAND_HELD = [
    ("240601-013005.wav", "2024-06-01T01:30:05"),
    ("240601_013005_Tr1.WAV", "2024-06-01T01:30:05"),
    ("200507-224636.WAV", "2020-05-07T22:46:36"),
    ("REC20240601013005.mp3", "2024-06-01T01:30:05"),
    ("210101_001.WAV", None),
    ("210101_002_Tr1.WAV", None),
    ("240601_0012.WAV", None),
]

# Milliseconds: TeamGleason/SpeakFaster#76. Apple's Voice Memos and Screen Recordings, Telegram and Merlin: from memory.
PHONES = [
    ("20240601 013005-1A2B3C4D.m4a", "2024-06-01T01:30:05"),
    ("20240601 013005-12345678.m4a", "2024-06-01T01:30:05"),
    ("Screen Recording 2024-06-01 at 1.30.05 PM.m4a", "2024-06-01T13:30:05"),
    ("Recording 2024-06-01 at 12.30.05 AM.m4a", "2024-06-01T00:30:05"),
    ("2024-06-01 01.30.05.m4a", "2024-06-01T01:30:05"),
    ("2024-06-01 01.30.05", "2024-06-01T01:30:05"),
    ("audio_2024-06-01_01-30-05.ogg", "2024-06-01T01:30:05"),
    ("2022-05-14 10_51.wav", "2022-05-14T10:51:00"),
    ("20210827T000724347-MicWaveIn.flac", "2021-08-27T00:07:24.347000"),
]

# Titley (riggsd/guano-r), SonoBat utilities, DORI-OOI, Orcasound. Avisoft's, SoundTrap's: from memory.
OTHERS = [
    ("2017-03-27 20-48-52.wav", "2017-03-27T20:48:52"),
    ("T2024-06-01_01-30-05_0000123.wav", "2024-06-01T01:30:05"),
    ("2024_06_01_01_30_05.wav", "2024-06-01T01:30:05"),
    ("2020-01-01_123456.wav", "2020-01-01T12:34:56"),  # BrianSMiller/soundFolder
    ("Bat Spring-04Jul10-20,32,45.wav", "2010-07-04T20:32:45"),
    ("Bat Spring-04Jul02-1900,00.wav", "2002-07-04T19:00:00"),
    ("5678.240601013005.wav", "2024-06-01T01:30:05"),
    ("OO-HYEA2--YDH-2016-01-07T142750.968688.flac", "2016-01-07T14:27:50.968688"),
    ("rpi_port_townsend_20230101T085500_20230101T145500.wav", "2023-01-01T08:55:00"),
    ("2017-06-13_16-00-00+00.wav", "2017-06-13T16:00:00+00:00"),  # orcasound/orcanode#7
    ("01.06.2024 01.30.05.wav", "2024-06-01T01:30:05"),
    ("31-05-2024_01-30-05.wav", "2024-05-31T01:30:05"),
    ("05-31-2024_01-30-05.wav", "2024-05-31T01:30:05"),
]

NO_TIMES = [
    *("XC580880.mp3", "XC580880 - Common Blackbird - Turdus merula.mp3", "ML123456789.wav", "2MA12345.wav"),
    *("61234567.wav", "+4915112345678.wav", "0151-20120301.wav", "12345678_123456.wav", "20240601.wav"),
    *("20241301_013005.wav", "20240230_013005.wav", "20240601_256000.wav", "18500101_000000.wav", "song.wav"),
    *("01-06-2024_01-30-05.wav", "2024-06-01_2024-06-02.wav", "T0000001.wav", "AUD-20240601-WA0001.mp3", "..wav"),
    *("202406010130051234.wav", "STE-000.wav", "99999999_999999.wav"),
    *("12345678.WAV", "20240601.WAV", "31052024.WAV", "7FFFFFFF.WAV", "FFFFFFFF.wav", "deadbeef.wav"),
]


@pytest.mark.parametrize(
    ("name", "time"),
    [*AUDIOMOTH, *SONG_METER, *FRONTIER_LABS, *ZONES, *BIRDNET, *HAND_HELD, *PHONES, *OTHERS]
    + [(name, None) for name in NO_TIMES],
)
def test_names_give_their_time_or_none(name: str, time: str | None) -> None:
    if name.startswith("S20240815T063156.1"):
        time = "2024-08-15T06:31:56.123456+10:00"
    metadata = read_name(PurePath(name))
    assert (metadata and metadata.start_time and metadata.start_time.isoformat()) == time


def test_abbreviations_of_zones_in_names_are_read_or_said() -> None:
    for zone, offset in (("_CEST", "+02:00"), (" CET", "+01:00"), ("_UTC+2", "+02:00"), ("_AEST", "+10:00")):
        metadata = read_name(PurePath(f"A_20240601_013005{zone}.wav"))
        assert metadata
        assert (metadata.start_time and metadata.start_time.isoformat()) == f"2024-06-01T01:30:05{offset}"
        assert metadata.unread is None
    metadata = read_name(PurePath("A_20240601_013005_EST.wav"))
    assert metadata
    assert (metadata.start_time and metadata.start_time.isoformat()) == "2024-06-01T01:30:05"
    assert metadata.unread == "the zone EST in the file name is one of several, so the time has none"
    assert with_name(RecordingMetadata(), "20240601_013005_PLOT.wav").unread is None


def test_a_time_in_the_future_contradicts_the_clock_of_the_computer() -> None:
    conflict = with_name(RecordingMetadata(), "20990601_013005.wav").conflict
    assert conflict
    assert conflict.startswith("file name says 2099-06-01 01:30:05, this computer's clock ")


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("20190913T151503+1000_REC [-27.3888 152.8808].flac", (-27.3888, 152.8808)),
        ("S20240815T063156+1000_E20240815T064156+1000_-12.34567+78.98102.wav", (-12.34567, 78.98102)),
        ("20240601_013005_48.1374N_11.5755E.wav", (48.1374, 11.5755)),
        ("20240601_013005_33.8688S,70.6693W.wav", (-33.8688, -70.6693)),
        ("site [91.5 10.5].wav", None),
        ("v1.234-5.678.wav", None),
    ],
)
def test_names_give_their_location(name: str, location: tuple[float, float] | None) -> None:
    metadata = read_name(PurePath(name))
    assert (metadata and (metadata.latitude, metadata.longitude)) == location


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def info(**fields: str) -> bytes:
    return chunk(
        b"LIST", b"INFO" + b"".join(chunk(name.encode(), text.encode() + b"\0") for name, text in fields.items())
    )


def wamd(**fields: str) -> bytes:
    numbers = {"model": 1, "serial": 2, "time": 5, "location": 6}
    parts = (struct.pack("<HI", numbers[name], len(text)) + text.encode() for name, text in fields.items())
    return chunk(b"wamd", struct.pack("<HIH", 0, 2, 1) + b"".join(parts))


def bext(date: str, time: str, originator: str = "") -> bytes:
    return chunk(
        b"bext", struct.pack("<256s32s32s10s8s264x", b"", originator.encode(), b"", date.encode(), time.encode())
    )


def guano(**fields: str) -> bytes:
    lines = "".join(f"{name.replace('_', ' ')}: {text}\n" for name, text in fields.items())
    return chunk(b"guan", f"GUANO|Version: 1.0\n{lines}".encode())


def wav(path: Path, *chunks: bytes) -> Path:
    soundfile.write(path, tone(seconds=0.01), 16_000)
    content = path.read_bytes() + b"".join(chunks)
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    return path


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


def test_a_report_counts_and_names_the_first_of_each_kind() -> None:
    report = ClockReport()
    report.add("a", has_time=True, conflict=None, unread=None)
    assert list(report.notes()) == []
    for name in ("b", "c"):
        report.add(name, has_time=False, conflict="x says 1, y 2", unread="z has 25:00")
    untimed, conflict, unread = report.notes()
    assert untimed.startswith("no time found for 2 of 3 recordings, as b: ")
    assert conflict.endswith("in 2 of 3 recordings (the first one is used), as b: x says 1, y 2.")
    assert unread.startswith("times or locations that are not understood, in 2 of 3 recordings")
