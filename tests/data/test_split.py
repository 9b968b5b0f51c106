"""Splits: related recordings stay in one part."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.data.recordings import (
    Annotation,
    RecordingRow,
    RecordingsTable,
)
from dawnchorus.data.relations import assign_groups, find_leaks, same_recordist_and_day
from dawnchorus.data.split import DEFAULT_RATIOS, fold_ratios, leak_report, split_table
from dawnchorus.errors import InputError


def row(name: str, **more: object) -> RecordingRow:
    return RecordingRow(recording_id=name, path=name, **{"scientific_name": "A a", **more})  # type: ignore[arg-type]


def test_related_recordings_are_one_group_also_over_others() -> None:
    rows = [
        row("a", recordist="X", date="2026-05-01", locality="wood"),
        row("b", recordist="x", date="2026-05-01", locality="wood", audio_hash="1"),
        row("c", audio_hash="1"),
        row("d", duplicate_of="c"),
        row("e", recordist="X", date="2026-05-02", locality="wood"),
        row("f", recordist="X", date="2026"),
        row("g", given_group="s"),
        row("h", given_group="s"),
    ]
    groups = assign_groups(rows)
    assert len({*groups[:4]}) == 1
    assert groups[6] == groups[7]
    assert len(set(groups)) == 4


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), min_size=1, max_size=60), st.integers(0, 3))
def test_no_group_is_ever_on_two_sides(made: list[tuple[int, int]], seed: int) -> None:
    rows = tuple(row(str(k), scientific_name=f"A {s}", given_group=str(g)) for k, (s, g) in enumerate(made))
    table = split_table(RecordingsTable(Path(), rows), {"train": 0.7, "validation": 0.15, "test": 0.15}, seed=seed)
    assert list(find_leaks(table.rows, lambda r: r.split)) == []
    assert all(r.split for r in table.rows)
    assert leak_report(table.rows, seed=1).n_leaking == 0


def test_each_species_has_its_share_of_every_part() -> None:
    rows = [row(f"{s}-{k}", scientific_name=f"A {s}") for s, n in enumerate((100, 20, 10)) for k in range(n)]
    table = split_table(RecordingsTable(Path(), tuple(rows)), {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=1)
    for s, n in enumerate((100, 20, 10)):
        counts = [sum(r.split == part and r.scientific_name == f"A {s}" for r in table.rows)
                  for part in ("train", "validation", "test")]  # fmt: skip
        assert counts == [round(0.7 * n), round(0.1 * n), round(0.2 * n)]


def test_the_same_seed_splits_the_same_way_and_another_one_does_not() -> None:
    table = RecordingsTable(Path(), tuple(row(str(k)) for k in range(50)))
    parts = {"train": 0.5, "test": 0.5}
    assert split_table(table, parts, seed=1) == split_table(table, parts, seed=1)
    assert split_table(table, parts, seed=1) != split_table(table, parts, seed=2)


def test_planted_leaks_are_found(checked: RecordingsTable) -> None:
    usable = [r for r in checked.rows if not {"missing", "unreadable", "silent"} & set(r.problems)]
    sides = {"copy.flac": "test", "near.mp3": "test", "5-1.wav": "test"}
    together = {"5-1.wav", "5-2.wav"}
    planted = [
        replace(
            r,
            split=sides.get(r.recording_id, "train"),
            recordist="R" if r.recording_id in together else None,
            date="2026-05-01" if r.recording_id in together else None,
        )
        for r in usable
    ]
    report = leak_report(planted, seed=1)
    leaks = {(leak.relation, frozenset((leak.first.recording_id, leak.second.recording_id))) for leak in report.leaks}
    assert ("the same sound", frozenset(("3-1.wav", "copy.flac"))) in leaks
    assert ("nearly the same sound", frozenset(("4-2.wav", "near.mp3"))) in leaks
    assert ("the same recordist, location and day", frozenset(together)) in leaks
    assert (report.n_tested, report.n_leaking) == (3, 3)
    assert report.n_leaking_at_random < 3
    clean = split_table(checked.with_rows(planted), {"train": 0.7, "test": 0.3}, seed=1)
    assert leak_report(clean.rows, seed=1).n_leaking == 0


def test_what_cannot_be_used_is_not_split(checked: RecordingsTable) -> None:
    table = split_table(checked, {"train": 0.7, "test": 0.3}, seed=1)
    without = {r.recording_id for r in table.rows if r.split is None}
    assert without == {"silent.wav", "constant.wav", "gone.wav", "broken.wav"}
    with pytest.raises(InputError, match="no usable recordings"):
        split_table(table.with_rows([r for r in table.rows if r.split is None]), {"train": 1.0}, seed=1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"recordist": "Ann", "date": "2026-05-01"}, "ann|2026-05-01|"),
        ({"recordist": "ANN", "date": "2026-05-01", "locality": "wood"}, "ann|2026-05-01|wood"),
        (
            {"recordist": "A", "date": "2026-05-01", "latitude": 1.234, "longitude": -5.0, "locality": "wood"},
            "a|2026-05-01|1.23,-5.00",
        ),
        ({"recordist": "A", "date": "2026-05-01", "latitude": 1.0, "locality": "wood"}, "a|2026-05-01|wood"),
        ({"recordist": "A", "date": "2026-05-01", "longitude": 1.0, "locality": "wood"}, "a|2026-05-01|wood"),
        ({"recordist": "A", "date": "2026-05"}, None),
        ({"recordist": "A"}, None),
        ({"date": "2026-05-01"}, None),
        ({"recordist": "", "date": "2026-05-01"}, None),
    ],
)
def test_recordist_location_and_day(fields: dict[str, object], expected: str | None) -> None:
    assert same_recordist_and_day(row("a", **fields)) == expected


def build_table(*rows: RecordingRow) -> RecordingsTable:
    return RecordingsTable(Path(), rows)


SPLIT_GOLDEN = {
    "train": "a0 a1 a2 a3 a8 a9 a10 a11 b0 b1 b4 b5 c0 c1 noise",
    "validation": "a4 a5 b2",
    "test": "a6 a7 b3",
}

LEAKING_AT_RANDOM = 2.1


def test_split_of_a_fixed_table_stays_what_it_was() -> None:
    """Three species of 12, 6 and 2 recordings, some in pairs; from a run of this code that was read through."""
    rows = [row(f"a{k}", scientific_name="A a", given_group=f"a{k // 2}") for k in range(12)]
    rows += [row(f"b{k}", scientific_name="B b") for k in range(6)] + [
        row(f"c{k}", scientific_name="C c") for k in (0, 1)
    ]
    rows.append(row("noise", scientific_name=None, kind="background"))
    done = split_table(build_table(*rows), DEFAULT_RATIOS, seed=3)
    parts = {name: " ".join(r.recording_id for r in done.rows if r.split == name) for name in DEFAULT_RATIOS}
    assert parts == SPLIT_GOLDEN
    assert [r.group for r in done.rows[:4]] == ["g0", "g0", "g2", "g2"]


def test_default_parts_are_shares_of_a_whole() -> None:
    assert DEFAULT_RATIOS == {"train": 0.7, "validation": 0.15, "test": 0.15}


def test_unusable_recordings_get_no_split_and_others_keep_theirs() -> None:
    rows = [row(f"x{k}", problems=(problem,)) for k, problem in enumerate(("missing", "unreadable", "silent"))]
    rows += [row("y", problems=("clipped",), split="test"), row("z", split="elsewhere")]
    done = {r.recording_id: r for r in split_table(build_table(*rows), {"train": 1, "test": 1}, seed=1, keep=True).rows}
    assert [done[f"x{k}"].split for k in range(3)] == [None] * 3
    assert [done[f"x{k}"].group for k in range(3)] == [None] * 3
    assert done["y"].split == "test"
    assert done["z"].split in ("train", "test"), "a part that is none of these is not kept"
    again = {r.recording_id: r for r in split_table(build_table(*rows), {"train": 1, "test": 1e-9}, seed=1).rows}
    assert again["y"].split == "train", "without keep it is split anew"


def test_kept_parts_pull_their_group_into_the_smallest() -> None:
    rows = [
        row("a", given_group="g", split="train"),
        row("b", given_group="g", split="test"),
        row("c", given_group="g"),
    ]
    done = split_table(build_table(*rows), {"train": 0.8, "test": 0.2}, seed=1, keep=True)
    assert [r.split for r in done.rows] == ["train", "test", "test"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "expected positive ratios"),
        ({"train": 0.0}, "expected positive ratios"),
        ({"train": 0.5, "test": -0.5}, "expected positive ratios"),
        ({"train": 0.5, "test": float("nan")}, "expected positive ratios"),
        ({"train": "most"}, "expected positive ratios"),
        ([0.7, 0.3], r"by name, such as \{'train': 0.7, .*got \[0.7, 0.3\]"),
        ({"trian": 0.7, "test": 0.3}, "expected ratios of train, .*, got 'trian'. Did you mean 'train'"),
        ({"fold 1": 1}, "or of fold0, fold1, ..., got 'fold 1'"),
    ],
)
def test_ratios_are_positive_numbers_of_known_splits(parts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_table(build_table(row("a")), parts, seed=1)


def test_folds_are_equal_parts_of_two_or_more() -> None:
    assert fold_ratios(2) == {"fold0": 1.0, "fold1": 1.0}
    with pytest.raises(InputError, match="expected 2 or more, got 1"):
        fold_ratios(1)
    done = split_table(build_table(*(row(str(k)) for k in range(9))), fold_ratios(3), seed=1)
    assert Counter(r.split for r in done.rows) == {"fold0": 3, "fold1": 3, "fold2": 3}


def test_species_of_annotations_have_their_share_of_every_part() -> None:
    def soundscape(k: int) -> RecordingRow:
        marks = (Annotation(start_s=0, end_s=1, scientific_name="Rara avis" if k < 2 else "A a"),)
        return row(str(k), scientific_name=None, kind="soundscape", annotations=marks)

    done = split_table(build_table(*map(soundscape, range(10))), {"train": 0.5, "test": 0.5}, seed=1)
    assert {r.split for r in done.rows[:2]} == {"train", "test"}
    assert Counter(r.split for r in done.rows) == {"train": 5, "test": 5}


def test_leak_report_counts_recordings_outside_the_largest_part() -> None:
    rows = [row(f"{k}", given_group=f"g{k // 2}", split="train" if k < 6 else "test") for k in range(10)]
    report = leak_report(rows, seed=1)
    assert (report.n_tested, report.n_leaking, report.leaks) == (4, 0, ())
    assert report.n_leaking_at_random == pytest.approx(LEAKING_AT_RANDOM)
    leaking = [replace(r, split="test") if r.recording_id in ("0", "2") else r for r in rows]
    report = leak_report(leaking, seed=1)
    assert (report.n_tested, report.n_leaking) == (4, 2)
    pairs = {(leak.first.recording_id, leak.second.recording_id) for leak in report.leaks}
    assert pairs == {("0", "1"), ("2", "3")}
    with pytest.raises(InputError, match="There is no split yet"):
        leak_report([row("a")], seed=1)
    alone = [row("a", given_group="g", split="train"), row("b", given_group="g")]
    assert leak_report(alone, seed=1).leaks == (), "what is in no part leaks nothing"


def test_rows_of_one_file_stay_together(tmp_path: Path) -> None:
    rows = [RecordingRow(recording_id=f"{k}", path=f"{k % 8}.wav", scientific_name=f"A {k // 8}") for k in range(16)]
    split = split_table(RecordingsTable(tmp_path, tuple(rows)), DEFAULT_RATIOS, seed=1)
    parts = {(row.path, row.split) for row in split.rows}
    assert len(parts) == 8, "a file is in one part, whatever its rows say"
