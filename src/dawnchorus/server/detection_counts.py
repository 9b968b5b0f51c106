"""Precomputed counts of recordings and detections by site, time and species, for the overview page.

A row of the table `DetectionCount` has the sums of one site (or of all sites), of one day, month or year (or of all
recordings without a start time, "undated"), and of one species (or of all species). A page about a year reads a few
rows, however many detections there are. Counted are the detections of each recording's latest identification, with the
species that reviewers corrected and without the detections that reviewers rejected (verdict "incorrect" or "none").

The counts are updated in the same transaction as the data. Code that changes recordings, detections or reviews makes a
`CountChange` before the change, and writes it afterwards:

    change = CountChange(session, [sha256])
    ...
    change.write()
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from dawnchorus.server.listing import IS_REJECTED
from dawnchorus.server.state.database import lock
from dawnchorus.server.state.tables import DetectionCount, DetectionRow, Identification, Recording

LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Minimum scores by which the overview page can be filtered.

A detection is counted under the highest level that its score reaches; see `Counts`.
"""

ALL = ""
"""Value of `site` or `scientific_name` in rows with the sums of all sites or all species."""

HOUR_S, HOUR_MS = 3600, 3_600_000
"""Length of an hour in seconds and in milliseconds."""

Unit = Literal["day", "month", "year", "undated"]
"""Length of the time that a row of counts is about; "undated" for recordings without a start time."""

DATED_UNITS: tuple[Unit, ...] = ("day", "month", "year")


class CountKey(NamedTuple):
    """Primary key of a row of the table `DetectionCount`."""

    site: str
    """Name of the site; "" in rows with the sums of all recordings, with or without a site."""
    unit: Unit
    """Length of the time span: "day", "month", "year", or "undated" for recordings without a start time."""
    start: str
    """First day of the time span, ISO 8601; "" if undated."""
    scientific_name: str
    """Scientific name of the species; "" in rows with the sums of all species."""


class CountedDetection(NamedTuple):
    """Values of a detection on which the counts depend."""

    scientific_name: str
    """Scientific name of the species: the reviewer's if a reviewer corrected it, else the model's."""
    common_name: str
    """Common name of the same species."""
    start_s: float
    """Start in seconds from the start of the recording."""
    score: float
    """Score of the model's species, 0 to 1."""


@dataclass
class Counts:
    """Counts in memory: named numbers for each key. All numbers are sums, so counts of recordings can be added.

    Names of the numbers, where LEVEL is an index of `LEVELS` (minimum scores; see `find_level`) and HOUR is an hour of
    the day, 00 to 23, or empty if undated:

    - `recordings`: recordings that start in the row's time (in rows of all species only)
    - `failed`: recordings that could not be identified (in rows of all species only)
    - `top:LEVEL`: recordings that start in the row's time (and identifications without a stored recording) in which the
      row's species has the highest score of all species, by this score (not in rows of all species)
    - `best:LEVEL`: recordings in which the row's species (or any, in rows of all species) was detected in the row's
      time, by the highest score of these detections
    - `detections:HOUR:LEVEL`: detections, by the hour of the day in which the detections start, and by score
    - `recorded_ms:HOUR`: milliseconds of audio (in rows of all species only)
    """

    rows: dict[CountKey, Counter[str]] = field(default_factory=dict)
    """Numbers by name, by the key of their row."""
    common_names: dict[str, str] = field(default_factory=lambda: {ALL: ""})
    """Common name of each counted species by scientific name; "" for `ALL`, the sums of all species."""

    def add(self, key: CountKey, name: str, n: int) -> None:
        """Add `n` to the number called `name` in the row of `key`; a missing row or number counts as 0."""
        self.rows.setdefault(key, Counter())[name] += n

    def update(self, other: Counts) -> None:
        """Add the numbers of `other` to these counts; common names in `other` replace those here."""
        for key, numbers in other.rows.items():
            self.rows.setdefault(key, Counter()).update(numbers)
        self.common_names.update(other.common_names)

    def subtract(self, other: Counts) -> None:
        """Subtract the numbers of `other` from these counts, and remove numbers that become 0.

        Common names in `other` are added for species that have none here.
        """
        for key, numbers in other.rows.items():
            self.rows.setdefault(key, Counter()).subtract(numbers)
        self.common_names = other.common_names | self.common_names
        changed = {key: Counter({name: n for name, n in row.items() if n}) for key, row in self.rows.items()}
        self.rows = {key: row for key, row in changed.items() if row}


