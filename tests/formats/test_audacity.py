"""Audacity's label tracks, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.detection_tables import TABLES, written

from dawnchorus.errors import FormatError
from dawnchorus.formats import audacity
from dawnchorus.types import Detection


def read(folder: Path, text: str) -> list[Detection]:
    (folder / "x.txt").write_text(text)
    labels = list(audacity.read(folder / "x.txt"))
    assert {recording for recording, _ in labels} <= {None}
    return [detection for _, detection in labels]


@pytest.mark.parametrize(
    ("label", "name", "score"),
    [
        ("\tGreat Tit", "Great Tit", 1.0),
        ("\tGreat Tit;0.5", "Great Tit", 0.5),
        ("\tGreat Tit;loud", "Great Tit;loud", 1.0),
        ("\tGreat Tit\t0.25", "Great Tit", 0.25),
        ("\tGreat Tit;0.5\t0.25", "Great Tit", 0.25),
        ("\tGreat Tit\tloud", "Great Tit", 1.0),
    ],
)
def test_label_is_a_name_with_or_without_a_score(tmp_path: Path, label: str, name: str, score: float) -> None:
    assert read(tmp_path, f"1.5\t4.0{label}\n") == [Detection(1.5, 4.0, name, name, "species", score)]


def test_labels_are_read_across_blank_lines(tmp_path: Path) -> None:
    labels = read(tmp_path, "0\t1\ta\n\n2\t3\tb\n  \n\\\t100\t200\n4\t5\tc\n")
    assert [(each.start_s, each.common_name, each.low_hz, each.high_hz) for each in labels] == [
        (0, "a", None, None),
        (2, "b", 100, 200),
        (4, "c", None, None),
    ]
    assert read(tmp_path, "") == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(100, 200, (100, 200)), (-1, -1, (0, None)), (-0.5, -0.5, (0, None)), (0, 0, (0, 0)), (500, -1, (500, None))],
)
def test_frequencies_below_zero_are_open(
    tmp_path: Path, low: float, high: float, expected: tuple[float, float | None]
) -> None:
    (label,) = read(tmp_path, f"0\t1\ta\n\\\t{low}\t{high}\n")
    assert (label.low_hz, label.high_hz) == expected


@pytest.mark.parametrize("line", ["1.0", "soon\t2\ta", "1\tsoon\ta", "\\\t100", "\\\tlow\t200", "no labels here"])
def test_line_that_is_no_label_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(FormatError, match=r"x\.txt: line 3: expected 'start TAB end TAB label', found"):
        read(tmp_path, f"0\t1\ta\n\n{line}\n")


def test_frequencies_before_any_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 1: expected 'start TAB end TAB label', found"):
        read(tmp_path, "\\\t100\t200\n0\t1\ta\n")


def test_a_number_alone_is_the_label_of_an_audacity_track_and_no_score(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0\t1\t7\n1\t2\t\n2\t3\tgreat_tit;0.5\n")
    labels = [(each.scientific_name, each.score) for _, each in audacity.read(tmp_path / "a.txt")]
    assert labels == [("7", 1.0), ("great_tit", 0.5)]


def test_audacity_labels_of_ours_and_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(written("audacity", TABLES[:1]))
    assert path.read_text().splitlines()[0] == "0.000000\t3.000000\tGreat Tit;0.8765"
    (_, first), (_, second) = audacity.read(path)
    assert (first.common_name, first.score, second.start_s) == ("Great Tit", 0.8765, 1.5)
    path.write_text("1.0\t2.5\tParus major_Great Tit\t0.9\n\\\t2000.0\t6000.0\n3\t4\t\n")
    ((_, first),) = audacity.read(path)
    assert (first.scientific_name, first.score, first.low_hz, first.high_hz) == ("Parus major", 0.9, 2000, 6000)
    path.write_text("no labels here")
    with pytest.raises(FormatError, match="line 1"):
        list(audacity.read(path))
