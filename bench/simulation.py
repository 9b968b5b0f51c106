"""Discrete-event simulation: processes, resources that they share, and a log to which one of them commits at a time.

A process is a generator that yields what it waits for. An awaited thing is a function that takes the function to call
when it is over.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from functools import partial

Resume = Callable[[], None]
Awaited = Callable[[Resume], None]
Process = Generator[Awaited, None, None]

CLOSE = 1e-9
"""Share of a job that may be left when it counts as done: sums of floating point are not exact."""


class Simulation:
    """Clock and agenda. `now_s` is the simulated time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.n_events = 0
        self._agenda: list[tuple[float, int, Resume]] = []
        self._numbers = itertools.count()

    def call_at(self, time_s: float, resume: Resume) -> None:
        """Call a function at a time."""
        heapq.heappush(self._agenda, (time_s, next(self._numbers), resume))

    def delay(self, seconds: float) -> Awaited:
        """Return a time to wait for."""
        return partial(self._delay, seconds)

    def _delay(self, seconds: float, resume: Resume) -> None:
        self.call_at(self.now_s + seconds, resume)

    def start(self, process: Process) -> Event:
        """Start a process, and return the event of its end."""
        end = Event()
        self.call_at(self.now_s, partial(self._step, process, end))
        return end

    def _step(self, process: Process, end: Event) -> None:
        try:
            awaited = next(process)
        except StopIteration:
            end.set()
        else:
            awaited(partial(self._step, process, end))

    def run(self) -> None:
        """Run until nothing is left to do."""
        while self._agenda:
            self.now_s, _, resume = heapq.heappop(self._agenda)
            self.n_events += 1
            resume()


class Event:
    """Something that happens once."""

    def __init__(self) -> None:
        self.is_set = False
        self._waiting: list[Resume] = []

    def set(self) -> None:
        """Resume the processes that wait for it."""
        self.is_set = True
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    def wait(self, resume: Resume) -> None:
        """Wait for it."""
        if self.is_set:
            resume()
        else:
            self._waiting.append(resume)


class SharedResource:
    """Cores, or a network: jobs get equal shares of the capacity, and none gets more than the limit.

    Attributes:
        busy: capacity that was used, in units of the capacity times seconds.

    Args:
        simulation: the clock.
        capacity: what there is in a second, for all jobs.
        limit: what one job can use in a second.
        n_others: jobs beside these that never end: a number, not always whole, of other programs.
    """

    def __init__(self, simulation: Simulation, *, capacity: float, limit: float, n_others: float = 0.0) -> None:
        self._simulation, self._capacity, self._limit, self._n_others = simulation, capacity, limit, n_others
        self.busy = 0.0
        self._jobs: list[tuple[float, int, Resume]] = []
        self._numbers = itertools.count()
        # What each job would have got since the beginning: all get the same, so one number is enough.
        self._given, self._changed_s, self._version = 0.0, 0.0, 0

    def use(self, amount: float) -> Awaited:
        """Return an amount to wait for."""
        return partial(self._begin, amount)

    def _begin(self, amount: float, resume: Resume) -> None:
        self._advance()
        heapq.heappush(self._jobs, (self._given + amount, next(self._numbers), resume))
        self._plan()

    @property
    def _rate(self) -> float:
        return min(self._limit, self._capacity / (len(self._jobs) + self._n_others))

    def _advance(self) -> None:
        if self._jobs:
            given = (self._simulation.now_s - self._changed_s) * self._rate
            self._given += given
            self.busy += given * len(self._jobs)
        self._changed_s = self._simulation.now_s

    def _plan(self) -> None:
        self._version += 1
        if self._jobs:
            left = max(self._jobs[0][0] - self._given, 0.0)
            self._simulation.call_at(self._simulation.now_s + left / self._rate, partial(self._finish, self._version))

    def _finish(self, version: int) -> None:
        if version != self._version:  # jobs came or went since
            return
        self._advance()
        finished = []
        while self._jobs and self._jobs[0][0] <= self._given * (1 + CLOSE) + CLOSE:
            finished.append(heapq.heappop(self._jobs)[2])
        self._plan()
        for resume in finished:
            resume()


class Attempt:
    """An attempt to write a version of a log: `is_won` says how it ended."""

    def __init__(self, first: int, resume: Resume) -> None:
        self.first, self.resume = first, resume
        self.index = 0
        self.is_over = self.is_won = False


class CommitLog:
    """A log in which each version is written by one process: put if absent, and again after the versions of others.

    Of the processes that want to write a version, chance decides. The others read it, and try the next one; so of any
    number of processes, one commits in each `retry_s` + `put_s`.

    Attributes:
        n_versions: number of commits.
        n_conflicts: number of versions that processes lost to others.
        busy_s: time in which versions were written.

    Args:
        simulation: the clock.
        put_s: time to write a version.
        retry_s: time to read the version of another process, and to see whether it conflicts.
        max_tries: number of versions that an attempt tries.
        rng: decides who wins.
    """

    def __init__(
        self, simulation: Simulation, *, put_s: float, retry_s: float, max_tries: int, rng: random.Random
    ) -> None:
        self._simulation, self._put_s, self._retry_s, self._max_tries = simulation, put_s, retry_s, max_tries
        self._rng = rng
        self.n_versions, self.n_conflicts, self.busy_s = 0, 0, 0.0
        self.last: Attempt | None = None
        """The attempt that ended last: that of the process that is resumed."""
        self._attempts: list[Attempt] = []
        self._by_limit: dict[int, list[Attempt]] = {}
        self._is_writing = False

    def commit(self, resume: Resume) -> None:
        """Wait for a version of one's own, or for the end of the attempt."""
        attempt = Attempt(self.n_versions, resume)
        attempt.index = len(self._attempts)
        self._attempts.append(attempt)
        self._by_limit.setdefault(self.n_versions + self._max_tries, []).append(attempt)
        if not self._is_writing:
            self._write(self._put_s)

    def _write(self, seconds: float) -> None:
        self._is_writing = True
        self.busy_s += seconds
        self._simulation.call_at(self._simulation.now_s + seconds, partial(self._written, len(self._attempts)))

    def _written(self, n_writers: int) -> None:
        winner = self._attempts[self._rng.randrange(n_writers)]
        winner.is_won = True
        self.n_conflicts += self.n_versions - winner.first
        self.n_versions += 1
        over = [winner, *(each for each in self._by_limit.pop(self.n_versions, []) if each is not winner)]
        over = [each for each in over if not each.is_over]
        for each in over:
            self._remove(each)
        self._is_writing = False
        if self._attempts:
            self._write(self._retry_s + self._put_s)
        for each in over:
            self.last = each
            each.resume()

    def _remove(self, attempt: Attempt) -> None:
        attempt.is_over = True
        if not attempt.is_won:
            self.n_conflicts += self._max_tries
        last = self._attempts.pop()
        if last is not attempt:
            self._attempts[attempt.index], last.index = last, attempt.index
