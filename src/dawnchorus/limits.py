"""Limits of a server on uploads, its queue, sessions and responses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from dawnchorus.errors import AudioTooLargeError


@dataclass(frozen=True, kw_only=True)
class ZipLimits:
    """Limits of an uploaded zip archive."""

    max_members: int = 10_000
    """Maximum number of files in the archive."""
    max_path_bytes: int = 1000
    """Maximum length of a file's path in the archive, in bytes."""
    max_ratio: int = 200
    """Maximum ratio of unpacked to packed size: audio stays below this ratio, decompression bombs do not."""
    unchecked_bytes: int = 1 << 20
    """Unpacked size up to which the compression ratio is not checked: headers and silence compress well."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of uploads, the queue, sessions and responses."""

    max_bytes: int = 512 << 20
    """Maximum size of a request's body in bytes."""
    max_duration_s: float = 6 * 3600.0
    """Maximum length of a recording in seconds."""
    max_channels: int = 8
    """Maximum number of channels of a recording."""
    min_rate_hz: int = 4_000
    """Minimum sample rate of a recording in Hz."""
    max_rate_hz: int = 500_000
    """Maximum sample rate of a recording in Hz."""
    zip: ZipLimits = field(default_factory=ZipLimits)
    """Limits of uploaded zip archives."""

    headers_timeout_s: float = 20.0
    """Maximum time from the start of a connection, or of a request on it, to the end of the request's headers."""
    body_timeout_s: float = 30.0
    """Maximum pause in a request's body; also added to the time that the body needs at `min_bytes_per_s`."""
    min_bytes_per_s: int = 1_000
    """Minimum mean rate at which a request's body must arrive."""

    max_sync_s: float = 600.0
    """Length of audio to score, in seconds, up to which a recording is identified while its client waits.

    A longer recording becomes a job. Audio in overlapping windows, and in channels that are scored separately, counts
    several times.
    """
    min_step_s: float = 0.1
    """Minimum time from the start of a window to the start of the next window; half a window if that is less."""
    wait_s: float = 30.0
    """Maximum time in the queue in seconds; a request that has waited longer is rejected."""
    max_queue_s: float = 10.0
    """Maximum estimated work in the queue, in seconds of computation for each inference thread.

    An upload that would exceed this maximum is rejected; an empty queue takes any upload.
    """
    max_active_per_thread: int = 4
    """Maximum number of recordings in progress for each inference thread; each recording has a decoder process."""

    session_max_age_s: int = 30 * 86_400
    """Age in seconds at which a browser's login session ends."""
    page_rows: int = 1000
    """Maximum number of detections of a response that are in memory at once."""

    def check(
        self, subject: str | os.PathLike[str], *, n_channels: int, rate_hz: int, duration_s: float | None
    ) -> None:
        """Check the header of a recording against the limits.

        Args:
            subject: name or path of the recording, for the error message.
            n_channels: number of channels according to the header.
            rate_hz: sample rate in Hz according to the header.
            duration_s: length in seconds according to the header; None if the header does not say, which passes.

        Raises:
            AudioTooLargeError: more channels than `max_channels`, a sample rate outside `min_rate_hz` to `max_rate_hz`,
                or longer than `max_duration_s`.
        """
        if n_channels > self.max_channels or not self.min_rate_hz <= rate_hz <= self.max_rate_hz:
            raise AudioTooLargeError(
                f"expected at most {self.max_channels} channels at {self.min_rate_hz} to {self.max_rate_hz} Hz, "
                f"got {n_channels} at {rate_hz} Hz.",
                subject=subject,
            )
        if duration_s is not None and duration_s > self.max_duration_s:
            raise AudioTooLargeError(
                f"expected at most {self.max_duration_s:g} s of audio, its header promises {duration_s:.0f} s.",
                subject=subject,
            )
