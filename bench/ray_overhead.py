"""Time and CPU of two plain shards of one core each, against one of them alone and two nodes of a Ray cluster.

Each shard and each node, with all processes that it starts, may run on one core only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
from tests.fixtures.ray_clusters import add_node, ray_cluster

from bench.recordings import make_recordings
from dawnchorus.archive.archive import open_archive
from dawnchorus.archive.maintenance import check_archive

N_COPIES = int(os.environ.get("BENCH_RAY_COPIES", "34"))
"""Links to each of the recordings: 80 hours of sound, which take two cores some eleven minutes."""

N_ROUNDS = int(os.environ.get("BENCH_RAY_ROUNDS", "2"))
N_NODES = 2


def measure() -> dict[str, Any]:
    """Return seconds of each in turn, and CPU-seconds of the machine, with the starts but for that of the cluster.

    `efficiency` is the time of the first of two shards without the other, divided by that of both at once.
    """
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary, ray_cluster() as cluster:
        scratch = Path(temporary)
        total_s = N_COPIES * make_recordings(scratch / "made")
        recordings = scratch / "recordings"
        recordings.mkdir()
        for path in (scratch / "made").iterdir():
            for k in range(N_COPIES):
                os.link(path, recordings / f"{path.stem}-{k:03d}{path.suffix}")
        for core in range(N_NODES):
            for each in chain.from_iterable(add_node(cluster).all_processes.values()):
                _pin(each.process.pid, core)
        for number in range(N_ROUNDS):
            alone, plain, ray = (scratch / f"{kind}-{number}" for kind in ("alone", "plain", "ray"))
            shards = [["--workers", "1", "--shard", f"{k}/{N_NODES}"] for k in range(1, N_NODES + 1)]
            rounds.append(
                {
                    "alone": _time(recordings, alone, shards[:1]),
                    "plain": _time(recordings, plain, shards),
                    "ray": _time(recordings, ray, [["--ray", cluster.address]]),
                    "are_equal": _count(plain) == _count(ray),
                }
            )
    return {
        "audio_s": total_s,
        "n_nodes": N_NODES,
        "rounds": rounds,
        "efficiency": statistics.median(each["alone"]["elapsed_s"] / each["plain"]["elapsed_s"] for each in rounds),
        "overhead": statistics.median(each["ray"]["elapsed_s"] / each["plain"]["elapsed_s"] for each in rounds) - 1,
        "cpu_overhead": statistics.median(each["ray"]["cpu_s"] / each["plain"]["cpu_s"] for each in rounds) - 1,
        "load_average": os.getloadavg()[0],
    }


def _time(recordings: Path, archive: Path, options: list[list[str]]) -> dict[str, float]:
    """Run a command with each of some options at the same time; return its seconds and the machine's CPU-seconds.

    Each of them has a core of its own, but for a run on Ray, whose nodes have.
    """
    command = [sys.executable, "-m", "dawnchorus", "identify", str(recordings), "--archive", str(archive), "--quiet"]
    start_s, cpu_s = time.perf_counter(), _cpu_s()
    processes = [subprocess.Popen([*command, *each]) for each in options]
    if "--ray" not in options[0]:
        for core, process in enumerate(processes):
            _pin(process.pid, core)
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"expected exit codes 0, got {codes}")
    return {"elapsed_s": time.perf_counter() - start_s, "cpu_s": _cpu_s() - cpu_s}


def _pin(pid: int, core: int) -> None:
    """Restrict a process, and all that it has started or will start, to one core."""
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        each.cpu_affinity([core])


def _cpu_s() -> float:
    """Return the CPU-seconds of the whole machine so far: Ray starts processes that are nobody's children."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _count(folder: Path) -> tuple[int, int, bool]:
    archive = open_archive(folder)
    recordings, detections = archive.recordings().read_all(), archive.detections().read_all()
    return len(recordings), len(detections), check_archive(archive).is_whole
