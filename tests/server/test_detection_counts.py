"""Counts are those of a scan, whatever is done in whatever order, and the migration makes the same ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import select
from sqlalchemy.orm import Session
from tests.fixtures.server import running_service

from dawnchorus.identification.options import Options
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.detection_counts import (
    LEVELS,
    CountedDetection,
    CountKey,
    Counts,
    count_recording,
    find_level,
    read_counts,
    read_unstored,
)
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.database import alembic_config
from dawnchorus.server.state.tables import DetectionCount, DetectionRow, Recording, Verdict
from dawnchorus.server.work import IdentifyResult
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable

NAMES = [("Parus major", "Great Tit"), ("Cuculus canorus", "Common Cuckoo"), ("Strix aluco", "Tawny Owl")]
STARTS = [None, datetime(2025, 12, 31, 22, 59, 30), datetime(2026, 5, 12, 4, 0), datetime(9999, 12, 31, 23, 30)]
SITES = [None, "SITE7", "Upper Pond"]
REVIEWERS = ["first browser", "second browser"]
N_FILES = 4


@pytest.fixture(scope="module")
def service(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("counts")
    with running_service(Settings(data=folder / "server", model=level_bundle.folder)) as (_, opened):
        yield opened


def stored_counts(session: Session) -> dict[CountKey, dict[str, int]]:
    rows = session.scalars(select(DetectionCount))
    return {CountKey(row.site, row.unit, row.start, row.scientific_name): {**row.totals, **row.hours} for row in rows}


def scanned_counts(session: Session) -> dict[CountKey, dict[str, int]]:
    counts = read_counts(session, list(session.scalars(select(Recording.sha256))))
    counts.update(read_unstored(session))
    return {key: dict(numbers) for key, numbers in counts.rows.items()}


@dataclass
class Steps:
    """Changes of a server's recordings, in an order of a seed."""

    service: Service
    bundle: Bundle
    paths: list[Path]
    random: random.Random = field(default_factory=lambda: random.Random(5))
    n_by_verdict: Counter[str] = field(default_factory=Counter)

    def take(self) -> None:
        """Make one change."""
        steps = [*[self.store] * 6, self.fail, self.count_unstored, *[self.review] * 6, self.undo, self.undo]
        self.random.choice([*steps, self.delete_review, self.delete])()

    def _result(self) -> IdentifyResult:
        duration_s = self.random.choice([3.0, 7_300.0])
        detections = [
            Detection(
                start_s, start_s + 3, *self.random.choice(NAMES), "species", self.random.choice([0.1, *LEVELS, 1.0])
            )
            for start_s in sorted(self.random.uniform(0, duration_s) for _ in range(self.random.randrange(12)))
        ]
        metadata = RecordingMetadata(self.random.choice(STARTS))
        table = RecordingTable("a.wav", duration_s, 16_000, metadata, None, tuple(detections))
        return IdentifyResult(table=table, bundle=self.bundle, warnings=(), notes=(), stage_s={})

    def store(self) -> None:
        path, site = self.random.choice(self.paths), self.random.choice(SITES)
        self.service.detections.store(self._result(), path, name=path.name, options=Options(), site=site)

    def fail(self) -> None:
        path, site = self.random.choice(self.paths), self.random.choice(SITES)
        self.service.detections.store_failure(path, name=path.name, reason="no sound", site=site)

    def count_unstored(self) -> None:
        result = self._result()
        self.service.detections.add_to_totals(
            result, max(result.table.detections, key=lambda each: each.score, default=None)
        )
        self.service.detections.flush()

    def _reviewable(self) -> list[int]:
        """Return the detections that lie in the sound."""
        with self.service.database.read() as session:
            return list(session.scalars(select(DetectionRow.id).where(DetectionRow.start_s < 2.5)))

    def review(self) -> None:
        if detections := self._reviewable():
            verdict = self.random.choice(get_args(Verdict))
            species = "_".join(self.random.choice(NAMES)) if verdict == "relabeled" else None
            number, reviewer = self.random.choice(detections), self.random.choice(REVIEWERS)
            self.service.reviews.answer(number, verdict, species, [], new_class=True, reviewer=reviewer)
            self.n_by_verdict[verdict] += 1

    def undo(self) -> None:
        reviewer = self.random.choice(REVIEWERS)
        if self.service.reviews.last_answer(reviewer) is not None:
            self.service.reviews.undo(reviewer)
            self.n_by_verdict["undone"] += 1

    def delete_review(self) -> None:
        if detections := self._reviewable():
            self.service.reviews.delete(self.random.choice(detections), reviewer=self.random.choice(REVIEWERS))

    def delete(self) -> None:
        with self.service.database.read() as session:
            known = list(session.scalars(select(Recording.sha256)))
        self.service.detections.delete_all(self.random.sample(known, min(len(known), 2)))


