"""Time and CPU of two plain shards of one core each, against one of them alone and two nodes of a Ray cluster."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.recordings import make_recordings
from dawnchorus.archive.archive import open_archive
from dawnchorus.archive.maintenance import check_archive

N_COPIES = int(os.environ.get("BENCH_RAY_COPIES", "42"))
"""Links to each of the recordings: 100 hours of sound, which take two cores some ten minutes."""

N_ROUNDS = int(os.environ.get("BENCH_RAY_ROUNDS", "2"))
N_NODES = 2
OBJECT_STORE_BYTES = 80_000_000
TOKEN = "0123456789abcdef" * 4


def measure() -> dict[str, Any]:
    """Return seconds and CPU-seconds of each in turn, starts included, but for that of the cluster itself.

    `efficiency` is the time of the first of two shards without the other, divided by that of both at once.
    """
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, RAY_USAGE_STATS_ENABLED="0")
    from ray.cluster_utils import Cluster  # it reads the environment when it is imported

    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        total_s = N_COPIES * make_recordings(scratch / "made")
        recordings = scratch / "recordings"
        recordings.mkdir()
        for path in (scratch / "made").iterdir():
            for k in range(N_COPIES):
                os.link(path, recordings / f"{path.stem}-{k:03d}{path.suffix}")
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        cluster: Any = Cluster(initialize_head=True, connect=False, head_node_args=head)
        try:
            for _ in range(N_NODES):
                cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
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
        finally:
            cluster.shutdown()
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
    """Run a command with each of some options at the same time; return the seconds and the CPU-seconds of all."""
    command = [sys.executable, "-m", "dawnchorus", "identify", str(recordings), "--archive", str(archive), "--quiet"]
    start_s, cpu_s = time.perf_counter(), _cpu_s()
    processes = [subprocess.Popen([*command, *each]) for each in options]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"expected exit codes 0, got {codes}")
    return {"elapsed_s": time.perf_counter() - start_s, "cpu_s": _cpu_s() - cpu_s}


def _cpu_s() -> float:
    """Return the CPU-seconds of all processes that this one has started, those of the cluster included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total_s = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        try:
            total_s += sum(process.cpu_times()[:4])  # user, system, and those of children that have ended
        except psutil.NoSuchProcess:
            continue
    return total_s


def _count(folder: Path) -> tuple[int, int, bool]:
    archive = open_archive(folder)
    recordings, detections = archive.recordings().read_all(), archive.detections().read_all()
    return len(recordings), len(detections), check_archive(archive).is_whole
