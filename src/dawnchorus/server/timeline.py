"""Queries for the page of one stored recording: detections in a range of time, and counts by species and time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, UnaryExpression, and_, case, func, or_, select
from sqlalchemy.orm import Session

from dawnchorus.errors import NotFoundError
from dawnchorus.server.listing import IS_REJECTED, DetectionRecord, Reviewed, is_reviewed
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import REJECTED, DetectionRow, Recording, Review

N_NAMED = 10
"""Number of most frequent species for which activity is counted separately; other species are counted together."""

PAGE_ROWS = 1000
"""Number of detections that are read from the database at once while they are counted."""

Order = Literal["start", "score"]
"""Order of detections: by rising start time, or by falling score; equal values by rising id."""


@dataclass(frozen=True)
class TimelineQuery:
    """Filter of the detections in the latest identification of a recording."""

    recording: str
    """sha256 of the recording."""
    start_s: float = 0.0
    """Start of the range of time, in seconds from the start of the recording."""
    end_s: float = math.inf
    """End of the range of time in seconds. Detections that overlap the range from `start_s` to `end_s` match, and
    those that only touch one of its ends do not."""
    species: str | None = None
    """Substring of the common or scientific name, ignoring case; None for all species."""
    min_score: float = 0.0
    """Minimum score of the detections, 0 to 1."""
    reviewed: Reviewed | None = None
    """True for reviewed detections, False for detections without a review, or the verdict of the review; None for all
    detections."""


@dataclass(frozen=True)
class SpeciesCount:
    """Number of detections of a species in a recording, among those that match a filter."""

    scientific_name: str
    common_name: str
    n_detections: int
    """Number of detections that were not rejected."""
    n_rejected: int
    """Number of detections that reviewers rejected, which `n_detections`, `best_score` and the times leave out."""
    best_score: float | None
    """Highest score; None if all detections were rejected."""
    first_s: float | None
    """Start of the first detection in seconds of the recording; None if all detections were rejected."""
    last_s: float | None
    """Start of the last detection in seconds of the recording; None if all detections were rejected."""
    is_unexpected: bool
    """True if the range model does not expect the species at the recording's location and week, according to at least
    one matching detection. Relabeled detections are ignored; False if that is unknown."""


@dataclass
class SpeciesActivity:
    """Detections of a species by column: a column is one of the equal intervals into which a range of time is divided.

    Both names are None in the object with the sum of all species that are not among the `N_NAMED` most frequent ones.
    """

    scientific_name: str | None
    common_name: str | None
    n_detections: int = 0
    """Number of detections; a detection that overlaps several columns counts once."""
    columns: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Number of detections and highest score by index of the column, from 0; empty columns are left out."""

    def add(self, column: int, n: int, score: float) -> None:
        """Add `n` detections with the highest score `score` to a column; `n_detections` does not change."""
        n_before, best = self.columns.get(column, (0, 0.0))
        self.columns[column] = n_before + n, max(best, score)


