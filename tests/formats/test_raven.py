"""Raven's selection tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from tests.fixtures.detection_tables import TABLES, detection, written

from dawnchorus.errors import FormatError
from dawnchorus.formats import raven
from dawnchorus.types import RecordingMetadata, RecordingTable


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
    import crowsetta

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
    path.write_text("Begin Time (s)\tEnd Time (s)\tSpecies\n1\tsoon\ta\n")
    with pytest.raises(FormatError, match="x.txt: line 2: expected a number in 'End Time .s.', found 'soon'"):
        list(raven.read(path))


def test_a_raven_selection_in_two_channels_is_two_detections(tmp_path: Path) -> None:
    """Channels that have names, as in some tables, have no number."""
    path = tmp_path / "x.txt"
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
    rows = [f"{number}\t{view}\t{channel}\t0\t1\tParus major\n"
            for number, view, channel in ((1, "W", 1), (1, "S", 1), (1, "S", 2), (2, "S", "left"))]  # fmt: skip
    path.write_text(header + "".join(rows))
    assert [detection.channel for _, detection in raven.read(path)] == [1, 2, None]


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

    tit = ("Parus major", "Parus major", 1.0)
    both = read("\tSpecies", "\tParus major", "\tParus major")
    assert both == [tit] * 2, "without a number no selection is another one's view"
    assert read("\tSpecies", "\tParus major") == [("Parus major", "Parus major", 1.0)]
    assert read("\tSpecies Code\tScore", "\tgretit1\t0.5") == [("gretit1", "gretit1", 0.5)]
    names = "\tCommon Name\tLabel\tTags"
    assert read(names, "\tTit\tParus major\tgretit1", "\tTit\t\tgretit1", "\t\t\tgretit1") == [
        ("Parus major", "Tit", 1.0),
        ("Tit", "Tit", 1.0),
        ("gretit1", "gretit1", 1.0),
    ]


def test_raven_times_within_the_file_win(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(
        "Begin Time (s)\tEnd Time (s)\tSpecies\tFile Offset (s)\n61.5\t64\ta\t1.5\n90\t93\ta\t0\n90\t93\ta\t\n"
    )
    assert [(detection.start_s, detection.end_s) for _, detection in raven.read(tmp_path / "x.txt")] == [
        (1.5, 4),
        (0, 3),
        (90, 93),
    ]


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
