"""Folders of species, sites and years, and the evidence by which they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.logs import logged
from tests.fixtures.sounds import tone

from dawnchorus.audio.discovery import find_recordings
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.layouts.folders import read_folder_rows
from dawnchorus.data.recordings import RecordingRow, read_table, species_of
from dawnchorus.errors import InputError
from dawnchorus.taxonomy.labels import Label

PARUS, TURDUS = "Parus major", "Turdus merula"


def make_recordings(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, tone(500 + 20 * number, seconds=0.2), 16_000)
    return folder


def imported(source: Path, **more: object) -> tuple[dict[str, RecordingRow], str]:
    folder = source.parent / "set"
    with logged() as notes:
        table = import_recordings(source, folder, n_workers=1, **more)  # type: ignore[arg-type]
    return {row.path.partition(f"/{source.name}/")[2]: row for row in table.rows}, "\n".join(notes)


@pytest.mark.parametrize(
    ("names", "species"),
    [
        (("Parus major_Great Tit/1.wav", "Parus major_Great Tit/2019/1.wav", "Turdus merula_Blackbird/North/2.wav"),
         [PARUS, PARUS, TURDUS]),
        (("siteA/Parus major/1.wav", "Site B/Turdus_merula/1.wav", "plot_7/noise/1.wav"), [PARUS, TURDUS, None]),
        (("Parus major/siteA/2020-05/1.wav", "Turdus merula/siteA/1.wav"), [PARUS, TURDUS]),
        (("2019/Parus major/siteA/1.wav", "2020/Turdus merula/siteB/1.wav"), [PARUS, TURDUS]),
        (("data/audio/robin/1.wav", "data/audio/wren/2019/1.wav"), ["robin", "wren"]),
        (("birds/robin/1.wav", "Bird/1.wav", "Bird/site 2/2.wav"), ["robin", "Bird", "Bird"]),
        (("robin/1.wav", "robin/meadow/1.wav", "wren/1.wav"), ["robin", "robin", "wren"]),
        (("Great Tit/meadow/1.wav", "meadow/Great Tit/2.wav", "meadow/-Great Tit/2.wav"), [PARUS, PARUS, None]),
        (("Parus/major/1.wav", "meadow/great_tit/1.wav"), [PARUS, PARUS]),
        (("Parus_major_01.wav", "Turdus merula 2.wav", "XC12 - Great Tit - Parus major.wav"), [PARUS, TURDUS, PARUS]),
        (("audio/Parus major1.wav", "audio/Turdus merula1.wav"), [PARUS, TURDUS]),
        (("Field_recording_01.wav", "Field_recording_02.wav"), [None, None]),
        (("20240501_060000.wav", "Great Tit3.wav"), [None, PARUS]),
        (("plot7/20240501_060000.wav",), [None]),
        (("train_soundscapes/1.wav", "soundscape_data/2.wav", "mp3_Files/Recording_1/3.wav"), [None, None, None]),
        (("great tit-a1_1_2015_12B_462_478.wav", "call-_2_2015_12B_5_6.wav", "Turdus merula/x-_3_2015_12B_1_2.wav"),
         [PARUS, "call", TURDUS]),
    ],
)  # fmt: skip
def test_species_are_found_at_any_depth(names: tuple[str, ...], species: list[str | None], tmp_path: Path) -> None:
    rows, notes = imported(make_recordings(tmp_path / "in", *names), known=(Label(PARUS, "Great Tit"),))
    assert [rows[name].scientific_name for name in names] == species
    assert "layout: folders, because" in notes
    n_unlabeled = sum(row.is_unlabeled for row in rows.values())
    assert (f"unlabeled: {n_unlabeled} of" in notes) == bool(n_unlabeled)


def test_what_is_read_as_a_label_and_what_is_not_is_said(tmp_path: Path) -> None:
    names = ("Parus major/2019/1.wav", "Parus major/2.wav", "siteA/Turdus merula/3.wav")
    _, notes = imported(make_recordings(tmp_path / "in", *names))
    assert "labels read from folders of level 1: 2 recordings (Parus major)" in notes
    assert "labels read from folders of level 2: 1 recording (Turdus merula)" in notes
    assert "folders that are not read as labels: 2019 (1), siteA (1)" in notes


def test_ambiguous_layout_is_rejected_and_either_can_be_chosen(tmp_path: Path) -> None:
    source = make_recordings(tmp_path / "in", "robin/meadow/1.wav", "wren/wood/2.wav")
    with pytest.raises(InputError, match=r"'robin' \(--layout species/folder2\) or 'meadow' \(--layout folder1/sp"):
        imported(source)
    assert species_of(list(imported(source, layout="species/place")[0].values())) == ["robin", "wren"]
    assert species_of(list(imported(source, layout="place/species")[0].values())) == ["meadow", "wood"]
    source = make_recordings(tmp_path / "taxa", "Parus/major/1.wav", "Turdus/merula/2.wav")
    with pytest.raises(InputError, match="'Parus major' .--layout genus/species"):
        imported(source)
    assert species_of(list(imported(source, layout="genus/species")[0].values())) == [PARUS, TURDUS]


def test_folders_of_species_with_tables_for_some_are_refused(tmp_path: Path) -> None:
    source = make_recordings(tmp_path / "in", "Parus major/1.wav", "Turdus merula/2.wav")
    (source / "Parus major" / "1.txt").write_text("0\t0.1\tParus major\n")
    with pytest.raises(InputError, match="the layout is ambiguous.*--layout annotations.*--layout folders"):
        imported(source)
    rows, _ = imported(source, layout="annotations")
    assert [row.is_unlabeled for row in rows.values()] == [False, True]
    (source / "Turdus merula" / "2.txt").touch()
    assert imported(source)[0]["Turdus merula/2.wav"].is_annotated, "every recording has a table"


def test_recordings_without_a_table_have_the_species_of_their_folder_if_no_other_has_both(tmp_path: Path) -> None:
    names = ("Parus major_Great Tit/1.wav", "noise/2.wav", "soundscapes/3.wav", "soundscapes/4.wav")
    source = make_recordings(tmp_path / "in", *names)
    (source / "soundscapes" / "3.txt").write_text("0\t0.1\tTurdus merula\n")
    rows, notes = imported(source)
    assert [rows[name].kind for name in names] == ["focal", "background", "soundscape", "soundscape"]
    assert rows[names[0]].scientific_name == PARUS
    assert [mark.scientific_name for mark in rows[names[2]].annotations] == [TURDUS]
    assert rows[names[3]].is_unlabeled
    assert "layout: mixed, because tables of marks (3.txt) are of 1 of 4 recordings" in notes
    assert "labels read from folders of level 1: 2 recordings" in notes


def test_a_zip_that_was_sent_is_read_by_the_same_rule(tmp_path: Path) -> None:
    names = ("Parus major_Great Tit/2019/1.wav", "set/robin/2.wav", "robin/meadow/3.wav")
    source = make_recordings(tmp_path / "in", *names, "wren/wood/4.wav", "wren/5.wav")
    rows = {row.recording_id: row.scientific_name for row in read_folder_rows(source, find_recordings([source]))}
    assert [rows[name] for name in names] == [PARUS, "robin", None]
    assert rows["wren/wood/4.wav"] == "wren"


def test_folders_of_a_review_say_if_the_species_is_there(tmp_path: Path) -> None:
    names = ("Parus major/Positive/1.wav", "Parus major/negative/2.wav", "false_positives/Parus major/3.wav")
    names += ("robin/Confirmed clips/4.wav", "robin/rejected/site7/5.wav", "robin/unsure/6.wav", "neg/7.wav")
    rows, notes = imported(make_recordings(tmp_path / "in", *names))
    read = [(rows[name].scientific_name, rows[name].absent, rows[name].is_unlabeled) for name in names]
    absent = (None, (PARUS,), False)
    assert read[:3] == [(PARUS, (), False), absent, absent]
    assert read[3:] == [("robin", (), False), (None, ("robin",), False), (None, (), True), (None, (), True)]
    for note in (
        "folders of a review, Positive (1), Confirmed clips (1): the species is there, in 2 recordings.",
        "negative (1), false_positives (1), rejected (1): the species is known not to be there, in 3 recordings.",
        "folders of a review, unsure (1): nothing is known of them, in 1 recording.",
        "folders of a review without a species: 1 recording (as neg/7.wav), which are unlabeled.",
    ):
        assert note in notes, notes
    rows, _ = imported(make_recordings(tmp_path / "Parus major_Great Tit", "pos/1.wav", "incorrect/2.wav"))
    assert [(row.scientific_name, row.absent) for row in rows.values()] == [(None, (PARUS,)), (PARUS, ())]
    source = make_recordings(tmp_path / "zip", "~zip 0/Parus major_Great Tit/Negative/1.wav")
    (row,) = read_folder_rows(source, find_recordings([source]))
    assert (row.scientific_name, row.absent) == (None, (PARUS,)), "a zip that was sent"


@pytest.mark.parametrize(
    ("name", "absent", "is_unlabeled"),
    [
        ("Parus major_negative/1.wav", (PARUS,), False), ("Parus_major_FP/1.wav", (PARUS,), False),
        ("Parus major_maybe/1.wav", (), True), ("not Parus major/1.wav", (PARUS,), False),
        ("Parus major/nicht Parus major/1.wav", (PARUS,), False), ("Parus major/faux positifs/1.wav", (PARUS,), False),
        ("Parus major/unsicher/1.wav", (), True), ("Parus major/to check/1.wav", (), True),
    ],
)  # fmt: skip
def test_reviews_in_names_of_folders(tmp_path: Path, name: str, absent: tuple[str, ...], is_unlabeled: bool) -> None:
    source = make_recordings(tmp_path / "in", name)
    (row,) = read_folder_rows(source, find_recordings([source]))
    assert (row.scientific_name, row.absent, row.is_unlabeled) == (None, absent, is_unlabeled)


def test_yes_and_no_folders_together_are_a_review(tmp_path: Path) -> None:
    source = make_recordings(tmp_path / "in", "Parus major/1/a.wav", "Parus major/0/b.wav", "no/Turdus merula/c.wav")
    rows = {Path(row.path).name: row for row in read_folder_rows(source, find_recordings([source]))}
    assert [rows[name].scientific_name for name in ("a.wav", "b.wav", "c.wav")] == [PARUS, None, TURDUS]
    assert rows["b.wav"].absent == (PARUS,)


def test_folders_next_to_those_of_a_review_are_noted(tmp_path: Path) -> None:
    _, notes = imported(make_recordings(tmp_path / "in", "Parus major/positive/1.wav", "Parus major/hmm/2.wav"))
    assert (
        "folders next to those of a review, hmm (1): not understood, so their recordings count as the species" in notes
    )


def test_the_command_takes_a_layout_of_folders(tmp_path: Path, command: Command) -> None:
    make_recordings(tmp_path / "in", "meadow/robin/1.wav", "wood/wren/2.wav")
    done = command("data", "import", "in", "set", "--layout", "place/species", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert species_of(read_table(tmp_path / "set").rows) == ["robin", "wren"]
    for layout in ("folder", "place/site", "species"):
        done = command("data", "import", "in", "other", "--layout", layout, cwd=tmp_path)
        assert b"layout: expected one of auto, folders" in done.stderr, layout


def test_what_is_passed_over_is_counted_with_an_example(tmp_path: Path) -> None:
    source = make_recordings(tmp_path / "in", "Avis una/1.wav", "Avis una/._1.wav", ".old/2.wav")
    make_recordings(tmp_path / "elsewhere", "3.wav")
    (source / "Avis altera").symlink_to(tmp_path / "elsewhere")
    for name in ("a.amr", "b.amr", "README", "metadata.csv"):
        (source / name).touch()
    (source / "Avis una" / "1.txt").write_text("0\t1\tAvis una\n")
    rows, notes = imported(source, layout="folders")
    assert list(rows) == ["Avis una/1.wav"]
    assert f"linked folders, which are not followed: 1 (as {source / 'Avis altera'})" in notes
    assert f"hidden files and folders, left out: 2 (as {source / '.old'})" in notes
    assert "not read as sound or tables: .amr 2 (as a.amr), no suffix 1 (as README)." in notes
    assert "tables that are not read, because of the layout folders: 2 (1.txt, metadata.csv)." in notes


def test_tables_of_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    source = make_recordings(tmp_path / "in", "Avis una/1.wav")
    for name in ("annotations.xlsx", "a.json", "b.pdf", "recordings.parquet"):
        (source / "Avis una" / name).touch()
    _, notes = imported(source)
    assert "tables: .json 1 (as a.json), .xlsx 1 (as annotations.xlsx), .pdf 1 (as b.pdf)." in notes


def test_recordings_that_a_table_does_not_name_are_counted(tmp_path: Path) -> None:
    source = make_recordings(tmp_path / "in", "a.wav", "more/b.wav")
    (source / "metadata.csv").write_text("path,species\na.wav,Avis una\n")
    rows, notes = imported(source)
    assert list(rows) == ["a.wav"]
    assert "recordings that the table does not name, left out: 1 (more/b.wav)." in notes


def test_dates_of_folders_count_where_nothing_else_tells(tmp_path: Path) -> None:
    names = ("2021-05-01/Avis una/1.wav", "20210502/Avis una/2.wav", "2021-13-01/Avis una/3.wav")
    source = make_recordings(tmp_path / "in", *names, "2021-05-01/Avis una/20200304_050607.wav")
    rows, notes = imported(source)
    assert [rows[name].date for name in names] == ["2021-05-01", "2021-05-02", None]
    assert rows["2021-05-01/Avis una/20200304_050607.wav"].date == "2020-03-04"
    assert "dates taken from the names of folders: 2 recordings (as 2021-05-01 of 2021-05-01/Avis una/1.wav)" in notes


def test_the_file_that_clips_are_cut_from_is_their_group(tmp_path: Path) -> None:
    make_recordings(tmp_path, "1.wav", "2.wav")
    for column in ("Begin File", "source_file"):
        (tmp_path / "own.csv").write_text(f"path,species,{column}\n1.wav,Avis una,x.wav\n2.wav,Avis una,x.wav\n")
        table = import_recordings(tmp_path / "own.csv", tmp_path, n_workers=1)
        assert [row.given_group for row in table.rows] == ["x.wav", "x.wav"]
