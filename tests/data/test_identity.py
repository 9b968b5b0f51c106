"""Adding to a data set: the same recording once, others never lost, in any order."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Command
from tests.fixtures.imports import added, make_audio
from tests.fixtures.logs import logged

from dawnchorus.data.identity import hash_content, merge, with_unique_ids
from dawnchorus.data.importing import import_recordings, merge_tables
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table


@pytest.fixture
def sites(tmp_path: Path) -> list[Path]:
    """Three sites whose recorders name their files alike."""
    for k, site in enumerate(("siteA", "siteB", "siteC")):
        for n in range(2):
            path = tmp_path / site / "Avis una" / f"2024050{n}_060000.wav"
            make_audio(path, 0.2, frequency_hz=500 + 100 * k + 10 * n)
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
    make_audio(sites[1] / "Avis una" / "20240500_060000.wav", 0.2, frequency_hz=3000)
    done = command("data", "import", "siteB", "set", "--append", cwd=tmp_path)
    assert b"rows updated, of the same file: 1" in done.stderr
    assert len(read_table(tmp_path / "set").rows) == 4


def test_a_number_of_an_archive_is_one_recording_and_parts_of_it_are_others(tmp_path: Path) -> None:
    make_audio(tmp_path / "a" / "Avis una" / "XC1.wav", 0.2, frequency_hz=500)
    make_audio(tmp_path / "b" / "Avis una" / "XC1 - Una - Avis una.wav", 0.2, frequency_hz=600)
    for k in range(3):
        make_audio(tmp_path / "b" / "Avis una" / f"XC1_{k}.wav", 0.2, frequency_hz=700 + k)
    orders = [added(tmp_path, tmp_path / one, tmp_path / other) for one, other in ("ab", "ba")]
    for table in orders:
        parts = [f"Avis una/XC1_{k}.wav" for k in range(3)]
        assert sorted(row.recording_id for row in table.rows) == [*parts, "XC1"]
    result = merge(added(tmp_path, tmp_path / "a"), import_recordings(tmp_path / "b", tmp_path, n_workers=1))
    (said,) = [note for note in result.notes() if "to another file" in note]
    assert "XC1: a/Avis una/XC1.wav by b/Avis una/XC1 - Una - Avis una.wav" in said


def test_a_file_that_was_moved_is_the_same_and_a_copy_is_another(tmp_path: Path) -> None:
    old = make_audio(tmp_path / "a" / "Avis una" / "1.wav", 0.2, frequency_hz=500)
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
    make_audio(tmp_path / "in" / "Avis una" / "1.wav", 0.2, frequency_hz=500)
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


def test_recordings_added_to_a_split_set_are_said_to_be_in_no_split(tmp_path: Path) -> None:
    known = RecordingsTable(tmp_path, (RecordingRow(recording_id="a", path="a.wav", split="train"),))
    new = RecordingsTable(tmp_path, (RecordingRow(recording_id="b", path="b.wav"),))
    notes = [note for note in merge(known, new).notes() if "split" in note]
    assert notes[0].startswith("in no split, while others are in one: 1 of 2 (b).")
