"""Tables of marks: the recording that a row is of."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.mark_tables import imported, make_audio, marks, row, table

from dawnchorus.data.layouts.annotations import RecordingNames
from dawnchorus.errors import FormatError


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


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "utf-8"])
def test_the_header_of_a_table_of_marks_is_read_in_its_encoding(encoding: str, tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "a.wav")
    rows = "".join(f"a.wav;0;1;Avis una {k}\n" for k in range(600))  # longer than what tells the format
    (tmp_path / "in" / "list.csv").write_bytes(f"fichier;début;fin;espèce\n{rows}".encode(encoding))
    assert len(marks(tmp_path / "in")[0]["a.wav"] or ()) == 600


@pytest.mark.parametrize("column", ["FOLDER", "site"])
@pytest.mark.parametrize("source", ["in", "b/in"])
def test_a_column_of_folders_tells_recordings_of_one_name_apart(column: str, source: str, tmp_path: Path) -> None:
    """Also where a folder above the source has the name of one of them."""
    folder = tmp_path / source
    for site in "ab":
        make_audio(folder / site / "x.wav")
    make_audio(folder / "only" / "y.wav")
    rows = ("a,x.wav,0,1,Avis una", "b,x.wav,1,2,Avis altera", "elsewhere,y.wav,0,1,Avis una")
    (folder / "list.csv").write_text("\n".join([f"{column},IN FILE,start,end,species", *rows]))
    assert marks(folder)[0] == {
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
