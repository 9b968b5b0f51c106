"""Tables written by a format and read again hold the same detections."""

from __future__ import annotations

import io
import json
import os
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.examples import MAX_LINES, count_lines

from dawnchorus.audio.metadata import metadata_from_json, metadata_to_json, read_metadata, with_name
from dawnchorus.formats.registry import FORMATS, TableFormat, guard_format
from dawnchorus.models.bundle import Bundle
from dawnchorus.registry import Registry
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

PROVENANCE = Provenance(
    "model", "1", "0" * 12, "dawnchorus", {"range_filter": True, "speech": "flag", "channel": "each", "kinds": True}
)

words = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=12)
names = st.lists(words, min_size=1, max_size=3).map(" ".join)
latin = st.tuples(*[st.text(string.ascii_lowercase, min_size=2, max_size=9)] * 2).map(
    lambda pair: f"{pair[0].title()} {pair[1]}"
)
milliseconds = st.integers(0, 86_400_000)


@st.composite
def detections(draw: st.DrawFn) -> Detection:
    """A detection whose numbers have the decimals that tables keep."""
    start_ms = draw(milliseconds)
    return Detection(
        start_s=start_ms / 1000,
        end_s=(start_ms + draw(st.integers(1, 60_000))) / 1000,
        scientific_name=draw(st.one_of(latin, st.lists(latin, min_size=2, max_size=3).map("_".join))),
        common_name=draw(names),
        kind=draw(st.sampled_from(["species", "sound"])),
        score=draw(st.integers(0, 10_000)) / 10_000,
        in_range=draw(st.sampled_from([None, True, False])),
        human_voice=draw(st.sampled_from([None, True, False])),
        channel=draw(st.integers(1, 256)),
    )


def window_and_class(detection: Detection) -> tuple[float, float, str]:
    return detection.start_s, detection.end_s, detection.scientific_name


@st.composite
def tables(draw: st.DrawFn) -> list[RecordingTable]:
    """Up to three recordings, some without a detection."""
    n = draw(st.integers(1, 3))
    rows = st.lists(detections(), max_size=4, unique_by=window_and_class)
    zone = draw(st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))))
    start = draw(st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)))
    metadata = RecordingMetadata(start_time=start and start.replace(microsecond=0, tzinfo=zone))
    return [
        RecordingTable(f"place {k}/{draw(latin)}.wav", 86_460.0, 48_000, metadata, None, tuple(row))
        for k, row in enumerate(draw(st.lists(rows, min_size=n, max_size=n)))
    ]


def written(name: str, made: list[RecordingTable]) -> bytes:
    stream = io.BytesIO()
    FORMATS[name].write(stream, made, PROVENANCE)
    return stream.getvalue()


def read_back(entry: TableFormat, made: list[RecordingTable]) -> list[tuple[str | None, Detection]]:
    assert entry.read is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{entry.suffix}")
        with path.open("wb") as stream:
            entry.write(stream, made, PROVENANCE)
        return list(entry.read(path))


def kept_rows(fields: tuple[str, ...], rows: Iterable[tuple[str | None, Detection]]) -> list[tuple[str, ...]]:
    """Return the fields as text, whatever the order of rows; numbers with six decimals."""
    values = (
        {name: recording if name == "recording" else getattr(detection, name) for name in fields}
        for recording, detection in rows
    )
    return sorted(
        tuple(f"{value:.6f}" if isinstance(value, float) else repr(value) for value in row.values()) for row in values
    )


def check_format(entry: TableFormat, made: list[RecordingTable]) -> None:
    """Hold a format to the contract: what it says it keeps comes back."""
    assert {"start_s", "end_s", "score"} <= set(entry.preserved_fields)
    if "recording" not in entry.preserved_fields:
        made = made[:1]  # the recordings of such a table follow each other in time
    rows = [(table.recording, detection) for table in made for detection in table.detections]
    # In a column for each class, 0 is no detection.
    expected = [row for row in rows if row[1].score or entry.name != "opensoundscape"]
    assert kept_rows(entry.preserved_fields, read_back(entry, made)) == kept_rows(entry.preserved_fields, expected)


