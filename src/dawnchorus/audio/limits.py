"""Limits of a recording that strangers send."""

from __future__ import annotations

from dataclasses import dataclass

from dawnchorus.errors import AudioTooLargeError
from dawnchorus.types import AudioInfo


@dataclass(frozen=True)
class RecordingLimits:
    """Largest recording that is decoded."""

    max_duration_s: float = 6 * 3600.0
    max_channels: int = 8
    min_rate_hz: int = 4_000
    max_rate_hz: int = 500_000

    def check(self, *, n_channels: int, rate_hz: int, duration_s: float | None) -> None:
        """Raise if a recording's header exceeds the limits.

        Raises:
            AudioTooLargeError: it exceeds them.
        """
        if n_channels > self.max_channels or not self.min_rate_hz <= rate_hz <= self.max_rate_hz:
            raise AudioTooLargeError(
                f"expected at most {self.max_channels} channels at {self.min_rate_hz} to {self.max_rate_hz} Hz, "
                f"got {n_channels} at {rate_hz} Hz."
            )
        if duration_s is not None and duration_s > self.max_duration_s:
            raise AudioTooLargeError(
                f"expected at most {self.max_duration_s:g} s of audio, its header promises {duration_s:.0f} s."
            )

    def check_header(self, info: AudioInfo) -> None:
        """Raise if a recording's header exceeds the limits; see `check`."""
        self.check(n_channels=info.n_channels, rate_hz=info.rate_hz, duration_s=info.duration_s)
