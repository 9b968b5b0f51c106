"""Simulation of one to a thousand workers on one archive, from measured rates, and compared with real runs.

The steps of a worker are those of `identification.audio_run` and `archive.writer`: recordings are read and scored while
the unit before is committed, a unit's rows are committed to one table after the other, and each commit is one version
of that table's log.
"""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.scale_rates import (
    CHECKPOINT_EVERY,
    DETECTIONS_PER_UNIT,
    N_STORE_UNITS,
    UNIT_RECORDINGS,
    LogRate,
    StoreRate,
    make_sounds,
    measure_decoding,
    measure_inference,
    measure_listing,
    measure_log,
    measure_rows,
    measure_store,
    run_workers,
)
from bench.simulation import Awaited, CommitLog, Event, Process, SharedResource, Simulation
from dawnchorus.archive.delta import MAX_TRIES, longest_pause_s
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.cores import usable_cores
from dawnchorus.models.runner import BATCH_WINDOWS

WINDOW_S = 3.0
BYTES_PER_S = 96_000
"""Sound at 48 kHz with 16 bits, in one channel."""

N_TABLES = 2
"""Tables that a unit adds to: detections and recordings."""

N_PREPARING_TRIPS = 5
"""Requests between reading the state of a table and looking for versions of others: transactions, and the rows."""

N_RETRY_TRIPS = 4
"""Requests after a version was lost: deltalake lists the log and reads the new version, for conflicts and then for its
state, before it puts the next one."""

DELTA_TRIES = 16
"""Attempts of deltalake at a commit, by default; `ArchiveTable` repeats that."""

N_CALIBRATION = (4, 16)
N_CROWD = 4
"""Processes on a core, for the effect of sharing it."""

N_PER_WORKER = 21
"""Recordings of six minutes for each worker of a real run: seven units of three, 45 s of inference."""

REAL_WORKERS, WAITING_WORKERS = (1, 2), (1, 4, 8, 16)
SIZES_WORKERS = (1, 4, 10, 32, 100, 320, 1_000)
UNITS, SMALL_UNITS = UnitSize(), UnitSize(largest_bytes=UnitSize.max_bytes)
"""Units as they are, and as they were before 2026-12: of 1 GB at most."""

LOOKED_AT = "100 TB"
"""Source that is also simulated with other units and stores, and with lost nodes."""

SMALL_UNITS_WORKERS = (32, 100, 320)
MIN_BYTES_PER_WORKER = 1e10
"""Least share of a worker, a few minutes of work: below it, nobody starts so many."""


N_LARGE = 100
"""Number of workers from which on networks and losses are looked at."""

SOURCES = {"1 TB": 1e12, "100 TB": 1e14, "1 PB": 1e15}
CORES = 4
"""Cores of a worker: those of a task of deploy/identify.slurm."""

NO_LIMIT = "no limit"
NETWORKS = {NO_LIMIT: math.inf, "12.5 GB/s": 12.5e9, "1.25 GB/s": 1.25e9}
SPREAD = 0.1
"""Largest share by which the work of a unit differs from the mean: without it, all workers would commit at once."""

RECORDING_S = 360.0
"""Length of the recordings that are projected."""

LOSSES_PER_H = 0.05
"""Share of the nodes that are lost in an hour, where some are."""


@dataclass(frozen=True)
class Rates:
    """Measured costs, in seconds of processor time but for those that say something else.

    Attributes:
        list_s: listing of a recording.
        infer_s: inference of a window.
        decode_s: decoding of a second of sound.
        handle_s: all else that a recording costs: windows, scores above the floor, rows.
        start_s: start of a process, until it scores.
        session_s: opening of the model in it.
        row_s: a detection more in a unit of more than 1 GB.
        crowding: processor time of processes that share cores, four to a core, as a multiple of that of one alone.
        log: costs of commits by the length of the log.
        store: costs of a store with slow requests; None: a disk.
    """

    list_s: float
    infer_s: float
    decode_s: float
    handle_s: float
    start_s: float
    session_s: float
    row_s: float
    crowding: float
    log: tuple[LogRate, ...]
    store: StoreRate | None = None

    def commit_cpu_s(self, n_commits: float) -> float:
        """Return the time of a unit's commits to tables that have as many."""
        return self._at(n_commits, "cpu_s")

    def checkpoint_s(self, n_commits: float) -> float:
        """Return the time of a checkpoint."""
        return self._at(n_commits, "checkpoint_s")

    @property
    def refresh_s(self) -> float:
        """Time of reading another process's commit."""
        return float(np.median([rate.refresh_s for rate in self.log]))

    def _at(self, n_commits: float, name: str) -> float:
        values = [getattr(rate, name) for rate in self.log]
        lengths = [rate.n_commits for rate in self.log]
        if n_commits <= lengths[-1]:
            return float(np.interp(n_commits, lengths, values))
        slope = (values[-1] - values[-2]) / (lengths[-1] - lengths[-2])
        return float(values[-1] + slope * (n_commits - lengths[-1]))

    def unit_trips(self, n_commits: float, *, n_others: float) -> float:
        """Return the requests of a unit's commits that wait for each other, after `n_others` units of others."""
        if self.store is None:
            return 0.0
        own = self.store.unit_trips if n_commits < CHECKPOINT_EVERY else self.store.later_trips
        return own + n_others * self.store.other_trips

    @property
    def trip_s(self) -> float:
        """Time of a request that others wait for."""
        return 0.0 if self.store is None else self.store.delay_s


