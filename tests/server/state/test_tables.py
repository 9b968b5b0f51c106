"""Columns of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from tests.fixtures.databases import database

from dawnchorus.server.state.tables import (
    Job,
    UtcTime,
)


def test_moments_are_kept_in_utc_whatever_their_zone() -> None:
    column, dialect = UtcTime(), sqlite_dialect()
    noon = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    kept = column.process_bind_param(noon, dialect)
    assert kept == datetime(2026, 5, 1, 10)
    assert column.process_result_value(kept, dialect) == noon
    assert column.process_bind_param(None, dialect) is None
    assert column.process_result_value(None, dialect) is None
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    assert column.process_bind_param(first, dialect) == datetime(1, 1, 1)


def test_new_job_waits_and_has_not_been_tried(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.write() as session:
        session.add(Job(id="a", kind="identify", parameters={}))
    with db.read() as session:
        job = session.get_one(Job, "a")
    values = (job.status, job.stage, job.progress, job.attempts, job.cancel_requested, job.worker_id)
    assert values == ("queued", "waiting", 0.0, 0, False, None)
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(hours=1)
    db.close()
