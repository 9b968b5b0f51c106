"""Recordings of all the usual layouts become one table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.fixtures.imports import imported, make_audio, results, write_csv
from tests.fixtures.logs import logged

from dawnchorus.data.import_notes import list_import_notes, list_name_notes
from dawnchorus.data.importing import import_recordings, merge_tables
from dawnchorus.data.labels import LabelReader
from dawnchorus.data.layout_detection import detect_layout
from dawnchorus.data.recordings import (
    Annotation,
    RecordingRow,
    RecordingsTable,
    read_table,
    select_per_species,
    species_of,
    write_table,
)
from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.registry import read_annotations
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label


def test_a_folder_per_species_by_birdnet_analyzers_rules(tmp_path: Path) -> None:
    for path in (
        "Parus major_Great Tit/XC123 - song.wav",
        "Cuculus_canorus/b.wav",
        "Parus major_Great Tit,Strix aluco_Tawny Owl/both.wav",
        "-Parus major_Great Tit/c.wav",
        "Background/d.wav",
        "mockingbird/e.wav",
    ):
        make_audio(tmp_path / path)
    rows = imported(tmp_path, tmp_path)
    one = rows["XC123"]
    assert (one.scientific_name, one.common_name, one.url) == ("Parus major", "Great Tit", "https://xeno-canto.org/123")
    assert (one.path, one.duration_s, one.rate_hz) == ("Parus major_Great Tit/XC123 - song.wav", 1.0, 16_000)
    assert rows["Cuculus_canorus/b.wav"].scientific_name == "Cuculus canorus"
    both = rows["Parus major_Great Tit,Strix aluco_Tawny Owl/both.wav"]
    assert (both.scientific_name, both.secondary) == ("Parus major", ("Strix aluco",))
    negative = rows["-Parus major_Great Tit/c.wav"]
    assert (negative.kind, negative.scientific_name, negative.absent) == ("background", None, ("Parus major",))
    assert rows["Background/d.wav"].kind == "background"
    assert rows["mockingbird/e.wav"].scientific_name == "mockingbird"


def test_birdclef(tmp_path: Path) -> None:
    make_audio(tmp_path / "train_audio" / "gretit1" / "XC7.wav")
    make_audio(tmp_path / "train_audio" / "41663" / "iNat8.wav")
    metadata = {"latitude": "52.5", "longitude": "13.4", "author": "A. Bird", "rating": "4.5", "url": "https://x.org/7"}
    cc = (
        "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)"
    )
    write_csv(
        tmp_path / "train_metadata.csv",
        {"primary_label": "gretit1", "secondary_labels": "['eurbla', 'cowpig1']", "filename": "gretit1/XC7.wav",
         "scientific_name": "Parus major", "common_name": "Great Tit", "license": cc, **metadata},
        {"primary_label": "41663", "secondary_labels": "[]", "filename": "41663/iNat8.wav", "scientific_name": "",
         "common_name": "", "license": "cc0 1.0", **metadata, "latitude": ""},
    )  # fmt: skip
    write_csv(
        tmp_path / "taxonomy.csv",
        {"primary_label": "eurbla", "scientific_name": "Turdus merula"},
        {"primary_label": "41663", "scientific_name": "Gryllus campestris"},
    )
    assert detect_layout(tmp_path) == "csv"
    rows = imported(tmp_path, tmp_path)
    one, other = rows["XC7"], rows["41663/iNat8.wav"]
    assert (one.scientific_name, one.ebird_code, one.recordist) == ("Parus major", "gretit1", "A. Bird")
    assert one.secondary == ("Turdus merula", "cowpig1")
    assert (one.license, one.quality, one.latitude) == ("CC-BY-NC-SA-4.0", "4.5", 52.5)
    assert (other.scientific_name, other.license, other.latitude) == ("Gryllus campestris", "CC0-1.0", None)
    assert other.duration_s == 1.0


def test_cornell_2020_has_folders_by_code(tmp_path: Path) -> None:
    make_audio(tmp_path / "train_audio" / "aldfly" / "XC134874.wav")
    write_csv(
        tmp_path / "train.csv",
        {"ebird_code": "aldfly", "filename": "XC134874.wav", "species": "Alder Flycatcher", "date": "2013-05-25",
         "sci_name": "Empidonax alnorum", "recordist": "J. Doe", "time": "8:00"},
    )  # fmt: skip
    row = imported(tmp_path, tmp_path)["XC134874"]
    assert (row.path, row.scientific_name, row.time) == (
        "train_audio/aldfly/XC134874.wav", "Empidonax alnorum", "08:00"
    )  # fmt: skip


def test_english_names_are_looked_up_and_unknown_ones_are_said_once(tmp_path: Path) -> None:
    for path in (
        "Andean_Guan_sound/Andean_Guan1.wav",
        "Brushland_Tinamou_sound/1.wav",
        "sound/Andean Guan2.wav",
        "Andean Guan3.wav",
        "field_0430.wav",
        "-Andean_Guan/5.wav",
    ):
        make_audio(tmp_path / path)
    reader = LabelReader(KnownClasses((Label("Penelope montagnii", "Andean Guan"),)))
    rows = imported(tmp_path, tmp_path, labels=reader)
    assert {name: (row.scientific_name, row.common_name) for name, row in rows.items()} == {
        "Andean_Guan_sound/Andean_Guan1.wav": ("Penelope montagnii", "Andean Guan"),
        "Brushland_Tinamou_sound/1.wav": ("Brushland Tinamou", "Brushland Tinamou"),
        "sound/Andean Guan2.wav": ("Penelope montagnii", "Andean Guan"),
        "Andean Guan3.wav": ("Penelope montagnii", "Andean Guan"),
        "field_0430.wav": (None, None),
        "-Andean_Guan/5.wav": (None, None),
    }
    assert rows["-Andean_Guan/5.wav"].absent == ("Penelope montagnii",)
    assert list(list_name_notes(reader, sources=["the labels of birdnet"])) == [
        "kept as written, without a scientific name: Brushland Tinamou (1); not in the labels of birdnet. They are "
        "classes of your own."
    ]


def test_species_that_all_have_one_name_are_refused(tmp_path: Path) -> None:
    make_audio(tmp_path / "Black Phoebe_recordings" / "1.wav")
    make_audio(tmp_path / "Andean Guan_recordings" / "1.wav")
    with pytest.raises(InputError, match="all 2 species are called 'recordings'"):
        imported(tmp_path, tmp_path)


def test_all_columns_of_cornell_2020(tmp_path: Path) -> None:
    make_audio(tmp_path / "train_audio" / "aldfly" / "XC900021.wav")
    metadata = {"ebird_code": "aldfly", "species": "Alder Flycatcher", "sci_name": "Empidonax alnorum"}
    words = "Creative Commons Attribution-ShareAlike 3.0"
    write_csv(
        tmp_path / "train.csv",
        {**metadata, "filename": "XC900021.wav", "xc_id": "900021.0",
         "primary_label": "Empidonax alnorum_Alder Flycatcher",
         "secondary_labels": "['Empidonax minimus_Least Flycatcher']", "type": "call, song", "license": words,
         "background": "['Least Flycatcher (Empidonax minimus)', 'Veery (Catharus fuscescens)']"},
        {**metadata, "filename": "gone.wav", "xc_id": "", "primary_label": "", "secondary_labels": "", "type": "",
         "license": "", "background": ""},
    )  # fmt: skip
    rows = imported(tmp_path, tmp_path)
    row = rows["XC900021"]
    assert (row.scientific_name, row.common_name, row.ebird_code) == ("Empidonax alnorum", "Alder Flycatcher", "aldfly")
    assert row.secondary == ("Empidonax minimus", "Catharus fuscescens")
    assert (row.source, row.license, row.sound_type) == ("xeno-canto", "CC-BY-SA-3.0", "call, song")
    assert (rows["gone.wav"].problems, rows["gone.wav"].sound_type) == (("missing",), None)


@pytest.mark.parametrize(
    ("columns", "scientific", "common"),
    [
        ({"primary_label": "Empidonax alnorum_Alder Flycatcher"}, "Empidonax alnorum", "Alder Flycatcher"),
        ({"species": "Alder Flycatcher"}, "Empidonax alnorum", "Alder Flycatcher"),
        ({"species": "Empidonax alnorum"}, "Empidonax alnorum", "Alder Flycatcher"),
        ({"species": "Alder Flycatcher", "primary_label": "aldfly"}, "Empidonax alnorum", "Alder Flycatcher"),
        ({"species": "Nova Avis"}, "Nova Avis", "Nova Avis"),
    ],
)
def test_species_by_the_names_that_tables_give(
    columns: dict[str, str], scientific: str, common: str, tmp_path: Path
) -> None:
    table = write_csv(tmp_path / "mine.csv", {"path": "x.wav", **columns})
    row = imported(table, tmp_path, known=(Label("Empidonax alnorum", "Alder Flycatcher"),))["x.wav"]
    assert (row.scientific_name, row.common_name) == (scientific, common)


def test_codes_of_secondary_species_without_a_taxonomy(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "train_metadata.csv",
        {"primary_label": "comtai1", "scientific_name": "Orthotomus sutorius", "secondary_labels": "['houspa', 'xyz1']",
         "filename": "comtai1/XC1.ogg"},
        {"primary_label": "asbfly", "scientific_name": "Muscicapa dauurica", "secondary_labels": "['comtai1', 'xyz1']",
         "filename": "asbfly/XC2.ogg"},
    )  # fmt: skip
    write_csv(
        tmp_path / "eBird_Taxonomy_v2021.csv",
        {"SPECIES_CODE": "houspa", "PRIMARY_COM_NAME": "House Sparrow", "SCI_NAME": "Passer domesticus"},
    )
    rows = imported(tmp_path, tmp_path)
    assert rows["XC1"].secondary == ("Passer domesticus", "xyz1")
    assert rows["XC2"].secondary == ("Orthotomus sutorius", "xyz1")
    notes = "\n".join(list_import_notes(list(rows.values())))
    assert "missing at their path: 2 (as " in notes
    assert "codes that no taxonomy next to the table has: xyz1 (2)" in notes


def test_paths_of_another_machine(tmp_path: Path) -> None:
    for name in ("asbfly/XC1.wav", "asbfly/iNat2.wav"):
        make_audio(tmp_path / "set" / "train_audio" / name)
    (tmp_path / "set" / "train-val").mkdir()
    table = write_csv(
        tmp_path / "set" / "train-val" / "train.csv",
        {
            "path": "/kaggle/input/birdclef-2023/train_audio/asbfly/XC1.wav",
            "filename": "asbfly/XC1.wav",
            "species": "A a",
        },
        {"path": "C:\\data\\train_audio\\asbfly\\iNat2.wav", "filename": "", "species": "A a"},
    )
    rows = imported(table, tmp_path)
    assert [row.problems for row in rows.values()] == [(), ()]
    moved = table.rename(tmp_path / "train.csv")
    assert [row.problems for row in imported(moved, tmp_path).values()] == [("missing",), ("missing",)]
    rows = imported(moved, tmp_path, audio=tmp_path / "set")
    assert [row.path for row in rows.values()] == ["set/train_audio/asbfly/XC1.wav", "set/train_audio/asbfly/iNat2.wav"]
    with pytest.raises(InputError, match="^audio: expected a table"):
        imported(tmp_path / "set", tmp_path, layout="folders", audio=tmp_path)


def test_a_table_that_a_spreadsheet_wrote_with_semicolons(tmp_path: Path) -> None:
    make_audio(tmp_path / "a, b.wav")
    table = tmp_path / "mine.csv"
    table.write_bytes("\ufeffpath;species;lat;lon\r\na, b.WAV;Parus major;44,5;11,5\r\n;;;\r\n".encode())
    ((name, row),) = imported(table, tmp_path).items()
    assert (name, row.scientific_name, row.problems, row.latitude) == ("a, b.WAV", "Parus major", (), 44.5)


def test_a_spreadsheet_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "mine.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(FormatError, match="found a spreadsheet. Save it as CSV"):
        imported(tmp_path / "mine.xlsx", tmp_path)


def test_a_recording_of_two_sources_is_one_and_keeps_its_file(tmp_path: Path) -> None:
    make_audio(tmp_path / "Empidonax alnorum" / "XC25.wav")
    (tmp_path / "sound").mkdir()
    make_audio(tmp_path / "sound" / "XC26.wav")
    (tmp_path / "xc.json").write_text(results({"id": "25"}, {"id": "26"}))
    old = RecordingsTable(tmp_path, tuple(imported(tmp_path / "Empidonax alnorum", tmp_path).values()))
    new = imported(tmp_path / "xc.json", tmp_path, audio=tmp_path / "sound")
    merged = merge_tables(old, RecordingsTable(tmp_path, tuple(new.values())))
    assert [(row.recording_id, row.problems) for row in merged.rows] == [("XC25", ()), ("XC26", ())]


def test_the_first_recordings_of_each_species(tmp_path: Path) -> None:
    rows = [{"path": f"{k}.wav", "species": f"Avis {'ab'[k % 2]}"} for k in range(6)]
    table = write_csv(tmp_path / "mine.csv", *rows)
    assert list(imported(table, tmp_path, per_species=2)) == ["0.wav", "1.wav", "2.wav", "3.wav"]


def test_only_species_are_limited_and_the_labels_that_are_left_are_counted(tmp_path: Path) -> None:
    folders = ("Avis una", "noise", "nocall", "-Avis una", "-Avis altera")
    for folder in folders:
        (tmp_path / folder).mkdir()
        for k in range(3):
            make_audio(tmp_path / folder / f"{k}.wav", 0.1)
    labels = LabelReader(KnownClasses(()))
    with logged() as notes:
        table = import_recordings(tmp_path, tmp_path, per_species=1, labels=labels, n_workers=1)
    assert Counter(Path(row.path).parent.name for row in table.rows) == {**dict.fromkeys(folders, 3), "Avis una": 1}
    assert "left out, as the first 1 of each species are enough: 2 recordings: Avis una 2 (as Avis una/1.wav)." in notes
    assert [(use.given, use.n_recordings) for use in labels.label_uses] == [("Avis una", 1)]


def test_marked_soundscapes_count_for_each_species_in_them() -> None:
    rows = [
        RecordingRow(
            recording_id=str(k),
            path=str(k),
            kind="soundscape",
            annotations=tuple(Annotation(start_s=0, end_s=1, scientific_name=name) for name in names),
        )
        for k, names in enumerate((["a"], ["a"], ["a", "b"], ["b", ""], [], [""]))
    ]
    assert select_per_species(rows, 1) == ([0, 2, 4, 5], {"a": [1], "b": [3]})


def test_a_csv_with_columns_of_any_name(tmp_path: Path) -> None:
    make_audio(tmp_path / "x.wav")
    table = write_csv(tmp_path / "mine.csv", {"Klang": "x.wav", "Vogel": "Parus major", "split": "VAL"})
    with pytest.raises(FormatError, match=r"expected a column with paths .*it has \['Klang', 'Vogel', 'split'\]"):
        imported(table, tmp_path)
    row = imported(table, tmp_path, columns={"path": "Klang", "scientific_name": "Vogel"})["x.wav"]
    assert (row.scientific_name, row.split) == ("Parus major", "validation")
    with pytest.raises(InputError, match="Did you mean 'scientific_name'"):
        imported(table, tmp_path, columns={"scientific": "Vogel", "path": "Klang"})
    with pytest.raises(InputError, match="there is no column 'Ort'"):
        imported(table, tmp_path, columns={"path": "Ort"})


def test_annotated_soundscapes(tmp_path: Path) -> None:
    make_audio(tmp_path / "a_20260501_043000.wav", 10)
    (tmp_path / "a_20260501_043000.Table.1.selections.txt").write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
        "1\t1\t2\t3000\t5000\tParus major\n"
    )
    make_audio(tmp_path / "b.wav", 10)
    (tmp_path / "b.txt").write_text("0.5\t1.5\tCuculus canorus\n")
    assert detect_layout(tmp_path) == "annotations"
    rows = imported(tmp_path, tmp_path)
    first = rows["a_20260501_043000.wav"]
    assert (first.kind, first.date, first.time) == ("soundscape", "2026-05-01", "04:30")
    assert [(a.start_s, a.scientific_name, a.high_hz) for a in first.annotations] == [(1.0, "Parus major", 5000.0)]
    assert rows["b.wav"].annotations[0].scientific_name == "Cuculus canorus"
    assert species_of(list(rows.values())) == ["Cuculus canorus", "Parus major"]


def test_missing_and_broken_recordings_stay_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("no sound")
    table = write_csv(
        tmp_path / "t.csv", {"path": "gone.wav", "species": "A a"}, {"path": "broken.wav", "species": "A a"}
    )
    rows = imported(table, tmp_path)
    assert rows["gone.wav"].problems == ("missing",)
    assert rows["broken.wav"].problems == ("unreadable",)


def test_the_table_keeps_everything(tmp_path: Path) -> None:
    make_audio(tmp_path / "Parus major" / "a.wav")
    table = import_recordings(tmp_path, tmp_path, read_annotations=read_annotations, n_workers=1)
    write_table(table)
    assert read_table(tmp_path) == table
    assert table.file(table.rows[0]).exists()
    twice = RecordingsTable(tmp_path, table.rows * 2)
    with pytest.raises(InputError, match="two recordings have the recording_id"):
        write_table(twice)
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match="expected a Parquet file"):
        read_table(tmp_path / "other.parquet")
