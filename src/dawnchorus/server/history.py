"""History of identifications: counts for every recording, with its sound and detections where they are to be kept."""

from __future__ import annotations

import logging
import queue
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, func, insert, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from dawnchorus.errors import NotFoundError
from dawnchorus.server.scheduling import Recognition
from dawnchorus.server.state.blobs import FileStore
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.retention import drop_unneeded
from dawnchorus.server.state.tables import (
    DetectionRow,
    Identification,
    Lesson,
    Recording,
    Review,
)
from dawnchorus.types import Detection

LOG = logging.getLogger(__name__)

INSERT = 1000
"""Rows in one statement."""

PAGE = 1000
"""Detections in memory at a time, of those that are read one after the other."""

N_TOP = 10

GATHER_S = 0.1
"""Counts wait so long for others, to be written together."""

RETRY_S, MAX_TRIES = 0.5, 7200
"""Pauses and tries while a database cannot be reached: an hour in all."""


@dataclass(frozen=True)
class Heard:
    """Filter for lists of detections. None: all."""

    species: str | None = None
    """A part of the common or scientific name."""
    min_score: float = 0.0
    recording: str | None = None
    reviewed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Found:
    """A detection with what was said of it, and the recording that it is in."""

    detection: DetectionRow
    recording: Recording
    review: Review | None


