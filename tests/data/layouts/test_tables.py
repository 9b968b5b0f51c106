"""Tables of recordings as spreadsheets save them."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.logs import logged
from tests.fixtures.sounds import own_tone

from dawnchorus.data.given_split import split_by_tables
from dawnchorus.data.import_notes import list_import_notes
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.labels import LabelReader
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.registry import read_annotations
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label

ISO = "filename,species,recordist,latitude,longitude,date\na.wav,Parus major,Jörg Müller,52.5,13.4,2024-05-03\n"


def imported(folder: Path, content: str | bytes, *audio_folder: str) -> tuple[list[RecordingRow], list[str]]:
    for name in audio_folder or ("a.wav",):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, own_tone(folder / name, seconds=0.1), 16_000)
    table = folder / "mine.csv"
    table.write_bytes(content.encode() if isinstance(content, str) else content)
    with logged() as notes:
        result = import_recordings(table, folder, read_annotations=read_annotations, n_workers=1)
    prefix = f"{table}: "
    return list(result.rows), [note.removeprefix(prefix) for note in notes if note.startswith(prefix)]


def german(text: str) -> str:
    cells = {"52.5": "52,5", "13.4": "13,4", "2024-05-03": "03.05.2024"}
    return "\r\n".join(";".join(cells.get(cell, cell) for cell in line.split(",")) for line in text.splitlines())


@pytest.mark.parametrize(
    ("content", "n_notes"),
    [
        (ISO, 0),
        (german(ISO).encode("utf-8-sig"), 0),
        (ISO.encode("cp1252"), 1),
        (ISO.replace(",", "\t").encode("utf-16"), 0),
        (ISO.replace(",", "|").encode("utf-16-le"), 0),
        ("sep=;\n" + german(ISO), 0),
        (ISO.replace("a.wav", ".\\a.wav"), 0),
        (ISO.replace("2024-05-03", "2024/05/03").replace("filename", " File_Name ").replace("species", "SPECIES"), 0),
        (ISO.replace("2024-05-03", "45415").replace("52.5", "52°30'N"), 1),
    ],
)
def test_one_table_saved_in_many_ways(tmp_path: Path, content: str | bytes, n_notes: int) -> None:
    (row,), notes = imported(tmp_path, content)
    assert (row.recording_id, row.problems, row.scientific_name, row.recordist) == (
        "a.wav",
        (),
        "Parus major",
        "Jörg Müller",
    )
    assert (row.latitude, row.longitude, row.date) == (52.5, 13.4, "2024-05-03")
    assert len(notes) == n_notes


def test_what_is_not_understood_is_counted_once_with_an_example(tmp_path: Path) -> None:
    rows, notes = imported(
        tmp_path,
        "filename,species,date,time,lat,lon,split,xc_id\n"
        "a.wav,Parus major,spring,dawn,92,13.4,tain,5.88E+05\n"
        "a.wav,Parus major,summer,?,Pond,13.4,,\n",
    )
    assert [(row.date, row.time, row.latitude, row.longitude, row.split) for row in rows] == [
        (None, None, None, None, None)
    ] * 2
    assert [note.split("; expected")[0] for note in notes] == [
        "column 'xc_id': not understood, and left out, in 1 row (as '5.88E+05')",
        "column 'lat': not understood, and left out, in 2 rows (as '92')",
        "column 'date': not understood, and left out, in 2 rows (as 'spring')",
        "column 'time': not understood, and left out, in 1 row (as 'dawn')",
        "column 'split': not understood, and left out, in 1 row (as 'tain')",
    ]


def test_times_of_day_in_their_own_column_or_behind_the_date(tmp_path: Path) -> None:
    head = "filename,species,date,time\na.wav,Parus major,"
    for cells in ("2024-05-03 06:00:00,", "2024-05-03,0600", "2024-05-03 00:00:00,6.00 Uhr", "45415,0.25"):
        (row,), _notes = imported(tmp_path, head + cells + "\n")
        assert (row.date, row.time) == ("2024-05-03", "06:00")
    for cells in ("2024-05-03,06:00+02:00", "2024-05-03T06:00:00+02:00,", "2024-05-03,06:00:00+0200"):
        (row,), _notes = imported(tmp_path, head + cells + "\n")
        assert (row.date, row.time) == ("2024-05-03", "06:00+02:00"), cells
    (row,), _notes = imported(tmp_path, head + "2024-05-03 00:00:00,\n")
    assert (row.date, row.time) == ("2024-05-03", None)


@pytest.mark.parametrize(
    "header",
    [
        "Datei;Artname;Datum;Breitengrad;Längengrad;Fundort",
        "Fichier;Espèce;Date;Latitude;Longitude;Lieu",
        "Archivo;Nombre científico;Fecha;Latitud;Longitud;Localidad",
        "Arquivo;Espécie;Data;Latitude;Longitude;Local",
        "Bestandsnaam;Soort;Datum;Breedtegraad;Lengtegraad;Plaats",
    ],
)
def test_headers_in_other_languages(header: str, tmp_path: Path) -> None:
    (row,), notes = imported(tmp_path, f"{header}\na.wav;Parus major;17.05.2024;52,5;13,4;Aue\n")
    assert (row.path, row.scientific_name, row.date) == ("a.wav", "Parus major", "2024-05-17")
    assert (row.latitude, row.longitude, row.locality, notes) == (52.5, 13.4, "Aue", [])


def test_a_longer_name_is_no_misspelled_one(tmp_path: Path) -> None:
    _, notes = imported(tmp_path, "path,scientific_name,subspecies,recordisst\na.wav,Parus major,newtoni,Mo\n")
    assert notes[0].endswith("(in Python: columns). Did you mean --column recordist=recordisst?")


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    table = "FileName,Species,StartDate,StartTime,Wind,Empty\na.wav,Parus major,03/05/2024,06:00,2,\n"
    rows, notes = imported(tmp_path, table + "a.wav,Parus major,17/05/2024,18:30,3,\n")
    assert [(row.date, row.time) for row in rows] == [("2024-05-03", "06:00"), ("2024-05-17", "18:30")]
    (note,) = notes
    assert note.startswith("columns that are not read: Wind (as '2'). Name one with --column FIELD=COLUMN (in Python")


def test_species_is_joined_with_its_genus(tmp_path: Path) -> None:
    content = "filename,genus,species\na.wav,Parus,major\nb.wav,Dendrocopos,major\nc.wav,Sitta,Sitta europaea\n"
    rows, notes = imported(tmp_path, content, "a.wav", "b.wav", "c.wav")
    assert [row.scientific_name for row in rows] == ["Parus major", "Dendrocopos major", "Sitta europaea"]
    assert notes == []


def test_a_location_may_stand_in_one_column(tmp_path: Path) -> None:
    for head, cell in (("coordinates", '"48.1, 11.5"'), ("lat", '"48,1; 11,5"'), ("location", "48.1 11.5")):
        (row,), notes = imported(tmp_path, f"filename,species,{head}\na.wav,Parus major,{cell}\n")
        assert (row.latitude, row.longitude, notes) == (48.1, 11.5, [])


def test_numbers_that_lost_their_zeros_find_their_files(tmp_path: Path) -> None:
    (row,), notes = imported(tmp_path, "filename,species\n123.wav,Parus major\n", "00123.wav")
    assert (row.path, row.problems) == ("00123.wav", ())
    assert notes == [
        "column 'filename': files whose numbers have lost the zeros before them are found with zeros (as '00123.wav')."
    ]


def test_codes_that_became_days_are_said(tmp_path: Path) -> None:
    (row,), notes = imported(tmp_path, "filename,species,primary_label\na.wav,Parus major,01-Mar\n")
    assert (row.scientific_name, row.ebird_code) == ("Parus major", None)
    assert "column 'primary_label': not understood, and left out, in 1 row (as '01-Mar')" in notes[0]


def test_a_table_of_which_no_row_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"1 row with more cells than the header's 4, left out \(line 2\)"):
        imported(tmp_path, "filename,species,lat,lon\na.wav,Parus major,52,5,13,4\n")


def test_splits_are_read_from_such_tables(tmp_path: Path) -> None:
    imported(tmp_path, "filename,species\n0123.wav,Parus major\n", "0123.wav")
    table = import_recordings(tmp_path / "mine.csv", tmp_path, read_annotations=read_annotations, n_workers=1)
    (tmp_path / "a.csv").write_bytes("FileName;Split\r\n.\\0123.wav;Test\r\n".encode("utf-16"))
    (tmp_path / "b.csv").write_bytes(b"id|split\n123|test\n|train\n")
    with logged() as notes:
        given = [split_by_tables(table, [tmp_path / name]) for name in ("a.csv", "b.csv")]
    assert [[row.split for row in each.table.rows] for each in given] == [["test"], ["test"]]
    assert notes == [f"{tmp_path / 'b.csv'}: 1 row without the name of a recording."]


def test_misspelled_columns_and_fields_are_reported(tmp_path: Path) -> None:
    rows, notes = imported(tmp_path, "path,species,lattitude,longitude\na.wav,Avis una,0,0\n", "a.wav")
    assert any("Did you mean --column latitude=lattitude?" in note for note in notes)
    for columns, near in (({"locallity": "species"}, "locality"), ({"path": "pth"}, "path")):
        with pytest.raises(InputError, match=f"Did you mean '{near}'"):
            import_recordings(tmp_path / "mine.csv", tmp_path, columns=columns, n_workers=1)
    doubtful = replace(rows[0], latitude=0.0, longitude=0.0)
    assert any("doubtful locations" in note for note in list_import_notes([doubtful]))


def test_locations_in_the_other_order_half_locations_and_none_are_read_or_said(tmp_path: Path) -> None:
    table = 'path,species,"lon,lat"\na.wav,Avis una,"11.5,48.1"\nb.wav,Avis una,32U 691604 5334760\n'
    rows, notes = imported(tmp_path, f'{table}c.wav,Avis una,"0,0"\nd.wav,Avis una,Pond\n', "a.wav")
    assert [(row.latitude, row.longitude) for row in rows] == [(48.1, 11.5), *[(None, None)] * 3]
    assert [row.locality for row in rows] == [None, None, None, "Pond"]
    assert any(
        "column 'lon,lat': not understood, and left out, in 2 rows (as '32U 691604 5334760')" in n for n in notes
    )
    rows, notes = imported(tmp_path, "path,species,place\na.wav,Avis una,151.2 -33.8\nb.wav,Avis una,11.5 48.1\n")
    assert [(row.latitude, row.longitude) for row in rows] == [(-33.8, 151.2), (48.1, 11.5)]
    assert any(
        "column 'place': read as longitude, latitude, because in 1 row only this is a location" in n for n in notes
    )
    rows, notes = imported(
        tmp_path, "path,species,lat,lon\na.wav,Avis una,48.1,\nb.wav,Avis una,0.0,0\nc.wav,Avis una,0,9\n"
    )
    assert [(row.latitude, row.longitude) for row in rows] == [(None, None), (None, None), (0, 9)]
    assert any("half a location, a latitude alone: left out in 1 row (as '48.1')" in n for n in notes)
    assert any("where no location is known: left out in 1 row (as '0, 0')" in n for n in notes)


def test_a_folder_that_contradicts_the_table_is_said(tmp_path: Path) -> None:
    rows = ("Parus major/1.wav,Parus major", "Parus major/2.wav,Strix aluco", "Lower creek/3.wav,Strix aluco")
    content = "\n".join(["filename,species", *rows])
    audio_folder = [row.partition(",")[0] for row in rows]
    for name in audio_folder:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, own_tone(tmp_path / name, seconds=0.1), 16_000)
    (tmp_path / "metadata.csv").write_text(content)
    with logged() as notes:
        table = import_recordings(tmp_path, tmp_path, n_workers=1)
    assert [row.scientific_name for row in table.rows] == ["Parus major", "Strix aluco", "Strix aluco"]
    said = next(note for note in notes if note.startswith("recordings in a folder of another species"))
    assert "Parus major/2.wav as Strix aluco" in said
    assert "1.wav" not in said


@pytest.mark.parametrize("header", ["scientific_name,common_name", "Latin name,species"])
def test_two_names_of_two_species_name_none(header: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", own_tone(tmp_path / "a.wav", seconds=0.1), 16_000)
    (tmp_path / "mine.csv").write_text(f"filename,{header}\na.wav,Strix aluco,Great Tit\n")
    labels = LabelReader(KnownClasses([Label("Parus major", "Great Tit"), Label("Strix aluco", "Tawny Owl")]))
    (row,) = import_recordings(tmp_path / "mine.csv", tmp_path, labels=labels, n_workers=1).rows
    assert (row.scientific_name, labels.unnamed) == (None, {"Strix aluco_Great Tit": 1})


@pytest.mark.parametrize("file", ["Site/X 1.WAV", "Se\u0301jour/a.wav", "site/x 1.wav"])
def test_case_and_unicode_form_of_paths_make_no_difference(file: str, tmp_path: Path) -> None:
    given = unicodedata.normalize("NFC", file).lower()
    (row,), _ = imported(tmp_path, f"filename,species\n{given},Avis una\n", file)
    assert (row.problems, row.path) == ((), file)


@pytest.mark.parametrize("zone", ["(UTC)", "[GMT]", "local", "+02:00"])
def test_clock_times_with_a_zone_are_no_marks(zone: str, tmp_path: Path) -> None:
    content = f"filename,species,Start time {zone},End time\na.wav,Parus major,12:30:00,12:31:00\n"
    (row,), _ = imported(tmp_path, content)
    assert (row.scientific_name, row.is_annotated) == ("Parus major", False)


def test_a_row_of_totals_is_no_recording(tmp_path: Path) -> None:
    rows, notes = imported(tmp_path, "file;species\na.wav;Parus major\nSumme;8\n", "a.wav")
    assert [row.recording_id for row in rows] == ["a.wav"]
    assert "a row of totals, which is no recording: left out in 1 row (as 'Summe')" in " ".join(notes)


def test_list_of_codes_next_to_a_species_is_reported_and_no_code(tmp_path: Path) -> None:
    table = "file,primary_label,scientific_name\na.wav,one1;two1,Avis una\nb.wav,one1,Avis una\n"
    rows, notes = imported(tmp_path, table, "a.wav", "b.wav")
    assert [row.ebird_code for row in rows] == [None, "one1"]
    assert "several codes of a recording" in " ".join(notes)
    assert not any("several codes for one species" in note for note in list_import_notes(rows))


def test_files_that_no_decoder_opens_are_named(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    rows, _ = imported(tmp_path, "file,species\na.wav,Parus major\nb.wav,Parus major\n", "a.wav")
    assert "files that no decoder can open: 1 (b.wav). They are not trained on." in list(list_import_notes(rows))
