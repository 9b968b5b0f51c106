"""Queue of units, from which workers take more as they finish earlier ones.

A unit is a batch of recordings that are committed together.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping

MAX_ATTEMPTS = 4
"""Maximum number of workers that may end while processing a unit before the unit is abandoned.

The number allows for machines that stop for other reasons, such as spot instances.
"""


class UnitQueue:
    """Queue of units in the order of the manifest, of which workers take some at a time.

    Units of a worker that has ended unexpectedly are assigned to other workers. A unit that was being processed may be
    the cause, so it is assigned alone from then on, after all other units. It is abandoned once `MAX_ATTEMPTS` (4)
    workers have ended while processing it.

    Args:
        units: number of recordings of each unit by the unit's name, in the order of the manifest.

    Attributes:
        abandoned: names of the units that are no longer assigned.
    """

    def __init__(self, units: Mapping[str, int]) -> None:
        self._n_recordings = dict(units)
        self._waiting = deque(units)
        self._suspects: deque[str] = deque()
        self._attempts: Counter[str] = Counter()
        self._n_assigned = 0
        self.abandoned: list[str] = []
        """Names of the units that are no longer assigned."""

    @property
    def n_left(self) -> int:
        """Number of units that are neither finished nor abandoned."""
        return len(self._waiting) + len(self._suspects) + self._n_assigned

    @property
    def n_waiting(self) -> int:
        """Number of units that are not assigned to a worker."""
        return len(self._waiting) + len(self._suspects)

    def take(self, n_recordings: int, *, n_workers: int, held: Collection[str] = ()) -> list[str]:
        """Return the names of units for a worker; none if no units wait, or the worker may not have more now.

        A worker that holds a unit on which another worker ended gets no more, and a waiting unit of that kind is
        assigned only if no others wait and the worker holds none.

        Towards the end, workers get fewer units at a time, so that all end at about the same time.

        Args:
            n_recordings: number of recordings that the worker requests; units are taken until they have so many or
                more.
            n_workers: number of workers that share the units.
            held: names of the units that are assigned to the worker and not finished.
        """
        if any(self._attempts[unit] for unit in held):
            return []
        if not self._waiting:
            assigned = [self._suspects.popleft()] if self._suspects and not held else []
        else:
            assigned = []
            limit = max(len(self._waiting) // (2 * n_workers), 1)
            while self._waiting and n_recordings > 0 and len(assigned) < limit:
                assigned.append(self._waiting.popleft())
                n_recordings -= self._n_recordings[assigned[-1]]
        self._n_assigned += len(assigned)
        return assigned

    def finish(self, units: Collection[str]) -> None:
        """Record that assigned units, given by name, are finished."""
        self._n_assigned -= len(units)

    def put_back(self, units: Iterable[str]) -> None:
        """Put units, given by name, that were assigned but not started by their worker, at the end of the queue."""
        for unit in units:
            self._n_assigned -= 1
            (self._suspects if self._attempts[unit] else self._waiting).append(unit)

    def requeue_lost(self, units: Iterable[str]) -> list[str]:
        """Put units, given by name, whose worker ended while processing them into the queue again, or abandon them.

        Return the names of those of `units` that are abandoned, as `MAX_ATTEMPTS` workers ended while processing them.
        """
        abandoned = []
        for unit in units:
            self._n_assigned -= 1
            self._attempts[unit] += 1
            if self._attempts[unit] < MAX_ATTEMPTS:
                self._suspects.append(unit)
            else:
                abandoned.append(unit)
        self.abandoned += abandoned
        return abandoned
