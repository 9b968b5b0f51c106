"""Adding to a data set: the same recording once, others never lost, in any order."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.fixtures.commands import Command
from tests.fixtures.logs import logged
from tests.fixtures.sounds import tone

from dawnchorus.data.check import check_table
from dawnchorus.data.contradictions import CONTRADICTORY
from dawnchorus.data.identity import hash_content, merge, with_unique_ids
from dawnchorus.data.importing import import_recordings, merge_tables
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, read_table


def make_audio(path: Path, frequency_hz: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(frequency_hz, seconds=0.2), 16_000)
    return path


def added(folder: Path, *sources: Path) -> RecordingsTable:
    table = RecordingsTable(folder, ())
    for source in sources:
        table = merge_tables(table, import_recordings(source, folder, n_workers=1))
    return table


@pytest.fixture
def sites(tmp_path: Path) -> list[Path]:
    """Three sites whose recorders name their files alike."""
    for k, site in enumerate(("siteA", "siteB", "siteC")):
        for n in range(2):
            make_audio(tmp_path / site / "Avis una" / f"2024050{n}_060000.wav", 500 + 100 * k + 10 * n)
    return [tmp_path / site for site in ("siteA", "siteB", "siteC")]


def test_no_row_replaces_that_of_another_file_in_any_order(sites: list[Path], tmp_path: Path) -> None:
    tables = [added(tmp_path, *order).rows for order in itertools.permutations(sites)]
    assert len(tables[0]) == 6
    assert all(set(rows) == set(tables[0]) for rows in tables)
    assert len({row.recording_id for row in tables[0]}) == 6


def test_the_same_again_changes_nothing(sites: list[Path], tmp_path: Path) -> None:
    once = added(tmp_path, *sites)
    assert added(tmp_path, *sites, *sites) == once
    checked = once.with_rows(replace(row, audio_hash=row.path, split="train", problems=("short",)) for row in once.rows)
    again = merge(checked, import_recordings(sites[0], tmp_path, n_workers=1))
    assert again.table == checked
    assert (again.n_added, again.n_unchanged, again.updated, again.moved) == (0, 2, (), ())


def test_copies_are_still_of_their_original_when_its_identifier_gets_a_digest(
    sites: list[Path], tmp_path: Path
) -> None:
    first, copy = added(tmp_path, sites[0]).rows
    table = RecordingsTable(tmp_path, (first, replace(copy, recording_id="copy", duplicate_of=first.recording_id)))
    original, copy, *_ = merge_tables(table, import_recordings(sites[1], tmp_path, n_workers=1)).rows
    assert original.recording_id != first.recording_id
    assert copy.duplicate_of == original.recording_id


def test_the_command_says_what_was_added_and_what_replaced(sites: list[Path], command: Command, tmp_path: Path) -> None:
    command("data", "import", "siteA", "set", cwd=tmp_path)
    done = command("data", "import", "siteB", "set", "--append", cwd=tmp_path)
    assert b"added to the table: 2 recordings; there already: 0." in done.stderr
    make_audio(sites[1] / "Avis una" / "20240500_060000.wav", 3000)
    done = command("data", "import", "siteB", "set", "--append", cwd=tmp_path)
    assert b"rows updated, of the same file: 1" in done.stderr
    assert len(read_table(tmp_path / "set").rows) == 4


def test_a_number_of_an_archive_is_one_recording_and_parts_of_it_are_others(tmp_path: Path) -> None:
    make_audio(tmp_path / "a" / "Avis una" / "XC1.wav", 500)
    make_audio(tmp_path / "b" / "Avis una" / "XC1 - Una - Avis una.wav", 600)
    for k in range(3):
        make_audio(tmp_path / "b" / "Avis una" / f"XC1_{k}.wav", 700 + k)
    orders = [added(tmp_path, tmp_path / one, tmp_path / other) for one, other in ("ab", "ba")]
    for table in orders:
        parts = [f"Avis una/XC1_{k}.wav" for k in range(3)]
        assert sorted(row.recording_id for row in table.rows) == [*parts, "XC1"]
    result = merge(added(tmp_path, tmp_path / "a"), import_recordings(tmp_path / "b", tmp_path, n_workers=1))
    (said,) = [note for note in result.notes() if "to another file" in note]
    assert "XC1: a/Avis una/XC1.wav by b/Avis una/XC1 - Una - Avis una.wav" in said


def test_a_file_that_was_moved_is_the_same_and_a_copy_is_another(tmp_path: Path) -> None:
    old = make_audio(tmp_path / "a" / "Avis una" / "1.wav", 500)
    first = added(tmp_path, tmp_path / "a")
    copy = tmp_path / "b" / "Avis una" / "other.wav"
    copy.parent.mkdir(parents=True)
    shutil.copy(old, copy)
    with_copy = merge_tables(first, import_recordings(tmp_path / "b", tmp_path, n_workers=1))
    assert [row.path for row in with_copy.rows] == ["a/Avis una/1.wav", "b/Avis una/other.wav"]
    old.unlink()
    moved = merge_tables(first, import_recordings(tmp_path / "b", tmp_path, n_workers=1))
    assert [(row.recording_id, row.path) for row in moved.rows] == [("Avis una/1.wav", "b/Avis una/other.wav")]


def test_the_same_bytes_in_two_folders_of_an_import_are_said(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "Avis una" / "1.wav", 500)
    shutil.copy(tmp_path / "in" / "Avis una" / "1.wav", tmp_path / "in" / "Avis una" / "2.wav")
    with logged() as notes:
        table = import_recordings(tmp_path / "in", tmp_path, n_workers=1)
    assert len(table.rows) == 2
    assert any(note.startswith("files of the same bytes as another: 2 (Avis una/1.wav, Avis una/2") for note in notes)


def test_content_is_known_by_start_middle_and_end(tmp_path: Path) -> None:
    content = bytearray(3 << 20)
    path = tmp_path / "x"
    digests = set()
    for position in (0, len(content) // 2, len(content) - 1, None):
        changed = content.copy()
        if position is not None:
            changed[position] = 1
        path.write_bytes(changed)
        digests.add(hash_content(path))
    path.write_bytes(content + b"\0")
    assert len(digests | {hash_content(path)}) == 5


rows_of_a_name = st.lists(
    st.builds(
        RecordingRow,
        recording_id=st.sampled_from(["a.wav", "XC1", "b#12345678"]),
        path=st.sampled_from(["p", "q"]),
        content_hash=st.sampled_from([None, "1", "2"]),
        scientific_name=st.sampled_from([None, "Avis una"]),
    ),
    max_size=6,
)


@given(rows_of_a_name, st.randoms(use_true_random=False))
def test_identifiers_are_unique_stay_and_do_not_depend_on_order(rows: list[RecordingRow], random: object) -> None:
    first = list(with_unique_ids(rows))
    assert len({row.recording_id for row in first}) == len(rows)
    assert list(with_unique_ids(first)) == first
    shuffled = list(first)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {row.recording_id for row in with_unique_ids(shuffled)} == {row.recording_id for row in first}


MARKS = (Annotation(start_s=0, end_s=1, scientific_name="Avis una"), Annotation(start_s=1, end_s=2, scientific_name=""))

TRUTH: dict[str, dict[str, object]] = {
    "species": {"scientific_name": "Avis una", "common_name": "One", "kind": "focal"},
    "code": {"ebird_code": "one"},
    "background": {"kind": "background"},
    "others": {"secondary": ("Avis altera",)},
    "absent": {"absent": ("Avis tertia",)},
    "marks": {"annotations": MARKS, "is_annotated": True},
    "nothing": {"is_annotated": True},
    "recordist": {"recordist": "A. Person", "license": "CC-BY-4.0", "url": "https://example.org/1"},
    "location": {"latitude": 48.1, "longitude": 11.5},
    "day": {"date": "2024-05-03", "time": "06:00"},
    "month": {"date": "2024-05"},
    "group": {"given_group": "g", "split": "test"},
}

CONTRADICTING = ({"species", "background"}, {"marks", "nothing"})


def known_row(facts: Iterable[str], **more: Any) -> RecordingRow:
    less_exact_first = sorted(facts, key=lambda fact: (fact != "month", fact))
    fields = {key: value for fact in less_exact_first for key, value in TRUTH[fact].items()}
    return RecordingRow(**{"recording_id": "1.wav", "path": "1.wav", "kind": "soundscape", **fields, **more})


def merged(*rows: RecordingRow) -> RecordingRow:
    table = RecordingsTable(Path(), ())
    for row in rows:
        table = merge_tables(table, RecordingsTable(Path(), (row,)))
    (row,) = table.rows
    return row


@given(st.lists(st.sets(st.sampled_from(sorted(TRUTH))), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_imports_in_any_order_know_the_same_and_lose_nothing(facts: list[set[str]], random: Any) -> None:
    assume(not any(pair <= set().union(*facts) for pair in CONTRADICTING))
    shuffled = list(facts)
    random.shuffle(shuffled)
    row = merged(*map(known_row, facts))
    assert merged(*map(known_row, shuffled)) == row
    assert row == known_row(set().union(*facts))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"scientific_name": "Avis una", "common_name": "One"}, {"scientific_name": "Avis altera"},
         "species changed: 1 (Avis una by Avis altera: 1.wav)."),
        ({"scientific_name": "Avis una"}, {"kind": "background"},
         "species changed: 1 (Avis una by background: 1.wav)."),
        ({"latitude": 48.0, "longitude": 11.5}, {"latitude": -48.0},
         "location changed: 1 (as of 1.wav: 48, 11.5 by -48)."),
        ({"date": "2024-05-03", "time": "06:00"}, {"date": "2024-06"},
         "time changed: 1 (as of 1.wav: 2024-05-03, 06:00 by 2024-06)."),
        ({"annotations": MARKS}, {"is_annotated": True},
         "marks changed: 1 (as of 1.wav: 2 (the first 0 to 1 s, Avis una) by nothing there)."),
        ({"recordist": "A", "license": "CC0-1.0"}, {"recordist": "B"}, "recordist changed: 1 (as of 1.wav: A by B)."),
    ],
)  # fmt: skip
def test_contradictions_are_named_and_the_new_source_counts(
    old: dict[str, Any], new: dict[str, Any], said: str
) -> None:
    done = merge(RecordingsTable(Path(), (known_row((), **old),)), RecordingsTable(Path(), (known_row((), **new),)))
    assert said in list(done.notes())
    (row,) = done.table.rows
    assert all(getattr(row, name) == value for name, value in new.items())
    assert row.license == old.get("license")
    assert (row.common_name, row.longitude, row.time) == (None, None, None)  # they belong to what was contradicted


def test_adding_a_source_without_marks_or_persons_keeps_them(tmp_path: Path) -> None:
    make_audio(tmp_path / "in" / "Avis una" / "XC1.wav", 500)
    make_audio(tmp_path / "in" / "Avis una" / "XC2.wav", 600)
    (tmp_path / "own.csv").write_text(
        "path,species,recordist,license,lat,lon\nin/Avis una/XC1.wav,Avis altera,A,CC0-1.0,48.1,11.5\n"
    )
    (tmp_path / "marks.txt").write_text(
        "Begin File\tBegin Time (s)\tEnd Time (s)\tSpecies\nXC1.wav\t0.0\t0.1\tAvis altera\n"
    )
    table = RecordingsTable(tmp_path, ())
    notes: list[str] = []
    for source, layout in (("own.csv", "auto"), ("marks.txt", "annotations"), ("in", "folders")):
        done = merge(table, import_recordings(tmp_path / source, tmp_path, layout=layout, n_workers=1))
        table, notes = done.table, [*notes, *done.notes()]
    row = next(row for row in table.rows if row.recording_id == "XC1")
    assert (row.scientific_name, row.recordist, row.latitude, len(row.annotations)) == ("Avis una", "A", 48.1, 1)
    assert "species changed: 1 (Avis altera by Avis una: XC1)." in notes
    assert any("kept from before" in note and "marks 1 (as of XC1)" in note for note in notes)


def test_one_file_under_two_species_is_one_recording_without_a_label(tmp_path: Path) -> None:
    source, other = tmp_path / "in", tmp_path / "other"
    for path in (source / "Avis una" / "1.wav", source / "Avis altera" / "2.wav", other / "noise" / "3.wav"):
        make_audio(path, 500)
    make_audio(source / "Avis una" / "4.wav", 600)
    make_audio(source / "-Avis altera" / "5.wav", 600)
    with logged() as notes:
        table = import_recordings(source, tmp_path, n_workers=1)
    assert {row.recording_id: (row.scientific_name, row.problems) for row in table.rows} == {
        "-Avis altera/5.wav": (None, ()),
        "Avis una/4.wav": ("Avis una", ()),
        "Avis altera/2.wav": (None, ("contradictory_labels",)),
    }
    said = "1 (in/Avis altera/2.wav as Avis altera, in/Avis una/1.wav as Avis una). Each is one recording without"
    assert any(said in note for note in notes), notes
    for once in (merge(table, import_recordings(other, tmp_path, n_workers=1)), merge(table, table)):
        assert (once.n_added, once.table) == (0, table), "the same bytes are known to be in doubt"
    (source / "Avis altera").rename(tmp_path / "Avis altera")
    table = added(tmp_path, other, source)
    assert [row.scientific_name for row in table.rows if CONTRADICTORY in row.problems] == [None]
    again = merge(table, import_recordings(source, tmp_path, n_workers=1))
    assert (again.table, again.n_added, again.n_unchanged) == (table, 0, 3)
    assert CONTRADICTORY in check_table(table, n_workers=1).rows[0].problems


def test_recordings_added_to_a_split_set_are_said_to_be_in_no_split(tmp_path: Path) -> None:
    known = RecordingsTable(tmp_path, (RecordingRow(recording_id="a", path="a.wav", split="train"),))
    new = RecordingsTable(tmp_path, (RecordingRow(recording_id="b", path="b.wav"),))
    notes = [note for note in merge(known, new).notes() if "split" in note]
    assert notes[0].startswith("in no split, while others are in one: 1 of 2 (b).")