# ---------------------------------------------------------------------- the model


@dataclass(frozen=True)
class Job:
    """A run of workers.

    Attributes:
        n_workers: number of workers.
        n_units: number of units of each.
        unit_recordings: recordings of a unit.
        recording_s: length of a recording.
        is_waiting: True if inference waits, and uses no core.
        cores: cores of each worker.
        n_ahead: pieces of work that a worker may be ahead of its commits.
        losses_per_h: share of the workers that are lost in an hour.
        has_pauses: False: a commit that was refused is made again at once, as before 2026-12.
    """

    n_workers: int
    n_units: Sequence[int]
    unit_recordings: int
    recording_s: float
    is_waiting: bool = False
    cores: int = 1
    n_ahead: int = 1
    losses_per_h: float = 0.0
    has_pauses: bool = True

    def pause_s(self, number: int) -> float:
        """Return the longest pause after a number of refused commits."""
        return longest_pause_s(number) if self.has_pauses else 0.0

    @property
    def unit_bytes(self) -> float:
        """Size of the recordings of a unit."""
        return self.unit_recordings * self.recording_s * BYTES_PER_S


@dataclass
class Outcome:
    """Times of a simulated run.

    Attributes:
        wall_s: time by the clock.
        work_s: seconds of all workers in which they scored.
        commit_s: seconds in which they committed, of all workers.
        log_share: share of the time in which versions of a log were written.
        read_share: share of the network that was used.
        n_conflicts: versions that a commit lost to others, in the mean.
        n_given_up: commits that lost more than they may.
        n_lost: units that were repeated.
    """

    wall_s: float
    work_s: float
    commit_s: float
    log_share: float
    read_share: float
    n_conflicts: float
    n_given_up: int
    n_lost: int


