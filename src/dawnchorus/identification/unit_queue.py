"""Units of a run that workers take one after the other, as they are done with earlier ones."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping

MAX_ATTEMPTS = 4
"""Maximum number of workers that may end in the middle of a unit before it is given up.

One unit is given again this often where machines go for other reasons, as those of a spot market do.
"""


class UnitQueue:
    """Units in the order of the listing, of which workers ask for some recordings' worth at a time.

    What a worker had when it ended is given to others. A unit that is in the middle when its worker ends may be the
    cause, so it is given alone from then on, after the others, until it is given up.

    Args:
        units: number of recordings by unit.
    """

    def __init__(self, units: Mapping[str, int]) -> None:
        self._n_recordings = dict(units)
        self._waiting = deque(units)
        self._suspects: deque[str] = deque()
        self._attempts: Counter[str] = Counter()
        self._n_given = 0
        self.given_up: list[str] = []
        """Units that are not given any more."""

    @property
    def n_left(self) -> int:
        """Number of units that have not ended and are not given up."""
        return len(self._waiting) + len(self._suspects) + self._n_given

    @property
    def n_waiting(self) -> int:
        """Number of units that no worker has."""
        return len(self._waiting) + len(self._suspects)

    def take(self, n_recordings: int, *, n_workers: int, held: Collection[str] = ()) -> list[str]:
        """Return units for a worker: some if any are waiting and the worker may have more.

        Towards the end, a worker gets fewer of those that are left, so that all workers end at about the same time.

        Args:
            n_recordings: number of recordings that the worker asks for.
            n_workers: number of workers that share the units.
            held: units that the worker has not ended.
        """
        if any(self._attempts[unit] for unit in held):
            return []
        if not self._waiting:
            taken = [self._suspects.popleft()] if self._suspects and not held else []
        else:
            taken = []
            limit = max(len(self._waiting) // (2 * n_workers), 1)
            while self._waiting and n_recordings > 0 and len(taken) < limit:
                taken.append(self._waiting.popleft())
                n_recordings -= self._n_recordings[taken[-1]]
        self._n_given += len(taken)
        return taken

    def end(self, units: Collection[str]) -> None:
        """Note that units which were taken have ended."""
        self._n_given -= len(units)

    def put_back(self, units: Iterable[str]) -> None:
        """Take back units that a worker did not begin."""
        for unit in units:
            self._n_given -= 1
            (self._suspects if self._attempts[unit] else self._waiting).append(unit)

    def lose(self, units: Iterable[str]) -> list[str]:
        """Take back units whose worker ended in the middle of them; return those that are given up now."""
        given_up = []
        for unit in units:
            self._n_given -= 1
            self._attempts[unit] += 1
            if self._attempts[unit] < MAX_ATTEMPTS:
                self._suspects.append(unit)
            else:
                given_up.append(unit)
        self.given_up += given_up
        return given_up
