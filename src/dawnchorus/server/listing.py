"""Paged lists of stored recordings and of their detections, with filters.

Both lists start with the latest upload; the detections of a recording are ordered by id, as they were inserted. Pages
are found by cursors, which contain the sort key of a row (keyset pagination) instead of a number of rows to skip: the
database reads each page from an index, and rows that are added or deleted meanwhile do not shift the pages.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import ColumnElement, Select, exists, func, literal, select, tuple_, union
from sqlalchemy.orm import Session

from dawnchorus.errors import InputError
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import (
    REJECTED,
    DetectionRow,
    Recording,
    RecordingSpecies,
    Review,
    Species,
    UtcTime,
    Verdict,
)

MAX_COUNTED = 10_000
"""Maximum number of matching rows that are counted; a longer list has only the note that there are more."""

MAX_MERGED = 20
"""Maximum number of species in a filter for which one query per species is merged; for more, one query has them all."""

N_BEST = 3
"""Number of species that the list shows for each recording, the highest scores first."""

MAX_ID = 2**63 - 1
"""Maximum value of a database id."""

UPLOAD_GAP = timedelta(minutes=1)
"""Maximum time between two neighboring recordings of one upload (of many files)."""

RecordingState = Literal["detections", "no_detections", "failed"]
"""State of a recording: identified with or without detections, or "failed" if it could not be identified."""

Reviewed = bool | Verdict
"""Filter of detections by review: True for reviewed, False for not reviewed, or a verdict."""

IS_REJECTED = func.coalesce(DetectionRow.verdict, "").in_(REJECTED)
"""SQL condition for detections that people rejected, see `REJECTED`."""

Row = TypeVar("Row")
Key = tuple[Any, ...]
"""Sort key of a row: upload time and sha256 of the recording, and in lists of detections also the detection's id."""


@dataclass(frozen=True, kw_only=True)
class RecordingQuery:
    """Filter of recordings; None in a field means no condition."""

    name: str | None = None
    """Substring of the recording's name, ignoring case."""
    state: RecordingState | None = None
    """State: "detections" (also if all were rejected) or "no_detections" of an identified recording, or "failed"."""
    species: str | None = None
    """Substring of the common or scientific name of a detected species, ignoring case."""
    site: str | None = None
    """Exact name of the site."""
    recorded_from: date | None = None
    """Earliest day on which the recording starts, by the recorder's clock. If this or `recorded_to` is given,
    recordings without a start time do not match."""
    recorded_to: date | None = None
    """Latest day on which the recording starts, by the recorder's clock."""
    since: datetime | None = None
    """Earliest time of the first upload, with a time zone."""
    until: datetime | None = None
    """Time before which the recording was first uploaded, with a time zone."""


@dataclass(frozen=True, kw_only=True)
class DetectionQuery(RecordingQuery):
    """Filter of detections by their recordings and their own values; None in a field means no condition."""

    recording: str | None = None
    """sha256 of the recording."""
    min_score: float = 0.0
    """Minimum score of the detection, 0 to 1."""
    reviewed: Reviewed | None = None
    """True for reviewed detections, False for detections without a review, or the verdict of the review."""


@dataclass(frozen=True)
class RecordingRecord:
    """A row of the list of recordings."""

    recording: Recording
    """Database row of the recording."""
    species: list[RecordingSpecies]
    """Species with the highest scores in the recording, the highest first, at most `N_BEST`.

    Species with only rejected detections are left out.
    """
    n_species: int
    """Number of all species in the recording with a detection that was not rejected."""
    n_reviewed: int
    """Number of reviewed detections of the recording, including those of earlier identifications."""
    unexpected: frozenset[str] = frozenset()
    """Scientific names in `species` that the range model does not expect at the recording's location and week."""