def find_level(score: float) -> int:
    """Return the index in `LEVELS`, from 0, of the highest level that is not above the score."""
    return max(bisect_right(LEVELS, score) - 1, 0)


def is_by_hour(name: str) -> bool:
    """Return True if numbers of this name are stored in `DetectionCount.hours`, False for `DetectionCount.totals`.

    `name` is one of the names that `Counts` describes.
    """
    return name.startswith(("detections:", "recorded_ms:"))


# ---------------------------------------------------------------------- counting


def count_recording(
    *, site: str | None, recorded_at: str | None, duration_s: float, detections: Iterable[CountedDetection]
) -> Counts:
    """Return the counts of one identified recording.

    Args:
        site: site of the recording; None or "" if unknown.
        recorded_at: start by the recorder's clock, ISO 8601; None if unknown.
        duration_s: length of the recording in seconds.
        detections: all detections of the recording except rejected ones, with the species that reviewers corrected.
    """
    hours = _Hours.of_recording(recorded_at, duration_s)
    counts = Counts()
    n: Counter[tuple[datetime | None, str, int]] = Counter()
    best: dict[tuple[datetime | None, str], float] = {}
    for scientific_name, common_name, start_s, score in detections:
        hour = hours.find(start_s)
        n[hour, scientific_name, find_level(score)] += 1
        best[hour, scientific_name] = max(best.get((hour, scientific_name), 0.0), score)
        counts.common_names[scientific_name] = common_name
    sites = (ALL,) if not site else (ALL, site)
    for each_site in sites:
        _add_hours(counts, each_site, hours, duration_s)
        _add_detections(counts, each_site, n)
        _add_best(counts, each_site, best)
        _add_top(counts, each_site, hours.find(0.0), best)
    return counts


def count_failed(site: str | None) -> Counts:
    """Return the counts of one recording that could not be identified; such a recording is undated.

    `site` is the site of the recording; None or "" if unknown.
    """
    counts = Counts()
    for each_site in (ALL,) if not site else (ALL, site):
        counts.add(CountKey(each_site, "undated", "", ALL), "failed", 1)
    return counts


def count_unstored(scientific_names: Iterable[tuple[str, str, float]]) -> Counts:
    """Return the counts of identifications without a stored recording, which are undated and have no site.

    Args:
        scientific_names: scientific name, common name and score of the highest-scoring detection of each
            identification.
    """
    counts = Counts()
    for scientific_name, common_name, score in scientific_names:
        counts.add(CountKey(ALL, "undated", "", scientific_name), f"top:{find_level(score)}", 1)
        counts.common_names[scientific_name] = common_name
    return counts