class _Run:
    """State of a simulated run."""

    def __init__(self, job: Job, rates: Rates, *, network: float, machine_cores: float | None, n_others: float) -> None:
        self.job, self.rates = job, rates
        self.simulation = Simulation()
        self.rng = random.Random(1)  # noqa: S311 - no secret
        trip_s = rates.trip_s
        # A version that another process wrote is found by listing, and read for the conflict and for the state.
        self.logs = [
            CommitLog(
                self.simulation,
                put_s=max(trip_s, 0.001),
                retry_s=N_RETRY_TRIPS * trip_s + rates.refresh_s,
                max_tries=DELTA_TRIES,
                rng=self.rng,
            )
            for _ in range(N_TABLES)
        ]
        # Of one machine, all workers share the cores; on a cluster, each has its own.
        self.machine = None
        self.crowding = 1.0
        if machine_cores is not None:
            if job.n_workers > machine_cores:
                self.crowding = rates.crowding
            self.machine = SharedResource(self.simulation, capacity=machine_cores, limit=1.0, n_others=n_others)
        self.network = None
        if math.isfinite(network):
            self.network = SharedResource(self.simulation, capacity=network, limit=network)
        self.work_s = self.commit_s = 0.0
        self.n_lost = self.n_given_up = 0

    def cpu(self, seconds: float) -> Awaited:
        """Return processor time to wait for."""
        if self.machine is None:
            return self.simulation.delay(seconds)
        return self.machine.use(seconds * self.crowding)

    # ------------------------------------------------------------------ one machine: recordings are the pieces

    def machine_worker(self, n_units: int) -> Process:
        """Score units with one core, recording by recording."""
        yield self.cpu(self.rates.start_s)
        n = n_units * self.job.unit_recordings
        done, handled = ([Event() for _ in range(n)] for _ in range(2))
        self.simulation.start(self._score_recordings(done, handled))
        n_seen = 0
        for k in range(n):
            yield done[k].wait
            if (k + 1) % self.job.unit_recordings == 0:
                yield from self._commit(n_seen)
                n_seen = self.logs[-1].n_versions
            handled[k].set()

    def _score_recordings(self, done: list[Event], handled: list[Event]) -> Process:
        infer_s = self.job.recording_s / WINDOW_S * self.rates.infer_s
        for k, each in enumerate(done):
            if k >= self.job.n_ahead:
                yield handled[k - self.job.n_ahead].wait
            decoded = self.simulation.start(self._decode())
            if self.job.is_waiting:
                yield self.simulation.delay(infer_s)
                yield self.cpu(self.rates.handle_s)
            else:
                yield self.cpu(infer_s + self.rates.handle_s)
            yield decoded.wait
            each.set()

    def _decode(self) -> Process:
        yield self.cpu(self.rates.decode_s * self.job.recording_s)

    # ------------------------------------------------------------------ a cluster: units are the pieces

    def node_worker(self, n_units: int) -> Process:
        """Score units with the cores of a node of its own."""
        job, rates = self.job, self.rates
        n_recordings = sum(job.n_units) * job.unit_recordings
        yield self.cpu(rates.start_s + rates.list_s * n_recordings)
        done, handled = ([Event() for _ in range(n_units)] for _ in range(2))
        self.simulation.start(self._score_units(done, handled))
        n_seen = 0
        for k in range(n_units):
            yield done[k].wait
            yield from self._commit(n_seen)
            n_seen = self.logs[-1].n_versions
            handled[k].set()

    def _score_units(self, done: list[Event], handled: list[Event]) -> Process:
        job, rates = self.job, self.rates
        unit_s = job.unit_recordings * job.recording_s
        core_s = unit_s * (rates.infer_s / WINDOW_S + rates.decode_s) + job.unit_recordings * rates.handle_s
        lost_s = self._draw_loss()
        for k, each in enumerate(done):
            if k >= job.n_ahead:
                yield handled[k - job.n_ahead].wait
            read = None
            if self.network is not None:
                read = Event()
                self.network.use(unit_s * BYTES_PER_S)(read.set)
            # Commits take a core from the others for a while.
            n_commits = self.logs[0].n_versions
            work_s = self.rng.uniform(1 - SPREAD, 1 + SPREAD) * (core_s + rates.commit_cpu_s(n_commits)) / job.cores
            yield self.simulation.delay(work_s)
            if read is not None:
                yield read.wait
            self.work_s += work_s
            if self.simulation.now_s >= lost_s:
                # The units that were not committed are done again, by a process that is started for it.
                self.n_lost += 1
                yield self.simulation.delay(rates.start_s + work_s)
                lost_s = self._draw_loss()
            each.set()

    def _draw_loss(self) -> float:
        if not self.job.losses_per_h:
            return math.inf
        return self.simulation.now_s + self.rng.expovariate(self.job.losses_per_h / 3600)

    # ------------------------------------------------------------------ both

    def _commit(self, n_seen: int) -> Process:
        """Commit a unit of a worker that knows `n_seen` commits of others."""
        start_s = self.simulation.now_s
        rates = self.rates
        n_commits = self.logs[0].n_versions
        n_rows = DETECTIONS_PER_UNIT * self.job.unit_bytes / 1e9
        rows_s = max(n_rows - DETECTIONS_PER_UNIT, 0) * rates.row_s
        yield self.cpu((n_commits - n_seen) * rates.refresh_s + rows_s)
        # Without the requests that `_prepare` and the logs wait for.
        n_trips = rates.unit_trips(n_commits, n_others=n_commits - n_seen) - N_TABLES * (N_PREPARING_TRIPS + 1)
        yield self.simulation.delay(n_trips * rates.trip_s)
        for log in self.logs:
            yield from self._prepare(log)
            for number in range(MAX_TRIES):
                yield self.cpu(rates.commit_cpu_s(n_commits) / N_TABLES)
                yield log.commit
                if log.last is not None and log.last.is_won:
                    break
                yield self.simulation.delay(self.rng.uniform(0, self.job.pause_s(number)))
            else:
                self.n_given_up += 1
            if log.n_versions % CHECKPOINT_EVERY == 0:
                yield self.cpu(rates.checkpoint_s(log.n_versions))
        self.commit_s += self.simulation.now_s - start_s

    def _prepare(self, log: CommitLog) -> Process:
        """Prepare a commit, and read versions that others have written meanwhile."""
        n_known = log.n_versions
        yield self.simulation.delay(N_PREPARING_TRIPS * self.rates.trip_s)
        while n_known < log.n_versions:
            log.n_conflicts += log.n_versions - n_known
            n_known = log.n_versions
            yield self.simulation.delay(N_RETRY_TRIPS * self.rates.trip_s)


