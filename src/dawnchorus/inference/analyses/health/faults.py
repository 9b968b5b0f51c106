"""Faults of one channel of a recording: thresholds and descriptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dawnchorus.inference.analyses.minutes import MINUTE_S

DEAD_DBFS = -90.0
"""Level of one step of 16 bits, below which there is no sound."""

DEAD_SHARE = 0.99
STUCK_SHARE = 0.01
"""Minimum shares of time with one constant value, for the faults "no sound" and "stuck at one value"."""

DEAD_STRETCH_S, DEAD_STRETCH_SHARE = 60.0, 0.05
"""Minimum seconds of a stretch without sound, or minimum share of the recording in all such stretches, for a fault."""

QUIET_DB = 20.0
"""Minimum distance in dB below the median of the recorder's recordings, or of all recorders, for a fault."""

CLIPPED_SHARE = 0.001

DC_OFFSET = 0.02

HUM_DB = 15.0

WEATHER_SHARE = 0.5
"""Minimum share of minutes with rain or wind for a fault."""

Row = dict[str, Any]
"""One row of the health table (one channel of a recording) by column."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault of a channel of a recording."""

    name: str
    """Name of the fault: "no sound", "stretches without sound", "stuck at one value", "too quiet", "clipping",
    "DC offset", "gaps", "mains hum", "rain" or "wind".
    """
    describe: Callable[[Row], str | None]
    """Function that describes the fault in words, given a row of the health table (values by column); None if the row
    does not have the fault."""


def _no_sound(row: Row) -> str | None:
    if row["constant_share"] >= DEAD_SHARE:
        return f"no sound: constant value {row['dc_offset']:.4g}"
    return f"no sound: {row['level_dbfs']:.0f} dBFS" if row["level_dbfs"] < DEAD_DBFS else None


def _dead_stretches(row: Row) -> str | None:
    share, longest_s = row.get("dead_share", 0.0), row.get("longest_dead_s", 0.0)  # rows of earlier versions have none
    is_fault = share >= DEAD_STRETCH_SHARE or longest_s >= DEAD_STRETCH_S
    return f"no sound for {describe_stretches(share, longest_s)}" if is_fault else None


def describe_stretches(share: float, longest_s: float) -> str:
    """Return in words the share of time (0 to 1) and the longest stretch, in seconds, without sound.

    For example: "12.0% of the time, at most 5 s on end".
    """
    length = f"{longest_s:.0f} s" if longest_s < 2 * MINUTE_S else f"{longest_s / MINUTE_S:.1f} min"
    return f"{share:.1%} of the time, at most {length} on end"


def _stuck(row: Row) -> str | None:
    share = row["constant_share"] - row["zero_share"]
    return f"stuck at one value for {share:.1%} of the time" if share >= STUCK_SHARE else None


def _quiet(row: Row) -> str | None:
    difference_db = row["level_difference_db"]
    is_quiet = difference_db <= -QUIET_DB  # not so of NaN
    return f"{-difference_db:.0f} dB below this recorder's median" if is_quiet else None


def _clipped(row: Row) -> str | None:
    share = row["clipped_share"]
    return f"clipping: {share:.2%} of the samples" if share >= CLIPPED_SHARE else None


def _offset(row: Row) -> str | None:
    offset = row["dc_offset"]
    return f"DC offset of {offset:.3f}" if abs(offset) >= DC_OFFSET else None


def _gaps(row: Row) -> str | None:
    return f"gaps: {row['n_gaps']}, the longest of {row['longest_gap_s']:.2f} s" if row["n_gaps"] else None


def _hum(row: Row) -> str | None:
    return f"mains hum: {row['hum_hz']:.0f} Hz, {row['hum_db']:.0f} dB" if row["hum_db"] >= HUM_DB else None


def _rain(row: Row) -> str | None:
    return f"rain in {row['rain_share']:.0%} of the minutes" if row["rain_share"] >= WEATHER_SHARE else None


def _wind(row: Row) -> str | None:
    return f"wind in {row['wind_share']:.0%} of the minutes" if row["wind_share"] >= WEATHER_SHARE else None


NO_SOUND = Fault("no sound", _no_sound)
DEAD_STRETCHES = Fault("stretches without sound", _dead_stretches)

FAULTS = (
    NO_SOUND,
    DEAD_STRETCHES,
    Fault("stuck at one value", _stuck),
    Fault("too quiet", _quiet),
    Fault("clipping", _clipped),
    Fault("DC offset", _offset),
    Fault("gaps", _gaps),
    Fault("mains hum", _hum),
    Fault("rain", _rain),
    Fault("wind", _wind),
)
"""All faults, in the order in which a verdict lists them."""

OK = "ok"


def find_faults(row: Row) -> dict[str, str]:
    """Return a description of each fault in a row, by the fault's name, in the order of `FAULTS`.

    A row without sound has only the fault "no sound".
    """
    faults = {fault.name: words for fault in FAULTS if (words := fault.describe(row)) is not None}
    return {NO_SOUND.name: faults[NO_SOUND.name]} if NO_SOUND.name in faults else faults


def verdict(words: list[str]) -> str:
    """Return the verdict: `words`, the descriptions of faults, joined by semicolons; "ok" without faults."""
    return "; ".join(words) or OK
