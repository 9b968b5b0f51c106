"""Formats by name and by suffix."""

from __future__ import annotations

import io
import json
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.fixtures.detection_tables import PROVENANCE, TABLES, detection, written

from dawnchorus.errors import FormatError, InputError, PlugInError
from dawnchorus.formats import parquet, raven
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.registry import FORMATS, TableFormat, detect_format, guard_format, read_annotations
from dawnchorus.plug_ins import PlugIn
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable


def test_a_selection_table_without_a_column_of_names_is_refused_with_its_columns(tmp_path: Path) -> None:
    table = tmp_path / "a.txt"
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tCall Type\n"
    table.write_text(header + "1\t0\t1\tsong\n")
    with pytest.raises(FormatError, match=r"expected names of species in one of the columns .*'Call Type'"):
        read_annotations(table)
    table.write_text(header)
    assert read_annotations(table) == []


EACH = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"channel": "each"})


@pytest.mark.parametrize("name", [entry.name for entry in FORMATS.values() if "recording" in entry.preserved_fields])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"x{FORMATS[name].suffix}"
    path.write_bytes(written(name))
    read = FORMATS[name].read
    assert read is not None
    rows = list(read(path))
    assert [recording for recording, _ in rows] == [TABLES[0].recording] * 2 + [TABLES[2].recording]
    for (_, row), expected in zip(rows, [*TABLES[0].detections, *TABLES[2].detections], strict=True):
        for field in set(FORMATS[name].preserved_fields) - {"recording", "score", "channel"}:
            assert getattr(row, field) == getattr(expected, field), field
        assert row.score == pytest.approx(expected.score, abs=1e-4)


def test_tables_of_one_signal_have_no_number_of_a_channel(tmp_path: Path) -> None:
    table = RecordingTable("/data/a.wav", 30.0, 16_000, RecordingMetadata(), None, (detection(0.0),))
    one = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"channel": "left"})
    lines = {name: written(name, [table], one).decode().splitlines()[-1] for name in ("csv", "kaleidoscope", "jsonl")}
    assert lines["csv"] == "0.0,3.0,Parus major,Great Tit,0.8765,/data/a.wav"
    assert lines["kaleidoscope"] == "/,data,a.wav,0.0,3.0,Great Tit,0.1235"
    assert json.loads(lines["jsonl"])["channel"] is None
    assert (
        written("raven", [table], one).split(b"\n")[1].startswith(b"1\tSpectrogram 1\t1\t0.0\t3.0\t0.0\t8000.0\tGreat")
    )
    (tmp_path / "x.parquet").write_bytes(written("parquet", [table], one))
    ((_, read_back),) = parquet.read(tmp_path / "x.parquet")
    assert read_back.channel is None


def test_channels_are_numbered_as_each_program_does() -> None:
    table = RecordingTable("/data/a.wav", 30.0, 16_000, RecordingMetadata(), None, (detection(0.0, channel=2),))
    assert written("csv", [table], EACH).split()[-1].endswith(b"/data/a.wav,2")
    assert written("raven", [table], EACH).split(b"\n")[1].startswith(b"1\tSpectrogram 1\t2\t0.0")
    header, row = written("kaleidoscope", [table], EACH).decode().splitlines()
    assert header == "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,TOP1MATCH,TOP1DIST"
    assert row == "/,data,a.wav,1,0.0,3.0,Great Tit,0.1235"


