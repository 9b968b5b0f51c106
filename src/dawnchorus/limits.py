"""Limits of a server, as plain data that is passed to what keeps them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from dawnchorus.errors import AudioTooLargeError


@dataclass(frozen=True, kw_only=True)
class ZipLimits:
    """Limits of an uploaded zip."""

    max_members: int = 10_000
    max_path_bytes: int = 1000
    max_ratio: int = 200
    """Maximum compression ratio: audio stays below it, decompression bombs do not."""
    unchecked_bytes: int = 1 << 20
    """Unpacked size up to which the ratio is not checked: headers and silence compress well."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of uploads, the queue, sessions and responses."""

    max_bytes: int = 512 << 20
    max_duration_s: float = 6 * 3600.0
    max_channels: int = 8
    min_rate_hz: int = 4_000
    max_rate_hz: int = 500_000
    zip: ZipLimits = field(default_factory=ZipLimits)

    headers_timeout_s: float = 20.0
    """Timeout of a connection until the end of a request's headers."""
    body_timeout_s: float = 30.0
    """Time for a body, in addition to that of its bytes at the minimum rate; also the longest pause in one."""
    min_bytes_per_s: int = 1_000

    max_sync_s: float = 600.0
    """Length up to which a recording is identified while its client waits; a longer one becomes a job by default."""
    min_step_s: float = 0.1
    """Minimum time from the start of a window to that of the next one."""
    wait_s: float = 30.0
    """Maximum time in the queue; a request that has waited longer is rejected."""
    max_queue_s: float = 10.0
    """Maximum work in the queue, in seconds for each inference thread."""
    max_active_per_thread: int = 4
    """Maximum number of recordings in progress for each inference thread; each has a decoder process."""

    session_max_age_s: int = 30 * 86_400
    """Age at which a browser's session ends."""
    page_rows: int = 1000
    """Rows of a response that are in memory at once."""

    def check(
        self, subject: str | os.PathLike[str], *, n_channels: int, rate_hz: int, duration_s: float | None
    ) -> None:
        """Raise if a recording's header exceeds the limits.

        Raises:
            AudioTooLargeError: it exceeds them.
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