@dataclass(frozen=True)
class DetectionRecord:
    """A row of the list of detections: a detection with its recording, and its review if there is one."""

    detection: DetectionRow
    recording: Recording
    review: Review | None


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A page of a list."""

    rows: list[Row]
    """Rows of the page, in the order of the list."""
    total: int
    """Number of rows in the whole list, at most `MAX_COUNTED`."""
    is_total_exact: bool
    """False if the list has more than `MAX_COUNTED` rows."""
    next: str | None
    """Cursor of the page with older rows; None on the last page."""
    previous: str | None
    """Cursor of the page with newer rows; None on the first page."""


@dataclass(frozen=True)
class Cursor:
    """Start of a page: the rows after the row with the sort key `key`, or before this row if `is_backward`."""

    key: Key
    """Upload time (with a time zone) and sha256 of the recording, and in a list of detections the detection's id."""
    is_backward: bool
    """True for the page that ends before the row, False for the page that starts after the row."""

    def encode(self) -> str:
        """Return the cursor as text for a URL."""
        added_at, *rest = self.key
        fields = ["<" if self.is_backward else ">", added_at.isoformat(), *rest]
        return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, *, n_ids: int) -> Cursor:
        """Parse the text of a cursor.

        Args:
            text: a result of `encode`.
            n_ids: number of ids after time and sha256 in the list's sort key: 0 for recordings, 1 for detections.

        Raises:
            InputError: `text` is not a cursor of such a list.
        """
        try:
            side, added_at, sha256, *ids = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            moment = datetime.fromisoformat(added_at).astimezone(UTC)
            are_ids = len(ids) == n_ids and all(type(each) is int and 0 <= each <= MAX_ID for each in ids)
            if side in ("<", ">") and are_ids and re.fullmatch("[0-9a-f]{64}", sha256):
                return cls((moment, sha256, *ids), side == "<")
        except (ValueError, TypeError, OverflowError):
            pass
        raise InputError(f"cursor: expected `next` or `previous` of this list, got {text[:40]!r}.")


@dataclass(frozen=True)
class _Source:
    """A SELECT statement for rows of a list, without columns, and the columns of the sort key (`Key`)."""

    query: Select[Any]
    key: tuple[ColumnElement[Any], ...]

    def read(self, cursor: Cursor | None, limit: int) -> Select[Any]:
        """Return the SELECT statement for at most `limit` keys from the cursor on; None is the start of the list."""
        query = self.query.with_only_columns(*(column.label(f"key_{k}") for k, column in enumerate(self.key)))
        if cursor is not None:
            query = query.where(self._lies_beyond(cursor))
        return query.order_by(*_sort(self.key, cursor)).limit(limit)

    def _lies_beyond(self, cursor: Cursor) -> ColumnElement[bool]:
        recording = tuple_(*self.key[:2])
        at = tuple_(literal(cursor.key[0], UtcTime()), literal(cursor.key[1]))
        is_beyond: ColumnElement[bool] = recording > at if cursor.is_backward else recording < at
        if len(self.key) == 2:
            return is_beyond
        number, last = self.key[2], cursor.key[2]
        # The first condition says nothing new, but lets the database begin at the right place of the index.
        is_near: ColumnElement[bool] = recording >= at if cursor.is_backward else recording <= at
        is_in_order: ColumnElement[bool] = number < last if cursor.is_backward else number > last
        return is_near & (is_beyond | is_in_order)


def _sort(key: Sequence[ColumnElement[Any]], cursor: Cursor | None) -> list[ColumnElement[Any]]:
    """Return the ORDER BY expressions: the latest upload first, then by rising ids; reversed for backward cursors."""
    is_backward = cursor is not None and cursor.is_backward
    descending = [not is_backward, not is_backward, is_backward]
    return [column.desc() if is_down else column.asc() for column, is_down in zip(key, descending, strict=False)]


