"""Times and locations in the names of files."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from dawnchorus.audio.file_names import read_name
from dawnchorus.audio.metadata import with_name
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
