"""Units are written exactly once, whoever writes them."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from dawnchorus.archive.archive import Archive, create_archive
from dawnchorus.archive.maintenance import check_archive, vacuum_archive
from dawnchorus.archive.rows import recording_rows
from dawnchorus.archive.schemas import DETECTIONS, RECORDINGS, SCHEMAS
from dawnchorus.archive.workers import Worker
from dawnchorus.archive.writer import UnitWriter


def unit_rows(unit: str, attempt: str, *, n: int = 3) -> tuple[pa.Table, dict[str, pa.Table]]:
    """Return a recording with n detections."""
    path = f"/{unit}.wav"
    shared = {
        "recording_id": int(unit[2:]),
        "run": "r",
        "unit": unit,
        "attempt": attempt,
        "site": "A",
        "month": "2026-05",
    }
    recording = {"recording": path, "path": path.encode(), "status": "done", "n_detections": n, **shared}
    detection = {"recording": path, "scientific_name": "Avis gravis", "score": 0.5, **shared}
    rows = [{**detection, "start_s": float(k)} for k in range(n)]
    return recording_rows([recording]), {DETECTIONS: pa.Table.from_pylist(rows, schema=SCHEMAS[DETECTIONS])}


def writer(archive: Archive) -> UnitWriter:
    return UnitWriter(archive, Worker(archive.location, "r", "1/1"))


def write(each: UnitWriter, unit: str = "1-000000") -> bool:
    return each.commit(unit, *unit_rows(unit, each.worker.attempt(unit)))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return create_archive(tmp_path / "archive")


def test_a_unit_that_has_ended_is_not_written_again(archive: Archive) -> None:
    one, two = writer(archive), writer(archive)
    assert write(one)
    assert two.is_committed("1-000000")
    assert not write(two)
    assert not write(one)
    assert len(archive.table(DETECTIONS).read()) == 3
    assert two.list_committed() == {"1-000000"}


def test_of_two_that_are_between_rows_and_end_one_wins(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loser's rows are there for a moment, count never, and are deleted."""
    slow, fast = writer(archive), writer(archive)
    ended = slow._recordings.append
    seen: list[int] = []

    def overtake(*arguments: object) -> bool:
        assert write(fast)
        seen.append(len(archive.detections().read_all()))
        return ended(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(slow._recordings, "append", overtake)
    assert not write(slow)
    assert seen == [3], "of six rows that were stored"
    rows = archive.table(DETECTIONS).read()
    assert set(rows["attempt"].to_pylist()) == {fast.worker.attempt("1-000000")}
    assert len(rows) == 3
    assert check_archive(archive).is_whole


def test_many_writers_at_once_leave_each_row_once(archive: Archive) -> None:
    units = [f"1-{k:06d}" for k in range(4)]
    won: list[bool] = []

    def work() -> None:
        each = writer(archive)
        won.extend(write(each, unit) for unit in units)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen = [0]
    while any(thread.is_alive() for thread in threads):
        seen.append(len(archive.detections().read_all()))
    for thread in threads:
        thread.join()
    assert seen == sorted(seen), "no row is taken back"
    assert {n % 3 for n in seen} == {0}, "units are seen whole, and once"
    assert (len(won), sum(won)) == (12, 4)
    assert len(archive.table("recordings").read()) == 4
    report = check_archive(archive)
    assert (report.is_whole, report.uncommitted, report.surplus) == (True, {}, {})


def test_rows_of_a_writer_that_died_never_count(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = writer(archive)
    with monkeypatch.context() as patch:
        patch.setattr(dead._recordings, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(dead)
    assert len(archive.detections().read_all()) == 0
    assert check_archive(archive).uncommitted == {dead.worker.attempt("1-000000"): 3}
    assert write(writer(archive))
    assert len(archive.detections().read_all()) == 3
    assert check_archive(archive).surplus == {dead.worker.attempt("1-000000"): 3}
    assert vacuum_archive(archive).n_rows == 3
    assert len(archive.table(DETECTIONS).read()) == 3


def test_a_writer_whose_rows_were_removed_cannot_end_its_unit(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped for long, taken for lost, and goes on."""
    late = writer(archive)
    ended = late._recordings.append

    def vacuum_first(*arguments: object) -> bool:
        assert vacuum_archive(archive).n_rows == 3
        return ended(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(late._recordings, "append", vacuum_first)
    assert not write(late)
    assert len(archive.table("recordings").read()) == 0
    assert write(writer(archive))
    assert check_archive(archive).is_whole


def test_rows_that_do_not_count_are_removed_after_a_vacuum_that_died(archive: Archive) -> None:
    """It has ended the attempt, and deleted nothing."""
    dead, unit = writer(archive), "1-000000"
    recordings, results = unit_rows(unit, dead.worker.attempt(unit))
    assert len(recordings) == 1
    archive.table(DETECTIONS).append(results[DETECTIONS])
    archive.table(RECORDINGS).append(recordings.slice(0, 0), {f"attempt-{dead.worker.attempt(unit)}": 1})
    assert vacuum_archive(archive).n_rows == 3
