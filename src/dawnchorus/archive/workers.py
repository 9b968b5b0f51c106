"""Heartbeat files of the processes that write into an archive; they tell running units from lost ones."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

from dawnchorus.archive.location import WORKERS, ArchiveLocation
from dawnchorus.errors import BusyError, OutputExistsError, StoreError

HEARTBEAT_S = 15.0
"""Time after which a worker writes its file again."""

LOST_AFTER_S = 120.0
"""A worker that has not written for longer is lost; clocks of machines may differ by most of this."""


class Worker:
    """This process as a writer of an archive: its file says what it works at.

    Args:
        location: place of the archive.
        run: id of the run.
        shard: its shard, as text.
    """

    def __init__(self, location: ArchiveLocation, run: str, shard: str) -> None:
        self.location, self.run, self.shard = location, run, shard
        self.id = uuid4().hex[:12]
        self._units: tuple[str, ...] = ()
        self._written_s = -math.inf

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{WORKERS}/{self.id}.json"

    def attempt(self, unit: str) -> str:
        """Return the name of this worker's attempt at a unit, which all rows of the attempt have."""
        return f"{self.id}-{unit}"

    def beat(self, units: Iterable[str]) -> None:
        """Write the units that are under way, if others are or the last time is long ago.

        Raises:
            OutputError: the archive cannot be written.
        """
        listed = tuple(units)
        if listed == self._units and time.monotonic() - self._written_s < HEARTBEAT_S:
            return
        self._units, self._written_s = listed, time.monotonic()
        fields: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "run": self.run}
        with suppress(OutputExistsError):  # a vacuum has removed it as lost: the next beat writes it
            self.location.put(self.name, {**fields, "shard": self.shard, "units": listed})

    def __enter__(self) -> Self:
        """Write the file of this worker.

        Raises:
            BusyError: another worker is writing to a store in which only one can.
            OutputError: the archive cannot be written.
            StoreError: the store failed.
        """
        self.beat(())
        try:
            self._check_alone()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _check_alone(self) -> None:
        """Refuse a second writer of a store that loses what one of two writes.

        Each writes its file before it looks for others. So of two that start at once none may go on, but never both.

        Raises:
            BusyError: there is another one.
        """
        if self.location.allows_many_writers:
            return
        others = [each for each in read_workers(self.location) if each.id != self.id and not each.is_lost]
        if others:
            last = min(others, key=lambda each: each.age_s)
            raise BusyError(
                f"the store passes over If-None-Match, so only one process at a time can write this archive, and "
                f"process {last.pid} on {last.host} does (last seen {last.age_s:.0f} s ago). Wait for its end, "
                f"{LOST_AFTER_S:.0f} s if it has died, and start again; or use a store with conditional writes.",
                subject=self.location.root,
            )

    def __exit__(self, *_: object) -> None:
        # Results are kept already. A file that stays is that of a lost worker.
        with suppress(StoreError):
            self.location.remove(self.name)


@dataclass(frozen=True)
class WorkerState:
    """State of a writer.

    Attributes:
        id: name of the worker.
        host: name of its machine.
        pid: number of its process there.
        run: id of its run.
        shard: its shard.
        units: units that it works at.
        age_s: seconds since it wrote last.
    """

    id: str
    host: str
    pid: int
    run: str
    shard: str
    units: tuple[str, ...]
    age_s: float

    @property
    def is_lost(self) -> bool:
        """True if it has not written for long."""
        return self.age_s > LOST_AFTER_S


def read_workers(location: ArchiveLocation) -> list[WorkerState]:
    """Read the states of all workers that did not end in order."""
    now_s = time.time()
    states = []
    for name, written_s in location.list_workers().items():
        fields = location.get(name)
        if not fields:  # it has ended meanwhile
            continue
        worker_id = name.rpartition("/")[2].removesuffix(".json")
        state = WorkerState(
            id=worker_id,
            host=str(fields.get("host", "")),
            pid=int(fields.get("pid", 0)),
            run=str(fields.get("run", "")),
            shard=str(fields.get("shard", "")),
            units=tuple(fields.get("units", ())),
            age_s=now_s - written_s,
        )
        states.append(state)
    return states


def one_writer(location: ArchiveLocation, work: str) -> AbstractContextManager[object]:
    """Return a block that is a writer of its own where only one can write; `work` names it in the list of workers."""
    return nullcontext() if location.allows_many_writers else Worker(location, "", work)
