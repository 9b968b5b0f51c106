"""Lists of marks as other programs write them."""

from __future__ import annotations

from pathlib import Path

from dawnchorus.formats.files import read_detections


def test_annotations_in_lists_of_other_programs_are_read_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "rois.csv").write_text("filename,min_t,max_t,min_f,max_f,label\na.wav,0.5,1.5,2000,4000,Parus major\n")
    (table,) = read_detections(tmp_path / "rois.csv")
    (detection,) = table.detections
    assert (detection.start_s, detection.end_s, detection.low_hz, detection.high_hz) == (0.5, 1.5, 2000, 4000)
