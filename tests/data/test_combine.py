"""Rows of one recording from several sources: nothing is lost, and contradictions are named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.fixtures.imports import make_audio

from dawnchorus.data.identity import merge
from dawnchorus.data.importing import import_recordings, merge_tables
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable

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
    make_audio(tmp_path / "in" / "Avis una" / "XC1.wav", 0.2, frequency_hz=500)
    make_audio(tmp_path / "in" / "Avis una" / "XC2.wav", 0.2, frequency_hz=600)
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
