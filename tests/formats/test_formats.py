"""Tables as the field's programs write and read them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import FrozenInstanceError, replace
from datetime import datetime
from pathlib import Path

import crowsetta
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats import audacity, birdnet_csv, kaleidoscope, parquet, raven
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.registry import FORMATS, detect_format, read_annotations
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

PROVENANCE = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"min_score": 0.25, "range_filter": True})


def detection(start_s: float, name: str = "Parus major", common: str = "Great Tit", **more: object) -> Detection:
    return Detection(start_s, start_s + 3, name, common, "species", 0.87654, **more)  # type: ignore[arg-type]


TABLES = [
    RecordingTable(
        "/data/site 1/SITE_20260501_043000.wav",
        60.0,
        48_000,
        RecordingMetadata(datetime(2026, 5, 1, 4, 30), 52.5, 13.4),
        17,
        (detection(0.0, in_range=True), detection(1.5, "Cuculus canorus", "Cuckoo, Common", in_range=False)),
    ),
    RecordingTable("/data/empty.wav", 30.0, 16_000, RecordingMetadata(), None, ()),
    RecordingTable("/data/b.wav", 30.0, 16_000, RecordingMetadata(), None, (detection(6.0, in_range=None),)),
]


def written(name: str, tables: list[RecordingTable] = TABLES, provenance: Provenance = PROVENANCE) -> bytes:
    stream = io.BytesIO()
    FORMATS[name].write(stream, iter(tables), provenance)
    assert not stream.closed
    return stream.getvalue()


def test_the_csv_header_is_birdnet_analyzers() -> None:
    """`Start (s),End (s),...` is written by BirdNET-Analyzer 2.4.0 itself; see bench/peers.py, which compares files."""
    without_location = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"range_filter": False})
    header = written("csv", provenance=without_location).split(b"\n")[0]
    assert header == b"Start (s),End (s),Scientific name,Common name,Confidence,File"
    assert written("csv").split(b"\n")[0] == header + b",in_range"


def test_the_csv_opens_in_pandas_with_its_types(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(written("csv"))
    frame = pd.read_csv(tmp_path / "x.csv")
    assert frame["Common name"].tolist() == ["Great Tit", "Cuckoo, Common", "Great Tit"]
    assert frame["Confidence"].tolist() == [0.8765, 0.8765, 0.8765]
    assert frame["in_range"].tolist()[:2] == [True, False]
    assert pd.isna(frame["in_range"][2])


@pytest.mark.parametrize("name", [entry.name for entry in FORMATS.values() if "recording" in entry.kept])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"x{FORMATS[name].suffix}"
    path.write_bytes(written(name))
    read = FORMATS[name].read
    assert read is not None
    rows = list(read(path))
    assert [recording for recording, _ in rows] == [TABLES[0].recording] * 2 + [TABLES[2].recording]
    for (_, detection), expected in zip(rows, [*TABLES[0].detections, *TABLES[2].detections], strict=True):
        for field in set(FORMATS[name].kept) - {"recording", "score", "channel"}:
            assert getattr(detection, field) == getattr(expected, field), field
        assert detection.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_columns_are_written_without_an_object_for_each_detection(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = detection(0.1, channel=2, low_hz=0.0, high_hz=750.25, human_voice=False, probability=0.5)
    tables = [*TABLES, replace(TABLES[2], detections=(marked, detection(3.3, "A\tb", "C\td\ne, f")))]
    expected = written(name, tables, EACH)
    columns = [replace(table, detections=DetectionColumns.from_detections(table.detections)) for table in tables]
    monkeypatch.delattr(DetectionColumns, "__iter__")
    monkeypatch.delattr(DetectionColumns, "__getitem__")
    assert written(name, columns, EACH) == expected


def test_raven_counts_on_from_file_to_file_and_keeps_the_offset() -> None:
    rows = list(csv.DictReader(io.StringIO(written("raven").decode()), delimiter="\t"))
    assert [(r["Begin Time (s)"], r["File Offset (s)"], r["Begin File"]) for r in rows] == [
        ("0.0", "0.0", "SITE_20260501_043000.wav"),
        ("1.5", "1.5", "SITE_20260501_043000.wav"),
        ("96.0", "6.0", "b.wav"),
    ]
    assert [r["High Freq (Hz)"] for r in rows] == ["15000.0", "15000.0", "8000.0"]
    assert [r["Selection"] for r in rows] == ["1", "2", "3"]


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # crowsetta, with the newest pandas
def test_crowsetta_reads_the_raven_table(tmp_path: Path) -> None:
    path = tmp_path / "x.selections.txt"
    path.write_bytes(written("raven", TABLES[:1]))
    opened = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Common Name")
    boxes = opened.to_bbox()
    assert [(b.onset, b.offset, b.low_freq, b.high_freq, b.label) for b in boxes] == [
        (0.0, 3.0, 0.0, 15_000.0, "Great Tit"),
        (1.5, 4.5, 0.0, 15_000.0, "Cuckoo, Common"),
    ]


def test_raven_tables_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "Selection\tView\tChannel\tBegin Time (S)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\r\n"
        "1\tWaveform 1\t1\t0.5\t1.25\t\t\tParus major_Great Tit\r\n"
        "1\tSpectrogram 1\t1\t0.5\t1.25\t2000\t6000.5\tParus major_Great Tit\r\n"
        "2\tSpectrogram 1\t1\t2\t3\t100\t200\tnoise\r\n"
    )
    (_, tit), (_, noise) = raven.read(path)
    assert (tit.start_s, tit.end_s, tit.scientific_name, tit.common_name) == (0.5, 1.25, "Parus major", "Great Tit")
    assert noise.kind == "sound"
    path.write_text("Selection\tStart\n1\t2\n")
    with pytest.raises(
        FormatError, match=r"x.txt: expected a column 'Begin Time \(s\)', found \['Selection', 'Start'\]"
    ):
        list(raven.read(path))
    path.write_text("Begin Time (s)\tEnd Time (s)\n1\tsoon\n")
    with pytest.raises(FormatError, match="x.txt: line 2: expected a number in 'End Time .s.', found 'soon'"):
        list(raven.read(path))


def test_audacity_labels_of_ours_and_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(written("audacity", TABLES[:1]))
    assert path.read_text().splitlines()[0] == "0.000000\t3.000000\tGreat Tit;0.8765"
    (_, first), (_, second) = audacity.read(path)
    assert (first.common_name, first.score, second.start_s) == ("Great Tit", 0.8765, 1.5)
    path.write_text("1.0\t2.5\tParus major_Great Tit\t0.9\n\\\t2000.0\t6000.0\n3\t4\t\n")
    (_, first), (_, second) = audacity.read(path)
    assert (first.scientific_name, first.score, first.low_hz, first.high_hz) == ("Parus major", 0.9, 2000, 6000)
    assert second.common_name == ""
    path.write_text("no labels here")
    with pytest.raises(FormatError, match="line 1"):
        list(audacity.read(path))


EACH = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"channel": "each"})


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


def test_a_raven_selection_in_two_channels_is_two_detections(tmp_path: Path) -> None:
    """Channels that have names, as in some tables, have no number."""
    path = tmp_path / "x.txt"
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
    rows = [f"{number}\t{view}\t{channel}\t0\t1\tParus major\n"
            for number, view, channel in ((1, "W", 1), (1, "S", 1), (1, "S", 2), (2, "S", "left"))]  # fmt: skip
    path.write_text(header + "".join(rows))
    assert [detection.channel for _, detection in raven.read(path)] == [1, 2, None]


def test_kaleidoscope_has_its_columns() -> None:
    rows = list(csv.DictReader(io.StringIO(written("kaleidoscope").decode())))
    assert tuple(rows[0]) == kaleidoscope.COLUMNS
    assert (rows[0]["INDIR"], rows[0]["FOLDER"], rows[0]["IN FILE"]) == ("/data", "site 1", "SITE_20260501_043000.wav")
    assert rows[0]["TOP1DIST"] == "0.1235"


def test_kaleidoscope_rows_have_a_length_and_a_distance() -> None:
    rows = [line.split(",") for line in written("kaleidoscope").decode().splitlines()]
    assert rows[2] == ["/data", "site 1", "SITE_20260501_043000.wav", "1.5", "3.0", '"Cuckoo', ' Common"', "0.1235"]
    assert len(rows) == 4


def test_raven_keeps_the_frequencies_that_are_marked() -> None:
    marked = [detection(0.0, low_hz=500.0, high_hz=750.25), detection(3.0, low_hz=0.0), detection(6.0, high_hz=0.0)]
    table = RecordingTable("/data/a.wav", 30.0, 44_100, RecordingMetadata(), None, tuple(marked))
    rows = csv.DictReader(io.StringIO(written("raven", [table]).decode()), delimiter="\t")
    assert [(row["Low Freq (Hz)"], row["High Freq (Hz)"], row["End Time (s)"]) for row in rows] == [
        ("500.0", "750.2", "3.0"),
        ("0.0", "15000.0", "6.0"),
        ("0.0", "0.0", "9.0"),
    ]


def test_raven_names_and_scores_are_found_where_people_keep_them(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"

    def read(columns: str, *rows: str) -> list[tuple[str, str, float]]:
        lines = ["Begin Time (s)\tEnd Time (s)" + columns, *(f"1\t2{row}" for row in rows)]
        path.write_text("\n".join(lines) + "\n")
        return [
            (detection.scientific_name, detection.common_name, detection.score) for _, detection in raven.read(path)
        ]

    assert read("", "", "") == [("", "", 1.0)] * 2, "without a number no selection is another one's view"
    assert read("\tSpecies", "\tParus major") == [("Parus major", "Parus major", 1.0)]
    assert read("\tSpecies Code\tScore", "\tgretit1\t0.5", "\t\t0") == [("gretit1", "gretit1", 0.5), ("", "", 0.0)]
    names = "\tCommon Name\tLabel\tTags"
    assert read(names, "\tTit\tParus major\tgretit1", "\tTit\t\tgretit1", "\t\t\tgretit1") == [
        ("Parus major", "Tit", 1.0),
        ("Tit", "Tit", 1.0),
        ("gretit1", "gretit1", 1.0),
    ]


def test_raven_times_within_the_file_win(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(
        "Begin Time (s)\tEnd Time (s)\tFile Offset (s)\n61.5\t64\t1.5\n90\t93\t0\n90\t93\t\n"
    )
    assert [(detection.start_s, detection.end_s) for _, detection in raven.read(tmp_path / "x.txt")] == [
        (1.5, 4),
        (0, 3),
        (90, 93),
    ]


def test_json_lines_are_rounded_and_readable() -> None:
    detection = Detection(0.12349, 3.12349, "Chloris chloris", "Grünfink", "species", 0.87654)
    table = RecordingTable("/a.wav", 9.0, 48_000, RecordingMetadata(), None, (detection,))
    (line,) = written("jsonl", [table]).decode().splitlines()
    row = json.loads(line)
    assert (row["start_s"], row["end_s"], row["score"]) == (0.123, 3.123, 0.8765)
    assert "Grünfink" in line


def test_csv_has_the_human_voice_column(tmp_path: Path) -> None:
    provenance = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"speech": "flag", "range_filter": True})
    detections = [detection(0.0, in_range=in_range, human_voice=voice) for in_range in (True, False, None) for voice in
             (True, False, None)]  # fmt: skip
    path = tmp_path / "x.csv"
    table = RecordingTable("/a.wav", 9.0, 48_000, RecordingMetadata(), None, tuple(detections))
    path.write_bytes(written("csv", [table], provenance))
    assert [line.rsplit(",", 2)[1:] for line in path.read_text().splitlines()[1:]] == [
        [in_range, voice] for in_range in ("true", "false", "") for voice in ("true", "false", "")
    ]
    assert [(each.in_range, each.human_voice) for _, each in birdnet_csv.read(path)] == [
        (each.in_range, each.human_voice) for each in detections
    ]


def test_csv_rows_without_names_have_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("Start (s),End (s),Scientific name,Common name,Confidence\n0,3,,,0.5\n")
    assert list(birdnet_csv.read(path)) == [(None, Detection(0.0, 3.0, "", "", "species", 0.5))]


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


def test_selections_of_several_files_and_birdnet_analyzers_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tCommon Name\tSpecies Code\tConfidence\tBegin Path\n"
        "1\t0\t3\tGreat Tit\tgretit1\t0.9\t/a.wav\n1\t0\t3\tGreat Tit\tgretit1\t0.8\t/b.wav\n"
    )
    selections = list(raven.read(path))
    assert [(file, d.common_name, d.score) for file, d in selections] == [
        ("/a.wav", "Great Tit", 0.9),
        ("/b.wav", "Great Tit", 0.8),
    ]
    assert {d.scientific_name for _, d in selections} == {"Great Tit"}


def test_names_with_tabs_and_line_ends_stay_in_their_row(tmp_path: Path) -> None:
    odd = RecordingTable("/data/a\tb\nc.wav", 3.0, 48_000, RecordingMetadata(), None, (detection(0.0),))
    for name in ("csv", "raven"):
        path = tmp_path / f"x{FORMATS[name].suffix}"
        path.write_bytes(written(name, [odd, odd]))
        read = FORMATS[name].read
        assert read is not None
        assert len(list(read(path))) == 2


def test_birdnet_analyzer_tables_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.BirdNET.results.csv"
    path.write_text(
        "Start (s),End (s),Scientific name,Common name,Confidence,File,lat\n"
        "0.0,3.0,Parus major,Great Tit,0.9,/a.wav,-1\n"
    )
    ((recording, detection),) = birdnet_csv.read(path)
    assert (recording, detection.score, detection.in_range) == ("/a.wav", 0.9, None)


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


def test_ten_thousand_recordings_are_streamed() -> None:
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
            for _ in range(10_000):
                yield TABLES[0]
                seen.append(stream.n_written)

        FORMATS[name].write(stream, tables(), PROVENANCE)  # type: ignore[arg-type]
        assert seen[5000] > 0.4 * stream.n_written