class History:
    """Written by many threads at once, read by all servers of the database."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database, self._files = database, files
        self._counted: queue.SimpleQueue[dict[str, Any] | threading.Event | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write_counted, daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Write what waits, and end."""
        self._counted.put(None)
        self._writer.join(timeout=5)
        self._closing.set()
        self._writer.join()

    # ------------------------------------------------------------------ writing

    def count(self, found: Recognition, best: Detection | None) -> None:
        """Remember that something was heard, not the sound; written soon, many at once."""
        self._counted.put(_identification(found, best, recording=None))

    def keep(self, found: Recognition, path: Path, name: str) -> str:
        """Keep the sound and its detections, and give the sound's sha256; all is written when this returns.

        Raises:
            OutputError: no space.
        """
        sha256 = self._files.put(path)
        table, rows = found.table, found.table.detections
        with self._database.write(about=sha256) as session:
            self._files.ensure(sha256, path)
            if session.get(Recording, sha256) is None:
                begin = table.origin.start_time
                session.add(
                    Recording(
                        sha256=sha256,
                        name=name,
                        n_bytes=path.stat().st_size,
                        duration_s=table.duration_s,
                        rate_hz=table.rate_hz,
                        recorded_at=None if begin is None else begin.isoformat(),
                        latitude=table.origin.latitude,
                        longitude=table.origin.longitude,
                    )
                )
                session.flush()
            best = max(rows, key=lambda d: d.score, default=None)
            identification = Identification(**_identification(found, best, recording=sha256))
            session.add(identification)
            session.flush()
            fields = [_detection(row, identification, found.bundle.id) for row in rows]
            for k in range(0, len(fields), INSERT):
                session.execute(insert(DetectionRow), fields[k : k + INSERT])
            _carry_reviews(session, sha256, identification.id)
        return sha256

    def flush(self) -> None:
        """Wait until all that was counted is written."""
        done = threading.Event()
        self._counted.put(done)
        done.wait(timeout=2)

    def _write_counted(self) -> None:
        while (item := self._counted.get()) is not None:
            batch = [item, *self._gathered(item)]
            self._write([entry for entry in batch if isinstance(entry, dict)])
            for entry in batch:
                if isinstance(entry, threading.Event):
                    entry.set()
            if batch[-1] is None:
                return

    def _gathered(
        self, item: dict[str, Any] | threading.Event | None
    ) -> Iterator[dict[str, Any] | threading.Event | None]:
        """Collect the entries that come within a moment, or all that wait as soon as somebody waits for them."""
        until = time.monotonic() + GATHER_S
        while isinstance(item, dict):
            try:
                item = self._counted.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                return
            yield item

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows, as soon as the database can be reached."""
        for _ in range(MAX_TRIES if rows else 0):
            try:
                with self._database.write() as session:
                    session.execute(insert(Identification), rows)
            except (OperationalError, InterfaceError, PoolTimeout) as error:
                LOG.error("%d identifications wait for the database: %s", len(rows), type(error).__name__)
                if self._closing.wait(RETRY_S):
                    return
            except SQLAlchemyError:
                LOG.exception("%d identifications cannot be counted", len(rows))
                return
            else:
                return

    def forget(self, sha256: str) -> None:
        """Remove a recording, its detections and their reviews; what was learned from it stays a lesson.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.write(about=sha256) as session:
            recording = _recording(session, sha256)
            gone = select(DetectionRow.id).where(DetectionRow.recording == sha256)
            session.execute(update(Lesson).where(Lesson.detection.in_(gone)).values(detection=None))
            session.delete(recording)
        drop_unneeded(self._database, self._files, sha256)  # only then: what is not written down cannot be lost

    # ------------------------------------------------------------------ reading

    def recordings(self, *, limit: int, offset: int) -> tuple[int, list[tuple[Recording, Identification]]]:
        """Return the number of recordings, and some of them, the latest first, each with its latest identification."""
        kept = Identification.recording.is_not(None)
        latest = select(func.max(Identification.id)).where(kept).group_by(Identification.recording)
        query = select(Recording, Identification).join(Identification, Identification.recording == Recording.sha256)
        query = query.where(Identification.id.in_(latest)).order_by(Identification.id.desc())
        with self._database.read() as session:
            n = session.scalar(select(func.count()).select_from(Recording)) or 0
            return n, [(r, i) for r, i in session.execute(query.limit(limit).offset(offset))]

    def recording(self, sha256: str) -> Recording:
        """Return a kept recording.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as session:
            return _recording(session, sha256)

    def detection(self, number: int) -> DetectionRow:
        """Return a detection.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as session:
            found = session.get(DetectionRow, number)
        if found is None:
            raise NotFoundError(f"there is no detection {number}.")
        return found

    def detections(
        self, wanted: Heard, *, limit: int, offset: int = 0, by_score: bool = False
    ) -> tuple[int, list[Found]]:
        """Return the number of detections of the latest identifications, and some: the latest, or best, first."""
        numbers = _select_ids(wanted)
        by_time = DetectionRow.identification.desc(), DetectionRow.start_s, DetectionRow.score.desc()
        order = (DetectionRow.score.desc(),) if by_score else by_time
        page = numbers.order_by(*order, DetectionRow.id).limit(limit).offset(offset)
        with self._database.read() as session:
            n = session.scalar(select(func.count()).select_from(numbers.subquery())) or 0
            return n, _read_detections(session, session.scalars(page).all())

    def all_detections(self, sha256: str, *, limit: int) -> Iterator[list[Found]]:
        """Read the detections of a recording's latest identification by start, a page at a time."""
        numbers = _select_ids(Heard(recording=sha256)).order_by(
            DetectionRow.start_s, DetectionRow.score.desc(), DetectionRow.id
        )
        with self._database.read() as session:
            left = array("q", session.scalars(numbers.limit(limit)))
        for k in range(0, len(left), PAGE):
            with self._database.read() as session:
                page = _read_detections(session, left[k : k + PAGE])
            yield page

    def totals(self) -> dict[str, Any]:
        """Return totals of all servers: counts, scores, the most frequent species, the latest."""
        self.flush()
        named = Identification.species.is_not(None)
        with self._database.read() as session:
            n, mean, sound_s = session.execute(
                select(func.count(), func.avg(Identification.score), func.sum(Identification.duration_s))
            ).one()
            top = session.execute(
                select(Identification.species, func.count())
                .where(named)
                .group_by(Identification.species)
                .order_by(func.count().desc(), Identification.species)
                .limit(N_TOP)
            )
            latest = session.scalars(select(Identification).where(named).order_by(Identification.id.desc()).limit(50))
            return {
                "total_predictions": n,
                "average_confidence": mean,
                "sound_seconds": sound_s or 0.0,
                "species_distribution": {row[0]: row[1] for row in top},
                "latest": [
                    {
                        "species": row.species,
                        "confidence": row.score,
                        "timestamp": row.at.isoformat(timespec="milliseconds"),
                        "bundle_id": row.bundle_id,
                    }
                    for row in latest
                ],
            }