def test_annotations_are_ravens_or_audacitys(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("Begin Time (S)\tEnd Time (s)\tSpecies\n1\t2\tParus major\n")
    (mark,) = read_annotations(path)
    assert mark.detection is not None
    assert (mark.line, mark.detection.start_s, mark.detection.scientific_name) == (2, 1, "Parus major")
    path.write_text("1\t2\tParus major\n3\t4\tParus major\n")
    assert [mark.detection and mark.detection.start_s for mark in read_annotations(path)] == [1, 3]
    path.write_text("Where we were that day.\n")
    with pytest.raises(FormatError, match="expected a selection table of Raven"):
        read_annotations(path)


def test_every_row_says_where_it_came_from(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in written("jsonl").decode().splitlines()]
    assert [row["start_time"] for row in rows] == ["2026-05-01T04:30:00.000", "2026-05-01T04:30:01.500", None]
    assert {(row["schema"], row["bundle_id"], row["software"]) for row in rows} == {(1, "0123456789ab", "dawnchorus 1")}
    (tmp_path / "x.parquet").write_bytes(written("parquet"))
    table = pq.read_table(tmp_path / "x.parquet")
    assert json.loads(table.schema.metadata[b"dawnchorus"])["parameters"]["min_score"] == 0.25
    assert set(table.column("bundle_id").to_pylist()) == {"0123456789ab"}


def test_a_run_without_detections_is_a_table_without_rows(tmp_path: Path) -> None:
    assert written("csv", []).count(b"\n") == 1
    assert written("raven", TABLES[1:2]).count(b"\n") == 1
    (tmp_path / "x.parquet").write_bytes(written("parquet", []))
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 0


def test_windows_paths_and_quotes_are_written_as_they_are(tmp_path: Path) -> None:
    odd = RecordingTable('C:\\rec\\6" pipe.wav', 3.0, 48_000, RecordingMetadata(), None, (detection(0.0),))
    (tmp_path / "x.txt").write_bytes(written("raven", [odd]))
    assert 'C:\\rec\\6" pipe.wav\t' in (tmp_path / "x.txt").read_text()
    assert next(raven.read(tmp_path / "x.txt"))[0] == odd.recording


def test_names_with_tabs_and_line_ends_stay_in_their_row(tmp_path: Path) -> None:
    odd = RecordingTable("/data/a\tb\nc.wav", 3.0, 48_000, RecordingMetadata(), None, (detection(0.0),))
    for name in ("csv", "raven"):
        path = tmp_path / f"x{FORMATS[name].suffix}"
        path.write_bytes(written(name, [odd, odd]))
        read = FORMATS[name].read
        assert read is not None
        assert len(list(read(path))) == 2


def test_formats_are_chosen_by_name_and_by_suffix() -> None:
    assert detect_format(Path("x.selections.txt")).name == "raven"
    assert detect_format(Path("x.TXT")).name == "raven"
    assert detect_format(Path("x.labels.txt")).name == "audacity"
    assert detect_format(Path("x.kaleidoscope.csv")).name == "kaleidoscope"
    with pytest.raises(InputError, match="Did you mean 'parquet'"):
        FORMATS.lookup("parket")
    with pytest.raises(InputError, match=r"expected one of csv, raven, .*, got 'xyz'\.$"):
        FORMATS.lookup("xyz")
    with pytest.raises(FrozenInstanceError):
        FORMATS.lookup("csv").suffix = ".txt"  # type: ignore[misc]
    with pytest.raises(InputError, match="no table format has this suffix"):
        detect_format(Path("x.xlsx"))


def test_thousands_of_recordings_are_streamed() -> None:
    """A table is asked for only when the one before it is written."""

    class Stream(io.BytesIO):
        n_written = 0

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.n_written += len(data)
            return len(data)

    for name in ("csv", "jsonl", "raven"):
        stream = Stream()
        seen: list[int] = []

        def tables(stream: Stream = stream, seen: list[int] = seen) -> object:
            for _ in range(2_000):
                yield TABLES[0]
                seen.append(stream.n_written)

        FORMATS[name].write(stream, tables(), PROVENANCE)  # type: ignore[arg-type]
        assert seen[1000] > 0.4 * stream.n_written


@pytest.mark.parametrize("name", FORMATS)
def test_columns_are_written_without_an_object_for_each_detection(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = detection(0.1, channel=2, low_hz=0.0, high_hz=750.25, human_voice=False, probability=0.5)
    tables = [*TABLES, replace(TABLES[2], detections=(marked, detection(3.3, "A\tb", "C\td\ne, f")))]
    expected = written(name, tables, EACH)
    columns = [replace(table, detections=DetectionColumns.from_detections(table.detections)) for table in tables]
    monkeypatch.delattr(DetectionColumns, "__iter__")
    monkeypatch.delattr(DetectionColumns, "__getitem__")
    assert written(name, columns, EACH) == expected


PLUG_IN = PlugIn("format", "odd", "odd-tables 1.0", "odd_tables:ODD")
BIRD = Detection(0.0, 1.0, "Avis magna", "Loud Bird", "species", 0.5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((7, BIRD), "expected the recording's name as text, or None, got 7"),
        ((None, replace(BIRD, start_s="0.5")), "start_s: expected a number, got '0.5'"),
        ((None, replace(BIRD, score=None)), "score: expected a number, got None"),
        ((None, replace(BIRD, common_name=None)), "common_name: expected text, got None"),
        ((None, replace(BIRD, channel=1.5)), "channel: expected a whole number, got 1.5"),
        ((None, replace(BIRD, in_range="yes")), "in_range: expected True or False, got 'yes'"),
        ((None, replace(BIRD, low_hz=True)), "low_hz: expected a number, got True"),
    ],
)
def test_values_of_wrong_types_from_a_plug_ins_reader_are_named(row: tuple[object, Detection], message: str) -> None:
    entry = TableFormat("odd", ".odd", "odd rows", FORMATS["csv"].write, lambda _: iter([row]))  # type: ignore[arg-type,list-item]
    read = guard_format(entry, PLUG_IN).read
    assert read is not None
    with pytest.raises(PlugInError, match=re.escape(message)):
        list(read(Path("x.odd")))


def test_impossible_values_from_a_plug_ins_reader_are_refused_with_the_file() -> None:
    rows = [(None, BIRD), (None, replace(BIRD, score=1.5))]
    entry = TableFormat("odd", ".odd", "odd rows", FORMATS["csv"].write, lambda _: iter(rows))
    read = guard_format(entry, PLUG_IN).read
    assert read is not None
    with pytest.raises(FormatError, match=r"x\.odd: detection 2: score: expected a score from 0 to 1, got 1\.5"):
        list(read(Path("x.odd")))
    fine = replace(BIRD, start_s=np.float32(0.25), channel=np.int16(1), in_range=np.isfinite(1.0))
    entry = replace(entry, read=lambda _: iter([("a", fine)]))
    assert list(guard_format(entry, PLUG_IN).read(Path("x.odd"))) == [("a", fine)]  # type: ignore[misc]