@pytest.mark.parametrize("name", [name for name, entry in FORMATS.items() if entry.read is not None])
@given(made=tables())
def test_detections_come_back_as_they_were_written(name: str, made: list[RecordingTable]) -> None:
    check_format(FORMATS[name], made)


SCRIPT = """
import sys
from dawnchorus.cli.main import cli

for arguments in (["identify", "--help"], ["identify", *sys.argv[1:], "-q"]):
    cli.main(arguments, prog_name="dawnchorus", standalone_mode=False)
"""


def test_a_package_adds_a_format_without_a_change_here(
    installed_examples: Path, level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_lines("dawnchorus-ctm") <= MAX_LINES
    recording, out = tmp_path / "A 1.wav", tmp_path / "out.ctm"
    soundfile.write(recording, np.full(16_000, 0.5), 16_000, subtype="FLOAT")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed_examples), *sys.path]), "COLUMNS": "200"}
    arguments = [sys.executable, "-c", SCRIPT, recording, "--model", level_bundle.folder, "--out", out]
    text = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True).stdout
    assert "opensoundscape, ctm." in " ".join(text.split())
    first, _ = out.read_text().splitlines()
    assert first == f"{quote(str(recording))} 1 0.000 1.000 Avis%20magna,Loud%20Bird 0.5000"
    monkeypatch.syspath_prepend(installed_examples)
    entry = Registry(TableFormat, (), noun="format", group="dawnchorus.formats", guard=guard_format)["ctm"]
    given(made=tables())(lambda made: check_format(entry, made))()


@given(made=tables())
def test_json_lines_hold_every_detection_with_its_clock_time(made: list[RecordingTable]) -> None:
    rows = [json.loads(line) for line in written("jsonl", made).decode().split("\n") if line]
    expected = [(table, detection) for table in made for detection in table.detections]
    assert len(rows) == len(expected)
    for row, (table, detection) in zip(rows, expected, strict=True):
        assert row["recording"] == table.recording
        assert (row["start_s"], row["score"]) == (round(detection.start_s, 3), round(detection.score, 4))
        assert row["channel"] == detection.channel
        if table.metadata.start_time is None:
            assert row["start_time"] is None
        else:
            moment = datetime.fromisoformat(row["start_time"])
            assert moment.utcoffset() == table.metadata.start_time.utcoffset()
            late_s = (moment - table.metadata.start_time).total_seconds()
            assert late_s == pytest.approx(detection.start_s, abs=2e-3)


# ---------------------------------------------------------------------- time zones

moments = st.datetimes(datetime(1971, 1, 1), datetime(2099, 12, 31)).map(lambda moment: moment.replace(microsecond=0))
quarter_hours = st.integers(-14 * 4, 14 * 4).map(lambda quarters: quarters * 15)


@given(moment=moments, minutes=quarter_hours, prefix=st.sampled_from(["", "SMU04123_", "site 7_"]))
def test_offset_in_a_file_name_is_the_zone_of_its_time(moment: datetime, minutes: int, prefix: str) -> None:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    name = f"{prefix}{moment:%Y%m%d_%H%M%S}{sign}{size // 60:02d}{size % 60:02d}.wav"
    metadata = with_name(RecordingMetadata(), name)
    assert metadata.start_time == moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert metadata.start_time.utcoffset() == timedelta(minutes=minutes)
    stem = f"{prefix}{moment:%Y%m%d_%H%M%S}"
    assert with_name(RecordingMetadata(), f"{stem}.wav").start_time == moment
    assert with_name(RecordingMetadata(), f"{stem}Z.wav").start_time == moment.replace(tzinfo=UTC)
    assert metadata_from_json(json.loads(json.dumps(metadata_to_json(metadata)))) == metadata


@given(seconds=st.integers(1_500_000_000, int(time.time())))
def test_hexadecimal_names_are_unix_time_in_utc(seconds: int) -> None:
    metadata = read_metadata(Path(f"/nowhere/{seconds:08X}.WAV"))
    assert metadata.start_time == datetime.fromtimestamp(seconds, UTC)
