"""Store of identifications: totals of all recordings, and audio and detections of stored recordings."""

from __future__ import annotations

import logging
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, func, insert, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from dawnchorus.errors import NotFoundError
from dawnchorus.formats.columns import detection_values
from dawnchorus.identification.options import Options
from dawnchorus.identification.result import build_provenance, has_range
from dawnchorus.limits import Limits
from dawnchorus.server.scheduling import IdentifyResult
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import (
    DetectionRow,
    Identification,
    LabeledRecording,
    Recording,
    Review,
)
from dawnchorus.types import ChannelSource, Detection

LOG = logging.getLogger(__name__)

INSERT_ROWS = 1000
"""Rows in one INSERT statement."""

N_TOP = 10

MAX_PENDING = 100_000
"""Counts that are kept while the database cannot be written; of more, the oldest are dropped."""

UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeout)
"""Errors of a database that cannot be reached, is locked or full; the same work may succeed again."""


@dataclass(frozen=True)
class DetectionQuery:
    """Filter of detections; None selects all."""

    species: str | None = None
    """Substring of the common or scientific name."""
    min_score: float = 0.0
    recording: str | None = None
    reviewed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class DetectionRecord:
    """A detection with its recording and its review."""

    detection: DetectionRow
    recording: Recording
    review: Review | None