@dataclass(frozen=True)
class Position:
    """Position of a detection in the order of falling scores, then rising ids; stays valid if the detection is deleted.

    `score` (0 to 1) and `id` are those of the detection.
    """

    score: float
    id: int

    def encode(self) -> str:
        """Return the position as text for a URL."""
        return f"{self.score!r}_{self.id}"

    @classmethod
    def decode(cls, text: str) -> Position:
        """Parse a result of `encode`.

        Raises:
            InputError: `text` is not a position.
        """
        match = re.fullmatch(r"(\d(?:\.\d{1,20})?(?:e-\d{1,3})?)_(\d{1,19})", text)
        if match is None or int(match[2]) > MAX_ID:
            raise InputError(f"after: expected the position of a detection, such as 0.75_81, got {text[:40]!r}.")
        return cls(float(match[1]), int(match[2]))


def find_recordings(
    database: Database, query: RecordingQuery, *, limit: int, cursor: str | None = None
) -> Page[RecordingRecord]:
    """Return a page of the list of recordings, which starts with the latest upload.

    With a species in the filter, recordings with only rejected detections of the species are left out.

    Args:
        database: the database.
        query: filter.
        limit: maximum number of recordings in the page.
        cursor: `next` or `previous` of another page of the list; None for the first page.

    Raises:
        InputError: `cursor` is not a cursor of this list.
    """
    at = None if cursor is None else Cursor.decode(cursor, n_ids=0)
    with database.read() as session:
        sources = [
            _Source(_select_recordings(names, query, is_counted=True), _recording_key(names))
            for names in _group_species(session, query.species)
        ]
        keys, following, previous = _read_keys(session, sources, at, limit)
        rows = _read_recordings(session, [key[1] for key in keys])
        return Page(rows, *_count(session, sources), following, previous)


def order_by_upload(rows: Sequence[RecordingRecord]) -> list[RecordingRecord]:
    """Sort the recordings of each upload by name, in natural order; uploads stay in the given order.

    Args:
        rows: recordings, the latest first. Neighbors that arrived less than `UPLOAD_GAP` apart are of one upload.
    """
    uploads: list[list[RecordingRecord]] = []
    for row in rows:
        if uploads and uploads[-1][-1].recording.added_at - row.recording.added_at < UPLOAD_GAP:
            uploads[-1].append(row)
        else:
            uploads.append([row])
    return [row for upload in uploads for row in sorted(upload, key=_natural_key)]


def _natural_key(row: RecordingRecord) -> list[str | int]:
    """Return a sort key that compares digits in names as numbers, so that SITE9 comes before SITE10."""
    parts = re.split(r"(\d+)", row.recording.name.casefold())
    return [int(part) if k % 2 else part for k, part in enumerate(parts)]


def find_detections(
    database: Database, query: DetectionQuery, *, limit: int, cursor: str | None = None
) -> Page[DetectionRecord]:
    """Return a page of the list of detections, from the latest identification of each recording.

    Detections of the latest upload come first, and those of a recording by rising id. Rejected detections are in the
    list, unless the filter `reviewed` leaves them out.

    Args:
        database: the database.
        query: filter.
        limit: maximum number of detections in the page.
        cursor: `next` or `previous` of another page of the list; None for the first page.

    Raises:
        InputError: `cursor` is not a cursor of this list.
    """
    at = None if cursor is None else Cursor.decode(cursor, n_ids=1)
    with database.read() as session:
        sources = [
            _Source(_select_detections(names, query), (*_recording_key(names), DetectionRow.__table__.c.id))
            for names in _group_species(session, query.species)
        ]
        keys, following, previous = _read_keys(session, sources, at, limit)
        rows = read_detections(session, [key[2] for key in keys])
        return Page(rows, *_count(session, sources), following, previous)


