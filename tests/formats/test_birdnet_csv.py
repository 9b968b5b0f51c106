"""BirdNET-Analyzer's csv."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.detection_tables import detection, written

from dawnchorus.formats import birdnet_csv
from dawnchorus.types import Provenance, RecordingMetadata, RecordingTable


def test_the_csv_header_is_birdnet_analyzers() -> None:
    """`Start (s),End (s),...` is written by BirdNET-Analyzer 2.4.0 itself; see bench/peers.py, which compares files."""
    without_location = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"range_filter": False})
    header = written("csv", provenance=without_location).split(b"\n")[0]
    assert header == b"Start (s),End (s),Scientific name,Common name,Confidence,File"
    assert written("csv").split(b"\n")[0] == header + b",in_range"


def test_the_csv_opens_in_pandas_with_its_types(tmp_path: Path) -> None:
    import pandas as pd

    (tmp_path / "x.csv").write_bytes(written("csv"))
    frame = pd.read_csv(tmp_path / "x.csv")
    assert frame["Common name"].tolist() == ["Great Tit", "Cuckoo, Common", "Great Tit"]
    assert frame["Confidence"].tolist() == [0.8765, 0.8765, 0.8765]
    assert frame["in_range"].tolist()[:2] == [True, False]
    assert pd.isna(frame["in_range"][2])


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


def test_birdnet_analyzer_tables_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.BirdNET.results.csv"
    path.write_text(
        "Start (s),End (s),Scientific name,Common name,Confidence,File,lat\n"
        "0.0,3.0,Parus major,Great Tit,0.9,/a.wav,-1\n"
    )
    ((recording, detection),) = birdnet_csv.read(path)
    assert (recording, detection.score, detection.in_range) == ("/a.wav", 0.9, None)
