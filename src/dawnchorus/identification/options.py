"""Options of a run, checked at construction."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, get_args

from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion
from dawnchorus.types import ChannelOption

DEFAULT_MIN_SCORE = 0.25
DEFAULT_RANGE_THRESHOLD = 0.03
N_WEEKS = 48
MAX_TTA_SHIFTS = 16

SpeechUse = Literal["flag", "blank", "drop"]
"""Mark what has a human voice; also silence the voice in clips, pictures and pages; also drop what it is in."""


def _require(condition: bool, name: str, expected: str, value: object) -> None:  # noqa: FBT001 - like an assertion
    if not condition:
        raise InputError(f"{name}: expected {expected}, got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options for scoring recordings and selecting detections.

    The first group decides what is scored and kept in the journal; the second only how the kept scores are shown,
    and may be changed when a finished run is written out again.
    """

    min_score: float = DEFAULT_MIN_SCORE
    overlap_s: float = 0.0
    tta_shifts: int = 1
    """Test-time augmentation: number of circular time shifts of each window over which logits are averaged."""
    channel: ChannelOption = "mean"
    """The channel of a recording with several that is scored; "each": all, each by itself."""
    top: int | None = None
    """At most so many classes in one window."""
    species: tuple[str, ...] | None = None
    """Only these classes, by scientific name."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Smallest score by scientific name, where one differs from `min_score`."""

    merge: bool = False
    """Join windows of one species that touch or overlap into one event with the best score."""
    latitude: float | None = None
    longitude: float | None = None
    week: int | None = None
    """Week of the 48-week year, 1 to 48; None: from the recording's own date, else the whole year."""
    range_threshold: float = DEFAULT_RANGE_THRESHOLD
    drop_out_of_range: bool = False
    speech: SpeechUse | None = None
    """Treatment of human voices; None: they are not looked for."""

    def __post_init__(self) -> None:
        _require(0 <= self.min_score <= 1, "min_score", "a number from 0 to 1", self.min_score)
        _require(self.overlap_s >= 0, "overlap", "0 or more seconds", self.overlap_s)
        _require(1 <= self.tta_shifts <= MAX_TTA_SHIFTS, "tta_shifts", f"1 to {MAX_TTA_SHIFTS}", self.tta_shifts)
        channels = get_args(ChannelOption)
        _require(self.channel in channels, "channel", f"one of {', '.join(channels)}", self.channel)
        _require(self.top is None or self.top >= 1, "top", "1 or more", self.top)
        _require(
            all(0 <= value <= 1 for value in self.thresholds.values()),
            "thresholds",
            "numbers from 0 to 1",
            self.thresholds,
        )
        _require(
            (self.latitude is None) == (self.longitude is None),
            "latitude and longitude",
            "both or none",
            (self.latitude, self.longitude),
        )
        _require(
            self.latitude is None or -90 <= self.latitude <= 90,
            "latitude",
            "-90 to 90 degrees",
            self.latitude,
        )
        _require(
            self.longitude is None or -180 <= self.longitude <= 180,
            "longitude",
            "-180 to 180 degrees",
            self.longitude,
        )
        _require(self.week is None or 1 <= self.week <= N_WEEKS, "week", f"1 to {N_WEEKS}", self.week)
        _require(
            self.speech is None or self.speech in get_args(SpeechUse),
            "speech",
            f"one of {', '.join(get_args(SpeechUse))}",
            self.speech,
        )
        _require(
            0 <= self.range_threshold <= 1,
            "range_threshold",
            "a number from 0 to 1",
            self.range_threshold,
        )

    def with_changes(self, changes: OptionFields) -> Options:
        """Return the options with other values of these fields.

        Raises:
            TypeError: there is no such option; the message names the nearest one.
            InputError: a value is out of range.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"'{name}' is no option of identify().{suggestion(name, known)}")
        return replace(self, **changes)

    def scoring(self) -> dict[str, Any]:
        """Return the options that affect the contents of a journal."""
        values = asdict(self)
        names = ("min_score", "overlap_s", "top", "species", "thresholds")
        # What was added later is left out where it is off, so that journals of older versions are still gone on with.
        later = {
            "find_speech": (True, self.speech is not None),
            "tta_shifts": (self.tta_shifts, self.tta_shifts > 1),
            "channel": (self.channel, self.channel != "mean"),
        }
        return {name: values[name] for name in names} | {name: value for name, (value, is_on) in later.items() if is_on}


class OptionFields(TypedDict, total=False):
    """Fields of `Options` as keyword arguments of `identify`; `Options` has their meaning and defaults."""

    min_score: float
    overlap_s: float
    tta_shifts: int
    channel: ChannelOption
    top: int | None
    species: tuple[str, ...] | None
    thresholds: dict[str, float]
    merge: bool
    latitude: float | None
    longitude: float | None
    week: int | None
    range_threshold: float
    drop_out_of_range: bool
    speech: SpeechUse | None
