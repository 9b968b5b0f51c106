"""Data of the overview page: totals, detections by hour of the day, species by time, most frequent species.

These are sums of a few rows of `DetectionCount` (see `server.detection_counts`). The page also has the best detections
of the latest identifications, called predictions.
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
from dawnchorus.server.state.tables import DetectionCount, Identification, Recording, ReviewAnswer, Species

Period = Literal["week", "month", "year", "all"]
"""Time that the overview is about: 7 days, 31 days, 12 months, or all recordings."""

N_DAYS = {"week": 7, "month": 31}
"""Number of days by period."""
N_MONTHS = 12
"""Number of months in the period "year"."""

MAX_DAYS, MAX_MONTHS, MAX_YEARS = 31, 24, 50
"""Maximum number of days that the period "all" shows by day, of months that it shows by month, and of years."""

N_TOP, N_LATEST = 10, 20
"""Number of most frequent species, and of latest predictions, that the page shows."""

MAX_LATEST = 10_000
"""Maximum number of latest identifications among which predictions that match the filter are searched."""

N_ANSWERS = 50
"""Number of latest answers of reviewers that tell if the overview has changed."""

N_SPECIES, MAX_CELLS = 20, 400
"""Maximum number of rows, and of cells, of the table of species by time, unless all species are requested."""

MAX_SPECIES = 500
"""Maximum number of rows of the table of species by time if all species are requested."""

HOURS = tuple(f"{hour:02}" for hour in range(24))
"""Hours of the day, as in the names of numbers in `detection_counts.Counts`."""
ALL_HOURS = (*HOURS, "")
"""`HOURS`, and "" for recordings without a start time."""

UNDATED = ""
"""Value of `DetectionCount.start` in rows of recordings without a start time."""


@dataclass(frozen=True, kw_only=True)
class OverviewQuery:
    """Filter of the overview page; None in a field means no condition, unless the field says otherwise."""

    period: Period = "all"
    """Length of the period: "week" (7 days), "month" (31 days), "year" (12 calendar months), or "all" for all
    recordings."""
    to: date | None = None
    """Last day of the period, or for "year" a day of its last month; None for the day of the latest recording. The
    period "all" ignores this field."""
    site: str | None = None
    """Exact name of the recording site."""
    species: str | None = None
    """Common or scientific name, or a substring, ignoring case. If a species has exactly this name, only this species
    matches."""
    min_score: float = 0.0
    """Minimum score of the detections, one of `detection_counts.LEVELS`: 0, 0.25, 0.5, 0.75 or 0.9."""
    all_species: bool = False
    """True for at most `MAX_SPECIES` rows in the table of species by time; False for at most `N_SPECIES` rows and
    `MAX_CELLS` cells (rows times time spans)."""


@dataclass(frozen=True)
class TimeSpan:
    """A day, month or year, with its first and its last day."""

    unit: Unit
    """Length of the time span: "day", "month" or "year"."""
    first: date
    last: date

    @property
    def start(self) -> str:
        """The day `first` in ISO 8601, as in the column `DetectionCount.start`."""
        return self.first.isoformat()


@dataclass(frozen=True)
class HourCount:
    """Sums over a time span for one hour of the day, by the recorder's clock."""

    n_detections: int
    """Number of detections in this hour on all days of the time span, without those that reviewers rejected."""
    recorded_h: float
    """Length in hours of the audio recorded in this hour on all days of the time span; the filters by species and score
    do not apply."""


@dataclass(frozen=True)
class SpeciesTimes:
    """A row of the table of species by time."""

    scientific_name: str
    common_name: str
    n_recordings: tuple[int, ...]
    """Number of recordings in which the species was detected, for each time span of the overview."""

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """Sort key: species detected in most time spans first, then in most recordings, then by common name."""
        return -sum(n > 0 for n in self.n_recordings), -sum(self.n_recordings), self.common_name


@dataclass(frozen=True)
class Prediction:
    """The detection with the highest score of an identification."""

    species: str
    """Common name."""
    score: float
    """Score of the detection, 0 to 1."""
    at: datetime
    """Time of the identification, in UTC."""
    recording: str | None
    """sha256 of the recording; None if it was not stored."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Data of the overview page, for the recordings and detections that match a filter."""

    spans: tuple[TimeSpan, ...]
    """Days, months or years of the period, the earliest first; empty if no recording has a start time. Weeks and months
    are divided into days, a year into months. For "all", these are days up to a range of `MAX_DAYS`, else months up to
    `MAX_MONTHS`, else the latest `MAX_YEARS` years with recordings, which are then the period."""
    n_recordings: int
    """Number of identified recordings; the filters by species and score do not apply."""
    recorded_h: float
    """Length in hours of the audio of these recordings in the period."""
    n_detections: int
    """Number of detections that reviewers did not reject."""
    n_species: int
    """Number of detected species."""
    n_undated: int
    """Number of recordings without a start time, which are in no time span; 0 unless the period is "all"."""
    n_failed: int
    """Number of recordings that could not be identified; 0 unless the period is "all"."""
    hours: tuple[tuple[HourCount, ...], ...]
    """Counts `hours[k][hour]` for the time span `spans[k]` and the hour of the day, 0 to 23."""
    species: tuple[SpeciesTimes, ...]
    """Rows of the table of species by time, in the order of `SpeciesTimes.sort_key`.

    Their maximum number depends on `OverviewQuery.all_species`.
    """
    top: tuple[tuple[str, int], ...]
    """Common name of a species, and number of recordings in which the species has the highest score.

    The `N_TOP` species with the highest numbers are listed, the highest first.
    """
    latest: tuple[Prediction, ...]
    """At most `N_LATEST` predictions that match site, species and minimum score, the newest first.

    The latest `MAX_LATEST` identifications are searched, whatever the period.
    """
    version: str
    """Hash of the database's counts, which pages compare to notice changes; see `read_version`."""


