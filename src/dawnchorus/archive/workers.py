"""Heartbeat files of the processes that write to an archive, by which crashed processes are detected.

A file names the units, batches of recordings that are committed together, that the process is working on.
"""

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
"""Seconds after which a worker writes its heartbeat file again."""

LOST_AFTER_S = 120.0
"""Seconds without a heartbeat after which a worker is lost; differences between machines' clocks must be smaller."""


class Worker:
    """This process as a writer of an archive, with a heartbeat file that names the units it is processing.

    Used in a `with` block, which writes the file at its start and removes it at its end. Entering the block raises
    BusyError if the store allows only one writer and there is another, and OutputError or StoreError if the file or the
    store fails.

    Args:
        location: location of the archive.
        run: id of the run; empty for maintenance of the archive.
        shard: the worker's shard as text, such as "2/8", or the kind of maintenance: "compaction" or "vacuum".

    Attributes:
        id: id of the worker, 12 random hexadecimal digits.
    """

    def __init__(self, location: ArchiveLocation, run: str, shard: str) -> None:
        self.location, self.run, self.shard = location, run, shard
        self.id = uuid4().hex[:12]
        self._units: tuple[str, ...] = ()
        self._written_s = -math.inf

    @property
    def name(self) -> str:
        """Path of the heartbeat file, relative to the archive's folder."""
        return f"{WORKERS}/{self.id}.json"

    def attempt(self, unit: str) -> str:
        """Return the name of this worker's attempt at the unit named `unit`; all rows of the attempt have this name."""
        return f"{self.id}-{unit}"

    def beat(self, units: Iterable[str]) -> None:
        """Write the heartbeat file, if the units in progress have changed or `HEARTBEAT_S` seconds have passed.

        `units` are the names of the units in progress.

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
        """Write the heartbeat file, and return the worker.

        Raises:
            BusyError: another worker writes to a store that allows only one writer.
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
        """Check that there is no other writer, if the store allows only one.

        Each worker writes its heartbeat file before it looks for others. If two start at once, both may be refused, but
        never both accepted.

        Raises:
            BusyError: there is another writer.
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
    """State of a worker, from its heartbeat file.

    Attributes:
        id: id of the worker.
        host: name of the worker's machine.
        pid: process id on that machine.
        run: id of the run; empty for maintenance of the archive.
        shard: the worker's shard as text, such as "2/8", or the kind of maintenance: "compaction" or "vacuum".
        units: names of the units in progress.
        age_s: seconds since the last heartbeat.
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
        """True if the last heartbeat is older than `LOST_AFTER_S` seconds."""
        return self.age_s > LOST_AFTER_S


def read_workers(location: ArchiveLocation) -> list[WorkerState]:
    """Return the states of all workers with a heartbeat file: those that run, and those that did not end normally.

    Raises:
        InputError: the file of a worker cannot be read.
        StoreError: the store failed.
    """
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
    """Return a context manager that excludes other writers, if the store allows only one; otherwise it does nothing.

    `work` is the kind of work, for the list of workers: "compaction" or "vacuum". Entering the context raises BusyError
    if there is another writer, and OutputError or StoreError if the store fails.
    """
    return nullcontext() if location.allows_many_writers else Worker(location, "", work)