@pytest.mark.parametrize("n_steps", [25, pytest.param(500, marks=pytest.mark.ops)])
def test_counts_equal_a_scan_after_any_changes_and_after_the_migration(
    n_steps: int, service: Service, level_bundle: Bundle, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{k}.wav" for k in range(N_FILES)]
    for k, path in enumerate(paths):
        soundfile.write(path, np.full(3 * 16_000, 0.1 + 0.1 * k, np.float32), 16_000, subtype="FLOAT")
    steps = Steps(service, level_bundle, paths)
    n_seen = 0
    for _ in range(n_steps):
        steps.take()
        with service.database.read() as session:
            counts = stored_counts(session)
            assert counts == scanned_counts(session)
        n_seen = max(n_seen, len(counts))
    assert n_seen > 40
    assert set(steps.n_by_verdict) == {*get_args(Verdict), "undone"}
    steps.store()
    steps.count_unstored()
    with service.database.read() as session:
        before = stored_counts(session)
    script = ScriptDirectory.from_config(alembic_config())
    with service.database.engine.execution_options(dawnchorus_write=True).begin() as connection:
        command.downgrade(alembic_config(connection), str(script.get_revision("0012").down_revision))
        command.upgrade(alembic_config(connection), "head")
    with service.database.read() as session:
        assert stored_counts(session) == before
        assert scanned_counts(session) == before
    service.detections.delete_all(_all_recordings(service))
    with service.database.read() as session:
        assert {key.unit for key in stored_counts(session)} <= {"undated"}, "of what was not stored"


def _all_recordings(service: Service) -> list[str]:
    with service.database.read() as session:
        return list(session.scalars(select(Recording.sha256)))


def numbers(counts: Counts, unit: str, start: str, species: str = "", site: str = "") -> dict[str, int]:
    key = next((each for each in counts.rows if each == (site, unit, start, species)), None)
    return {} if key is None else dict(counts.rows[key])


def test_a_recording_is_counted_in_the_hours_days_and_years_that_it_lies_in() -> None:
    detections = [
        CountedDetection("Strix aluco", "Tawny Owl", 5.0, 0.8),
        CountedDetection("Strix aluco", "Tawny Owl", 15.0, 0.3),
        CountedDetection("Parus major", "Great Tit", 16.0, 0.95),
    ]
    counts = count_recording(
        site="Pond", recorded_at="2025-12-31T23:59:50+02:00", duration_s=20.0, detections=detections
    )
    assert numbers(counts, "day", "2025-12-31") == {
        "recordings": 1,
        "recorded_ms:23": 10_000,
        "detections:23:3": 1,
        "best:3": 1,
    }
    assert numbers(counts, "day", "2026-01-01") == {
        "recorded_ms:00": 10_000,
        "detections:00:1": 1,
        "detections:00:4": 1,
        "best:4": 1,
    }
    assert numbers(counts, "year", "2026-01-01", "Strix aluco", "Pond") == {"detections:00:1": 1, "best:1": 1}
    assert numbers(counts, "month", "2025-12-01", "Parus major") == {"top:4": 1}, "in the month that it starts in"
    assert counts.common_names == {"": "", "Strix aluco": "Tawny Owl", "Parus major": "Great Tit"}


def test_a_recording_without_a_usable_time_is_undated() -> None:
    for recorded_at in (None, "9999-12-31T23:30:00"):
        counts = count_recording(site=None, recorded_at=recorded_at, duration_s=3.0, detections=[])
        assert counts.rows == {CountKey("", "undated", "", ""): {"recordings": 1, "recorded_ms:": 3000}}


def test_levels_begin_at_their_scores() -> None:
    assert [find_level(score) for score in (0.0, 0.249, 0.25, 0.75, 0.899, 0.9, 1.0)] == [0, 0, 1, 3, 3, 4, 4]
