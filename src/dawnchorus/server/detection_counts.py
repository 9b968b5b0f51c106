"""Counts of recordings and detections by site, time and species, written with every change of what they count.

A row of `DetectionCount` has the sums of one site (or of all), of one day, month or year (or of all recordings
without a start time), and of one species (or of all). So a page about a year reads a few rows, however many
detections there are.

Who changes recordings, their detections or their reviews makes a `CountChange` before and writes it after:

    change = CountChange(session, [sha256])
    ...
    change.write()

The counts are those of the latest identification as people corrected it.
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
"""Minimum scores for which detections are counted, so those that counts can be read for."""

ALL = ""
"""Site or species of the sums of all."""

HOUR_S, HOUR_MS = 3600, 3_600_000

Unit = Literal["day", "month", "year", "undated"]

DATED_UNITS: tuple[Unit, ...] = ("day", "month", "year")


class CountKey(NamedTuple):
    """The key of a row of `DetectionCount`."""

    site: str
    unit: Unit
    start: str
    scientific_name: str


class CountedDetection(NamedTuple):
    """Values of a detection that its counts depend on."""

    scientific_name: str
    common_name: str
    start_s: float
    score: float


@dataclass
class Counts:
    """Numbers by key and name; all are sums, so counts of several recordings are added.

    - `recordings`: recordings that start in this time (of all species only)
    - `failed`: recordings that could not be identified (of all species only)
    - `top:LEVEL`: recordings that start in this time, and unstored ones, with the highest score of all in this species
    - `best:LEVEL`: recordings with the species in this time, by its highest score in it
    - `detections:HOUR:LEVEL`: detections by the hour of the day that they start in, without one if undated
    - `recorded_ms:HOUR`: recorded milliseconds (of all species only)
    """

    rows: dict[CountKey, Counter[str]] = field(default_factory=dict)
    common_names: dict[str, str] = field(default_factory=lambda: {ALL: ""})

    def add(self, key: CountKey, name: str, n: int) -> None:
        """Add to a number."""
        self.rows.setdefault(key, Counter())[name] += n

    def update(self, other: Counts) -> None:
        """Add other counts."""
        for key, numbers in other.rows.items():
            self.rows.setdefault(key, Counter()).update(numbers)
        self.common_names.update(other.common_names)

    def subtract(self, other: Counts) -> None:
        """Subtract other counts, and forget the numbers that are 0 then."""
        for key, numbers in other.rows.items():
            self.rows.setdefault(key, Counter()).subtract(numbers)
        self.common_names = other.common_names | self.common_names
        changed = {key: Counter({name: n for name, n in row.items() if n}) for key, row in self.rows.items()}
        self.rows = {key: row for key, row in changed.items() if row}


def find_level(score: float) -> int:
    """Return the index of the highest of `LEVELS` that a score reaches."""
    return max(bisect_right(LEVELS, score) - 1, 0)


def is_by_hour(name: str) -> bool:
    """Return True if a number is in `DetectionCount.hours`."""
    return name.startswith(("detections:", "recorded_ms:"))


# ---------------------------------------------------------------------- counting


def count_recording(
    *, site: str | None, recorded_at: str | None, duration_s: float, detections: Iterable[CountedDetection]
) -> Counts:
    """Return the counts of an identified recording.

    Args:
        site: Site of it.
        recorded_at: Start by the recorder's clock, ISO 8601.
        duration_s: Length in seconds.
        detections: Detections, in the names that people corrected.
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
    """Return the counts of a recording that could not be identified, whose time is not known."""
    counts = Counts()
    for each_site in (ALL,) if not site else (ALL, site):
        counts.add(CountKey(each_site, "undated", "", ALL), "failed", 1)
    return counts


def count_unstored(scientific_names: Iterable[tuple[str, str, float]]) -> Counts:
    """Return the counts of identifications without a stored recording: names and score of their best detections."""
    counts = Counts()
    for scientific_name, common_name, score in scientific_names:
        counts.add(CountKey(ALL, "undated", "", scientific_name), f"top:{find_level(score)}", 1)
        counts.common_names[scientific_name] = common_name
    return counts


@dataclass(frozen=True)
class _Hours:
    """The hours of the recorder's clock that a recording lies in."""

    first: datetime | None
    """Start of the first hour; None if it is not known, or beyond the calendar."""
    offset_s: float
    """Start of the recording in that hour."""

    @classmethod
    def of_recording(cls, recorded_at: str | None, duration_s: float) -> _Hours:
        """Return those of a recording."""
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
        """Return the hour of a time in the recording."""
        return None if self.first is None else self.first + timedelta(hours=(self.offset_s + time_s) // HOUR_S)

    def split(self, duration_s: float) -> Iterable[tuple[datetime | None, int]]:
        """Yield each hour with the milliseconds of it that are recorded."""
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
    """Return the units and starts of the rows that an hour is counted in."""
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
    """The change of the counts by what a transaction does to some recordings."""

    def __init__(self, session: Session, sha256s: Collection[str]) -> None:
        """Count the recordings as they are; others that change them wait until the end of the transaction."""
        self._session, self._sha256s = session, sha256s
        self._before = read_counts(session, sha256s, for_update=True)

    def write(self) -> None:
        """Count the recordings as they are now, and write the difference."""
        change = read_counts(self._session, self._sha256s)
        change.subtract(self._before)
        add_counts(self._session, change)


def read_counts(session: Session, sha256s: Collection[str], *, for_update: bool = False) -> Counts:
    """Return the counts of recordings by a look at all their detections; ids of none count nothing."""
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
    """Return the counts of all identifications without a stored recording, by a look at each."""
    columns = Identification.scientific_name, Identification.species, Identification.score
    rows = session.execute(select(*columns).where(Identification.recording.is_(None)))
    return count_unstored((name, common or name, score or 0.0) for name, common, score in rows if name is not None)


def _read_detections(session: Session, identification: int) -> Iterable[CountedDetection]:
    """Return the detections of an identification as people corrected them, without rejected ones."""
    columns = DetectionRow.scientific_name, DetectionRow.common_name, DetectionRow.start_s, DetectionRow.score
    of_identification = DetectionRow.identification == identification
    return map(CountedDetection._make, session.execute(select(*columns).where(of_identification, ~IS_REJECTED)))


def add_counts(session: Session, change: Counts) -> None:
    """Add to the rows of the database; a number that becomes 0 is left out, and so is a row without numbers."""
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
    """Return the numbers of the rows of a site and time, by species."""
    columns = DetectionCount.scientific_name, DetectionCount.totals, DetectionCount.hours
    is_there = DetectionCount.site == site, DetectionCount.unit == unit, DetectionCount.start == start
    rows = session.execute(select(*columns).where(*is_there, DetectionCount.scientific_name.in_(scientific_names)))
    return {name: Counter({**totals, **hours}) for name, totals, hours in rows}


_IS_ROW = [DetectionCount.__table__.c[name] == bindparam(f"key_{name}") for name in CountKey._fields]


def _to_parameters(key: CountKey) -> dict[str, str]:
    """Return the parameters of `_IS_ROW`."""
    return {f"key_{name}": value for name, value in key._asdict().items()}