def as_detection(row: DetectionRow) -> Detection:
    """Return the row as a detection."""
    return Detection(
        row.start_s,
        row.end_s,
        row.scientific_name,
        row.common_name,
        "species",
        row.score,
        in_range=row.in_range,
        probability=row.probability,
        channel=row.channel,
    )


def _recording(session: Session, sha256: str) -> Recording:
    found = session.get(Recording, sha256)
    if found is None:
        raise NotFoundError(f"there is no recording {sha256[:64]}.")
    return found


def _identification(found: Recognition, best: Detection | None, *, recording: str | None) -> dict[str, Any]:
    return {
        "recording": recording,
        "at": now(),
        "bundle_id": found.bundle.id,
        "duration_s": found.table.duration_s,
        "species": None if best is None else best.common_name,
        "score": None if best is None else best.score,
    }


def _detection(row: Detection, identification: Identification, bundle_id: str) -> dict[str, Any]:
    return {
        "identification": identification.id,
        "recording": identification.recording,
        "start_s": row.start_s,
        "end_s": row.end_s,
        "scientific_name": row.scientific_name,
        "common_name": row.common_name,
        "score": row.score,
        "probability": row.probability,
        "in_range": row.in_range,
        "bundle_id": bundle_id,
        "channel": row.channel,
    }


def _carry_reviews(session: Session, sha256: str, identification: int) -> None:
    """Copy the reviews of a recording's earlier detections to new ones of the same species, time and channel."""
    said = select(DetectionRow, Review).join(Review, Review.detection == DetectionRow.id)
    # The latest first by the database's own numbers: the clocks of the servers may differ.
    said = said.order_by(DetectionRow.identification.desc(), DetectionRow.id).where(
        DetectionRow.recording == sha256, DetectionRow.identification != identification
    )
    old = list(session.execute(said))
    if not old:
        return
    new = list(session.scalars(select(DetectionRow).where(DetectionRow.identification == identification)))
    taken: set[int] = set()
    for before, review in old:
        shared = {
            row: min(row.end_s, before.end_s) - max(row.start_s, before.start_s)
            for row in new
            if row.scientific_name == before.scientific_name
            and (row.channel == before.channel or None in (row.channel, before.channel))
            and row.id not in taken
        }
        best = max(shared, key=lambda row: shared[row], default=None)
        if best is not None and shared[best] > 0:
            taken.add(best.id)
            session.execute(update(Lesson).where(Lesson.detection == before.id).values(detection=best.id))
            review.detection = best.id


def _select_ids(wanted: Heard) -> Select[Any]:
    """Select the ids of detections, which are sorted faster than whole rows."""
    return (
        select(DetectionRow.id)
        .join(Recording, Recording.sha256 == DetectionRow.recording)
        .outerjoin(Review, Review.detection == DetectionRow.id)
        .where(*_conditions(wanted))
    )


def _read_detections(session: Session, numbers: Sequence[int]) -> list[Found]:
    """Read the detections with these ids, in their order; removed ones are left out."""
    query = (
        select(DetectionRow, Recording, Review)
        .join(Recording, Recording.sha256 == DetectionRow.recording)
        .outerjoin(Review, Review.detection == DetectionRow.id)
        .where(DetectionRow.id.in_(numbers))
    )
    rows = {row[0].id: Found(*row) for row in session.execute(query)}
    return [rows[number] for number in numbers if number in rows]


def _conditions(wanted: Heard) -> Sequence[ColumnElement[bool]]:
    latest = (
        select(func.max(Identification.id))
        .where(Identification.recording.is_not(None))
        .group_by(Identification.recording)
    )
    found = [DetectionRow.identification.in_(latest), DetectionRow.score >= wanted.min_score]
    if wanted.species:
        found.append(
            DetectionRow.common_name.icontains(wanted.species, autoescape=True)
            | DetectionRow.scientific_name.icontains(wanted.species, autoescape=True)
        )
    if wanted.recording is not None:
        found.append(DetectionRow.recording == wanted.recording)
    if wanted.reviewed is not None:
        found.append(Review.detection.is_not(None) if wanted.reviewed else Review.detection.is_(None))
    if wanted.since is not None:
        found.append(Recording.added_at >= wanted.since)
    if wanted.until is not None:
        found.append(Recording.added_at < wanted.until)
    return found
