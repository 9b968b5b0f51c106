"""Cost of reading recordings from a web server over reading them from a disk: CPU time, and throughput."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from tests.fixtures.machines import free_port
from tests.fixtures.waiting import wait_for

from bench.recordings import make_recordings
from dawnchorus.storage.paths import as_path, closing_content

N_ROUNDS, N_FILES = 5, 6
N_NAMES = 5
"""Names of each file: the cost for each hour, not that of starting, is what long runs have."""

CHUNK_BYTES = 1 << 20

N_DELAYED_ROUNDS = 3
DELAYS_S = (0.0, 0.05, 0.2)
SPARES = (0, 1, 2)
"""Recordings that are decoded at the same time beyond one for each worker."""

N_WORKERS = 2

RUN = """
import json, os, resource, sys, time
from dawnchorus.identification import identify, run
run.N_SPARE_REMOTE = int(os.environ.get("BENCH_SPARE", run.N_SPARE_REMOTE))
begin = time.perf_counter()
done = identify(sys.argv[2:], workers=int(sys.argv[1]))
took_s = time.perf_counter() - begin
done.journal.close()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"n_done": done.counts.n_done, "scored_s": done.counts.scored_s, "took_s": took_s,
                  "cpu_s": sum(each.ru_utime + each.ru_stime for each in used)}))
"""

DECODE = """
import json, resource, sys, time
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.storage.paths import as_path
begin = time.perf_counter()
decoder, seconds = DecoderProcess(), 0.0
for path in sys.argv[2:]:
    with decoder.open(as_path(path)) as recording:
        for _ in recording.blocks():
            pass
    seconds += recording.duration_s
took_s = time.perf_counter() - begin
decoder.close()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"n_done": len(sys.argv) - 2, "scored_s": seconds, "took_s": took_s,
                  "cpu_s": sum(each.ru_utime + each.ru_stime for each in used)}))
"""

DELAY = """
import time
from dawnchorus.storage.object_store import ObjectStore

def delay(method):
    def wait(*arguments):
        time.sleep({delay_s})
        return method(*arguments)
    return wait

for name in ("_head_once", "_read_once"):
    setattr(ObjectStore, name, delay(getattr(ObjectStore, name)))
