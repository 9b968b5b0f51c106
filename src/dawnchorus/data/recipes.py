"""Recipes: settings for cutting recordings into clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

from pydantic import ValidationError

from dawnchorus.arguments import check_choice
from dawnchorus.audio.noise import NoiseKind
from dawnchorus.errors import InputError
from dawnchorus.models.cleaning import Cleaning

ClipSelection = Literal["all", "first", "random", "loudest", "scored"]
PadMode = Literal["zeros", "noise", "repeat"]

_RANGES = (
    ("rate_hz", Integral, 4_000, 192_000),
    ("window_s", Real, 0.1, 120),
    ("overlap_s", Real, 0, 120),
    ("n_clips", Integral, 1, 10_000),
)

MAX_CHOICE_S = 600.0
"""Seconds from a recording's start within which clips are selected, unless all windows are."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings for cutting recordings into clips.

    Raises:
        InputError: `rate_hz` is not from 4,000 to 192,000, `window_s` from 0.1 to 120, `overlap_s` from 0 to below the
            window, or `n_clips` from 1 to 10,000; or another value is not allowed.
    """

    rate_hz: int = 32_000
    """Sample rate of the clips."""
    window_s: float = 5.0
    """Length of a clip."""
    overlap_s: float = 0.0
    """Length that neighboring windows share, for `clip_selection` "all"; other selections do not use it."""
    clip_selection: ClipSelection = "all"
    """Windows to select from each recording: "all", the "first" one, "random" ones, the "loudest", or "scored": those
    with the highest scores of a model for the recording's species, or the loudest if the model does not detect it."""
    n_clips: int = 1
    """Maximum number of "random", "loudest" or "scored" windows of each recording; "all" and "first" do not use it."""
    pad_mode: PadMode = "zeros"
    """Padding of a clip that exceeds its recording's end: "zeros", faint "noise", or "repeat" (its samples again)."""
    trim_db: float | None = None
    """Start and end of a recording are removed as far as they are more than this many dB below its loudest frame; None
    for no trimming."""
    denoise: NoiseKind | None = None
    """Noise reduction of recordings, "stationary" (constant noise) or "nonstationary"; None for no noise reduction."""
    cut_speech: bool = False
    """True to remove human speech from recordings."""
    normalize: bool = False
    """True to scale each clip so that its largest absolute sample is 0.9 of full scale; False keeps the level."""

    def __post_init__(self) -> None:
        for name, kind, low, high in _RANGES:
            value = getattr(self, name)
            is_number = _is_number(value, kind)
            if not is_number or not low <= float(value) <= high:
                expected = f"{low} to {high}" if kind is Real else f"a whole number, {low} to {high}"
                raise InputError(f"{name}: expected {expected}, got {value!r}.")
            object.__setattr__(self, name, float(value) if kind is Real else int(value))  # also NumPy's numbers
        if not self.overlap_s < self.window_s:
            raise InputError(f"overlap: expected 0 or more and less than {self.window_s:g} s, got {self.overlap_s:g}.")
        check_choice("clip_selection", self.clip_selection, get_args(ClipSelection))
        check_choice("pad_mode", self.pad_mode, get_args(PadMode))
        try:
            _ = self.cleaning
        except ValidationError as error:
            reasons = (f"{each['loc'][0]}: {each['msg']}, got {each['input']!r}." for each in error.errors())
            raise InputError(" ".join(reasons)) from error

    @property
    def cleaning(self) -> Cleaning:
        """Cleaning (trimming, noise reduction, removal of speech) to apply before windows are cut."""
        return Cleaning(trim_db=self.trim_db, denoise=self.denoise, cut_speech=self.cut_speech)

    @property
    def window_samples(self) -> int:
        """Number of samples in a clip."""
        return round(self.window_s * self.rate_hz)

    @property
    def hop_samples(self) -> int:
        """Number of samples from the start of a window to the start of the next."""
        return self.window_samples - round(self.overlap_s * self.rate_hz)

    def as_json(self) -> dict[str, Any]:
        """Return all values by the names of fields in stored files.

        Three names differ: "take" for `clip_selection`, "fill" for `pad_mode`, and "normalise" for `normalize`.
        """
        return {_STORED_NAMES.get(name, name): value for name, value in asdict(self).items()}


def _is_number(value: object, kind: type) -> bool:
    return not isinstance(value, bool) and isinstance(value, kind)


_STORED_NAMES = {"clip_selection": "take", "pad_mode": "fill", "normalize": "normalise"}
"""Names of fields in stored files where they differ: renaming them would change the keys of all prepared clips."""


def recipe_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a stored recipe (`Recipe.as_json`) by the names of `Recipe`'s fields; other keys stay."""
    names = {stored_name: name for name, stored_name in _STORED_NAMES.items()}
    return {names.get(name, name): value for name, value in stored.items()}
