"""Rates that the simulation of a cluster is fed with, measured on this machine; and real runs to compare it with."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from tests.fixtures.http_server import serving_http
from tests.fixtures.s3_server import Bucket, S3Handler, use_bucket

from bench.archive import LABELS, RUN
from bench.recordings import make_recordings
from bench.storage import DECODE, serving_folder
from bench.storage import _run as run_code
from dawnchorus.archive.archive import create_archive, open_archive
from dawnchorus.archive.maintenance import check_archive
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.archive.rows import recording_rows
from dawnchorus.archive.schemas import DETECTIONS, RECORDINGS, SCHEMAS
from dawnchorus.archive.workers import Worker
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.audio.decode import read_mono
from dawnchorus.cores import usable_cores
from dawnchorus.identification.archiving import _list_files, archive_recordings
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.models.runner import BATCH_WINDOWS, GraphOutput, open_session
from dawnchorus.models.store import ModelStore, default_folder

N_DISTINCT = 4
"""Recordings of six minutes that are synthesized; the others are links to them."""

UNIT_RECORDINGS = 3
DETECTIONS_PER_UNIT, RECORDINGS_PER_UNIT = 6_000, 30
"""Rows of a unit of 1 GB: 30 recordings of 6 minutes, with 2,000 detections an hour (docs/ARCHIVE.md)."""

LOG_LENGTHS = (0, 300, 3_000)
N_COMMITS = 6
"""Commits that are timed at each length of the log."""

MANY = 20
"""Times as many detections, for their share of the cost."""

N_NEW = 50
"""Commits of other processes that are read together."""

SAMPLE_S = 1.0
"""Time between counts of other programs' threads."""

N_LISTED = 5_000
MEASURE_S = 6.0

DELAY_S = 0.1
"""Time of a request to a store: the lower end of what Amazon states for small objects in S3, 100 to 200 ms."""

CHECKPOINT_EVERY = 100
"""Commits after which deltalake writes a checkpoint: its default."""

N_WRITERS, N_STORE_UNITS = 4, 6
N_OTHERS = 10
"""Units of another process before each commit that is timed."""


@dataclass(frozen=True)
class LogRate:
    """Cost of a unit's commits where tables have as many commits already: of two tables, in one process.

    Attributes:
        n_commits: number of commits of each table before.
        cpu_s: processor time of a unit's commits.
        elapsed_s: time by the clock.
        checkpoint_s: time to write the state of one table into one file.
        look_s: time to see that nothing is new, or that one commit is.
        refresh_s: time to read each further commit of other processes.
        open_s: time to open one table anew.
    """

    n_commits: int
    cpu_s: float
    elapsed_s: float
    checkpoint_s: float
    look_s: float
    refresh_s: float
    open_s: float


# ---------------------------------------------------------------------- rates


def link_recordings(folder: Path, made: Path, n: int) -> Path:
    """Make `n` names for the recordings in `made`."""
    folder.mkdir()
    paths = sorted(made.iterdir())
    for k in range(n):
        os.link(paths[k % len(paths)], folder / f"SITE_{20260501 + k // 1000}_{k % 1000:06d}.wav")
    return folder


def measure_listing(scratch: Path) -> float:
    """Return the seconds of listing a recording in a folder, with its size and version."""
    folder = scratch / "listed"
    folder.mkdir()
    for k in range(N_LISTED):
        (folder / f"SITE_20260501_{k:06d}.wav").write_bytes(b"RIFF")
    start_s = time.process_time()
    n = len(_list_files([folder]))
    return (time.process_time() - start_s) / n