Numbers = Mapping[str, int]
"""Numbers by name, see `detection_counts.Counts`."""


@dataclass(frozen=True)
class _Reader:
    """Reader of the rows of `DetectionCount` for one site and some time spans."""

    session: Session
    site: str
    starts_by_unit: Sequence[tuple[Unit, list[str]]]
    """Units, each with the starts of the rows to read."""

    def read_all_species(self) -> dict[str, Numbers]:
        """Return the numbers in the rows with the sums of all species, by start."""
        columns = DetectionCount.start, DetectionCount.totals, DetectionCount.hours
        rows = self._select(columns, DetectionCount.scientific_name == ALL)
        return {start: {**totals, **hours} for start, totals, hours in rows}

    def read_species(self, names: Sequence[str] | None) -> Iterator[tuple[str, str, str, Numbers]]:
        """Yield start, scientific name, common name and totals of each row of these species; None for all species."""
        columns = DetectionCount.start, DetectionCount.scientific_name, DetectionCount.common_name
        yield from self._select((*columns, DetectionCount.totals), *_is_one_of(names))

    def read_hours(self, names: Sequence[str]) -> dict[str, Numbers]:
        """Return the sums of these species' numbers by hour of the day, by start."""
        sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for start, hours in self._select((DetectionCount.start, DetectionCount.hours), *_is_one_of(names)):
            sums[start].update(hours)
        return dict(sums)

    def _select(self, columns: Sequence[Any], *conditions: ColumnElement[bool]) -> Iterator[Any]:
        for unit, starts in self.starts_by_unit:
            is_there = DetectionCount.site == self.site, DetectionCount.unit == unit, DetectionCount.start.in_(starts)
            yield from self.session.execute(select(*columns).where(*is_there, *conditions))


def read_overview(database: Database, query: OverviewQuery) -> Overview:
    """Read the data of the overview page for the recordings and detections that match a filter.

    Raises:
        ValueError: `query.min_score` is none of `LEVELS`.
    """
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
    """Return a text, 16 hexadecimal digits, that is another one after each change of what the overview shows.

    It is a hash of the sums over all recordings, the id of the latest identification, and the latest answers of
    reviewers, which may move a detection to another species and leave the sums as they are.
    """
    columns = DetectionCount.start, DetectionCount.totals, DetectionCount.hours
    of_all = DetectionCount.site == ALL, DetectionCount.scientific_name == ALL
    is_longest = DetectionCount.unit.in_(("year", "undated"))
    rows = session.execute(select(*columns).where(*of_all, is_longest).order_by(DetectionCount.start))
    answers = select(ReviewAnswer.id, ReviewAnswer.is_undone).order_by(ReviewAnswer.id.desc()).limit(N_ANSWERS)
    state = [session.scalar(select(func.max(Identification.id))), *map(tuple, (*rows, *session.execute(answers)))]
    return hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest()


# ---------------------------------------------------------------------- filters


def _find_species(session: Session, text: str) -> list[Species]:
    """Return the species with exactly this name, or else the species whose names contain `text`."""
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
    """Return the sum of the numbers `name:LEVEL` for `level` and all higher levels."""
    return sum(numbers.get(f"{name}:{each}", 0) for each in range(level, len(LEVELS)))


def _sum_hours(numbers: Numbers, level: int) -> int:
    return sum(_sum_levels(numbers, f"detections:{hour}", level) for hour in ALL_HOURS)


def _count_hours(recorded: Numbers, detected: Numbers, level: int) -> tuple[HourCount, ...]:
    return tuple(
        HourCount(_sum_levels(detected, f"detections:{hour}", level), recorded.get(f"recorded_ms:{hour}", 0) / HOUR_MS)
        for hour in HOURS
    )


class _SpeciesSums:
    """Numbers of recordings by species."""

    def __init__(self) -> None:
        self.n_by_start: dict[str, dict[str, int]] = {}
        """Number of recordings with a species, by scientific name and by start of the time span."""
        self.common_names: dict[str, str] = {}
        self.n_top: Counter[str] = Counter()
        """Number of recordings in which a species has the highest score, by common name."""

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, str, str, Numbers]], level: int) -> _SpeciesSums:
        """Sum the rows of `_Reader.read_species`, for scores of at least `LEVELS[level]`."""
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
        """Return the species with a detection in these time spans, in the order of `SpeciesTimes.sort_key`."""
        species = (
            SpeciesTimes(name, self.common_names[name], tuple(n.get(span.start, 0) for span in spans))
            for name, n in self.n_by_start.items()
        )
        return sorted((each for each in species if any(each.n_recordings)), key=lambda each: each.sort_key)


def _read_latest(session: Session, query: OverviewQuery, known: Sequence[Species] | None) -> tuple[Prediction, ...]:
    """Return the latest predictions that match site, species (None for all) and minimum score."""
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