def find_best(
    database: Database, query: DetectionQuery, *, limit: int, after: Position | None = None
) -> list[DetectionRecord]:
    """Return the detections with the highest scores, the highest first; equal scores by rising id.

    Only the latest identification of each recording is searched. Rejected detections are included, unless the filter
    `reviewed` leaves them out.

    Args:
        database: the database.
        query: filter; `species` is ignored.
        limit: maximum number of detections.
        after: position of the last detection of the previous page; None for the first page.
    """
    # With the second condition, the index of scores can be read from its end, and recordings looked up.
    ids = _select_detections(None, query).with_only_columns(DetectionRow.id)
    ids = ids.where(DetectionRow.recording == Recording.sha256)
    if after is not None:
        is_beyond = (DetectionRow.score < after.score) | (DetectionRow.id > after.id)
        ids = ids.where(DetectionRow.score <= after.score, is_beyond)
    with database.read() as session:
        best = session.scalars(ids.order_by(DetectionRow.score.desc(), DetectionRow.id).limit(limit))
        return read_detections(session, best.all())


def find_species(database: Database, name: str, *, limit: int) -> list[Species]:
    """Return at most `limit` rows of detected species whose common or scientific name contains `name`.

    The rows are ordered by common name; upper and lower case are equal. A species with several common names has a row
    for each; only rows of which one of the two names contains `name` are returned.
    """
    query = select(Species).where(_is_named(name)).order_by(Species.common_name, Species.scientific_name)
    with database.read() as session:
        return list(session.scalars(query.limit(limit)))


def list_species_names(database: Database) -> list[str]:
    """Return the common names of all species that were ever detected in a stored recording, each once, in any order."""
    with database.read() as session:
        return list(session.scalars(select(Species.common_name).distinct()))


def list_sites(database: Database, *, limit: int) -> list[str]:
    """Return at most `limit` names of sites that have recordings, in alphabetical order."""
    query = select(Recording.site).where(Recording.site.is_not(None)).distinct().order_by(Recording.site)
    with database.read() as session:
        return [site for site in session.scalars(query.limit(limit)) if site is not None]


def count_reviews(database: Database, recording: str) -> int:
    """Return the number of reviews of detections in the recording with the sha256 `recording`.

    Detections of earlier identifications are included.
    """
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Review).where(Review.recording == recording)) or 0


# ---------------------------------------------------------------------- reading


def _read_keys(
    session: Session, sources: Sequence[_Source], cursor: Cursor | None, limit: int
) -> tuple[list[Key], str | None, str | None]:
    """Return the keys of a page, and the cursors of the next and the previous page.

    If fewer than `limit` rows are before a backward cursor, the page is the first page of the list.
    """
    keys = _merge(session, sources, cursor, limit + 1)
    has_more, keys = len(keys) > limit, keys[:limit]
    if cursor is not None and cursor.is_backward:
        if not has_more:
            return _read_keys(session, sources, None, limit)
        keys.reverse()
        return keys, Cursor(keys[-1], is_backward=False).encode(), Cursor(keys[0], is_backward=True).encode()
    following = Cursor(keys[-1], is_backward=False).encode() if has_more else None
    first = keys[0] if keys else cursor.key if cursor is not None else None
    previous = None if cursor is None or first is None else Cursor(first, is_backward=True).encode()
    return keys, following, previous


def _merge(session: Session, sources: Sequence[_Source], cursor: Cursor | None, limit: int) -> list[Key]:
    """Return at most `limit` next keys of several sources together, without duplicates."""
    selects = [source.read(cursor, limit) for source in sources]
    if len(selects) > 1:
        merged = union(*(select(each.subquery()) for each in selects)).subquery()
        selects = [select(merged).order_by(*_sort(list(merged.c), cursor)).limit(limit)]
    return [tuple(row) for each in selects for row in session.execute(each)]


def _count(session: Session, sources: Sequence[_Source]) -> tuple[int, bool]:
    """Return the number of rows up to `MAX_COUNTED`, and True if there are no more rows."""
    keys: set[Any] = set()
    for source in sources:
        keys.update(session.scalars(source.query.with_only_columns(source.key[-1]).limit(MAX_COUNTED + 1)))
        if len(keys) > MAX_COUNTED:
            return MAX_COUNTED, False
    return len(keys), True


