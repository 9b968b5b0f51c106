"""The results that count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawnchorus.archive.archive import create_archive
from dawnchorus.archive.delta import Table
from dawnchorus.archive.rows import recording_rows
from dawnchorus.archive.selection import committed_attempts, select_results


def table_of(folder: Path, *rows: tuple[str, str, str, int, str]) -> Table:
    names = ("path", "run", "status", "recording_id", "attempt")
    table = create_archive(folder).table("recordings")
    filled: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in rows]
    for row in filled:
        row |= {"path": row["path"].encode(), "unit": row["attempt"].partition("-")[2], "month": "2026-05"}
    table.append(recording_rows(filled))
    return table


def test_the_latest_result_counts_and_a_failure_replaces_none(tmp_path: Path) -> None:
    table = table_of(
        tmp_path / "archive",
        ("a", "r", "done", 1, "w-1"),
        ("b", "r", "done", 2, "w-1"),
        ("c", "r", "failed", 3, "w-1"),
        ("a", "q", "done", 11, "w-2"),
        ("b", "q", "failed", 12, "w-2"),
        ("c", "q", "failed", 13, "w-2"),
    )
    selected = select_results(table)
    assert sorted(selected.recording_ids.to_pylist()) == [2, 11, 13]
    assert sorted(selected.attempts.to_pylist()) == ["w-1", "w-2"]
    assert sorted(selected.others.to_pylist()) == [1, 3, 12]
    assert sorted(select_results(table, ["r"]).recording_ids.to_pylist()) == [1, 2, 3]
    assert sorted(select_results(table, ["r", "q"]).recording_ids.to_pylist()) == [1, 2, 3, 11, 12, 13]
    assert committed_attempts(table) == {"1": "w-1", "2": "w-2"}


def test_an_attempt_without_results_that_count_is_left_out(tmp_path: Path) -> None:
    table = table_of(tmp_path / "archive", ("a", "r", "done", 1, "w-1"), ("a", "q", "done", 2, "w-2"))
    selected = select_results(table)
    assert (selected.attempts.to_pylist(), selected.others.to_pylist()) == (["w-2"], [])


def test_an_archive_without_results(tmp_path: Path) -> None:
    selected = select_results(create_archive(tmp_path / "archive").table("recordings"))
    assert (len(selected.recording_ids), len(selected.attempts), len(selected.others)) == (0, 0, 0)
