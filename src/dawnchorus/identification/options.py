"""Options of a run: one schema for Python, the command line, HTTP, jobs, journals and provenance.

A new option is one field here, with its range and description. All options are stored with every job and table, and
those that affect scores in the journal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import Field
from pydantic.fields import FieldInfo

from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion
from dawnchorus.types import ChannelOption

DEFAULT_MIN_SCORE = 0.25
DEFAULT_RANGE_THRESHOLD = 0.03

ALL_YEAR = 0
"""Value of the option `week` for all year, regardless of the recording's date."""

SpeechUse = Literal["flag", "blank", "drop"]
"""Use of speech detection.

`flag` marks detections in human speech, `blank` also silences the speech in clips, plots and pages, and `drop` also
leaves out these detections.
"""

KEPT_MIN_SCORE = 0.05
KEPT_TOP = 10
"""Default limits of the detections that an archive stores: minimum score, and maximum number in a window."""

Keep = Literal["embeddings", "embeddings:int8"]
"""Rows that an archive stores in addition to detections: embeddings in half precision, or in 8 bits."""


@dataclass(frozen=True)
class DecidesScores:
    """Marker of an option that affects scores, or the hits that are stored in the journal of a run.

    Hits are scores that are high enough to be reported. Options without the marker affect only the output.
    """

    is_always_written: bool = False
    """True if the journal always stores the option; False if it does not store the option's default value.

    False is for options that were added later, so that older runs can be resumed.
    """


MinScore = Annotated[float, Field(ge=0, le=1, description="Minimum score of reported detections, 0 to 1.")]
Overlap = Annotated[float, Field(ge=0, description="Overlap of neighboring windows in seconds.")]
TtaShifts = Annotated[
    int,
    Field(
        ge=1,
        le=16,
        description="Test-time augmentation: average the logits of this many circular time shifts of each window.",
    ),
]
ScoredChannel = Annotated[
    ChannelOption,
    Field(description="Channel to score: the mean of all, the first, the second, the clearest, or each separately."),
]
Top = Annotated[
    int | None,
    Field(ge=1, description="Maximum number of species reported in one window: those with the highest scores."),
]
Merge = Annotated[bool, Field(description="Join detections of a species in neighboring windows into one event.")]
Latitude = Annotated[float | None, Field(ge=-90, le=90, description="Latitude of the recording in degrees north.")]
Longitude = Annotated[float | None, Field(ge=-180, le=180, description="Longitude of the recording in degrees east.")]
Week = Annotated[
    int | None,
    Field(
        ge=0,
        le=48,
        description="Week in a year of 48 weeks (four a month); 0: all year. Default: week of the recording's date.",
    ),
]
RangeThreshold = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Minimum probability of occurrence for a species to be in range, 0 to 1.",
    ),
]
DropOutOfRange = Annotated[
    bool, Field(description="Leave out detections of species that are out of range, instead of flagging them.")
]
Speech = Annotated[
    SpeechUse | None,
    Field(
        description="Detect human speech, and flag the detections that overlap it (flag), also silence the speech in "
        "clips, plots and pages (blank), or also leave out these detections (drop)."
    ),
]

