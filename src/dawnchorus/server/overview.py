"""The collection at a glance: sums, detections by hour, species by time, most frequent species, latest predictions.

All but the latest predictions are sums of a few rows of `DetectionCount`; see `server.detection_counts`.
"""

from __future__ import annotations

import hashlib
from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from dawnchorus.server.detection_counts import ALL, HOUR_MS, LEVELS, Unit
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import DetectionCount, Identification, Recording, Species

Period = Literal["week", "month", "year", "all"]

N_DAYS = {"week": 7, "month": 31}
N_MONTHS = 12
"""Numbers of days or months of the periods."""

MAX_DAYS, MAX_MONTHS, MAX_YEARS = 31, 24, 50
"""Maximum numbers of days and months for which a collection is shown by day and by month, and of years."""

N_TOP, N_LATEST = 10, 20

MAX_LATEST = 10_000
"""Maximum number of identifications, from the last one back, that are searched for the latest predictions."""

N_SPECIES, MAX_CELLS = 20, 400
"""Species by time, and cells of their table, on a page that does not ask for all species."""

MAX_SPECIES = 500

HOURS = tuple(f"{hour:02}" for hour in range(24))
ALL_HOURS = (*HOURS, "")
"""Hours of the day in names of numbers; "" is that of recordings without a start time."""

UNDATED = ""
"""Start of the rows of recordings without a start time."""


@dataclass(frozen=True, kw_only=True)
class OverviewQuery:
    """Filter of the overview."""

    period: Period = "all"
    to: date | None = None
    """Last day of the week, month or year; by default that of the latest recording."""
    site: str | None = None
    species: str | None = None
    """Common or scientific name, or a part of either; a whole name means this species alone."""
    min_score: float = 0.0
    """One of `LEVELS`."""
    all_species: bool = False
    """True for all species by time, at most `MAX_SPECIES`; otherwise as many as a page has room for."""


@dataclass(frozen=True)
class TimeSpan:
    """A day, month or year."""

    unit: Unit
    first: date
    last: date

    @property
    def start(self) -> str:
        """Value of `DetectionCount.start`."""
        return self.first.isoformat()


@dataclass(frozen=True)
class HourCount:
    """Detections and recorded time in an hour of the day."""

    n_detections: int
    recorded_h: float


@dataclass(frozen=True)
class SpeciesTimes:
    """Recordings with a species, for each time span."""

    scientific_name: str
    common_name: str
    n_recordings: tuple[int, ...]

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """Key for the order: most time spans first, then most recordings."""
        return -sum(n > 0 for n in self.n_recordings), -sum(self.n_recordings), self.common_name


@dataclass(frozen=True)
class Prediction:
    """The best detection of an identification."""

    species: str
    score: float
    at: datetime
    recording: str | None
    """sha256 of the recording, if it is stored."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The part of the collection that matches a filter."""

    spans: tuple[TimeSpan, ...]
    n_recordings: int
    recorded_h: float
    """Identified recordings and their hours, with or without detections of the species."""
    n_detections: int
    n_species: int
    n_undated: int
    """Recordings without a start time, which are in no time span."""
    n_failed: int
    """Recordings that could not be identified."""
    hours: tuple[tuple[HourCount, ...], ...]
    """24 counts for each time span."""
    species: tuple[SpeciesTimes, ...]
    """The species of most time spans; `n_species` counts all."""
    top: tuple[tuple[str, int], ...]
    """Common names that had the highest score in most recordings, with the numbers of these."""
    latest: tuple[Prediction, ...]
    """Latest predictions, the newest first; the period does not filter them."""
    version: str
    """Text that is another one after each change of the counts."""


Numbers = Mapping[str, int]


@dataclass(frozen=True)
class _Reader:
    """Reads rows of a site and of some times."""

    session: Session
    site: str
    starts_by_unit: Sequence[tuple[Unit, list[str]]]
    """Units, with the starts of their rows."""

    def read_all_species(self) -> dict[str, Numbers]:
        """Return the numbers of the rows of all species, by start."""
        columns = DetectionCount.start, DetectionCount.totals, DetectionCount.hours
        rows = self._select(columns, DetectionCount.scientific_name == ALL)
        return {start: {**totals, **hours} for start, totals, hours in rows}

    def read_species(self, names: Sequence[str] | None) -> Iterator[tuple[str, str, str, Numbers]]:
        """Yield start, scientific name, common name and totals of the rows of single species."""
        columns = DetectionCount.start, DetectionCount.scientific_name, DetectionCount.common_name
        yield from self._select((*columns, DetectionCount.totals), *_is_one_of(names))

    def read_hours(self, names: Sequence[str]) -> dict[str, Numbers]:
        """Return the sums of these species by hour, by start."""
        sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for start, hours in self._select((DetectionCount.start, DetectionCount.hours), *_is_one_of(names)):
            sums[start].update(hours)
        return dict(sums)

    def _select(self, columns: Sequence[Any], *conditions: ColumnElement[bool]) -> Iterator[Any]:
        for unit, starts in self.starts_by_unit:
            is_there = DetectionCount.site == self.site, DetectionCount.unit == unit, DetectionCount.start.in_(starts)
            yield from self.session.execute(select(*columns).where(*is_there, *conditions))