class DetectionStore:
    """Thread-safe store of recordings, detections and totals, shared by all servers of the database."""

    def __init__(self, database: Database, files: BlobStore, limits: Limits) -> None:
        self._database, self._files, self._limits = database, files, limits
        self._pending: list[dict[str, Any]] = []
        """Rows of `Identification` that `flush` writes; `count` appends to it from any thread."""
        self._flushing = threading.Lock()

    # ------------------------------------------------------------------ writing

    def count(self, result: IdentifyResult, best: Detection | None) -> None:
        """Count an identification without storing the audio; the next `flush` writes it."""
        self._pending.append(_identification_values(result, best, recording=None))

    def flush(self) -> None:
        """Write the pending counts in one transaction.

        Raises:
            SQLAlchemyError: one of `UNAVAILABLE`; the counts stay pending.
        """
        with self._flushing:
            rows = list(self._pending)
            if not rows:
                return
            try:
                with self._database.write() as session:
                    session.execute(insert(Identification), rows)
            except UNAVAILABLE:
                del self._pending[:-MAX_PENDING]
                raise
            except SQLAlchemyError:
                LOG.exception("%d identifications cannot be counted", len(rows))
            del self._pending[: len(rows)]

    def close(self) -> None:
        """Write the pending counts for the last time."""
        try:
            self.flush()
        except UNAVAILABLE as error:
            LOG.error("%d identifications are not counted: %s", len(self._pending), type(error).__name__)

    def store(self, result: IdentifyResult, path: Path, *, name: str, options: Options) -> str:
        """Store the audio and its detections, and return the sha256 of the audio; everything is written on return.

        Args:
            result: Detections.
            path: Audio.
            name: Client's name of it.
            options: Options that the detections were made with.

        Raises:
            OutputError: no space.
        """
        table, rows = result.table, result.table.detections
        with self._files.keep(path) as (session, sha256):
            if session.get(Recording, sha256, with_for_update=True) is None:
                start_time = table.metadata.start_time
                session.add(
                    Recording(
                        sha256=sha256,
                        name=name,
                        n_bytes=path.stat().st_size,
                        duration_s=table.duration_s,
                        rate_hz=table.rate_hz,
                        recorded_at=None if start_time is None else start_time.isoformat(),
                        latitude=table.metadata.latitude,
                        longitude=table.metadata.longitude,
                    )
                )
                session.flush()
            best = max(rows, key=lambda d: d.score, default=None)
            identification = Identification(
                **_identification_values(result, best, recording=sha256),
                provenance=asdict(build_provenance(result.bundle, options, range_filter=has_range(rows))),
                latitude=table.metadata.latitude,
                longitude=table.metadata.longitude,
                week=table.week,
            )
            session.add(identification)
            session.flush()
            owners = {"identification": identification.id, "recording": sha256, "bundle_id": result.bundle.id}
            values = [detection_values(row) | owners for row in rows]
            for k in range(0, len(values), INSERT_ROWS):
                session.execute(insert(DetectionRow), values[k : k + INSERT_ROWS])
            _copy_reviews(session, sha256, identification.id)
        return sha256

    def delete(self, sha256: str) -> None:
        """Delete a recording, its detections and their reviews; labeled recordings that were cut from it stay.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.write() as session:
            recording = _get_recording(session, sha256, for_update=True)
            ids = select(DetectionRow.id).where(DetectionRow.recording == sha256)
            session.execute(update(LabeledRecording).where(LabeledRecording.detection.in_(ids)).values(detection=None))
            session.delete(recording)
        self._files.delete_unused(sha256)  # after the commit, so that no row lacks its file

    # ------------------------------------------------------------------ reading

    def list_recordings(self, *, limit: int, offset: int) -> tuple[int, list[tuple[Recording, Identification]]]:
        """Return the number of recordings and a page of them, the latest first, with their latest identifications."""
        is_stored = Identification.recording.is_not(None)
        latest = select(func.max(Identification.id)).where(is_stored).group_by(Identification.recording)
        query = select(Recording, Identification).join(Identification, Identification.recording == Recording.sha256)
        query = query.where(Identification.id.in_(latest)).order_by(Identification.id.desc())
        with self._database.read() as session:
            n = session.scalar(select(func.count()).select_from(Recording)) or 0
            return n, [(r, i) for r, i in session.execute(query.limit(limit).offset(offset))]

    def get_recording(self, sha256: str) -> Recording:
        """Return a stored recording.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as session:
            return _get_recording(session, sha256)

    def get(self, detection_id: int) -> tuple[DetectionRow, ChannelSource]:
        """Return a detection, and the channel that it was scored in.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as session:
            row = session.get(DetectionRow, detection_id)
            if row is None:
                raise NotFoundError(f"there is no detection {detection_id}.")
            return row, scored_channel(session, row)

    def latest_identification(self, sha256: str) -> Identification:
        """Return the latest identification of a stored recording.

        Raises:
            NotFoundError: there is no such recording.
        """
        query = select(Identification).where(Identification.recording == sha256).order_by(Identification.id.desc())
        with self._database.read() as session:
            identification = session.scalars(query.limit(1)).first()
        if identification is None:
            raise NotFoundError(f"there is no recording {sha256[:64]}.")
        return identification

    def find(
        self, query: DetectionQuery, *, limit: int, offset: int = 0, by_score: bool = False
    ) -> tuple[int, list[DetectionRecord]]:
        """Return the number of matches in the latest identifications and a page of them, the latest or best first."""
        ids = _select_ids(query)
        by_time = DetectionRow.identification.desc(), DetectionRow.start_s, DetectionRow.score.desc()
        order = (DetectionRow.score.desc(),) if by_score else by_time
        page = ids.order_by(*order, DetectionRow.id).limit(limit).offset(offset)
        with self._database.read() as session:
            n = session.scalar(select(func.count()).select_from(ids.subquery())) or 0
            return n, _read_detections(session, session.scalars(page).all())

    def iterate_pages(self, sha256: str, *, limit: int) -> Iterator[list[DetectionRecord]]:
        """Yield the detections of a recording's latest identification by start, a page at a time."""
        query = _select_ids(DetectionQuery(recording=sha256)).order_by(
            DetectionRow.start_s, DetectionRow.score.desc(), DetectionRow.id
        )
        with self._database.read() as session:
            ids = array("q", session.scalars(query.limit(limit)))
        page_rows = self._limits.page_rows
        for k in range(0, len(ids), page_rows):
            with self._database.read() as session:
                page = _read_detections(session, ids[k : k + page_rows])
            yield page

    def totals(self) -> dict[str, Any]:
        """Return totals of all servers: counts, mean score, most frequent species, latest identifications."""
        with suppress(*UNAVAILABLE):  # the next flush repeats it
            self.flush()
        has_species = Identification.species.is_not(None)
        with self._database.read() as session:
            n, mean, audio_s = session.execute(
                select(func.count(), func.avg(Identification.score), func.sum(Identification.duration_s))
            ).one()
            top = session.execute(
                select(Identification.species, func.count())
                .where(has_species)
                .group_by(Identification.species)
                .order_by(func.count().desc(), Identification.species)
                .limit(N_TOP)
            )
            latest = session.scalars(
                select(Identification).where(has_species).order_by(Identification.id.desc()).limit(50)
            )
            return {
                "total_predictions": n,
                "average_confidence": mean,
                "sound_seconds": audio_s or 0.0,
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


def to_detection(row: DetectionRow) -> Detection:
    """Convert a row to a detection."""
    return Detection(**detection_values(row))


def scored_channel(session: Session, row: DetectionRow) -> ChannelSource:
    """Return the channel that a detection was scored in."""
    if row.channel is not None:
        return row.channel
    run = session.get_one(Identification, row.identification)
    channel: ChannelSource = (run.provenance or {}).get("parameters", {}).get("channel", "mean")
    return channel


def _get_recording(session: Session, sha256: str, *, for_update: bool = False) -> Recording:
    row = session.get(Recording, sha256, with_for_update=for_update)
    if row is None:
        raise NotFoundError(f"there is no recording {sha256[:64]}.")
    return row


def _identification_values(result: IdentifyResult, best: Detection | None, *, recording: str | None) -> dict[str, Any]:
    return {
        "recording": recording,
        "at": now(),
        "bundle_id": result.bundle.id,
        "duration_s": result.table.duration_s,
        "species": None if best is None else best.common_name,
        "score": None if best is None else best.score,
    }


def _copy_reviews(session: Session, sha256: str, identification: int) -> None:
    """Copy the reviews of a recording's earlier detections to new ones of the same species, time and channel."""
    reviewed = select(DetectionRow, Review).join(Review, Review.detection == DetectionRow.id)
    # The latest first by the database's own numbers: the clocks of the servers may differ.
    reviewed = reviewed.order_by(DetectionRow.identification.desc(), DetectionRow.id).where(
        DetectionRow.recording == sha256, DetectionRow.identification != identification
    )
    old = list(session.execute(reviewed))
    if not old:
        return
    new = list(session.scalars(select(DetectionRow).where(DetectionRow.identification == identification)))
    matched_ids: set[int] = set()
    for before, review in old:
        overlap_s = {
            row: min(row.end_s, before.end_s) - max(row.start_s, before.start_s)
            for row in new
            if row.scientific_name == before.scientific_name
            and (row.channel == before.channel or None in (row.channel, before.channel))
            and row.id not in matched_ids
        }
        best = max(overlap_s, key=lambda row: overlap_s[row], default=None)
        if best is not None and overlap_s[best] > 0:
            matched_ids.add(best.id)
            session.execute(
                update(LabeledRecording).where(LabeledRecording.detection == before.id).values(detection=best.id)
            )
            review.detection = best.id


def _select_ids(query: DetectionQuery) -> Select[Any]:
    """Return a SELECT of the ids of detections, which are sorted faster than whole rows."""
    return (
        select(DetectionRow.id)
        .join(Recording, Recording.sha256 == DetectionRow.recording)
        .outerjoin(Review, Review.detection == DetectionRow.id)
        .where(*_conditions(query))
    )


def _read_detections(session: Session, ids: Sequence[int]) -> list[DetectionRecord]:
    """Read the detections with these ids in their order; deleted ones are skipped."""
    query = (
        select(DetectionRow, Recording, Review)
        .join(Recording, Recording.sha256 == DetectionRow.recording)
        .outerjoin(Review, Review.detection == DetectionRow.id)
        .where(DetectionRow.id.in_(ids))
    )
    records = {row[0].id: DetectionRecord(*row) for row in session.execute(query)}
    return [records[each] for each in ids if each in records]


def _conditions(query: DetectionQuery) -> Sequence[ColumnElement[bool]]:
    latest = (
        select(func.max(Identification.id))
        .where(Identification.recording.is_not(None))
        .group_by(Identification.recording)
    )
    conditions = [DetectionRow.identification.in_(latest), DetectionRow.score >= query.min_score]
    if query.species:
        conditions.append(
            DetectionRow.common_name.icontains(query.species, autoescape=True)
            | DetectionRow.scientific_name.icontains(query.species, autoescape=True)
        )
    if query.recording is not None:
        conditions.append(DetectionRow.recording == query.recording)
    if query.reviewed is not None:
        conditions.append(Review.detection.is_not(None) if query.reviewed else Review.detection.is_(None))
    if query.since is not None:
        conditions.append(Recording.added_at >= query.since)
    if query.until is not None:
        conditions.append(Recording.added_at < query.until)
    return conditions
