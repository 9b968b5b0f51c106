"""New table of counts of recordings and detections by site, time and species."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9)
HOUR_S, HOUR_MS = 3600, 3_600_000
MAX_ROWS = 100_000
"""Maximum number of rows of counts in memory; when there are more, they are written."""

Key = tuple[str, str, str, str]
"""Primary key of a row of counts: site, unit, start and scientific name."""


def upgrade() -> None:
    """Create the table `detection_counts`, and add the column `scientific_name` to the table `identifications`.

    Existing recordings are counted by the rules of the server at this revision. Identifications without a stored
    recording get the scientific name of their species, or the common name if the scientific name is unknown.
    """
    op.add_column("identifications", sa.Column("scientific_name", sa.String(255), nullable=True))
    _name_unstored()
    op.create_table(
        "detection_counts",
        sa.Column("site", sa.String(255), nullable=False),
        sa.Column("unit", sa.String(8), nullable=False),
        sa.Column("start", sa.String(10), nullable=False),
        sa.Column("scientific_name", sa.String(255), nullable=False),
        sa.Column("common_name", sa.String(255), nullable=False),
        sa.Column("totals", sa.JSON(), nullable=False),
        sa.Column("hours", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("site", "unit", "start", "scientific_name", name="pk_detection_counts"),
    )
    counts: dict[Key, Counter[str]] = {}
    names: dict[str, str] = {"": ""}
    for recording, detections in _read_recordings():
        sites = {"", recording.site or ""}
        for (unit, start, species), numbers in _count(recording, detections, names).items():
            for site in sites:
                counts.setdefault((site, unit, start, species), Counter()).update(numbers)
        if len(counts) > MAX_ROWS:
            _write(counts, names)
            counts.clear()
    for species, common_name, score in _stream(_UNSTORED):
        names[species] = common_name
        counts.setdefault(("", "undated", "", species), Counter())[f"top:{_level(score)}"] += 1
    _write(counts, names)


def downgrade() -> None:
    """Delete the table `detection_counts`, and the column `scientific_name` of the table `identifications`."""
    op.drop_table("detection_counts")
    op.drop_column("identifications", "scientific_name")


_RECORDINGS = (
    "SELECT r.sha256, r.site, r.recorded_at, r.duration_s, r.error, d.scientific_name, d.common_name, d.start_s, "
    "d.score, d.verdict "
    "FROM recordings r LEFT JOIN detections d ON d.identification = r.latest_identification "
    "WHERE r.error IS NOT NULL OR r.latest_identification IS NOT NULL ORDER BY r.recorded_at, r.sha256"
)

_UNSTORED = (
    "SELECT scientific_name, species, score FROM identifications "
    "WHERE recording IS NULL AND scientific_name IS NOT NULL AND score IS NOT NULL"
)


def _name_unstored() -> None:
    """Write the scientific names of identifications without a stored recording, or the common name if unknown."""
    connection = op.get_bind()
    names = sa.text("SELECT common_name, min(scientific_name) AS scientific_name FROM species GROUP BY common_name")
    scientific_names = {row.common_name: row.scientific_name for row in connection.execute(names)}
    unstored = "recording IS NULL AND species IS NOT NULL"
    species = connection.execute(sa.text(f"SELECT DISTINCT species FROM identifications WHERE {unstored}"))  # noqa: S608
    write = sa.text(f"UPDATE identifications SET scientific_name = :name WHERE {unstored} AND species = :species")  # noqa: S608
    for common in species.scalars().all():
        connection.execute(write, {"name": scientific_names.get(common, common), "species": common})


def _stream(query: str) -> Iterator[Any]:
    return iter(op.get_bind().execute(sa.text(query), execution_options={"yield_per": 1000}))


def _read_recordings() -> Iterator[tuple[Any, list[tuple[str, str, float, float]]]]:
    """Yield recordings with their detections, as corrected by reviewers: names, start and score."""
    for _, rows in groupby(_stream(_RECORDINGS), key=lambda row: row.sha256):
        detections = []
        for row in rows:
            if row.scientific_name is not None and row.verdict not in ("incorrect", "none"):
                detections.append((row.scientific_name, row.common_name, row.start_s, row.score))
        yield row, detections


def _level(score: float) -> int:
    return max(bisect_right(LEVELS, score) - 1, 0)


def _count(
    recording: Any, detections: Iterable[tuple[str, str, float, float]], names: dict[str, str]
) -> dict[tuple[str, str, str], Counter[str]]:
    """Return the counts of a recording by unit, start and scientific name."""
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    if recording.error is not None:
        return {("undated", "", ""): Counter(failed=1)}
    first, offset_s = _find_first_hour(recording)
    for unit, start in _times(_hour(first, offset_s)):
        counts.setdefault((unit, start, ""), Counter())["recordings"] += 1
    for hour, recorded_ms in _split(first, offset_s, recording.duration_s or 0.0):
        for unit, start in _times(hour):
            counts.setdefault((unit, start, ""), Counter())[f"recorded_ms:{_label(hour)}"] += recorded_ms
    best: dict[tuple[str, str, str], float] = {}
    top: list[tuple[float, str]] = []
    for scientific_name, common_name, start_s, score in detections:
        names[scientific_name] = common_name
        top.append((-score, scientific_name))
        hour = _hour(first, offset_s + start_s)
        for unit, start in _times(hour):
            for species in ("", scientific_name):
                key = unit, start, species
                counts.setdefault(key, Counter())[f"detections:{_label(hour)}:{_level(score)}"] += 1
                best[key] = max(best.get(key, 0.0), score)
    for key, score in best.items():
        counts[key][f"best:{_level(score)}"] += 1
    if top:
        score, scientific_name = min(top)
        for unit, start in _times(_hour(first, offset_s)):
            counts.setdefault((unit, start, scientific_name), Counter())[f"top:{_level(-score)}"] += 1
    return counts


def _find_first_hour(recording: Any) -> tuple[datetime | None, float]:
    """Return the recording's first hour, None if unknown or out of `datetime`'s range, and its start in that hour."""
    if recording.recorded_at is None:
        return None, 0.0
    start = datetime.fromisoformat(recording.recorded_at).replace(tzinfo=None)
    first = start.replace(minute=0, second=0, microsecond=0)
    try:
        _ = first + timedelta(seconds=(recording.duration_s or 0.0) + 2 * HOUR_S)
    except OverflowError:
        return None, 0.0
    return first, (start - first).total_seconds()


def _hour(first: datetime | None, time_s: float) -> datetime | None:
    return None if first is None else first + timedelta(hours=time_s // HOUR_S)


def _split(first: datetime | None, offset_s: float, duration_s: float) -> Iterator[tuple[datetime | None, int]]:
    at_ms, end_ms = round(1000 * offset_s), round(1000 * (offset_s + duration_s))
    if first is None:
        yield None, end_ms
        return
    while at_ms < end_ms:
        next_ms = min((at_ms // HOUR_MS + 1) * HOUR_MS, end_ms)
        yield first + timedelta(hours=at_ms // HOUR_MS), next_ms - at_ms
        at_ms = next_ms


def _times(hour: datetime | None) -> tuple[tuple[str, str], ...]:
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


_KEY = "site", "unit", "start", "scientific_name"
_COUNTS = sa.table(
    "detection_counts",
    *(sa.column(name) for name in (*_KEY, "common_name")),
    *(sa.column(name, sa.JSON()) for name in ("totals", "hours")),
)


def _write(counts: dict[Key, Counter[str]], names: dict[str, str]) -> None:
    """Add counts to the rows of the table."""
    known = _read_rows(list(counts))
    added, changed = [], []
    for key, numbers in counts.items():
        if key in known:
            numbers.update(known[key])
        by_hour = {name: n for name, n in numbers.items() if name.startswith(("detections:", "recorded_ms:")) and n}
        columns = {"totals": {name: n for name, n in numbers.items() if name not in by_hour and n}, "hours": by_hour}
        if key in known:
            changed.append({f"key_{name}": value for name, value in zip(_KEY, key, strict=True)} | columns)
        else:
            added.append(dict(zip(_KEY, key, strict=True)) | {"common_name": names[key[-1]]} | columns)
    connection = op.get_bind()
    if added:
        connection.execute(sa.insert(_COUNTS), added)
    if changed:
        is_row = [_COUNTS.c[name] == sa.bindparam(f"key_{name}") for name in _KEY]
        connection.execute(sa.update(_COUNTS).where(*is_row), changed)


def _read_rows(keys: list[Key]) -> dict[Key, dict[str, int]]:
    """Return the counts in existing rows."""
    connection = op.get_bind()
    if connection.execute(sa.select(_COUNTS.c.site).limit(1)).first() is None:
        return {}
    # One by one: SQLite does not use the index for a list of rows.
    is_row = [_COUNTS.c[name] == sa.bindparam(f"key_{name}") for name in _KEY]
    query = sa.select(_COUNTS.c.totals, _COUNTS.c.hours).where(*is_row)
    rows: dict[Key, dict[str, int]] = {}
    for key in keys:
        values = {f"key_{name}": value for name, value in zip(_KEY, key, strict=True)}
        row = connection.execute(query, values).one_or_none()
        if row is not None:
            rows[key] = row.totals | row.hours
    return rows
