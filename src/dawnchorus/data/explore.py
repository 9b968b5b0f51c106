"""Statistics of a data set's recordings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.types import Segment

UNKNOWN = "not known"

PROPERTIES: dict[str, Callable[[RecordingRow], str]] = {
    "license": lambda row: row.license or UNKNOWN,
    "quality": lambda row: row.quality or UNKNOWN,
    "sample rate": lambda row: f"{row.rate_hz / 1000:g} kHz" if row.rate_hz else UNKNOWN,
    "format": lambda row: row.container or UNKNOWN,
    "channels": lambda row: {1: "mono", 2: "stereo"}.get(row.n_channels or 0, str(row.n_channels or UNKNOWN)),
    "source": lambda row: row.source or UNKNOWN,
    "country": lambda row: row.country or UNKNOWN,
    "kind": lambda row: row.kind,
    "split": lambda row: row.split or "none",
}


@dataclass(frozen=True)
class SpeciesShare:
    """Share of one species in a data set."""

    scientific_name: str
    common_name: str
    """Common name in the first recording of the species; the scientific name if that recording has none."""
    n_recordings: int
    """Number of recordings with this main species, or, without a main species, with annotations of the species."""
    duration_s: float
    """Length of these `n_recordings` recordings together; an unknown length counts as 0."""


@dataclass(frozen=True)
class DataSetSummary:
    """Summary of a data set. Counts are pairs (value, number of recordings), the most frequent value first."""

    n_recordings: int
    duration_s: float
    """Length of all recordings together; an unknown length counts as 0."""
    species: tuple[SpeciesShare, ...]
    """Shares, the species with most recordings first; a recording with several annotated species counts for each."""
    counts: dict[str, tuple[tuple[str, int], ...]]
    """Counts by property (keys of `PROPERTIES`): "license", "quality", "sample rate", "format", "channels", "source",
    "country", "kind" and "split". The values are texts for people, such as "44.1 kHz" and "mono"; an unknown value is
    "not known", and "none" is the split of recordings in no split."""
    recordists: tuple[tuple[str, int], ...]
    """Counts of recordists; "not known" if unknown."""
    lengths_s: tuple[float, ...]
    """Length of each recording whose length is known and above 0, in the order of the rows."""
    locations: tuple[tuple[float, float], ...]
    """Latitude and longitude, in degrees, of the recordings with a known location."""
    month_hour: tuple[tuple[int, ...], ...]
    """Number of recordings [12 months from January, 24 hours of the day], without those of unknown month or hour."""
    problems: tuple[tuple[str, int], ...]
    """Counts of the problems in `RecordingRow.problems`; a recording with several problems counts for each."""


@dataclass(frozen=True)
class Example:
    """A segment of a recording that shows a species in a report."""

    path: Path
    """Audio file of the recording."""
    start_s: float
    """Start of the segment in the recording."""
    end_s: float
    """End of the segment in the recording."""
    scientific_name: str
    """Scientific name of the species."""
    common_name: str
    """Common name of the species."""
    caption: str
    """Text below the example: recordist, identifier and license."""
    silent: tuple[Segment, ...] = ()
    """Parts of the recording to silence, such as human speech."""


def summarize_data_set(rows: Sequence[RecordingRow]) -> DataSetSummary:
    """Count the recordings of a data set by species and by each property in `PROPERTIES`; see `DataSetSummary`."""
    n_by_species: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    common: dict[str, str] = {}
    month_hour = [[0] * 24 for _ in range(12)]
    for row in rows:
        names = {row.scientific_name} if row.scientific_name else {a.scientific_name for a in row.annotations} - {""}
        for name in names:
            n_by_species[name] += 1
            seconds[name] += row.duration_s or 0.0
            common.setdefault(name, (row.common_name if name == row.scientific_name else None) or name)
        month, hour = _month(row.date), _hour(row.time)
        if month is not None and hour is not None:
            month_hour[month][hour] += 1
    return DataSetSummary(
        n_recordings=len(rows),
        duration_s=sum(row.duration_s or 0.0 for row in rows),
        species=tuple(SpeciesShare(name, common[name], n, seconds[name]) for name, n in n_by_species.most_common()),
        counts={name: tuple(Counter(value(row) for row in rows).most_common()) for name, value in PROPERTIES.items()},
        recordists=tuple(Counter(row.recordist or UNKNOWN for row in rows).most_common()),
        lengths_s=tuple(row.duration_s for row in rows if row.duration_s),
        locations=tuple(
            (row.latitude, row.longitude) for row in rows if row.latitude is not None and row.longitude is not None
        ),
        month_hour=tuple(tuple(hours) for hours in month_hour),
        problems=tuple(Counter(problem for row in rows for problem in row.problems).most_common()),
    )


def _month(date: str | None) -> int | None:
    match = re.match(r"\d{4}-(0[1-9]|1[0-2])", date or "", re.ASCII)
    return int(match[1]) - 1 if match else None


def _hour(time: str | None) -> int | None:
    match = re.match(r"([01]\d|2[0-3]):", time or "", re.ASCII)
    return int(match[1]) if match else None
