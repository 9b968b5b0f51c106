"""Tables of marks: which recording a row is of, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.logs import logged
from tests.fixtures.mark_tables import make_audio, marks, row, table

from dawnchorus.data.importing import import_detections, import_recordings
from dawnchorus.data.layouts.annotations import MarkTables, NamedMark
from dawnchorus.data.marks import match_marks
from dawnchorus.errors import InputError
from dawnchorus.formats.registry import detect_format
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection, Mark


def test_table_of_several_recordings_gives_each_its_marks(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_audio(tmp_path / "in" / f"{name}.wav")
    table(
        tmp_path / "in" / "a.Table.1.selections.txt",
        row(1, 0.5, 1, "Avis una", "a.wav", "0.5"),
        row(2, 2.5, 3, "Avis altera", "b.wav", "0.5"),
        row(3, 2.5, 3, "Avis altera", "c.wav", "0.5"),
        more="\tBegin File\tFile Offset (s)",
    )
    for layout in ("auto", "annotations"):
        marks_read, notes = marks(tmp_path / "in", layout)
        assert marks_read == {"a.wav": [(0.5, 1.0, "Avis una")], "b.wav": [(0.5, 1.0, "Avis altera")]}
        assert "left out: 1 (a.Table.1.selections.txt line 4: 0.5 to 1 s, 'c.wav' is no recording here)" in notes


def test_every_odd_mark_is_named_with_file_and_row(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav", 20)
    table(
        tmp_path / "in" / "a.txt",
        row(1, 1, 2, "Avis una", view="Waveform 1"),
        row(1, 1, 2, "Avis una"),
        row(2, 25, 26, "Avis una"),
        row(3, 19, 23, "Avis una"),
        row(4, 8, 6, "Avis una"),
        row(5, 9, 9, "Avis una"),
        row(6, 1, 2, "Avis una"),
        row(1, 11, 12, "Avis una"),
        row(8, 3, 4, "?"),
        row(9, 5, 6, "nocall"),
    )
    marks_read, notes = marks(tmp_path / "in")
    assert marks_read["a.wav"] == [
        (1, 2, "Avis una"), (3, 4, ""), (6, 8, "Avis una"), (9, 9, "Avis una"), (11, 12, "Avis una"),
        (19, 20, "Avis una"),
    ]  # fmt: skip
    assert "marks: rows 10, in tables 1; kept as annotations 6." in notes
    for said in (
        "of the same selection in another view: counted once: 1 (a.txt line 2: 1 to 2 s)",
        "beyond the end of their recording: left out: 1 (a.txt line 4: 25 to 26 s, of 20 s)",
        "cut at its ends: 1 (a.txt line 5: 19 to 23 s, of 20 s)",
        "read from their end to their start: 1 (a.txt line 6: 8 to 6 s)",
        "of no length: kept as moments: 1 (a.txt line 7: 9 to 9 s)",
        "that are there twice: kept once: 1 (a.txt line 8: 1 to 2 s, as a.txt line 3)",
        "that may be of any species: 1 (a.txt line 10: 3 to 4 s, '?')",
        "the recording was annotated: 1 (a.txt line 11: 5 to 6 s, nocall)",
    ):
        assert said in notes


def test_times_that_count_on_are_read_where_only_that_fits(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_audio(tmp_path / "in" / f"{name}.wav", 20)
    all_rows = row(1, 1, 2, "Avis una", "a.wav"), row(2, 41, 42, "Avis altera", "c.wav")
    table(tmp_path / "in" / "all.txt", *all_rows, more="\tBegin File")
    marks_read, _ = marks(tmp_path / "in")
    assert marks_read == {"a.wav": [(1, 2, "Avis una")], "b.wav": None, "c.wav": [(1, 2, "Avis altera")]}
    table(tmp_path / "in" / "all.txt", *all_rows[:1], row(2, 4, 5, "Avis altera", "c.wav"), more="\tBegin File")
    assert marks(tmp_path / "in")[0]["c.wav"] == [(4, 5, "Avis altera")]


def test_a_mark_over_the_border_of_two_files_is_cut_and_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_audio(tmp_path / "in" / f"{name}.wav", 4)
    rows = (row(1, 1, 2, "Avis una", "a.wav"), row(2, 3, 5, "Avis una", "a.wav"), row(3, 6, 7, "Avis altera", "b.wav"))
    table(tmp_path / "in" / "all.txt", *rows, more="\tBegin File")
    marks_read, notes = marks(tmp_path / "in")
    assert marks_read == {"a.wav": [(1, 2, "Avis una"), (3, 4, "Avis una")], "b.wav": [(2, 3, "Avis altera")]}
    assert "longer than their recording: cut at its ends: 1 (all.txt line 3: 3 to 5 s, of 4 s)" in notes


def test_times_that_may_be_either_are_left_out(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav", 2)
    make_audio(tmp_path / "in" / "b.wav", 10)
    rows = row(1, 1, 2, "Avis una", "a.wav"), row(2, 3, 4, "Avis altera", "b.wav")
    table(tmp_path / "in" / "all.txt", *rows, more="\tBegin File")
    marks_read, notes = marks(tmp_path / "in")
    assert marks_read == {"a.wav": None, "b.wav": None}, "nobody knows what is in them"
    assert "count on from file to file: left out" in notes
    assert "2 (all.txt line 2: 1 to 2 s, of a.wav; all.txt line 3: 3 to 4 s, of b.wav)" in notes


def test_nothing_there_is_not_the_same_as_nobody_listened(tmp_path: Path) -> None:
    for name in ("marked", "empty", "bare", "effort", "nobody"):
        make_audio(tmp_path / "in" / "plot7" / f"{name}.wav")
    table(tmp_path / "in" / "plot7" / "marked.selections.txt", row(1, 0, 1, "Avis una"))
    table(tmp_path / "in" / "plot7" / "empty.selections.txt")
    (tmp_path / "in" / "plot7" / "bare.txt").touch()
    table(tmp_path / "in" / "plot7" / "day.selections.txt", "1\t\t\t\t\teffort.wav", more="\tBegin File")
    marks_read, notes = marks(tmp_path / "in")
    assert marks_read == {
        "plot7/bare.wav": [], "plot7/effort.wav": [], "plot7/empty.wav": [], "plot7/nobody.wav": None,
        "plot7/marked.wav": [(0, 1, "Avis una")],
    }  # fmt: skip
    assert "unlabeled: 1 of 5 recordings (plot7/nobody.wav)" in notes
    assert "annotated recordings: 4, nothing in 3 of them" in notes


RAVEN_OF_BIRDNET = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
    "Species Code\tConfidence\tBegin Path\tFile Offset (s)\n"
)


def test_model_output_is_no_ground_truth_by_default(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("a", "b", "c", "d"):
        make_audio(source / f"{name}.wav")
    (source / "a.txt").write_text("0.5\t1.0\tAvis una\n")  # by hand, in Audacity
    found_row = "1\tSpectrogram 1\t1\t0\t2\t0\t4000\tGreat Tit\tgretit1\t0.8113\tb.wav\t0\n"
    (source / "b.BirdNET.selection.table.txt").write_text(RAVEN_OF_BIRDNET + found_row)
    (source / "c.BirdNET.selection.table.txt").write_text(RAVEN_OF_BIRDNET)
    (source / "d.labels.txt").write_text("0.0\t2.0\tGreat Tit;0.9100\n")
    header = "Start (s),End (s),Scientific name,Common name,Confidence,File"
    (source / "results.csv").write_text(f"{header}\n0,1,Avis altera,Other,0.7,a.wav\n0,1,Avis altera,Other,0.7,c.wav\n")
    marks_read, notes = marks(source)
    assert marks_read == {"a.wav": [(0.5, 1.0, "Avis una")], "b.wav": None, "c.wav": None, "d.wav": None}
    assert "tables of model output, which are no annotations: 4 with 4 rows (b.BirdNET" in notes
    marks_read, notes = marks(source, "annotations")
    assert {name: len(of or ()) for name, of in marks_read.items()} == {"a.wav": 2, "b.wav": 1, "c.wav": 1, "d.wav": 1}
    assert "marks that have a score: 4." in notes


def test_grades_of_people_are_no_scores(tmp_path: Path) -> None:
    for name, words in (("a", ("high", "low")), ("b", ("1", "3")), ("c", ("", ""))):
        make_audio(tmp_path / "in" / f"{name}.wav")
        rows = [row(number, number, number + 0.5, "Avis una", word) for number, word in enumerate(words)]
        table(tmp_path / "in" / f"{name}.txt", *rows, more="\tConfidence")
    marks_read, notes = marks(tmp_path / "in")
    assert [len(of or ()) for of in marks_read.values()] == [2, 2, 2]
    assert "columns of tables of marks that are not read: Confidence (as 'high' in a.txt line 2)." in notes


@pytest.mark.parametrize("word", ["none", "No birds", "no_bird", "nothing", "nocall", ""])
def test_a_row_of_nothing_without_times_says_that_somebody_listened(word: str, tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "list.csv").write_text(f"file,start_time,end_time,species\na.wav,,,{word}\n")
    assert marks(tmp_path / "in")[0] == {"a.wav": []}


def test_verdicts_on_marks_count_and_other_columns_are_named_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_audio(tmp_path / "in" / f"{name}.wav", 9)
        table(
            tmp_path / "in" / f"{name}.txt",
            row(1, 1, 2, "Avis una", "", "yes", "male", "Avis altera", "4120.5"),
            row(2, 3, 4, "Avis una", "x", "yes", "female", "", "4210"),
            row(3, 5, 6, "Avis una", "", "no", "", "", "4100"),
            more="\tReject\tVerified\tSex\tSpecies 2\tPeak Freq (Hz)",
        )
    marks_read, notes = marks(tmp_path / "in")
    assert marks_read == {name: [(1, 2, "Avis una"), (5, 6, "")] for name in ("a.wav", "b.wav")}
    assert "(columns such as Reject or Valid): left out: 2 (a.txt line 3: 3 to 4 s; b.txt line 3: 3 to 4 s)." in notes
    assert "maybe): kept as a sound that may be of any species: 2 (a.txt line 4: 5 to 6 s;" in notes
    named = "Sex (as 'male' in a.txt line 2), Species 2 (as 'Avis altera' in a.txt line 2), Peak Freq (Hz) (as '4120.5'"
    assert notes.count(named) == notes.count("not read") == 1


def test_a_table_of_detections_takes_the_recordings_that_it_names_alone(tmp_path: Path) -> None:
    for name in ("in/a.wav", "in/b.wav", "audio/a.wav"):
        make_audio(tmp_path / name)
    header = "Start (s),End (s),Scientific name,Common name,Confidence"
    path = tmp_path / "in" / "det.csv"
    path.write_text(f"{header},File\n0,1,Avis una,Una,0.9,a.wav\n")
    assert marks(path)[0] == {"a.wav": [(0, 1, "Avis una")]}
    rows = import_recordings(path, tmp_path, layout="detections", audio=tmp_path / "audio", n_workers=1).rows
    assert [row.path for row in rows] == ["audio/a.wav"]
    (tmp_path / "in" / "b.BirdNET.results.csv").write_text(f"{header}\n0,1,Avis una,Una,0.9\n")
    assert marks(tmp_path / "in" / "b.BirdNET.results.csv")[0] == {"a.wav": None, "b.wav": [(0, 1, "Avis una")]}


def test_a_bad_row_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    for name in "abcd":
        make_audio(tmp_path / "in" / f"{name}.wav")
    good = "0:00.5", "0:00:01.5", "Avis una"
    (tmp_path / "in" / "a.txt").write_text("\n".join(["\t".join(good), "abc\t1\tAvis una", "nan\t1\tx", "\\\t1\t2"]))
    table(tmp_path / "in" / "b.txt", row(1, 0, 1, "Avis una"), "2\tS\tabc\t1\tAvis una", row(3, 1, 2, "x", "extra"))
    lines = "filename,start,end,species", "c.wav,00:01,0:02,Avis una", "c.wav,nan,2,x", "d.wav,,,nocall", ",,,nocall"
    (tmp_path / "in" / "list.csv").write_text("\n".join([*lines, "c.wav,,,Avis una", "c.wav,0,1,x,more"]))
    marks_read, notes = marks(tmp_path / "in")
    una = [(0.5, 1.5, "Avis una")]
    assert marks_read == {"a.wav": una, "b.wav": [(0, 1, "Avis una")], "c.wav": [(1, 2, "Avis una")], "d.wav": []}
    assert "could not be read: left out: 6 (a.txt line 2, expected 'start TAB end TAB label'" in notes
    assert "list.csv line 5, the table is named after no recording here" in notes
    assert "column 'start': times such as '00:01' are read as 1 s." in notes


def test_a_table_of_detections_is_held_against_the_recordings_that_it_names(tmp_path: Path) -> None:
    make_audio(tmp_path / "audio" / "a.wav")
    lines = ("0,1,Avis una,Una,0.9,audio/a.wav", "5,6,Avis una,Una,0.9,audio/a.wav", "0,1,Avis una,Una,0.9,gone.wav")
    path = tmp_path / "found.csv"
    path.write_text("\n".join(["Start (s),End (s),Scientific name,Common name,Confidence,File", *lines]))
    read = detect_format(path).read
    assert read is not None
    with logged() as notes:
        first, gone = import_detections(path, tmp_path, read, n_workers=1).rows
    assert [(mark.start_s, mark.end_s) for mark in first.annotations] == [(0, 1)]
    assert (first.path, gone.problems) == ("audio/a.wav", ("missing",))
    assert any("beyond the end" in note and "found.csv line 3: 5 to 6 s, of 2 s" in note for note in notes)
    path.write_text(path.read_text().replace(",gone.wav", ","))
    with logged() as notes:
        import_detections(path, tmp_path, read, n_workers=1)
    assert any("found.csv line 4: 0 to 1 s, the row names none" in note for note in notes)
    path.write_text(path.read_text().replace(",audio/a.wav", ","))
    with pytest.raises(InputError, match="expected rows that name their recording"):
        import_detections(path, tmp_path, read, n_workers=1)


numbers = st.one_of(st.floats(-5, 30), st.sampled_from([0.0, 10.0, float("nan"), float("inf")]))
detections = st.builds(
    Detection,
    start_s=numbers,
    end_s=numbers,
    scientific_name=st.sampled_from(["Avis una", "", "?", "Unknown"]),
    common_name=st.just(""),
    kind=st.sampled_from(["species", "sound"]),
    score=st.sampled_from([1.0, 0.5]),
)
rows_of_tables = st.lists(
    st.builds(
        Mark,
        line=st.integers(2, 99),
        detection=st.one_of(st.none(), detections),
        recording=st.sampled_from(["a.wav", "b.wav", "gone.wav"]),
        is_within_file=st.booleans(),
        selection=st.sampled_from([None, "1", "2"]),
        view=st.sampled_from([None, "Waveform 1", "Spectrogram 1"]),
        review=st.sampled_from(["", "rejected", "unverified"]),
    ),
    max_size=6,
    unique_by=lambda mark: mark.line,
)


@given(rows_of_tables)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_every_row_is_kept_or_said(rows: list[Mark]) -> None:
    files = [Path("a.wav"), Path("b.wav")]
    named = [
        NamedMark(Path("t.txt"), mark, Path(str(mark.recording)) if mark.recording != "gone.wav" else None)
        for mark in rows
    ]
    matched = match_marks(MarkTables(named, tables=[Path("t.txt")]), {files[0]: 10.0, files[1]: None}, files)
    lost = (
        "unread",
        "no recording",
        "no number",
        "beyond",
        "other time",
        "view",
        "twice",
        "no bird",
        "empty row",
        "rejected",
    )
    assert matched.n_kept + sum(len(matched.outcomes.get(fate, ())) for fate in lost) == len(rows)
    for path, marks_read in matched.annotations.items():
        for mark in marks_read:
            assert 0 <= mark.start_s <= mark.end_s
            assert path != files[0] or mark.end_s <= 10


def test_marks_that_contradict_themselves_or_their_recording_are_said(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav")
    header = "Begin Time (s)\tEnd Time (s)\tChannel\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\tCommon Name"
    rows = ("0\t1\t1\t3000\t1000\t", "0\t1\t1\t-5\t9000\t", "0\t1\t2\t5000\t6000\t", "0\t1\t1\t1\t2\t")
    names = ("Avis una\tFirst Bird", "Avis una\tFirst Bird", "Avis una\tFirst Bird", "Avis una\tOther Bird")
    lines = [header, *map("".join, zip(rows, names, strict=True))]
    (tmp_path / "in" / "a.selections.txt").write_text("\n".join(lines))
    known = [Label("Avis una", "First Bird"), Label("Avis altera", "Other Bird")]
    with logged() as notes:
        imported = import_recordings(tmp_path / "in", tmp_path / "set", known=known, n_workers=1)
    boxes = {(mark.low_hz, mark.high_hz) for mark in imported.rows[0].annotations}
    assert boxes == {(1000, 3000), (0, 4000), (None, None), (1, 2)}
    text = "\n".join(notes)
    assert "put in order, and cut: 3 (a.selections.txt line 2: 0 to 1 s, 3000 to 1000 Hz;" in text
    assert "does not have: kept without it: 1 (a.selections.txt line 4: 0 to 1 s, channel 2 of 1)" in text
    assert "of two species: kept as a sound that may be of any species: 1 (a.selections.txt line 5" in text
