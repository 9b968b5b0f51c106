"""The inference engine against that of another checkout: whole processes of both in turn."""

from __future__ import annotations

import http.client
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import ROOT
from bench.serving import _wait_for, body, load
from dawnchorus.audio.write import write_recording
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus

N_PAIRS = int(os.environ.get("BENCH_PAIRS", "15"))
MINUTES = int(os.environ.get("BENCH_MINUTES", "60"))
"""Pairs, and minutes of sound in each (six or more): fewer for a first look."""

LONG_FILE = "one long file"

PORTS = {"old": 5881, "new": 5882}
CLIPS_S = 5.0
SERVER_S = 8.0
BOOTSTRAP = 2000


@dataclass(frozen=True)
class Cost:
    """Wall and processor seconds of a process with its children."""

    wall_s: float
    cpu_s: float


def measure(old: Path) -> dict[str, Any]:
    """Return median ratios of `old` to this checkout, with 90 % intervals: above 1, this one is faster."""
    sources = {"old": old.absolute() / "src", "new": ROOT / "src"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recordings = make_sounds(folder)
        comparisons = {
            name: _compare(lambda side, path=path: _identify(sources[side], path, folder / f"{side}.csv"))  # type: ignore[misc]
            for name, path in recordings.items()
        }
        comparisons |= _compare_servers(sources, recordings[LONG_FILE], folder)
    return {"n_pairs": N_PAIRS, "minutes": MINUTES, "ratios": comparisons, "load": os.getloadavg()[2]}


def make_sounds(folder: Path) -> dict[str, Path]:
    """Write long files, one alone, and short clips at two rates."""
    recordings: dict[str, Path] = {}
    for rate_hz in (48_000, 24_000):
        scene = dawn_chorus(seed=1)
        samples = scene.samples if scene.rate_hz == rate_hz else scene.samples[:: scene.rate_hz // rate_hz]
        minute = np.resize(samples, 60 * rate_hz)
        few, short = folder / f"long-{rate_hz}", folder / f"clips-{rate_hz}"
        for each in (few, short):
            each.mkdir()
        for k in range(6):
            write_recording(few / f"{k}.wav", np.tile(minute, max(MINUTES // 6, 1)), rate_hz=rate_hz)
        for k in range(MINUTES * 10):
            start = round(k * 1.7 * rate_hz) % (len(minute) - round(CLIPS_S * rate_hz))
            write_recording(short / f"{k}.wav", minute[start : start + round(CLIPS_S * rate_hz)], rate_hz=rate_hz)
        recordings |= {f"6 files at {rate_hz} Hz": few, f"{MINUTES * 10} clips at {rate_hz} Hz": short}
    one = folder / "long.wav"
    write_recording(one, np.tile(np.resize(dawn_chorus(seed=1).samples, 60 * 48_000), MINUTES), rate_hz=48_000)
    return {**recordings, LONG_FILE: one}


def _compare(run: Callable[[str], Cost]) -> dict[str, Any]:
    """Run both sides in turn, which of them comes first as well."""
    pairs: list[dict[str, Cost]] = []
    for side in PORTS:
        run(side)  # files come into memory, modules are compiled
    for k in range(N_PAIRS):
        order = list(PORTS) if k % 2 else list(PORTS)[::-1]
        pairs.append({side: run(side) for side in order})
    return {
        **{f"{side}_cpu_s": float(np.median([pair[side].cpu_s for pair in pairs])) for side in PORTS},
        "wall": _interval(np.array([pair["old"].wall_s / pair["new"].wall_s for pair in pairs])),
        "cpu": _interval(np.array([pair["old"].cpu_s / pair["new"].cpu_s for pair in pairs])),
    }


def _interval(ratios: np.ndarray) -> list[float]:
    """Return the median, and the 90 % bootstrap interval of it."""
    draws = np.random.default_rng(1).choice(ratios, (BOOTSTRAP, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.05, 0.95])
    return [round(float(value), 4) for value in (np.median(ratios), low, high)]


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source)}


def _identify(source: Path, recording: Path, out: Path) -> Cost:
    command = [sys.executable, "-m", "dawnchorus", "identify", str(recording), "--out", str(out), "--overwrite", "-q"]
    return _time(lambda: subprocess.run(command, env=_environment(source), check=True, capture_output=True))


def _time(work: Callable[[], object]) -> Cost:
    """Measure work in children, which end with it."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - start_s, cpu_s)


def _compare_servers(sources: dict[str, Path], recording: Path, folder: Path) -> dict[str, Any]:
    """Compare the cost of one long upload, and of a clip under load."""
    processes = {}
    try:
        for side, port in PORTS.items():
            data = folder / f"server-{side}"
            command = [sys.executable, "-m", "dawnchorus", "serve", "--data-dir", str(data), "--port", str(port)]
            environment = _environment(sources[side])
            with (folder / f"{side}.log").open("wb") as log:
                processes[side] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            _wait_for(port)
        form = body()
        return {
            "one long upload": _compare(lambda side: _request(processes[side].pid, PORTS[side], recording)),
            "8 clients with clips": _compare(lambda side: _clips(processes[side].pid, PORTS[side], form)),
        }
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()
        for side in PORTS:
            shutil.rmtree(folder / f"server-{side}", ignore_errors=True)


def _request(pid: int, port: int, recording: Path) -> Cost:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    before_s, start_s = _cpu_s(pid), time.perf_counter()
    with recording.open("rb") as file:
        connection.request("POST", "/api/predict", file, {"Content-Type": "audio/wav"})
        reply = connection.getresponse()
        reply.read()
    if reply.status != 200:
        raise RuntimeError(f"status {reply.status}")
    return Cost(time.perf_counter() - start_s, _cpu_s(pid) - before_s)


def _clips(pid: int, port: int, form: bytes) -> Cost:
    """Return the cost of a clip under load."""
    before_s = _cpu_s(pid)
    rate = load(port, form, seconds=SERVER_S)["per_s"]
    return Cost(1 / rate, (_cpu_s(pid) - before_s) / (rate * SERVER_S))


def _cpu_s(pid: int) -> float:
    """Return the processor seconds of a process and its children so far."""
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if pid in (int(stat.parent.name), int(fields[1])):
            total += (int(fields[11]) + int(fields[12])) / tick
        if pid == int(stat.parent.name):
            total += (int(fields[13]) + int(fields[14])) / tick  # children that have ended
    return total