class Timeline:
    """Reader of the detections of single recordings, by indexes, so that other recordings do not slow it down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, recording: str, detection_id: int) -> DetectionRecord:
        """Return a detection by its id and by the sha256 of its recording.

        Raises:
            NotFoundError: there is no such recording, or the recording has no such detection.
        """
        with self._database.read() as session:
            row = _get_detection(session, recording, detection_id)
            return DetectionRecord(row, _get_recording(session, recording), session.get(Review, detection_id))

    def find_at(self, query: TimelineQuery, time_s: float) -> DetectionRecord | None:
        """Return the matching detection with start <= `time_s` < end, the first to start if there are several.

        Return None if there is none. Rejected detections are included.

        Args:
            query: filter; its range of time is ignored.
            time_s: time in seconds from the start of the recording.

        Raises:
            NotFoundError: there is no such recording.
        """
        at_time = replace(query, start_s=time_s, end_s=math.nextafter(time_s, math.inf))
        return next(iter(self.list_detections(at_time, limit=1)), None)

    def list_detections(
        self,
        query: TimelineQuery,
        *,
        limit: int,
        after: int | None = None,
        before: int | None = None,
        order: Order = "start",
    ) -> list[DetectionRecord]:
        """Return matching detections in order, including those that reviewers rejected.

        Args:
            query: filter.
            limit: maximum number of detections.
            after: id of a detection; return the detections that directly follow it. None to start with the first.
            before: id of a detection; return the detections that directly precede it, in the same order. None for no
                such limit. With both ids, return the first detections between them.
            order: "start" for rising start times, "score" for falling scores; equal values by rising id.

        Raises:
            NotFoundError: there is no such recording, or the recording has no detection `after` or `before`.
        """
        with self._database.read() as session:
            recording = _get_recording(session, query.recording)
            rows = _select(query, select(DetectionRow, Review).outerjoin(Review, Review.detection == DetectionRow.id))
            for cursor, is_later in ((after, True), (before, False)):
                if cursor is not None:
                    row = _get_detection(session, query.recording, cursor)
                    rows = rows.where(_is_beyond(row, order, is_later=is_later))
            is_reversed = before is not None and after is None
            rows = rows.order_by(*_sort_keys(order, is_reversed=is_reversed)).limit(limit)
            records = [DetectionRecord(row, recording, review) for row, review in session.execute(rows)]
        return records[::-1] if is_reversed else records

    def count_by_species(self, query: TimelineQuery) -> list[SpeciesCount]:
        """Return the number of matching detections of each species; the list is empty for an unknown recording.

        Species with most detections that were not rejected come first; equal numbers are ordered by scientific name.
        """
        n = func.count().filter(~IS_REJECTED)
        is_unexpected = DetectionRow.in_range.is_(False) & DetectionRow.model_scientific_name.is_(None)
        columns = (
            DetectionRow.scientific_name,
            func.min(DetectionRow.common_name),
            n,
            func.count().filter(IS_REJECTED),
            func.max(DetectionRow.score).filter(~IS_REJECTED),
            func.min(DetectionRow.start_s).filter(~IS_REJECTED),
            func.max(DetectionRow.start_s).filter(~IS_REJECTED),
            func.max(case((is_unexpected, 1), else_=0)) == 1,
        )
        rows = _select(query, select(*columns)).group_by(DetectionRow.scientific_name)
        with self._database.read() as session:
            return [SpeciesCount(*row) for row in session.execute(rows.order_by(n.desc(), columns[0]))]

    def count_by_column(self, query: TimelineQuery, *, n_columns: int) -> list[SpeciesActivity]:
        """Count the matching detections by species and column.

        A detection is counted in every column that it overlaps. Rejected detections are only counted if
        `query.reviewed` is their verdict.

        Args:
            query: filter; its range of time, which must have an end, is divided into the columns.
            n_columns: number of columns.

        Returns:
            Activity of the `N_NAMED` most frequent species, the most frequent first, and then, if there are further
            species, of all these together. Empty for an unknown recording.
        """
        column_s = (query.end_s - query.start_s) / n_columns
        times = DetectionRow.start_s, DetectionRow.end_s
        columns = DetectionRow.scientific_name, DetectionRow.common_name, *times, DetectionRow.score
        by_name: dict[str, SpeciesActivity] = {}
        with self._database.read() as session:
            selected = _select(query, select(*columns))
            if query.reviewed not in REJECTED:
                selected = selected.where(~IS_REJECTED)
            rows = session.execute(selected.execution_options(yield_per=PAGE_ROWS))
            for scientific, common, start_s, end_s, score in rows:
                first = min(max(int((start_s - query.start_s) / column_s), 0), n_columns - 1)
                last = min(max(math.ceil((end_s - query.start_s) / column_s) - 1, first), n_columns - 1)
                activity = by_name.setdefault(scientific, SpeciesActivity(scientific, common))
                activity.n_detections += 1
                for column in range(first, last + 1):
                    activity.add(column, 1, score)
        ordered = sorted(by_name.values(), key=lambda each: (-each.n_detections, each.scientific_name))
        return [*ordered[:N_NAMED], *_sum(ordered[N_NAMED:])]


def _sum(activities: Sequence[SpeciesActivity]) -> list[SpeciesActivity]:
    """Return the sum of activities as one activity without a name; empty if there are none."""
    if not activities:
        return []
    total = SpeciesActivity(None, None, sum(activity.n_detections for activity in activities))
    for activity in activities:
        for column, (n, score) in activity.columns.items():
            total.add(column, n, score)
    return [total]


def _select(query: TimelineQuery, columns: Any) -> Select[*tuple[Any, ...]]:
    """Return the SELECT statement `columns` with the conditions of the query."""
    latest = select(Recording.latest_identification).where(Recording.sha256 == query.recording).scalar_subquery()
    selected: Select[*tuple[Any, ...]] = columns.where(
        DetectionRow.identification == latest,
        DetectionRow.end_s > query.start_s,
        DetectionRow.score >= query.min_score,
    )
    if query.end_s < math.inf:
        selected = selected.where(DetectionRow.start_s < query.end_s)
    if query.species:
        selected = selected.where(
            DetectionRow.common_name.icontains(query.species, autoescape=True)
            | DetectionRow.scientific_name.icontains(query.species, autoescape=True)
        )
    if query.reviewed is not None:
        selected = selected.where(is_reviewed(query.reviewed))
    return selected


def _sort_keys(order: Order, *, is_reversed: bool) -> tuple[UnaryExpression[Any], ...]:
    first = DetectionRow.start_s.asc() if order == "start" else DetectionRow.score.desc()
    last = DetectionRow.start_s.desc() if order == "start" else DetectionRow.score.asc()
    return (last, DetectionRow.id.desc()) if is_reversed else (first, DetectionRow.id.asc())


def _is_beyond(row: DetectionRow, order: Order, *, is_later: bool) -> ColumnElement[bool]:
    """Return the SQL condition for rows after `row` in the order if `is_later`, else for rows before."""
    column, value, is_greater = (
        (DetectionRow.start_s, row.start_s, is_later)
        if order == "start"
        else (DetectionRow.score, row.score, not is_later)
    )
    beyond = column > value if is_greater else column < value
    tie = DetectionRow.id > row.id if is_later else DetectionRow.id < row.id
    return or_(beyond, and_(column == value, tie))


def _get_recording(session: Session, sha256: str) -> Recording:
    row = session.get(Recording, sha256)
    if row is None:
        raise NotFoundError(f"there is no recording {sha256[:64]}.")
    return row


def _get_detection(session: Session, sha256: str, detection_id: int) -> DetectionRow:
    row = session.get(DetectionRow, detection_id)
    if row is None or row.recording != sha256:
        raise NotFoundError(f"there is no detection {detection_id} in the recording {sha256[:12]}.")
    return row
