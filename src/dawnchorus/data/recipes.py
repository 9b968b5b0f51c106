"""Rules by which recordings become clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from dawnchorus.audio.noise import NoiseKind
from dawnchorus.errors import InputError
from dawnchorus.models.cleaning import Cleaning

Take = Literal["all", "first", "random", "loudest", "scored"]
Fill = Literal["zeros", "noise", "repeat"]

MAX_CHOICE_S = 600.0
"""Clips are chosen (by anything but "all") from so much of a recording's start."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Rules by which recordings become clips of one length.

    Raises:
        InputError: a value is out of range.
    """

    rate_hz: int = 32_000
    window_s: float = 5.0
    overlap_s: float = 0.0
    take: Take = "all"
    """Windows to take: all of them, the first, some at random, those with the most sound, or those in which a model
    hears the recording's species best (and with the most sound, where it does not hear it)."""
    n_clips: int = 1
    """Number of "random", "loudest" or "scored" windows of each recording."""
    fill: Fill = "zeros"
    """Filling of a clip that is longer than its recording."""
    trim_db: float | None = None
    denoise: NoiseKind | None = None
    cut_speech: bool = False
    normalise: bool = False
    """True if each clip is scaled so that its largest sample is 0.9 of full scale."""

    def __post_init__(self) -> None:
        for name, low, high in (("rate_hz", 4_000, 192_000), ("window_s", 0.1, 120), ("n_clips", 1, 10_000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name}: expected {low} to {high}, got {value}.")
        if not 0 <= self.overlap_s < self.window_s:
            raise InputError(f"overlap: expected 0 or more and less than {self.window_s:g} s, got {self.overlap_s:g}.")

    @property
    def cleaning(self) -> Cleaning:
        """Steps before the recording is cut into windows."""
        return Cleaning(trim_db=self.trim_db, denoise=self.denoise, cut_speech=self.cut_speech)

    @property
    def window_samples(self) -> int:
        """Samples in a clip."""
        return round(self.window_s * self.rate_hz)

    @property
    def hop_samples(self) -> int:
        """Samples from one window's start to the next one's."""
        return self.window_samples - round(self.overlap_s * self.rate_hz)

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)
