"""The migration that counts detections, of 100,000 recordings and 1,000,000 detections: time, memory, and a kill."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command

from bench.lists import N_RECORDINGS, PER_RECORDING, fill
from dawnchorus.server.state.database import FILE_NAME, Database, alembic_config

BEFORE = "0011"
"""Revision without counts."""

OPEN = """
import json, sys, time
from pathlib import Path
from dawnchorus.server.state.database import Database
start_s, start_cpu_s = time.perf_counter(), time.process_time()
Database(sys.argv[1]).close()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"wall_s": time.perf_counter() - start_s, "cpu_s": time.process_time() - start_cpu_s,
                  "peak_mb": int(status["VmHWM"].split()[0]) / 1024}))
"""

COUNTS = "SELECT site, unit, start, scientific_name, totals, hours FROM detection_counts ORDER BY 1, 2, 3, 4"


def measure() -> dict[str, Any] | None:
    """Return seconds and peak memory of a start that migrates, and of one after it was killed half way."""
    if sys.platform != "linux":
        print("  peak memory is read from /proc: left out")
        return None
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, FILE_NAME)
        url = f"sqlite:///{path}"
        database = Database(url)
        fill(database, N_RECORDINGS)
        _forget_counts(database)
        first = _open(url)
        counts = _read_counts(path)
        _forget_counts(database)
        was_killed = _kill_half_way(url, first["wall_s"])
        again = _open(url)
        database.close()
        return {
            "n_recordings": N_RECORDINGS,
            "n_detections": N_RECORDINGS * PER_RECORDING,
            "mb": path.stat().st_size / 1e6,
            "n_counts": len(counts),
            **first,
            "was_killed": was_killed,
            "after_kill_s": again["wall_s"],
            "is_same_after_kill": _read_counts(path) == counts,
            "load": os.getloadavg()[0],
        }


def _forget_counts(database: Database) -> None:
    with database.engine.execution_options(dawnchorus_write=True).begin() as connection:
        command.downgrade(alembic_config(connection), BEFORE)


def _open(url: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", OPEN, url], capture_output=True, check=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _kill_half_way(url: str, wall_s: float) -> bool:
    """Kill a process while it migrates, and return True if it had not finished."""
    process = subprocess.Popen([sys.executable, "-c", OPEN, url], stdout=subprocess.DEVNULL)
    try:
        process.wait(wall_s / 2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def _read_counts(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(COUNTS)
        return [(*key, json.loads(totals), json.loads(hours)) for *key, totals, hours in rows]
