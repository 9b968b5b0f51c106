"""Labels are read in one way, wherever they stand, and nothing that was given is lost without a word."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import soundfile
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Command
from tests.fixtures.labels import KNOWN, row, texts
from tests.fixtures.logs import logged
from tests.fixtures.sounds import own_tone

from dawnchorus.data.import_notes import describe_labels, list_label_notes, list_name_notes
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.labels import LabelReader
from dawnchorus.data.recordings import Annotation, RecordingRow, read_table, species_of
from dawnchorus.formats.registry import read_annotations
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, name_key, parse_label, read_label, split_labels

OPEN = (
    *(
        "Parus sp.",
        "Parus_sp",
        "Parus spec.",
        "Parus major agg.",
        "Parus spp.",
        "duck sp.",
        "Parus sp._Tit sp.",
        "Parus cf. major",
        "cf. Parus major",
    ),
    *("Parus aff. major", "Parus major/minor", "Parus major / Parus minor", "Greater/Lesser Scaup", "Parus indet."),
    *("Anas platyrhynchos x acuta", "Mallard \u00d7 Pintail", "Parus major?", "?Great Tit", "Great Tit (?)"),
    *("poss. Great Tit", "probable Great Tit", "unidentified tit", "Great Tit or Blue Tit"),
)


def test_names_that_leave_the_species_open_are_no_class_unless_they_are_known() -> None:
    for text in OPEN:
        assert (text, read_label(text)) == (text, None)
        known = KnownClasses([parse_label(text)])
        assert read_label(text, known) == parse_label(text)
    tit = KnownClasses([parse_label("Parus major_Great Tit")])
    assert not any(read_label(text, tit) for text in ("Parus major?", "Great Tit ?", "?Great Tit", "Great Tit (?)"))
    reader = LabelReader(KnownClasses(()))
    labels = reader.read([row("1", "Parus sp.", "Parus sp.", "Parus major")])
    assert (labels[0].scientific_name, labels[0].is_unlabeled) == (None, False)
    assert [mark.scientific_name for mark in labels[0].annotations] == ["", "Parus major"]
    assert reader.unnamed == {"Parus sp.": 2}


def test_equal_marks_of_one_class_under_two_names_are_counted_once() -> None:
    reader = LabelReader(KnownClasses([parse_label("Parus major_Great Tit")]))
    (read,) = reader.read([row("1", "Parus major", "Great Tit", "Parus major", "Avis altera")])
    assert [mark.scientific_name for mark in read.annotations] == ["Parus major", "Avis altera"]
    (said,) = [note for note in list_label_notes(reader) if "marks" in note]
    assert said == "marks of one class under two names, at the same times: 1, each counted once."


def test_one_rule_for_lists_in_folders_tables_and_marks(tmp_path: Path) -> None:
    names = ("Parus major (Linnaeus, 1758)", "Avis una, Avis altera", "Avis una, noise", "-Avis una, Avis altera")
    for k, name in enumerate(names):
        make_audio(tmp_path / "in" / name / f"{k}.wav")
    with logged() as notes:
        table = import_recordings(tmp_path / "in", tmp_path, n_workers=1)
    result = {Path(each.path).stem: (each.scientific_name, each.secondary, each.absent) for each in table.rows}
    assert result == {
        "0": ("Parus major", (), ()),
        "1": ("Avis una", ("Avis altera",), ()),
        "2": ("Avis una", (), ()),
        "3": (None, (), ("Avis una", "Avis altera")),
    }
    assert any(note.startswith("folders of several labels: 3 (") for note in notes)
    lines = "path,species", '1.wav,"Avis una, Avis altera"', '2.wav,"Parus major (Linnaeus, 1758)"'
    (tmp_path / "own.csv").write_text("\n".join(lines))
    labels = LabelReader(KnownClasses(()))
    rows = import_recordings(tmp_path / "own.csv", tmp_path, labels=labels, n_workers=1).rows
    assert [(each.scientific_name, each.secondary) for each in rows] == [
        ("Avis una", ("Avis altera",)),
        ("Parus major", ()),
    ]
    assert labels.joined_labels == {"Avis una, Avis altera": 1}
    (marked,) = labels.read([row("1", None, "Avis una, Avis altera", "Avis una")])
    assert [mark.scientific_name for mark in marked.annotations] == ["Avis una", "Avis altera"]
    assert labels.n_equal_marks == 1


def test_labels_of_one_class_become_one_in_any_order() -> None:
    given = ["parus major", "Parus  major", "Parus major", "PARUS MAJOR", "Black Bird", "BLACK Bird", "BLACK Bird"]
    for names in (given, given[::-1]):
        reader = LabelReader(KnownClasses(()))
        rows = reader.read([row(str(k), name) for k, name in enumerate(names)])
        assert {each.scientific_name for each in rows} == {"Parus major", "BLACK Bird"}
        assert {each.common_name for each in rows} == {"Parus major", "BLACK Bird"}
    assert "several labels that are one class" in next(list_label_notes(reader))
    assert next(describe_labels(reader)) == "BLACK Bird -> BLACK Bird, 2 recordings"


def test_names_are_completed_by_other_labels_of_the_same_data_where_one_is_meant() -> None:
    reader = LabelReader(KnownClasses(()))
    rows = [row("a", "Strix aluco", common_name="Tawny Owl"), row("b", None, "tawny owl", "Tawny Owl_male")]
    labels = reader.read(rows)
    assert [mark.scientific_name for mark in labels[1].annotations] == ["Strix aluco", "Strix aluco (male)"]
    rows = [
        row("a", "Avis a", common_name="New Bird"),
        row("b", "Avis b", common_name="New Bird"),
        row("c", "new bird"),
    ]
    assert [each.scientific_name for each in reader.read(rows)] == ["Avis a", "Avis b", "new bird"]


def test_what_names_nothing_is_counted_and_no_class() -> None:
    reader = LabelReader(KNOWN)
    rows = reader.read(
        [row("a", "?"), row("b", None, "", "Great Tit", "unknown"), row("c", "gretit1", secondary=("?",))]
    )
    assert species_of(rows) == ["Parus major"]
    assert reader.unnamed == {"?": 2, "unknown": 1}
    assert (rows[0].scientific_name, rows[2].ebird_code) == (None, "gretit1")
    (note,) = (note for note in list_label_notes(reader) if "name nothing" in note)
    assert note.startswith("labels that name nothing, or no one species: ? (2), unknown (1).")


def make_audio(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, own_tone(path, seconds=0.5), 16_000)


def test_folders_with_english_names_third_parts_and_unknown_are_each_their_own_class(tmp_path: Path) -> None:
    for name in ("American_Robin", "American_Crow", "Strix aluco_Tawny Owl_male", "Strix aluco_Tawny Owl_female", "?"):
        make_audio(tmp_path / name / "a.wav")
    table = import_recordings(tmp_path, tmp_path, read_annotations=read_annotations, n_workers=1)
    assert species_of(table.rows) == ["American Crow", "American Robin", "Strix aluco (female)", "Strix aluco (male)"]


def test_import_says_the_class_of_each_label_and_adding_keeps_it(tmp_path: Path, command: Command) -> None:
    make_audio(tmp_path / "one" / "merle noir" / "a.wav")
    make_audio(tmp_path / "two" / "Merle_Noir" / "b.wav")
    make_audio(tmp_path / "two" / "amerob" / "c.wav")
    (tmp_path / "names.csv").write_text("species_code,sci_name,common_name\namerob,Turdus migratorius,American Robin\n")
    models = ["--models-folder", str(tmp_path / "none")]
    command("data", "import", "one", "set", *models, cwd=tmp_path)
    done = command("data", "import", "two", "set", "--append", "--checklist", "names.csv", *models, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "amerob -> Turdus migratorius_American Robin, 1 recording\n" in done.stderr.decode()
    assert "names were looked up in names.csv" in done.stderr.decode()
    assert species_of(read_table(tmp_path / "set").rows) == ["Turdus migratorius", "merle noir"]


@given(st.lists(texts, max_size=6), st.lists(texts, max_size=3))
def test_rows_in_are_rows_out_and_each_label_is_a_class_or_counted(names: list[str], marks: list[str]) -> None:
    reader = LabelReader(KNOWN)
    rows = reader.read([*(row(str(k), name) for k, name in enumerate(names)), row("marked", None, *marks)])
    assert len(rows) == len(names) + 1
    assert len(rows[-1].annotations) + reader.n_equal_marks == sum(max(len(split_labels(mark)), 1) for mark in marks)
    without = sum(each.scientific_name is None for each in rows[:-1])
    unnamed = sum(not mark.scientific_name for mark in rows[-1].annotations) - marks.count("")
    assert without + unnamed == reader.unnamed.total()
    assert len({name_key(name) for name in species_of(rows)}) == len(species_of(rows))


@given(st.sampled_from(["Parus major_Great Tit", "Strix aluco_Tawny Owl_male", "Émeraude orvert"]), st.data())
def test_case_blanks_and_unicode_form_make_no_difference(text: str, data: st.DataObject) -> None:
    blanks = data.draw(st.sampled_from([" ", "  ", "\u00a0", "\u2009 "]))
    form = data.draw(st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
    other = unicodedata.normalize(form, data.draw(st.sampled_from([str.upper, str.lower, str]))(text)).replace(
        " ", blanks
    )
    rows = LabelReader(KNOWN).read([row("a", text), row("b", other)])
    assert rows[0].scientific_name == rows[1].scientific_name


def test_names_of_marks_that_no_list_has_are_said_and_joined_species_are_two() -> None:
    known = KnownClasses((Label("Parus major", "Great Tit"), Label("Turdus merula", "Blackbird")))
    known.add(Label("Ara chloropterus", "Red and green Macaw"))
    reader = LabelReader(known)
    names = ("End of survey", "song", "Great Tit + Blackbird", "Red and green Macaw", "Robin and Wren")
    marks = tuple(Annotation(start_s=k, end_s=k + 1.0, scientific_name=name) for k, name in enumerate(names))
    (row, other) = reader.read(
        (
            RecordingRow(recording_id="a", path="a.wav", annotations=marks, kind="soundscape"),
            RecordingRow(
                recording_id="b", path="b.wav", scientific_name="Blackbird & Great Tit", secondary=("Robin?",)
            ),
        )
    )
    read = [mark.scientific_name for mark in row.annotations]
    assert read[1:] == ["song", "Parus major", "Turdus merula", "Ara chloropterus", "Robin and Wren"]
    assert (other.scientific_name, other.secondary) == ("Turdus merula", ("Parus major",))
    notes = "\n".join((*list_label_notes(reader), *list_name_notes(reader, sources=["AviList"])))
    assert "name nothing, or no one species: Robin? (1)" in notes
    assert "without a scientific name: Robin and Wren (1), song (1); not in AviList." in notes
    assert "of a scientific name's form, but in no list: End of survey (1); not in AviList." in notes
    assert "and a mark is one of each: Great Tit + Blackbird (1), Blackbird & Great Tit (1)." in notes


def test_contradictory_labels_are_counted_with_both_names() -> None:
    reader = LabelReader(KNOWN)
    row = RecordingRow(recording_id="a", path="a", scientific_name="Parus major", common_name="Tawny Owl")
    assert reader.read([row])[0].scientific_name is None
    assert reader.unnamed == {"Parus major_Tawny Owl": 1}