def _read_recordings(session: Session, sha256s: Sequence[str]) -> list[RecordingRecord]:
    """Read the recordings with their best species, in the given order; deleted recordings are skipped."""
    recordings = {row.sha256: row for row in session.scalars(select(Recording).where(Recording.sha256.in_(sha256s)))}
    best_first = RecordingSpecies.best_score.desc(), RecordingSpecies.scientific_name
    ranked = (
        select(
            RecordingSpecies.recording,
            RecordingSpecies.scientific_name,
            func.row_number().over(partition_by=RecordingSpecies.recording, order_by=best_first).label("rank"),
            func.count().over(partition_by=RecordingSpecies.recording).label("n_species"),
        )
        .where(RecordingSpecies.recording.in_(sha256s), RecordingSpecies.n_detections > 0)
        .subquery()
    )
    is_same = (RecordingSpecies.recording == ranked.c.recording) & (
        RecordingSpecies.scientific_name == ranked.c.scientific_name
    )
    query = select(RecordingSpecies, ranked.c.n_species).join(ranked, is_same).where(ranked.c.rank <= N_BEST)
    best: dict[str, list[RecordingSpecies]] = {}
    n_species: dict[str, int] = {}
    for species, n in session.execute(query.order_by(ranked.c.recording, ranked.c.rank)):
        best.setdefault(species.recording, []).append(species)
        n_species[species.recording] = n
    unexpected = _find_unexpected(session, [each for listed in best.values() for each in listed])
    counts = select(Review.recording, func.count()).where(Review.recording.in_(sha256s)).group_by(Review.recording)
    n_reviewed = {row[0]: row[1] for row in session.execute(counts)}
    return [
        RecordingRecord(
            recordings[key],
            best.get(key, []),
            n_species.get(key, 0),
            n_reviewed.get(key, 0),
            frozenset(unexpected.get(key, ())),
        )
        for key in sha256s
        if key in recordings
    ]


def find_detection(database: Database, detection_id: int) -> DetectionRecord | None:
    """Return the detection with this id, its recording and its review; None if there is no such detection."""
    with database.read() as session:
        return next(iter(read_detections(session, [detection_id])), None)


def _find_unexpected(session: Session, listed: Sequence[RecordingSpecies]) -> dict[str, set[str]]:
    """Return the scientific names of the species that are out of range, by recording.

    All detections of a species in an identification have the same `in_range`, so one detection is read. Detections that
    people relabeled as the species are not used: their `in_range` belongs to the model's species.
    """
    in_range = (
        select(DetectionRow.in_range)
        .where(DetectionRow.identification == Recording.latest_identification)
        .where(DetectionRow.scientific_name == RecordingSpecies.scientific_name)
        .where(DetectionRow.model_scientific_name.is_(None))
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(RecordingSpecies.recording, RecordingSpecies.scientific_name)
        .join(Recording, Recording.sha256 == RecordingSpecies.recording)
        .where(RecordingSpecies.recording.in_([each.recording for each in listed]))
        .where(RecordingSpecies.scientific_name.in_([each.scientific_name for each in listed]))
        .where(in_range.is_(False))
    )
    names_by_recording: dict[str, set[str]] = {}
    for recording, name in session.execute(query):
        names_by_recording.setdefault(recording, set()).add(name)
    return names_by_recording


def read_detections(session: Session, ids: Sequence[int]) -> list[DetectionRecord]:
    """Read the detections with these ids, in the order of the ids; deleted detections are skipped."""
    query = (
        select(DetectionRow, Recording, Review)
        .join(Recording, Recording.sha256 == DetectionRow.recording)
        .outerjoin(Review, Review.detection == DetectionRow.id)
        .where(DetectionRow.id.in_(ids))
    )
    records = {row[0].id: DetectionRecord(*row) for row in session.execute(query)}
    return [records[each] for each in ids if each in records]