"""
"""Module `sitecustomize` of all processes: a store that is far away, which costs no CPU time to simulate."""


@contextmanager
def serving_folder(program: str, folder: Path, scratch: Path) -> Iterator[str]:
    """Serve a folder by nginx, and yield its URL."""
    port = free_port()
    config = scratch / "nginx.conf"
    user = "user root;\n" if os.getuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {scratch}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"{user}worker_processes 1;\npid {scratch}/nginx.pid;\nerror_log {scratch}/error.log;\nevents {{}}\n"
        f"http {{ access_log off; sendfile on;\n{temporary}server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    with subprocess.Popen([program, "-c", str(config), "-g", "daemon off;"], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _is_up(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _is_up(port: int) -> bool:
    try:
        return requests.head(f"http://127.0.0.1:{port}/", timeout=5).status_code > 0
    except requests.ConnectionError:
        return False


def _run(code: str, sources: list[str], n_workers: int, **variables: str) -> dict[str, float]:
    command = [sys.executable, "-c", code, str(n_workers), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    if done.returncode:
        raise AssertionError(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    if result["n_done"] != len(sources):
        raise AssertionError(done.stdout)
    return result


def _compare(code: str, local: list[str], remote: list[str], n_workers: int) -> dict[str, Any]:
    """Return CPU-seconds per hour of sound, in turn, and the median ratio of the rounds."""
    rounds = [(_run(code, local, n_workers), _run(code, remote, n_workers)) for _ in range(N_ROUNDS)]
    per_hour = [[3600 * each["cpu_s"] / each["scored_s"] for each in pair] for pair in rounds]
    speeds = [[each["scored_s"] / each["took_s"] for each in pair] for pair in rounds]
    return {
        "local_cpu_s": statistics.median(local for local, _ in per_hour),
        "remote_cpu_s": statistics.median(remote for _, remote in per_hour),
        "excess": statistics.median(remote / local for local, remote in per_hour) - 1,
        "excess_each": [remote / local - 1 for local, remote in per_hour],
        "local_x": statistics.median(local for local, _ in speeds),
        "remote_x": statistics.median(remote for _, remote in speeds),
    }


def _compare_delays(remote: list[str], scratch: Path) -> list[dict[str, float]]:
    """Return the speed and the CPU time of `identify` by delay of the store and number of spare recordings."""
    rows = []
    for delay_s in DELAYS_S:
        folder = scratch / f"delay-{delay_s}"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(DELAY.format(delay_s=delay_s))
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        runs: dict[int, list[dict[str, float]]] = {spare: [] for spare in SPARES}
        for _ in range(N_DELAYED_ROUNDS):
            for spare in SPARES:
                runs[spare].append(_run(RUN, remote, N_WORKERS, PYTHONPATH=path, BENCH_SPARE=str(spare)))
        for spare, each in runs.items():
            speed = statistics.median(run["scored_s"] / run["took_s"] for run in each)
            cpu_s = statistics.median(3600 * run["cpu_s"] / run["scored_s"] for run in each)
            rows.append({"delay_s": delay_s, "spare": spare, "x": speed, "cpu_s": cpu_s})
    return rows


def _read_own(url: str) -> int:
    path = as_path(url)
    with closing_content(path), path.open("rb") as file:
        return sum(len(chunk) for chunk in iter(lambda: file.read(CHUNK_BYTES), b""))


def _read_whole(url: str) -> int:
    with requests.get(url, stream=True, timeout=60) as reply:
        return sum(map(len, reply.iter_content(CHUNK_BYTES)))


def _throughput(urls: list[str]) -> dict[str, float]:
    """Return MB/s of our reader by ranges, and of one request for each whole file, by one thread."""
    speeds: dict[str, list[float]] = {"ranges_mb_s": [], "whole_mb_s": []}
    for _ in range(N_ROUNDS):
        for name, read in (("ranges_mb_s", _read_own), ("whole_mb_s", _read_whole)):
            begin = time.perf_counter()
            n_bytes = sum(map(read, urls))
            speeds[name].append(n_bytes / 1e6 / (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in speeds.items()}


@contextmanager
def _served_recordings(program: str, n_names: int) -> Iterator[tuple[list[str], list[str], float, Path]]:
    """Yield recordings, each under some names, as files and as URLs, their length in seconds, and a folder for work."""
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        scratch.chmod(0o755)
        folder = scratch / "sounds"
        made_s = make_recordings(folder, n_files=N_FILES)
        for path in sorted(folder.iterdir()):
            for k in range(1, n_names):
                os.link(path, path.with_stem(f"{path.stem}-{k}"))
        local = [str(path) for path in sorted(folder.iterdir())]
        with serving_folder(program, folder, scratch) as url:
            yield local, [f"{url}/{Path(path).name}" for path in local], n_names * made_s, scratch


def _find_nginx() -> str | None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        print("  nginx is not on this machine: left out")
    return program


def measure() -> dict[str, Any] | None:
    """Return both costs for decoding alone and for `identify` with BirdNET; None without nginx."""
    program = _find_nginx()
    if program is None:
        return None
    with _served_recordings(program, N_NAMES) as (local, remote, length_s, _scratch):
        return {
            "hours": length_s / 3600,
            "n_rounds": N_ROUNDS,
            "load": os.getloadavg()[0],
            "decode": _compare(DECODE, local, remote, 1),
            "identify": _compare(RUN, local, remote, N_WORKERS),
            **_throughput(remote),
        }


def measure_distant() -> dict[str, Any] | None:
    """Return the speed of `identify` with BirdNET from a store that is far away; None without nginx."""
    program = _find_nginx()
    if program is None:
        return None
    with _served_recordings(program, 1) as (_local, remote, length_s, scratch):
        return {
            "file_s": length_s / len(remote),
            "n_rounds": N_DELAYED_ROUNDS,
            "load": os.getloadavg()[0],
            "rows": _compare_delays(remote, scratch),
        }