_FIRST = DecidesScores(is_always_written=True)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options for scoring recordings and selecting detections.

    A run is resumed only with the scoring options that it was started with (`min_score` to `thresholds`), and with
    speech detection on or off as before. All other options only select and describe what is written, and may change
    from one `identify(..., resume=True)` to the next.

    Raises:
        InputError: a value has a wrong type or is out of range, or only one of latitude and longitude is given.
    """

    min_score: Annotated[MinScore, _FIRST] = DEFAULT_MIN_SCORE
    """Minimum score of reported detections, 0 to 1, of classes without a threshold in `thresholds` or the bundle."""
    overlap_s: Annotated[Overlap, _FIRST] = 0.0
    """Overlap of neighboring windows in seconds."""
    tta_shifts: Annotated[TtaShifts, DecidesScores()] = 1
    """Number of circular time shifts of each window (1 to 16) whose logits are averaged; 1: no augmentation."""
    channel: Annotated[ScoredChannel, DecidesScores()] = "mean"
    """Channel to score: "mean" of all, "left" (the first), "right" (the second), "best" or "each".

    "best" is the channel of the recording whose frequency bands vary most over time; "each" scores all separately.
    """
    top: Annotated[Top, _FIRST] = None
    """Maximum number of species reported in one window, those with the highest scores; None for no limit."""
    species: Annotated[tuple[str, ...] | None, Field(description="Names of the only species to report."), _FIRST] = None
    """Scientific or common names of the only species to report; None for all."""
    thresholds: Annotated[
        dict[str, float], Field(ge=0, le=1, description="Minimum score by species name, in place of min_score."), _FIRST
    ] = field(default_factory=dict)
    """Minimum score (0 to 1) by scientific or common name, in place of the threshold in the bundle and `min_score`."""

    merge: Merge = False
    """True to join detections of a species in neighboring windows into one event."""
    latitude: Latitude = None
    """Latitude of all recordings in degrees north; None: that of each recording, if known. Given with `longitude`."""
    longitude: Longitude = None
    """Longitude of all recordings in degrees east; None: that of each recording, if known. Given with `latitude`."""
    week: Week = None
    """Week (1 to 48, four a month) for the range model; 0: all year; None: that of each recording's date."""
    range_threshold: RangeThreshold = DEFAULT_RANGE_THRESHOLD
    """Minimum probability of occurrence, 0 to 1, for a species to be in range."""
    drop_out_of_range: DropOutOfRange = False
    """True to leave out detections of species out of range; False to flag them."""
    speech: Speech = None
    """Use of speech detection: "flag" the detections in human speech, also silence the speech in clips, plots and pages
    ("blank"), or also leave out these detections ("drop"); None for no speech detection."""

    def __post_init__(self) -> None:
        """Check all values, and convert them to the types of their fields.

        Raises:
            InputError: a value has a wrong type or is out of range, or only one of latitude and longitude is given.
        """
        for spec in option_specs().values():
            object.__setattr__(self, spec.name, spec.convert(getattr(self, spec.name)))
        if (self.latitude is None) != (self.longitude is None):
            raise InputError(f"latitude and longitude: expected both or none, got {(self.latitude, self.longitude)!r}.")

    @classmethod
    def from_fields(cls, stored: Mapping[str, Any]) -> Options:
        """Return options from `stored`, values by name that were stored as JSON; missing options get their defaults.

        Raises:
            InputError: a value has a wrong type or is out of range, only one of latitude and longitude is stored, or an
                option is unknown, since a newer version stored it.
        """
        for name in stored:
            if name not in option_specs():
                raise InputError(f"options: unknown '{name}'.{suggestion(name, option_specs())} Update dawnchorus.")
        return cls(**stored)

    def with_changes(self, changes: OptionFields) -> Options:
        """Return a copy with the options in `changes`, values by name, in place of the former values.

        Raises:
            TypeError: there is no such option; the message suggests a similar one.
            InputError: a value has a wrong type or is out of range, or only one of latitude and longitude is left.
        """
        for name in changes:
            if name not in option_specs():
                raise TypeError(f"'{name}' is no option of identify().{suggestion(name, option_specs())}")
        return replace(self, **changes)

    def scoring(self) -> dict[str, Any]:
        """Return the values of the options that affect the contents of a journal, by name.

        These are the options marked by `DecidesScores`, but of those that are not `is_always_written` only the ones
        that differ from their default. With speech detection, there is also "find_speech", which is True.
        """
        values = asdict(self)
        written = {spec.name: values[spec.name] for spec in option_specs().values() if spec.is_in_journal(self)}
        return written if self.speech is None else {**written, "find_speech": True}


def as_options(options: object) -> Options:
    """Check that a caller's value is `Options`, and return it; None gives the default options.

    Raises:
        InputError: the value is something else.
    """
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise InputError(
            f"options: expected Options, got {type(options).__name__}. Give options by name, as in "
            f"identify(audio, min_score=0.5)."
        )
    return options


class OptionFields(TypedDict, total=False):
    """Keyword arguments of `identify`, all optional; each is documented at the field of the same name in `Options`."""

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