def measure_inference(path: Path) -> tuple[float, float, np.ndarray[Any, Any]]:
    """Return the processor time of a window with BirdNET on one core, and of opening it, and logits of some windows."""
    bundle = ModelStore(default_folder()).open("birdnet")
    start_s = time.process_time()
    session = open_session(bundle)
    session_s = time.process_time() - start_s
    samples, _ = read_mono(path)
    n = BATCH_WINDOWS * bundle.window_samples
    batches = [samples[k : k + n].reshape(-1, bundle.window_samples) for k in range(0, len(samples) - n, n)]
    logits = [session.run(batch).logits for batch in batches[:2]]
    times_s: list[float] = []
    until_s = time.monotonic() + MEASURE_S
    while time.monotonic() < until_s:
        start_s = time.thread_time()
        session.run(batches[len(times_s) % len(batches)])
        times_s.append((time.thread_time() - start_s) / BATCH_WINDOWS)
    return statistics.median(times_s), session_s, np.concatenate(logits)


def measure_decoding(made: Path, scratch: Path) -> dict[str, float]:
    """Return the processor time of decoding a second of sound from the disk, and from a server by ranges."""
    paths = [str(path) for path in sorted(made.iterdir())]
    rates = {"disk": _decoding_rate(paths)}
    program = shutil.which("nginx", path=os.pathsep.join(["/usr/sbin", os.environ.get("PATH", "")]))
    if program is not None:
        (scratch / "nginx").mkdir()
        with serving_folder(program, made, scratch / "nginx") as url:
            rates["ranges"] = _decoding_rate([f"{url}/{Path(path).name}" for path in paths])
    return rates


def _decoding_rate(sources: list[str]) -> float:
    few, many = (run_code(DECODE, sources * n, 1) for n in (1, 5))
    return (many["cpu_s"] - few["cpu_s"]) / (many["scored_s"] - few["scored_s"])


def measure_log(scratch: Path) -> list[LogRate]:
    """Return the costs of commits by the length of the log."""
    return [_measure_log(scratch / f"log-{n}", n) for n in LOG_LENGTHS]


def _measure_log(folder: Path, n_before: int) -> LogRate:
    archive = create_archive(folder)
    archive.add_run(RUN, LABELS)
    with Worker(archive.location, RUN.id, "bench") as worker:
        writer = UnitWriter(archive, worker)
        _commit(writer, 0)
        for name in (DETECTIONS, RECORDINGS):
            _lengthen(folder / name / "_delta_log", n_before)
        checkpoint_s = _time(archive.table(RECORDINGS).checkpoint)
        archive.table(DETECTIONS).checkpoint()
        open_s = statistics.median(_time(archive.table(RECORDINGS).list_partitions) for _ in range(3))
        writer = UnitWriter(archive, worker)
        _commit(writer, n_before + 1)  # it opens the table of recordings, once a process
        cpu_s, elapsed_s = [], []
        for k in range(N_COMMITS):
            start_cpu_s, start_s = time.process_time(), time.perf_counter()
            _commit(writer, n_before + 2 + k)
            cpu_s.append(time.process_time() - start_cpu_s)
            elapsed_s.append(time.perf_counter() - start_s)
        other = archive.table(RECORDINGS)
        other.list_partitions()
        looks_s, refreshes_s = [], []
        for k in range(N_COMMITS):
            _commit(writer, n_before + 50 + 2 * k)
            looks_s.append(_time(other.refresh))
            _commit(writer, n_before + 51 + 2 * k)
            _lengthen(folder / RECORDINGS / "_delta_log", N_NEW)
            refreshes_s.append(_time(other.refresh))
        look_s = statistics.median(looks_s)
        refresh_s = max(statistics.median(refreshes_s) - look_s, 0.0) / N_NEW
    shutil.rmtree(folder)
    return LogRate(
        n_before,
        statistics.median(cpu_s),
        statistics.median(elapsed_s),
        checkpoint_s,
        look_s,
        refresh_s,
        open_s,
    )


def measure_rows(scratch: Path) -> float:
    """Return the processor time that each further detection of a unit adds to its commit."""
    archive = create_archive(scratch / "rows")
    archive.add_run(RUN, LABELS)
    times_s: dict[int, list[float]] = {1: [], MANY: []}
    with Worker(archive.location, RUN.id, "bench") as worker:
        writer = UnitWriter(archive, worker)
        _commit(writer, 0)
        for k in range(N_COMMITS):
            for times, measured in times_s.items():
                rows = _unit_rows(writer, 1 + k * (MANY + 1) + times, times * DETECTIONS_PER_UNIT)
                start_s = time.process_time()
                writer.commit(*rows)
                measured.append(time.process_time() - start_s)
    few_s, many_s = (statistics.median(each) for each in times_s.values())
    return (many_s - few_s) / (MANY - 1) / DETECTIONS_PER_UNIT