def read_overview(database: Database, query: OverviewQuery) -> Overview:
    """Return the overview of what matches a filter."""
    site, level = query.site or ALL, LEVELS.index(query.min_score)
    with database.read() as session:
        version = read_version(session)  # before what it is the version of
        known = None if query.species is None else _find_species(session, query.species)
        names = None if known is None else [each.scientific_name for each in known]
        spans = _choose_spans(session, site, query)
        unit: Unit = spans[0].unit if spans else "day"
        starts_by_unit: list[tuple[Unit, list[str]]] = [(unit, [span.start for span in spans])]
        if query.period == "all":
            starts_by_unit.append(("undated", [UNDATED]))
        reader = _Reader(session, site, starts_by_unit)
        recorded = reader.read_all_species()
        detected = recorded if names is None else reader.read_hours(names)
        species = _SpeciesSums.of_rows(reader.read_species(names), level)
        latest = _read_latest(session, query, known)
    undated = recorded.get(UNDATED, {})
    hours = tuple(_count_hours(recorded.get(each.start, {}), detected.get(each.start, {}), level) for each in spans)
    n_shown = MAX_SPECIES if query.all_species else min(N_SPECIES, MAX_CELLS // max(len(spans), 1))
    recorded_ms = sum(numbers.get(f"recorded_ms:{hour}", 0) for numbers in recorded.values() for hour in ALL_HOURS)
    return Overview(
        spans=spans,
        n_recordings=sum(numbers.get("recordings", 0) for numbers in recorded.values()),
        recorded_h=recorded_ms / HOUR_MS,
        n_detections=sum(_sum_hours(numbers, level) for numbers in detected.values()),
        n_species=len(species.n_by_start),
        n_undated=undated.get("recordings", 0),
        n_failed=undated.get("failed", 0),
        hours=hours,
        species=tuple(species.by_time(spans)[:n_shown]),
        top=tuple(species.n_top.most_common(N_TOP)),
        latest=latest,
        version=version,
    )


def read_version(session: Session) -> str:
    """Return a text that is another one after each change of the counts, and after each identification."""
    columns = DetectionCount.start, DetectionCount.totals, DetectionCount.hours
    of_all = DetectionCount.site == ALL, DetectionCount.scientific_name == ALL
    is_longest = DetectionCount.unit.in_(("year", "undated"))
    rows = session.execute(select(*columns).where(*of_all, is_longest).order_by(DetectionCount.start))
    state = [session.scalar(select(func.max(Identification.id))), *map(tuple, rows)]
    return hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest()


# ---------------------------------------------------------------------- filters


def _find_species(session: Session, text: str) -> list[Species]:
    """Return the species of this name; if there is none, those that have it in one of their names."""
    is_name = func.lower(Species.common_name) == text.lower(), func.lower(Species.scientific_name) == text.lower()
    named = list(session.scalars(select(Species).where(or_(*is_name))))
    has_text = (column.icontains(text, autoescape=True) for column in (Species.common_name, Species.scientific_name))
    return named or list(session.scalars(select(Species).where(or_(*has_text))))


def _is_one_of(names: Sequence[str] | None) -> list[ColumnElement[bool]]:
    if names is None:
        return [DetectionCount.scientific_name != ALL]
    return [DetectionCount.scientific_name.in_(names)]


def _choose_spans(session: Session, site: str, query: OverviewQuery) -> tuple[TimeSpan, ...]:
    """Return the days, months or years of the period; none if no recording has a start time."""
    of_site = DetectionCount.site == site
    # One query for each end: an index answers either alone.
    starts = select(func.min(DetectionCount.start)), select(func.max(DetectionCount.start))
    ends = [session.scalar(each.where(of_site, DetectionCount.unit == "day")) for each in starts]
    if None in ends:
        return ()
    first, last = (date.fromisoformat(str(day)) for day in ends)
    if query.period in N_DAYS:
        to = query.to or last
        return _list_days(to.toordinal() - N_DAYS[query.period] + 1, to.toordinal())
    if query.period == "year":
        month = _number_month(query.to or last)
        return _list_months(month - N_MONTHS + 1, month)
    if last.toordinal() - first.toordinal() < MAX_DAYS:
        return _list_days(first.toordinal(), last.toordinal())
    if _number_month(last) - _number_month(first) < MAX_MONTHS:
        return _list_months(_number_month(first), _number_month(last))
    of_years = of_site, DetectionCount.unit == "year", DetectionCount.scientific_name == ALL
    latest = select(DetectionCount.start).where(*of_years).order_by(DetectionCount.start.desc()).limit(MAX_YEARS)
    years = sorted(map(date.fromisoformat, session.scalars(latest)))
    return tuple(TimeSpan("year", year, year.replace(month=12, day=31)) for year in years)


def _list_days(first: int, last: int) -> tuple[TimeSpan, ...]:
    days = (date.fromordinal(number) for number in range(max(first, 1), last + 1))
    return tuple(TimeSpan("day", day, day) for day in days)


def _number_month(day: date) -> int:
    return 12 * day.year + day.month - 1


def _list_months(first: int, last: int) -> tuple[TimeSpan, ...]:
    starts = [date(number // 12, number % 12 + 1, 1) for number in range(max(first, 12), last + 1)]
    return tuple(TimeSpan("month", day, day.replace(day=monthrange(day.year, day.month)[1])) for day in starts)


# ---------------------------------------------------------------------- sums


def _sum_levels(numbers: Numbers, name: str, level: int) -> int:
    """Return the sum of `name:LEVEL` from a level on."""
    return sum(numbers.get(f"{name}:{each}", 0) for each in range(level, len(LEVELS)))


def _sum_hours(numbers: Numbers, level: int) -> int:
    return sum(_sum_levels(numbers, f"detections:{hour}", level) for hour in ALL_HOURS)


def _count_hours(recorded: Numbers, detected: Numbers, level: int) -> tuple[HourCount, ...]:
    return tuple(
        HourCount(_sum_levels(detected, f"detections:{hour}", level), recorded.get(f"recorded_ms:{hour}", 0) / HOUR_MS)
        for hour in HOURS
    )


class _SpeciesSums:
    """Sums of the rows of single species."""

    def __init__(self) -> None:
        self.n_by_start: dict[str, dict[str, int]] = {}
        """Recordings with a species, by its scientific name and by start."""
        self.common_names: dict[str, str] = {}
        self.n_top: Counter[str] = Counter()
        """Recordings in which a species had the highest score, by common name."""

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, str, str, Numbers]], level: int) -> _SpeciesSums:
        """Sum the rows of `_Reader.read_species` from a level on."""
        sums = cls()
        for start, scientific_name, common_name, totals in rows:
            n_top, n_recordings = _sum_levels(totals, "top", level), _sum_levels(totals, "best", level)
            if n_top:
                sums.n_top[common_name] += n_top
            if n_recordings:
                sums.n_by_start.setdefault(scientific_name, {})[start] = n_recordings
                sums.common_names[scientific_name] = common_name
        return sums

    def by_time(self, spans: Sequence[TimeSpan]) -> list[SpeciesTimes]:
        """Return the species of these time spans, those of most first."""
        species = (
            SpeciesTimes(name, self.common_names[name], tuple(n.get(span.start, 0) for span in spans))
            for name, n in self.n_by_start.items()
        )
        return sorted((each for each in species if any(each.n_recordings)), key=lambda each: each.sort_key)


def _read_latest(session: Session, query: OverviewQuery, known: Sequence[Species] | None) -> tuple[Prediction, ...]:
    """Return the latest predictions."""
    last_id = session.scalar(select(func.max(Identification.id))) or 0
    columns = Identification.species, Identification.score, Identification.at, Identification.recording
    rows = select(*columns).where(
        Identification.id > last_id - MAX_LATEST,
        Identification.species.is_not(None),
        Identification.score >= query.min_score,
    )
    if known is not None:
        rows = rows.where(Identification.species.in_([each.common_name for each in known]))
    if query.site is not None:
        rows = rows.join(Recording, Recording.sha256 == Identification.recording).where(Recording.site == query.site)
    latest = session.execute(rows.order_by(Identification.id.desc()).limit(N_LATEST))
    return tuple(Prediction(species or "", score or 0.0, at, recording) for species, score, at, recording in latest)
