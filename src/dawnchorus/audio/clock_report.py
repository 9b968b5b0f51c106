"""One sentence on all recordings without a time, and one on all whose sources contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class ClockReport:
    """Counts of recordings, with the first example of each finding."""

    n: int = 0
    n_untimed: int = 0
    n_conflicts: int = 0
    _untimed: str = ""
    _conflict: str = ""

    def add(self, name: str, *, has_time: bool, conflict: str | None) -> None:
        """Count one recording; `conflict` is that of its `Origin`."""
        self.n += 1
        if not has_time:
            self.n_untimed += 1
            self._untimed = self._untimed or name
        if conflict:
            self.n_conflicts += 1
            self._conflict = self._conflict or f"{name}: {conflict}"

    def notes(self) -> Iterator[str]:
        """Yield the sentences."""
        if self.n_untimed:
            yield (
                f"no time found for {self.n_untimed} of {self.n} recordings, as {self._untimed}: neither metadata nor "
                f"names say when they began in a way that is known (docs/CLOCKS.md)."
            )
        if self.n_conflicts:
            yield (
                f"sources of time and place contradict each other or are not understood in {self.n_conflicts} of "
                f"{self.n} recordings (of two, the first one is used), as {self._conflict}."
            )