def simulate(
    job: Job, rates: Rates, *, network: float = math.inf, machine_cores: float | None = None, n_others: float = 0.0
) -> Outcome:
    """Simulate a run: on one machine with as many cores, or, without a number, on nodes of a cluster."""
    run = _Run(job, rates, network=network, machine_cores=machine_cores, n_others=n_others)
    for n_units in job.n_units:
        run.simulation.start(run.node_worker(n_units) if machine_cores is None else run.machine_worker(n_units))
    run.simulation.run()
    wall_s = run.simulation.now_s
    n_commits = sum(log.n_versions for log in run.logs)
    return Outcome(
        wall_s=wall_s,
        work_s=run.work_s,
        commit_s=run.commit_s,
        log_share=max(log.busy_s for log in run.logs) / wall_s,
        read_share=0.0 if run.network is None else run.network.busy / wall_s / network,
        n_conflicts=sum(log.n_conflicts for log in run.logs) / max(n_commits, 1),
        n_given_up=run.n_given_up,
        n_lost=run.n_lost,
    )


# ---------------------------------------------------------------------- what is measured, compared and projected


def measure() -> dict[str, Any]:
    """Return measured rates, simulated and real times of runs, and projections."""
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        made, recording_s = make_sounds(scratch / "made")
        logits = scratch / "logits.npy"
        rates, decoding = measure_rates(scratch, made, recording_s, logits)
        runs = [
            _compare(scratch, made, logits, rates, recording_s, n_workers=n, is_waiting=is_waiting)
            for is_waiting, numbers in ((True, WAITING_WORKERS), (False, REAL_WORKERS))
            for n in numbers
        ]
    return {
        "load_before": load_before,
        "n_cores": usable_cores(),
        "recording_s": recording_s,
        "rates": asdict(rates),
        "decoding": decoding,
        "runs": runs,
        "writers": compare_writers(rates),
        "projections": project(rates),
        "load_average": os.getloadavg()[0],
    }


def measure_rates(scratch: Path, made: Path, recording_s: float, logits: Path) -> tuple[Rates, dict[str, float]]:
    """Return the rates, and those of decoding from the disk and by ranges; write logits for runs without inference."""
    list_s = measure_listing(scratch)
    infer_s, session_s, values = measure_inference(min(made.iterdir()))
    np.save(logits, values)
    decoding = measure_decoding(made, scratch)
    log, row_s, store = measure_log(scratch), measure_rows(scratch), measure_store()
    # Of processes without inference: what each recording adds, and what is there without any.
    calibrate = partial(run_workers, made=made, wait_s=0.0, logits=logits)
    few, many = (calibrate(scratch / f"few-{n}", n_workers=1, n_per_worker=n) for n in N_CALIBRATION)
    crowd = calibrate(scratch / "crowd", n_workers=N_CROWD * usable_cores(), n_per_worker=N_CALIBRATION[-1])
    each_s = (many["cpu_s"] - few["cpu_s"]) / (many["n_per_worker"] - few["n_per_worker"])
    start_s = few["cpu_s"] - few["n_per_worker"] * each_s
    handle_s = each_s - decoding["disk"] * recording_s - log[0].cpu_s / UNIT_RECORDINGS
    rates = Rates(
        list_s=list_s,
        infer_s=infer_s,
        decode_s=decoding["disk"],
        handle_s=max(handle_s, 0.0),
        start_s=max(start_s, 0.0),
        session_s=session_s,
        row_s=row_s,
        crowding=crowd["cpu_s"] / crowd["n_workers"] / many["cpu_s"],
        log=tuple(log),
        store=store,
    )
    return rates, decoding