def _time(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def _commit(writer: UnitWriter, number: int) -> None:
    """Commit a unit as large as one of 1 GB."""
    if not writer.commit(*_unit_rows(writer, number, DETECTIONS_PER_UNIT)):
        raise RuntimeError(f"expected a new unit, got {number}")


def _unit_rows(writer: UnitWriter, number: int, n: int) -> tuple[str, pa.Table, dict[str, pa.Table]]:
    """Return the name of a unit, its recordings, and `n` detections."""
    unit = f"1-{number:06d}"
    common = {"run": RUN.id, "unit": unit, "attempt": writer.worker.attempt(unit), "site": "SITE", "month": "2026-05"}
    ids = (1 << 32) + number * RECORDINGS_PER_UNIT + np.arange(RECORDINGS_PER_UNIT)
    of_recording = np.sort(np.random.default_rng(number).choice(ids, n))
    counts = dict(zip(*np.unique(of_recording, return_counts=True), strict=True))
    rows = [
        {
            "recording": f"{k}.wav",
            "path": b"%d.wav" % k,
            "status": "done",
            "recording_id": k,
            "n_detections": int(counts.get(k, 0)),
            **common,
        }
        for k in ids.tolist()
    ]
    rng = np.random.default_rng(number)
    names = rng.integers(0, len(LABELS), n).tolist()
    columns: dict[str, Any] = {
        **{name: [value] * n for name, value in common.items()},
        "recording": [f"{k}.wav" for k in of_recording.tolist()],
        "recording_id": of_recording,
        "scientific_name": [LABELS[k].scientific_name for k in names],
        "common_name": [LABELS[k].common_name for k in names],
        "start_s": rng.integers(0, 120, n) * 3.0,
        "score": rng.random(n).astype(np.float32),
    }
    schema = SCHEMAS[DETECTIONS]
    arrays = {each.name: pa.nulls(n, each.type) for each in schema}
    arrays |= {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    return unit, recording_rows(rows), {DETECTIONS: pa.table(arrays, schema=schema)}


def _lengthen(log: Path, n: int) -> None:
    """Add copies of the last commit, with names of their own, as if as many units had ended."""
    last = max(log.glob("*.json"))
    version = int(last.stem)
    lines = [json.loads(line) for line in last.read_text().splitlines()]
    for k in range(1, n + 1):
        changed = []
        for line in lines:
            line = json.loads(json.dumps(line))
            if "add" in line:
                line["add"]["path"] = line["add"]["path"].replace("part-", f"part-{k:08d}-")
            if "txn" in line:
                line["txn"]["appId"] += f"-copy-{k}"
            changed.append(json.dumps(line))
        (log / f"{version + k:020d}.json").write_text("\n".join(changed) + "\n")


# ---------------------------------------------------------------------- real runs


@dataclass(frozen=True)
class WorkerTask:
    """Work of a process of a real run.

    Attributes:
        recordings: folder with recordings.
        archive: folder of the archive.
        shard: its shard.
        wait_s: seconds to wait for each window in the place of inference; None: real inference.
        logits: file with logits that stand for those of the model.
        result: file for its times.
    """

    recordings: Path
    archive: Path
    shard: str
    wait_s: float | None
    logits: Path
    result: Path


class _WaitingSessions:
    """Sessions that wait for as long as inference takes, and give other logits."""

    def __init__(self, wait_s: float, logits: np.ndarray[Any, Any]) -> None:
        self._wait_s, self._logits = wait_s, logits

    def run(self, windows: np.ndarray[Any, Any], *, embeddings: bool = False) -> GraphOutput:
        del embeddings
        time.sleep(self._wait_s * len(windows))
        return GraphOutput(self._logits[: len(windows)], None)


def work(task: WorkerTask) -> None:
    """Do a shard, and write when it was ready and at its end."""
    os.setsid()  # a session of its own, as a job of a cluster has: of one session, all processes share the cores
    start_s = time.time()
    if task.wait_s is not None:
        SessionPool.run = _WaitingSessions(task.wait_s, np.load(task.logits)).run  # type: ignore[method-assign, assignment]
    size = UnitSize(max_recordings=UNIT_RECORDINGS, max_bytes=1e12, min_bytes=1e12)
    result = archive_recordings(task.recordings, task.archive, shard=task.shard, unit_size=size, workers=1)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    fields = {
        "start_s": start_s,
        "end_s": time.time(),
        "n_done": result.counts.n_done,
        "cpu_s": sum(each.ru_utime + each.ru_stime for each in used),
    }
    task.result.write_text(json.dumps(fields))


def _count_others() -> int:
    """Count threads of other programs that run or wait for a core, of each session at most as many as there are cores.

    Linux gives each session of processes the same share of the cores, however many threads it has (autogroup).
    """
    own = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
    sessions: Counter[str] = Counter()
    for folder in Path("/proc").glob("[0-9]*/task/*"):
        if int(folder.parts[2]) not in own:
            with suppress(OSError):
                state, _, _, session = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                sessions[session] += state == "R"
    return sum(min(n, usable_cores()) for n in sessions.values())


def run_workers(
    folder: Path, made: Path, *, n_workers: int, n_per_worker: int, wait_s: float | None, logits: Path
) -> dict[str, Any]:
    """Run as many processes, each with a shard of as many recordings; return times, and the use of the machine.

    `n_others` is the mean of `_count_others`.
    """
    folder.mkdir()
    recordings = link_recordings(folder / "recordings", made, n_workers * n_per_worker)
    tasks = [
        WorkerTask(recordings, folder / "archive", f"{k + 1}/{n_workers}", wait_s, logits, folder / f"{k}.json")
        for k in range(n_workers)
    ]
    context = multiprocessing.get_context("spawn")
    start_s = time.time()
    processes = [context.Process(target=work, args=(task,)) for task in tasks]
    for process in processes:
        process.start()
    n_others = []
    for process in processes:
        while process.is_alive():
            process.join(SAMPLE_S)
            n_others.append(_count_others())
    elapsed_s = time.time() - start_s
    results = [json.loads(task.result.read_text()) for task in tasks]
    n_done = sum(each["n_done"] for each in results)
    if n_done != n_workers * n_per_worker or not check_archive(open_archive(folder / "archive")).is_whole:
        raise RuntimeError(f"expected {n_workers * n_per_worker} recordings, got {n_done}")
    cpu_s = sum(each["cpu_s"] for each in results)
    shutil.rmtree(folder)
    return {
        "n_workers": n_workers,
        "n_per_worker": n_per_worker,
        "is_waiting": wait_s is not None,
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "n_others": statistics.fmean(n_others),
        "load_average": os.getloadavg()[0],
    }


# ---------------------------------------------------------------------- a store


@dataclass(frozen=True)
class StoreRate:
    """Costs of a store in which each request takes a time, measured with a server that waits before it replies.

    Attributes:
        delay_s: time that each request took.
        unit_trips: requests of a unit's commits that wait for each other, without other writers.
        later_trips: those of a table with a checkpoint, which is read, too.
        other_trips: requests more for each unit that another process has committed since the unit before.
        n_writers: processes that committed one unit after the other, at the same time.
        n_units: their units.
        elapsed_s: time by the clock of all of them, from when the first had begun to the end of the last.
    """

    delay_s: float
    unit_trips: float
    later_trips: float
    other_trips: float
    n_writers: int
    n_units: int
    elapsed_s: float


def measure_store() -> StoreRate:
    """Return the round trips of a unit's commits, and how fast many writers commit to one log."""
    with serving_bucket() as bucket, pytest.MonkeyPatch.context() as patch:
        url = use_bucket(bucket, patch, retry_s=60)
        unit_trips, later_trips, trips = (
            _count_trips(bucket, f"{url}/unit-{n_before}-{n_others}", n_before=n_before, n_others=n_others)
            for n_before, n_others in ((0, 0), (CHECKPOINT_EVERY, 0), (0, N_OTHERS))
        )
        archive = f"{url}/writers"
        create_archive(archive).add_run(RUN, LABELS)
        with tempfile.TemporaryDirectory() as folder:
            context = multiprocessing.get_context("spawn")
            results = [Path(folder, f"{k}.json") for k in range(N_WRITERS)]
            processes = [
                context.Process(target=commit_units, args=(archive, k, path)) for k, path in enumerate(results)
            ]
            bucket.delay_s = DELAY_S
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            times = [json.loads(path.read_text()) for path in results]
        bucket.delay_s = 0.0
        if not check_archive(open_archive(archive)).is_whole:
            raise RuntimeError("expected all rows")
    begin_s, end_s = max(begin for begin, _ in times), max(end for _, end in times)
    return StoreRate(
        DELAY_S,
        unit_trips=unit_trips,
        later_trips=later_trips,
        other_trips=(trips - unit_trips) / N_OTHERS,
        n_writers=N_WRITERS,
        n_units=N_WRITERS * N_STORE_UNITS,
        elapsed_s=end_s - begin_s,
    )


def _count_trips(bucket: DelayedBucket, url: str, *, n_before: int, n_others: int) -> float:
    """Return how many requests of a unit's commits wait for each other.

    The tables have `n_before` commits, and another process commits `n_others` units before each unit.
    """
    archive = create_archive(url)
    archive.add_run(RUN, LABELS)
    numbers = itertools.count()
    times_s: dict[float, list[float]] = {0.0: [], DELAY_S: []}
    with Worker(archive.location, RUN.id, "bench") as worker, Worker(archive.location, RUN.id, "other") as other:
        writer, other_writer = UnitWriter(archive, worker), UnitWriter(archive, other)
        for _ in range(1 + n_before):
            _commit(writer, next(numbers))
        for _ in range(N_COMMITS):
            for delay_s, times in times_s.items():
                for _ in range(n_others):
                    _commit(other_writer, next(numbers))
                bucket.delay_s = delay_s
                times.append(_time(partial(_commit, writer, next(numbers))))
                bucket.delay_s = 0.0
    fast_s, slow_s = (statistics.median(times) for times in times_s.values())
    return (slow_s - fast_s) / DELAY_S


def commit_units(url: str, index: int, result: Path) -> None:
    """Commit units one after the other, and write when the first began and the last ended."""
    archive = open_archive(url)
    with Worker(archive.location, RUN.id, "bench") as worker:
        writer = UnitWriter(archive, worker)
        writer.list_committed()
        begin_s = time.time()
        for k in range(N_STORE_UNITS):
            _commit(writer, 1 + index * N_STORE_UNITS + k)
        result.write_text(json.dumps((begin_s, time.time())))
    os._exit(0)  # deltalake may abort at exit after a conflict


class DelayedBucket(Bucket):
    """Bucket whose server waits before each reply."""

    delay_s = 0.0


class _DelayedHandler(S3Handler):
    objects: DelayedBucket

    def handle_any(self) -> None:
        """Wait, and answer."""
        time.sleep(self.objects.delay_s)
        super().handle_any()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815


@contextmanager
def serving_bucket() -> Iterator[DelayedBucket]:
    """Serve a bucket on a free port."""
    bucket = DelayedBucket()
    with serving_http(type("BucketHandler", (_DelayedHandler,), {"objects": bucket})) as bucket.url:
        yield bucket


def make_sounds(folder: Path) -> tuple[Path, float]:
    """Synthesize recordings, and return their folder and the mean length in seconds."""
    total_s = make_recordings(folder, n_files=N_DISTINCT)
    return folder, total_s / N_DISTINCT
