"""Care of an archive: status, check, compaction, vacuum; and readers meanwhile."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dawnchorus.archive import maintenance
from dawnchorus.archive.archive import Archive, create_archive, open_archive
from dawnchorus.archive.maintenance import (
    check_archive,
    compact_archive,
    measure_tables,
    read_status,
    vacuum_archive,
)
from dawnchorus.archive.schemas import DETECTIONS, MANIFEST, RECORDINGS, SCHEMAS
from dawnchorus.archive.workers import LOST_AFTER_S, Worker
from dawnchorus.errors import FormatError

Rows = Callable[..., list[tuple[Any, ...]]]
COLUMNS = ("recording", "start_s", "scientific_name", "score")


def test_compaction_changes_no_result(copied: Archive, rows: Rows) -> None:
    before = rows(copied.detections(), *COLUMNS)
    embeddings = rows(copied.embeddings(), "recording", "start_s", "embedding")
    reader = copied.detections(columns=["start_s"])
    counts = {name: (n_before, n_after) for name, n_before, n_after in compact_archive(copied)}
    assert counts["recordings"] == (3, 2)
    assert rows(copied.detections(), *COLUMNS) == before
    assert rows(copied.embeddings(), "recording", "start_s", "embedding") == embeddings
    assert len(reader.read_all()) == 6, "a reader from before"
    assert check_archive(copied).is_whole
    assert {size.name: size.n_files for size in measure_tables(copied)}["embeddings"] == 2
    again = list(compact_archive(copied))
    assert all(n_before == n_after for _, n_before, n_after in again)


def detections(unit: str, *, seed: int, n: int = 2_000) -> pa.Table:
    random = np.random.default_rng(seed)
    species = [f"Avis {chr(97 + k)}" for k in random.integers(0, 20, n)]
    shared = {"run": "r", "unit": unit, "attempt": f"w-{unit}", "month": "2026-05"}
    rows = [
        {"recording_id": k, "scientific_name": name, "site": f"S{k % 3}", "start_s": float(k), **shared}
        for k, name in enumerate(species)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS[DETECTIONS])


def test_compaction_sorts_by_species(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where not all rows of a month are in memory at once."""
    archive = create_archive(tmp_path / "archive")
    for k in range(3):
        archive.table(DETECTIONS).append(detections(f"1-{k}", seed=k))
    monkeypatch.setattr(maintenance, "ROWS_AT_A_TIME", 1_000)
    list(compact_archive(archive))
    files = archive.table(DETECTIONS).list_files()
    assert sum(file.n_rows for file in files) == 6_000, "units that have not ended are kept"
    for file in files:
        read = pq.read_table(tmp_path / "archive" / DETECTIONS / file.path, partitioning=None)
        keys = list(zip(*(read[name].to_pylist() for name in ("scientific_name", "site", "recording_id")), strict=True))
        assert keys == sorted(keys)


def test_what_was_appended_during_a_compaction_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = create_archive(tmp_path / "archive")
    for k in range(2):
        archive.table(DETECTIONS).append(detections(f"1-{k}", seed=k, n=10))
    sorted_rows = maintenance._sorted_rows

    def append_first(*arguments: Any) -> Any:
        archive.table(DETECTIONS).append(detections("1-2", seed=2, n=10))
        return sorted_rows(*arguments)

    monkeypatch.setattr(maintenance, "_sorted_rows", append_first)
    list(compact_archive(archive))
    assert len(archive.table(DETECTIONS).read()) == 30


def test_check_finds_missing_and_repeated_rows(copied: Archive) -> None:
    assert check_archive(copied).is_whole
    copied.table(DETECTIONS).delete("scientific_name = 'Avis gravis' AND start_s = 0")
    (numbers,) = check_archive(copied).missing.values()
    assert numbers == (2, 3)
    recordings = copied.table("recordings").read()
    copied.table("recordings").append(recordings.slice(0, 1))
    assert check_archive(copied).repeated == (recordings["recording_id"][0].as_py(),)


@pytest.mark.parametrize("table", [RECORDINGS, DETECTIONS, MANIFEST])
def test_a_lost_table_is_no_empty_one(copied: Archive, table: str) -> None:
    shutil.rmtree(copied.location.root / table)
    for open_ in (open_archive, create_archive):
        with pytest.raises(FormatError, match=f"its table {table} is missing or not readable.*Restore it from a copy"):
            open_(copied.location.root)
    assert not (copied.location.root / table).exists()


def test_an_archive_whose_creation_was_interrupted_is_created(tmp_path: Path) -> None:
    created = create_archive(tmp_path / "archive")
    shutil.rmtree(created.location.root / RECORDINGS)
    assert open_archive(created.location.root).runs() == []
    assert create_archive(created.location.root).table(RECORDINGS).exists


def test_vacuum_leaves_what_a_running_process_writes(copied: Archive) -> None:
    with Worker(copied.location, "r", "1/1") as worker:
        attempt = worker.attempt("9-000000")
        rows = detections("9-000000", seed=1, n=5)
        index = rows.schema.get_field_index("attempt")
        copied.table(DETECTIONS).append(rows.set_column(index, rows.schema.field(index), [[attempt] * 5]))
        report = vacuum_archive(copied)
        assert (report.n_rows, report.kept) == (0, (attempt,))
        old = time.time() - LOST_AFTER_S - 10
        os.utime(copied.location.root / worker.name, (old, old))
        assert vacuum_archive(copied).n_rows == 5
    assert len(copied.table(DETECTIONS).read()) == 6


def test_unused_files_stay_for_a_part_of_an_hour(copied: Archive) -> None:
    table = copied.table(DETECTIONS)
    table.delete("scientific_name = 'Avis gravis'")
    assert table.remove_unused_files(older_than_h=0.4) == []
    assert table.remove_unused_files(older_than_h=0) != []


def test_status_counts_units(copied: Archive) -> None:
    (state,), workers = read_status(copied)
    assert (state.n_units, state.n_ended, state.n_waiting, workers) == (3, 3, 0, [])
    assert (state.n_recordings, state.n_failed, state.ended_bytes) == (5, 1, state.n_bytes)
    attempt = copied.table("recordings").read()["attempt"][0].as_py()
    copied.table("recordings").delete(f"attempt = '{attempt}'")
    with Worker(copied.location, state.run, "1/1") as worker:
        worker.beat([attempt.partition("-")[2]])
        (state,), (seen,) = read_status(copied)
        assert (state.n_ended, len(state.running), len(state.lost), state.n_waiting) == (2, 1, 0, 0)
        assert not seen.is_lost
        old = time.time() - LOST_AFTER_S - 10
        os.utime(copied.location.root / worker.name, (old, old))
        (state,), _ = read_status(copied)
        assert (len(state.running), len(state.lost), state.n_waiting) == (0, 1, 0)
        worker.beat(
            sorted({each.partition("-")[2] for each in copied.table("recordings").read()["attempt"].to_pylist()})
        )
        assert [each.units for each in read_status(copied)[1]] == [()], "others have done them"
    (state,), _ = read_status(copied)
    assert state.n_waiting == 1