def _compare(
    scratch: Path, made: Path, logits: Path, rates: Rates, recording_s: float, *, n_workers: int, is_waiting: bool
) -> dict[str, Any]:
    """Run on this machine, and simulate the same."""
    wait_s = rates.infer_s if is_waiting else None
    real = run_workers(
        scratch / f"{n_workers}-{is_waiting}",
        made,
        n_workers=n_workers,
        n_per_worker=N_PER_WORKER,
        wait_s=wait_s,
        logits=logits,
    )
    start_s = rates.start_s + (0.0 if is_waiting else rates.session_s)
    job = Job(
        n_workers,
        [N_PER_WORKER // UNIT_RECORDINGS] * n_workers,
        UNIT_RECORDINGS,
        recording_s,
        is_waiting=is_waiting,
        n_ahead=1 + BATCH_WINDOWS,
    )
    on_disk = replace(rates, store=None, start_s=start_s)
    outcome = simulate(job, on_disk, machine_cores=usable_cores(), n_others=real["n_others"])
    row = {**real, "simulated_s": outcome.wall_s, "error": outcome.wall_s / real["elapsed_s"] - 1}
    print(row, flush=True)
    return row


def compare_writers(rates: Rates) -> dict[str, Any]:
    """Simulate the processes of `measure_store` that only commit."""
    store = rates.store
    if store is None:
        raise ValueError("expected a store")
    job = Job(store.n_writers, [N_STORE_UNITS] * store.n_writers, 30, 360.0, n_ahead=2)
    free = replace(rates, infer_s=0.0, decode_s=0.0, handle_s=0.0, start_s=0.0, list_s=0.0)
    outcome = simulate(job, free)
    return {
        "real_s": store.elapsed_s,
        "simulated_s": outcome.wall_s,
        "error": outcome.wall_s / store.elapsed_s - 1,
        "n_conflicts": outcome.n_conflicts,
    }


def project(rates: Rates) -> list[dict[str, Any]]:
    """Simulate clusters of nodes with `CORES` cores each, on a store."""
    rows = []
    for source, n_bytes in SOURCES.items():
        one_s = _project(rates, source, n_workers=1)["wall_s"]
        for n_workers in SIZES_WORKERS:
            cases: list[dict[str, Any]] = [{}] if n_workers * MIN_BYTES_PER_WORKER <= n_bytes else []
            if source == LOOKED_AT and n_workers >= N_LARGE:
                cases += [{"network": name} for name in NETWORKS if name != NO_LIMIT]
                cases += [{"losses_per_h": LOSSES_PER_H}]
            if source == LOOKED_AT and n_workers in SMALL_UNITS_WORKERS:
                cases += [{"size": SMALL_UNITS}]
            for case in cases:
                row = _project(rates, source, n_workers=n_workers, **case)
                row["efficiency"] = one_s / (n_workers * row["wall_s"])
                rows.append({**row, "bottleneck": _name_bottleneck(row)})
                print(rows[-1], flush=True)
    return rows


def _project(
    rates: Rates,
    source: str,
    *,
    n_workers: int,
    size: UnitSize = UNITS,
    network: str = NO_LIMIT,
    losses_per_h: float = 0.0,
) -> dict[str, Any]:
    n_bytes = SOURCES[source]
    recording_bytes = RECORDING_S * BYTES_PER_S
    unit_recordings = int(min(size.limit_bytes(n_bytes) // recording_bytes, size.limit_recordings(n_bytes)))
    n_units = math.ceil(n_bytes / (unit_recordings * recording_bytes))
    shares = [n_units * (k + 1) // n_workers - n_units * k // n_workers for k in range(n_workers)]
    job = Job(
        n_workers,
        shares,
        unit_recordings,
        RECORDING_S,
        cores=CORES,
        n_ahead=2,
        losses_per_h=losses_per_h,
        has_pauses=size != SMALL_UNITS,
    )
    outcome = simulate(job, rates, network=NETWORKS[network])
    return {
        "source": source,
        "n_workers": n_workers,
        "network": network,
        "losses_per_h": losses_per_h,
        "has_small_units": size == SMALL_UNITS,
        "n_units": n_units,
        "unit_gb": job.unit_bytes / 1e9,
        "core_h": outcome.wall_s * n_workers * CORES / 3600,
        **asdict(outcome),
    }


def _name_bottleneck(row: dict[str, Any]) -> str:
    """Return what a run waited for."""
    if row["log_share"] > 0.8:
        return "commits"
    if row["read_share"] > 0.8:
        return "reading"
    if row["efficiency"] > 0.9:
        return "cores"
    return "few units" if row["n_units"] < 10 * row["n_workers"] else "starts and the last units"
