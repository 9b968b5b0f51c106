"""Report on recordings with missing, contradictory or unreadable times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dawnchorus.tables.notes import counted


@dataclass
class ClockReport:
    """Numbers of recordings with each problem of their times, and the first example of each problem."""

    n: int = 0
    """Number of all recordings."""
    n_untimed: int = 0
    """Number of recordings without a time."""
    n_conflicts: int = 0
    """Number of recordings whose sources of time and location (metadata, file name) contradict each other."""
    n_unread: int = 0
    """Number of recordings with a time or location that could not be read."""
    _untimed: str = ""
    _conflict: str = ""
    _unread: str = ""

    def add(self, name: str, *, has_time: bool, conflict: str | None, unread: str | None) -> None:
        """Count one recording; the first recording with a problem is its example, with the name `name`.

        `conflict` and `unread` are the fields of the recording's `RecordingMetadata`.
        """
        self.n += 1
        if not has_time:
            self.n_untimed += 1
            self._untimed = self._untimed or name
        if conflict:
            self.n_conflicts += 1
            self._conflict = self._conflict or f"{name}: {conflict}"
        if unread:
            self.n_unread += 1
            self._unread = self._unread or f"{name}: {unread}"

    def notes(self) -> Iterator[str]:
        """Yield one sentence for each problem that occurred, with the number of recordings and the example."""
        of_all = f"of {counted(self.n, 'recording')}"
        if self.n_untimed:
            yield (
                f"no time found for {self.n_untimed} {of_all}, as {self._untimed}: neither metadata nor "
                f"names say when they began in a way that is known (docs/CLOCKS.md)."
            )
        if self.n_conflicts:
            yield (
                f"sources of time and location contradict each other in {self.n_conflicts} {of_all} (the "
                f"first one is used), as {self._conflict}."
            )
        if self.n_unread:
            yield (
                f"times or locations that are not understood, in {self.n_unread} {of_all} (another source "
                f"is used, if there is one), as {self._unread}."
            )