@dataclass(frozen=True)
class OptionSpec:
    """Declaration of one option: its name, type, limits, default, and description for users."""

    name: str
    """Name of the field of `Options`."""
    type: type
    """Type of the value; without None, if that is allowed."""
    is_optional: bool
    """True if the value may be None."""
    choices: tuple[str, ...]
    """Allowed values of an option that is chosen from a list, such as `channel`; empty for all other options."""
    low: int | None
    """Smallest allowed number, for `thresholds` the smallest score; None for options without numbers."""
    high: int | None
    """Largest allowed number, for `thresholds` the largest score; None for no limit, and for options with no number."""
    default: Any
    """Default value; `dataclasses.MISSING` for `thresholds`, whose default is an empty dictionary."""
    description: str
    """Description for users, one or two sentences."""
    decides_scores: DecidesScores | None
    """Marker of an option that affects scores or the hits in the journal; None for one that affects only the output."""

    def convert(self, value: Any) -> Any:
        """Convert a value to the option's type: NumPy scalars to Python numbers, lists of names to tuples.

        Raises:
            InputError: the value, or one in a dictionary, has a wrong type or is out of range.
        """
        if value is None and self.is_optional:
            return None
        if not self._is_allowed(value):
            raise InputError(f"{self.name}: expected {self._expected()}, got {value!r}.")
        if isinstance(value, Mapping):
            return {name: float(each) for name, each in value.items()}
        if isinstance(value, tuple | list):
            return tuple(map(str, value))
        return str(value) if self.choices else self.type(value)

    @property
    def is_name_list(self) -> bool:
        """True if the value is a tuple of names."""
        return get_origin(self.type) is tuple

    def is_in_journal(self, options: Options) -> bool:
        """Return True if the journal of a run with `options` stores this option."""
        if self.decides_scores is None:
            return False
        return self.decides_scores.is_always_written or getattr(options, self.name) != self.default

    def _is_allowed(self, value: Any) -> bool:
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if self.is_name_list:
            return isinstance(value, tuple | list) and all(isinstance(each, str) for each in value)
        if get_origin(self.type) is dict:
            return (
                isinstance(value, Mapping)
                and all(isinstance(name, str) for name in value)
                and all(map(self._is_in_range, value.values()))
            )
        return isinstance(value, bool | np.bool_) if self.type is bool else self._is_in_range(value)

    def _is_in_range(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral if self.type is int else Real):
            return False
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return low <= float(value) <= high

    def _expected(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.is_name_list:
            return "a tuple or list of names"
        if self.type is bool:
            return "true or false"
        limits = f"{self.low:g} or more" if self.high is None else f"{self.low:g} to {self.high:g}"
        return f"a whole number, {limits}" if self.type is int else limits


@cache
def option_specs() -> dict[str, OptionSpec]:
    """Return the declarations of all options by name, in the order of the fields of `Options`."""
    hints = get_type_hints(Options, include_extras=True)
    defaults = {each.name: each.default for each in fields(Options)}
    return {name: _read_spec(name, hints[name], default) for name, default in defaults.items()}


def _read_spec(name: str, hint: Any, default: Any) -> OptionSpec:
    base, *metadata = get_args(hint)
    is_optional = NoneType in get_args(base)
    value_type = next(each for each in get_args(base) if each is not NoneType) if is_optional else base
    (info,) = (each for each in metadata if isinstance(each, FieldInfo))
    return OptionSpec(
        name=name,
        type=value_type,
        is_optional=is_optional,
        choices=get_args(value_type) if get_origin(value_type) is Literal else (),
        low=next((each.ge for each in info.metadata if hasattr(each, "ge")), None),
        high=next((each.le for each in info.metadata if hasattr(each, "le")), None),
        default=default,
        description=info.description or "",
        decides_scores=next((each for each in metadata if isinstance(each, DecidesScores)), None),
    )


Options.__doc__ = f"{Options.__doc__}\n    Attributes:\n" + "".join(
    f"        {spec.name}: {spec.description}\n" for spec in option_specs().values()
)
