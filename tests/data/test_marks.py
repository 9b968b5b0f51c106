"""Tables of marks: which recording a row is of, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.logs import logged
from tests.fixtures.sounds import tone

from dawnchorus.data.importing import import_detections, import_recordings
from dawnchorus.data.layouts.annotations import MarkTables, NamedMark, RecordingNames
from dawnchorus.data.marks import match_marks
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.registry import detect_format
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection, Mark

HEADER = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tSpecies"
Times = list[tuple[float, float, str]]


def make_audio(path: Path, seconds: float = 2.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds=seconds, rate_hz=8000), 8000)


def table(path: Path, *rows: str, more: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER + more, *rows]) + "\n")


def row(number: int, start: float, end: float, species: str, *more: str, view: str = "Spectrogram 1") -> str:
    return "\t".join(map(str, (number, view, start, end, species, *more)))


def imported(source: Path, layout: str = "auto") -> tuple[dict[str, RecordingRow], str]:
    with logged() as notes:
        result = import_recordings(source, source.parent / "set", layout=layout, n_workers=1)
    return {row.recording_id: row for row in result.rows}, "\n".join(notes)


def marks(source: Path, layout: str = "auto") -> tuple[dict[str, Times | None], str]:
    """Return the marks of each recording, None where nobody listened, and what was said."""
    rows, notes = imported(source, layout)
    marks_read = {
        name: [(mark.start_s, mark.end_s, mark.scientific_name) for mark in row.annotations]
        if row.is_annotated
        else None
        for name, row in rows.items()
    }
    return marks_read, notes


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
    assert "unlabelled: 1 of 5 recordings (plot7/nobody.wav)" in notes
    assert "annotated recordings: 4, nothing in 3 of them" in notes


@pytest.mark.parametrize("folder", ["audio", "audio/annotations", "labels", "."])
def test_tables_in_folders_of_their_own(folder: str, tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "audio" / "a.wav")
    path = tmp_path / "in" / folder / "A.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("0,5\t1,5\tAvis una\n")
    assert marks(tmp_path / "in")[0] == {"audio/a.wav": [(0.5, 1.5, "Avis una")]}


def test_recordings_of_one_name_are_distinguished_by_folder(tmp_path: Path) -> None:
    for site in ("s1", "s2"):
        make_audio(tmp_path / "in" / "audio" / site / "a.wav")
        (tmp_path / "in" / "labels" / site).mkdir(parents=True)
        (tmp_path / "in" / "labels" / site / "a.txt").write_text(f"0\t1\tAvis {site}\n")
    assert marks(tmp_path / "in")[0] == {f"audio/{s}/a.wav": [(0, 1, f"Avis {s}")] for s in ("s1", "s2")}
    (tmp_path / "in" / "labels" / "s1" / "a.txt").unlink()
    (tmp_path / "in" / "labels" / "s2" / "a.txt").unlink()
    rows = row(1, 0, 1, "Avis una", "C:\\card\\S1\\A.WAV"), row(2, 0, 1, "Avis altera", "a.wav")
    table(tmp_path / "in" / "all.txt", *rows, more="\tBegin Path")
    marks_read, notes = marks(tmp_path / "in")
    assert marks_read == {"audio/s1/a.wav": [(0, 1, "Avis una")], "audio/s2/a.wav": None}
    assert "line 3: 0 to 1 s, 'a.wav' is 2 recordings of one name" in notes


PLACES = [
    ("a/s.wav", "a/s.wav"),
    ("other/s.wav", None),
    ("in/a/s.wav", "a/s.wav"),
    ("there/in/a/s.wav", "a/s.wav"),  # the whole path below the source agrees
    ("./a/S.WAV", "a/s.wav"),
    ("..\\in\\a\\s.wav", "a/s.wav"),
    ("D:\\card\\a\\s.wav", "a/s.wav"),
    ("D:/card/a/s.wav", "a/s.wav"),
    ("D:\\card\\s.wav", None),
    ("\\\\nas\\birds\\b\\s.wav", None),
    ("/media/card/a/s", "a/s.wav"),
    ("D:\\card\\top.wav", "top.wav"),
    ("card/top.wav", None),
]


def test_folders_of_a_path_in_a_row_must_not_contradict(tmp_path: Path) -> None:
    for name in ("a/s.wav", "top.wav"):
        make_audio(tmp_path / "in" / name)
    names = RecordingNames(tmp_path / "in", [tmp_path / "in" / "a" / "s.wav", tmp_path / "in" / "top.wav"])
    for path, expected in PLACES:
        fits, reason = names.named_in_row(path, tmp_path / "in" / "t.txt")
        paths = [fit.path.relative_to(tmp_path / "in").as_posix() for fit in fits]
        assert (path, paths) == (path, [] if expected is None else [expected])
        assert bool(reason) == (expected is None)
    rows = [row(k, k / 10, 1, "Avis una", path) for k, (path, _) in enumerate(PLACES)]
    table(tmp_path / "in" / "all.txt", *rows, more="\tBegin Path")
    notes = imported(tmp_path / "in")[1]
    assert "'other/s.wav' is no recording here: its folders are not those of a/s.wav" in notes


def test_two_paths_are_two_recordings_also_if_only_one_is_here(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "siteA" / "day" / "s.wav")
    paths = "C:\\x\\siteA\\day\\s.wav", "C:\\x\\siteB\\day\\s.wav"
    for named, expected in ((paths, 1), (paths[1:], 1), ((paths[1], "C:\\x\\siteC\\day\\s.wav"), 0)):
        rows = [row(k, k / 10, 1, "Avis una", path) for k, path in enumerate(named)]
        table(tmp_path / "in" / "all.txt", *rows, more="\tBegin Path")
        result, notes = imported(tmp_path / "in", "annotations")
        assert len(result["siteA/day/s.wav"].annotations) == expected
        assert ("are two recordings, but only one is here" in notes) == (len(named) > 1)
        assert ("paths of another machine, taken for recordings here: 1 ('C:\\x\\siteB" in notes) == (len(named) == 1)


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


@pytest.mark.parametrize(
    ("name", "header", "more"),
    [
        ("list.csv", "Datei;Art;Beginn (s);Ende (s)", ""),
        # The columns of an annotation program in German, and of Vigie-Chiro's tables in French.
        ("liste.csv", "Datei;Art;Start (s);Ende (s);Freq. tief (Hz);BirdNET Konfidenz;Verifiziert", ";2000;;ja"),
        ("v.csv", "nom du fichier;observateur_taxon;temps_debut;temps_fin;tadarida_probabilite", ";"),
        ("marques.csv", "Fichier\tEspèce\tDébut\tFin", ""),
        ("marcas.csv", "Archivo,Especie,Inicio,Fin", ""),
        ("marcas2.csv", "Arquivo,Espécie,Início,Fim", ""),
        ("lijst.csv", "Bestand;Soort;Begin;Einde", ""),
        ("lista.csv", "ESPECE;FICHIER;DEBUT;DUREE", "order"),
    ],
)
def test_headers_in_other_languages(name: str, header: str, more: str, tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav", 5)
    delimiter = next(sign for sign in ";\t," if sign in header)
    cells = ["Avis una", "a.wav", "1", "2"] if more == "order" else ["a.wav", "Avis una", "1", "3"]
    (tmp_path / "in" / name).write_text(f"{header}\n{delimiter.join(cells)}{more.removeprefix('order')}\n", "utf-8")
    assert marks(tmp_path / "in")[0] == {"a.wav": [(1, 3, "Avis una")]}


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


def test_a_table_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_audio(tmp_path / "in" / f"{name}.wav")
    table(tmp_path / "in" / "a.txt", row(1, 0, 1, "Avis una"))
    nameless = "Selection\tBegin Time (s)\tEnd Time (s)\tOccurrence\n1\t0\t1\tAvis una\n"
    (tmp_path / "in" / "b.txt").write_text(nameless)
    marks_read, notes = marks(tmp_path / "in")
    assert marks_read == {"a.wav": [(0, 1, "Avis una")], "b.wav": None}
    assert "tables of marks that cannot be read, left out: 1 (b.txt)." in notes
    assert "Rename the column that has them." in notes
    (tmp_path / "in" / "a.txt").write_text(nameless)
    with pytest.raises(FormatError, match=r"a\.txt: expected names of species .* 1 other table cannot be read either"):
        marks(tmp_path / "in")


@pytest.mark.parametrize(
    "lines",
    [
        ("filename,start,end,species", "in/a.wav,0,1,Avis una", "b.wav,0.5,1.5,Avis altera", "c.wav,,,"),
        ("audio_file;annotation;start_time;end_time", "a.wav;Avis una;0;1", "b.wav;Avis altera;0.5;1.5", "c.wav;;;"),
        ("recording,start_offset_s,end_offset_s,label,label_type", "a.wav,0,1,Avis una,positive",
         "b.wav,0.5,1.5,Avis altera,positive", "c.wav,0,1,Avis una,negative"),
    ],
)  # fmt: skip
def test_one_list_for_many_recordings(lines: tuple[str, ...], tmp_path: Path) -> None:
    for name in "abcd":
        make_audio(tmp_path / "in" / f"{name}.wav")
    (tmp_path / "in" / "annotations.csv").write_text("\n".join(lines))
    marks_read, _ = marks(tmp_path / "in")
    una, altera = [(0, 1, "Avis una")], [(0.5, 1.5, "Avis altera")]
    assert marks_read == {"a.wav": una, "b.wav": altera, "c.wav": [], "d.wav": None}


def test_text_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "robin" / "a.wav")
    (tmp_path / "in" / "robin" / "a.txt").write_text("Heard at dawn.\n")
    rows, notes = imported(tmp_path / "in")
    assert rows["robin/a.wav"].scientific_name == "robin"
    assert "tables of recordings in columns that are not known, not read: 1 (a.txt is named after a.wav)" in notes
    assert notes.count("a.txt") == 1


def test_a_table_that_lacks_a_column_of_marks_is_named_with_it(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "list.csv").write_text("file,start_time,upto,species\nx.wav,1,2,Avis una\n")
    said = "it has 'file' for recording, 'start_time' for start, 'species' for label, but no column for end; its other"
    assert f"list.csv: no table of marks: {said} columns are upto" in marks(tmp_path / "in")[1]


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


@pytest.mark.parametrize(("page", "letters"), [("mac_roman", "Ménétries"), ("cp1250", "Žluťoučký")])
def test_a_guessed_encoding_of_marks_is_said(page: str, letters: str, tmp_path: Path) -> None:
    for name in "ab":
        make_audio(tmp_path / "in" / f"{name}.wav")
    (tmp_path / "in" / "a.txt").write_bytes(f"0\t1\t{letters} una\n".encode(page))
    header = "Begin Time (s)\tEnd Time (s)\tSpecies\n"
    (tmp_path / "in" / "b.txt").write_bytes(f"{header}0\t1\t{letters} una\n".encode(page))
    notes = marks(tmp_path / "in")[1]
    for name in "ab":
        assert f"{tmp_path / 'in' / name}.txt: not in UTF-8" in notes


def test_a_table_alone_is_of_the_recordings_around_it(tmp_path: Path) -> None:
    make_audio(tmp_path / "a.wav")
    table(tmp_path / "t.txt", row(1, 0, 1, "Avis una", "a.wav"), more="\tBegin File")
    assert marks(tmp_path / "t.txt")[0] == {"a.wav": [(0, 1, "Avis una")]}


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
        "effort",
        "rejected",
    )
    assert matched.n_kept + sum(len(matched.fates.get(fate, ())) for fate in lost) == len(rows)
    for path, marks_read in matched.annotations.items():
        for mark in marks_read:
            assert 0 <= mark.start_s <= mark.end_s
            assert path != files[0] or mark.end_s <= 10


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "utf-8"])
def test_the_header_of_a_table_of_marks_is_read_in_its_encoding(encoding: str, tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav")
    rows = "".join(f"a.wav;0;1;Avis una {k}\n" for k in range(600))  # longer than what tells the format
    (tmp_path / "in" / "list.csv").write_bytes(f"fichier;début;fin;espèce\n{rows}".encode(encoding))
    assert len(marks(tmp_path / "in")[0]["a.wav"] or ()) == 600


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


@pytest.mark.parametrize("column", ["FOLDER", "site"])
def test_a_column_of_folders_tells_recordings_of_one_name_apart(column: str, tmp_path: Path) -> None:
    for site in "ab":
        make_audio(tmp_path / "in" / site / "x.wav")
    make_audio(tmp_path / "in" / "only" / "y.wav")
    rows = ("a,x.wav,0,1,Avis una", "b,x.wav,1,2,Avis altera", "elsewhere,y.wav,0,1,Avis una")
    (tmp_path / "in" / "list.csv").write_text("\n".join([f"{column},IN FILE,start,end,species", *rows]))
    assert marks(tmp_path / "in")[0] == {
        "a/x.wav": [(0, 1, "Avis una")],
        "b/x.wav": [(1, 2, "Avis altera")],
        "only/y.wav": [(0, 1, "Avis una")],
    }


def test_rows_of_two_folders_are_not_both_of_the_one_recording(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a" / "x.wav")
    rows = ("a,x.wav,0,1,Avis una", "b,x.wav,1,2,Avis altera")
    (tmp_path / "in" / "list.csv").write_text("\n".join(["site,file,start,end,species", *rows]))
    recordings, notes = marks(tmp_path / "in")
    assert recordings == {"a/x.wav": [(0, 1, "Avis una")]}
    assert "'b/x.wav' and 'a/x.wav' are two recordings, but only one is here" in notes
