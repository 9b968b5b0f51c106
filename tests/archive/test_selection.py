"""The results that count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawnchorus.archive.archive import create_archive
from dawnchorus.archive.delta import ArchiveTable
from dawnchorus.archive.rows import recording_rows
from dawnchorus.archive.selection import committed_attempts, failed_paths, select_results


def table_of(folder: Path, *rows: tuple[str, str, str, int, str]) -> ArchiveTable:
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


def test_of_a_file_that_was_replaced_only_the_new_version_counts(tmp_path: Path) -> None:
    table = create_archive(tmp_path / "archive").table("recordings")
    rows: list[tuple[str, str, str, int, int | None, str | None]] = [
        ("a", "r", "done", 1, 10, "1"),
        ("a", "r", "failed", 11, 10, "2"),  # the same size, another time
        ("b", "r", "done", 2, 10, "1"),
        ("b", "q", "failed", 12, 10, "1"),
        ("c", "r", "done", 3, 10, "1"),
        ("c", "r", "failed", 13, None, None),  # not there
        ("d", "r", "done", 4, 10, "1"),
        ("d", "q", "failed", 14, 20, "2"),
    ]
    names = ("path", "run", "status", "recording_id", "n_bytes", "version")
    filled = [dict(zip(names, row, strict=True)) for row in rows]
    for row in filled:
        row |= {"path": str(row["path"]).encode(), "attempt": f"w-{row['run']}", "unit": row["run"], "month": "2026-05"}
    table.append(recording_rows(filled))
    assert sorted(select_results(table).recording_ids.to_pylist()) == [2, 3, 11, 14]
    assert sorted(select_results(table, ["r"]).recording_ids.to_pylist()) == [2, 3, 4, 11]
    assert failed_paths(table, "r") == {b"a"}
    assert failed_paths(table, "q") == {b"b", b"d"}