# ---------------------------------------------------------------------- selecting

Names = list[str] | None
"""Scientific names of the species in a filter; None for all species."""


def _group_species(session: Session, name: str | None) -> list[Names]:
    """Return the species whose common or scientific name contains `name`, in groups for one query each."""
    if not name:
        return [None]
    names = list(session.scalars(select(Species.scientific_name).where(_is_named(name)).distinct()))
    if len(names) > MAX_MERGED:
        return [names]
    return [[each] for each in names]


def _is_named(name: str) -> ColumnElement[bool]:
    return Species.common_name.icontains(name, autoescape=True) | Species.scientific_name.icontains(
        name, autoescape=True
    )


def _recording_key(names: Names) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the sort columns of lists, from the table whose index the query uses."""
    if names is not None and len(names) == 1:
        return RecordingSpecies.__table__.c.added_at, RecordingSpecies.__table__.c.recording
    return Recording.__table__.c.added_at, Recording.__table__.c.sha256


def _select_recordings(names: Names, query: RecordingQuery, *, is_counted: bool) -> Select[Any]:
    """Return the SELECT statement for recordings with detections of one of these species (None for all recordings).

    If `is_counted`, recordings with only rejected detections of the species are left out.
    """
    selected = select().select_from(Recording).where(*_recording_conditions(query))
    if names is None:
        return selected
    has_species = RecordingSpecies.recording == Recording.sha256
    if is_counted:
        has_species &= RecordingSpecies.n_detections > 0
    if len(names) == 1:
        return selected.join(RecordingSpecies, has_species).where(RecordingSpecies.scientific_name == names[0])
    return selected.where(exists().where(has_species, RecordingSpecies.scientific_name.in_(names)))


def _select_detections(names: Names, query: DetectionQuery) -> Select[Any]:
    selected = _select_recordings(names, query, is_counted=False).join(
        DetectionRow, DetectionRow.identification == Recording.latest_identification
    )
    if names is not None:
        selected = selected.where(DetectionRow.scientific_name.in_(names))
    if query.recording is not None:
        selected = selected.where(Recording.sha256 == query.recording)
    if query.min_score:
        selected = selected.where(Recording.best_score >= query.min_score, DetectionRow.score >= query.min_score)
    if query.reviewed is not None:
        selected = selected.where(is_reviewed(query.reviewed))
    if query.reviewed:
        selected = selected.where(exists().where(Review.recording == Recording.sha256))
    return selected


def is_reviewed(reviewed: Reviewed) -> ColumnElement[bool]:
    """Return the SQL condition on `DetectionRow` of a filter by review.

    Args:
        reviewed: True for reviewed detections, False for detections without a review, or the verdict of the review.
    """
    if isinstance(reviewed, str):
        return DetectionRow.verdict == reviewed
    return DetectionRow.verdict.is_not(None) if reviewed else DetectionRow.verdict.is_(None)


def _recording_conditions(query: RecordingQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.name:
        conditions.append(Recording.name.icontains(query.name, autoescape=True))
    if query.state == "failed":
        conditions.append(Recording.error.is_not(None))
    elif query.state is not None:
        has_detections = Recording.n_detections > 0
        conditions += [Recording.error.is_(None), has_detections if query.state == "detections" else ~has_detections]
    if query.site is not None:
        conditions.append(Recording.site == query.site)
    if query.recorded_from is not None:
        conditions.append(Recording.recorded_at >= query.recorded_from.isoformat())
    if query.recorded_to is not None:
        conditions.append(func.substr(Recording.recorded_at, 1, 10) <= query.recorded_to.isoformat())
    if query.since is not None:
        conditions.append(Recording.added_at >= query.since)
    if query.until is not None:
        conditions.append(Recording.added_at < query.until)
    return conditions