@dataclass(frozen=True)
class _Hours:
    """The hours of the recorder's clock during which a recording was made."""

    first: datetime | None
    """Start of the first hour; None if unknown, or if the recording exceeds the range of `datetime`."""
    offset_s: float
    """Start of the recording in seconds after the start of the first hour."""

    @classmethod
    def of_recording(cls, recorded_at: str | None, duration_s: float) -> _Hours:
        """Return the hours of a recording from its start (ISO 8601) and its length."""
        if recorded_at is None:
            return cls(None, 0.0)
        start = datetime.fromisoformat(recorded_at).replace(tzinfo=None)
        first = start.replace(minute=0, second=0, microsecond=0)
        try:
            _ = first + timedelta(seconds=duration_s + 2 * HOUR_S)
        except OverflowError:
            return cls(None, 0.0)
        return cls(first, (start - first).total_seconds())

    def find(self, time_s: float) -> datetime | None:
        """Return the start of the hour in which the second `time_s` of the recording lies; None if undated."""
        return None if self.first is None else self.first + timedelta(hours=(self.offset_s + time_s) // HOUR_S)

    def split(self, duration_s: float) -> Iterable[tuple[datetime | None, int]]:
        """Yield the start of each hour (None if undated) with the milliseconds of audio recorded in the hour."""
        end_ms = round(1000 * (self.offset_s + duration_s))
        if self.first is None:
            yield None, end_ms
            return
        at_ms = round(1000 * self.offset_s)
        while at_ms < end_ms:
            k = at_ms // HOUR_MS
            next_ms = min((k + 1) * HOUR_MS, end_ms)
            yield self.first + timedelta(hours=k), next_ms - at_ms
            at_ms = next_ms


@lru_cache(maxsize=1024)
def _times(hour: datetime | None) -> tuple[tuple[Unit, str], ...]:
    """Return unit and start of the rows in which an hour is counted: its day, month and year, or "undated"."""
    if hour is None:
        return (("undated", ""),)
    day = hour.date()
    return (
        ("day", day.isoformat()),
        ("month", day.replace(day=1).isoformat()),
        ("year", day.replace(month=1, day=1).isoformat()),
    )


def _label(hour: datetime | None) -> str:
    return "" if hour is None else f"{hour.hour:02}"


def _add_hours(counts: Counts, site: str, hours: _Hours, duration_s: float) -> None:
    for unit, start in _times(hours.find(0.0)):
        counts.add(CountKey(site, unit, start, ALL), "recordings", 1)
    for hour, recorded_ms in hours.split(duration_s):
        for unit, start in _times(hour):
            counts.add(CountKey(site, unit, start, ALL), f"recorded_ms:{_label(hour)}", recorded_ms)


def _add_detections(counts: Counts, site: str, n: Counter[tuple[datetime | None, str, int]]) -> None:
    for (hour, scientific_name, level), n_detections in n.items():
        name = f"detections:{_label(hour)}:{level}"
        for unit, start in _times(hour):
            for species in (ALL, scientific_name):
                counts.add(CountKey(site, unit, start, species), name, n_detections)


def _add_best(counts: Counts, site: str, best: dict[tuple[datetime | None, str], float]) -> None:
    best_by_key: dict[CountKey, float] = {}
    for (hour, scientific_name), score in best.items():
        for unit, start in _times(hour):
            for species in (ALL, scientific_name):
                key = CountKey(site, unit, start, species)
                best_by_key[key] = max(best_by_key.get(key, 0.0), score)
    for key, score in best_by_key.items():
        counts.add(key, f"best:{find_level(score)}", 1)


def _add_top(
    counts: Counts, site: str, first_hour: datetime | None, best: dict[tuple[datetime | None, str], float]
) -> None:
    if not best:
        return
    score, scientific_name = min((-score, scientific_name) for (_, scientific_name), score in best.items())
    for unit, start in _times(first_hour):
        counts.add(CountKey(site, unit, start, scientific_name), f"top:{find_level(-score)}", 1)


# ---------------------------------------------------------------------- rows of the database


class CountChange:
    """Update of the rows of `DetectionCount` for a transaction that changes some recordings.

    Create the object before the recordings are changed, and call `write` afterwards; see the module. The constructor
    counts the recordings, and locks their rows until the end of the transaction.

    Args:
        session: session of the write transaction.
        sha256s: SHA-256 hashes of the recordings that may change, be added or be deleted before `write`.
    """

    def __init__(self, session: Session, sha256s: Collection[str]) -> None:
        self._session, self._sha256s = session, sha256s
        self._before = read_counts(session, sha256s, for_update=True)

    def write(self) -> None:
        """Count the recordings again, and add the difference to the rows of `DetectionCount`; the caller commits."""
        change = read_counts(self._session, self._sha256s)
        change.subtract(self._before)
        add_counts(self._session, change)


def read_counts(session: Session, sha256s: Collection[str], *, for_update: bool = False) -> Counts:
    """Compute the counts of recordings from the detections of their latest identifications, without rejected ones.

    Args:
        session: session of the database.
        sha256s: SHA-256 hashes of the recordings. Recordings that could not be identified count as failed; unknown and
            not yet identified recordings count nothing.
        for_update: True to lock the recordings' rows until the end of the transaction; False to only read them.
    """
    listed = select(Recording).where(Recording.sha256.in_(sha256s)).order_by(Recording.sha256)
    counts = Counts()
    for recording in session.scalars(listed.with_for_update() if for_update else listed):
        if recording.error is not None:
            counts.update(count_failed(recording.site))
        elif recording.latest_identification is not None:
            detections = _read_detections(session, recording.latest_identification)
            of_recording = count_recording(
                site=recording.site,
                recorded_at=recording.recorded_at,
                duration_s=recording.duration_s or 0.0,
                detections=detections,
            )
            counts.update(of_recording)
    return counts


def read_unstored(session: Session) -> Counts:
    """Compute the counts of all identifications without a stored recording; those without detections count nothing."""
    columns = Identification.scientific_name, Identification.species, Identification.score
    rows = session.execute(select(*columns).where(Identification.recording.is_(None)))
    return count_unstored((name, common or name, score or 0.0) for name, common, score in rows if name is not None)


def _read_detections(session: Session, identification: int) -> Iterable[CountedDetection]:
    """Return the detections of an identification with corrected species, without rejected detections."""
    columns = DetectionRow.scientific_name, DetectionRow.common_name, DetectionRow.start_s, DetectionRow.score
    of_identification = DetectionRow.identification == identification
    return map(CountedDetection._make, session.execute(select(*columns).where(of_identification, ~IS_REJECTED)))


def add_counts(session: Session, change: Counts) -> None:
    """Add a change to the rows of `DetectionCount`; numbers that become 0 and rows without numbers are deleted.

    The table is locked until the end of the transaction, which the caller commits.

    Args:
        session: session of the write transaction.
        change: numbers to add, which may be negative.
    """
    if not change.rows:
        return
    lock(session, DetectionCount.__tablename__)  # until the end of the transaction: rows are read and written
    added, changed, emptied = [], [], []
    for (site, unit, start), keys in groupby(sorted(change.rows), key=_get_site_and_start):
        by_species = {key.scientific_name: key for key in keys}
        known = _read_rows(session, site, unit, start, list(by_species))
        for scientific_name, key in by_species.items():
            numbers = known.get(scientific_name, Counter()) + change.rows[key]  # without those that are 0
            columns = {
                "totals": {name: n for name, n in numbers.items() if not is_by_hour(name)},
                "hours": {name: n for name, n in numbers.items() if is_by_hour(name)},
            }
            if not numbers:
                emptied.append(_to_parameters(key))
            elif scientific_name in known:
                changed.append(_to_parameters(key) | columns)
            else:
                added.append({**key._asdict(), "common_name": change.common_names[scientific_name], **columns})
    connection = session.connection()
    if added:
        connection.execute(insert(DetectionCount), added)
    if changed:
        connection.execute(update(DetectionCount).where(*_IS_ROW), changed)
    if emptied:
        connection.execute(delete(DetectionCount).where(*_IS_ROW), emptied)


def _get_site_and_start(key: CountKey) -> tuple[str, Unit, str]:
    return key.site, key.unit, key.start


def _read_rows(
    session: Session, site: str, unit: Unit, start: str, scientific_names: Sequence[str]
) -> dict[str, Counter[str]]:
    """Return the numbers in the rows of a site and time, by scientific name."""
    columns = DetectionCount.scientific_name, DetectionCount.totals, DetectionCount.hours
    is_there = DetectionCount.site == site, DetectionCount.unit == unit, DetectionCount.start == start
    rows = session.execute(select(*columns).where(*is_there, DetectionCount.scientific_name.in_(scientific_names)))
    return {name: Counter({**totals, **hours}) for name, totals, hours in rows}


_IS_ROW = [DetectionCount.__table__.c[name] == bindparam(f"key_{name}") for name in CountKey._fields]


def _to_parameters(key: CountKey) -> dict[str, str]:
    """Return the parameters of `_IS_ROW`."""
    return {f"key_{name}": value for name, value in key._asdict().items()}
