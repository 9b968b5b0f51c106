"""Locust against one, two and four servers that share PostgreSQL behind nginx: `make load`."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.fixtures.machines import Postgres, Server, nginx, serving

from dawnchorus.cores import usable_cores

N_USERS, RUN_S = 16, 20


def measure() -> dict[str, Any]:
    """Return requests per second, waits and failures by number of servers; the cores are the same for all."""
    results = {}
    with tempfile.TemporaryDirectory() as scratch, Postgres(Path(scratch, "postgres")) as database:
        for n in (1, 2, 4):
            lanes = str(max(usable_cores() // n, 1))
            options = ["--database", database.url, "--files", f"{scratch}/files", "--workers", lanes]
            servers = [
                Server(Path(scratch, f"server-{n}-{k}"), *options, "--trusted-proxy", "127.0.0.1") for k in range(n)
            ]
            with ExitStack() as stack:
                stack.enter_context(serving(*servers))
                url = stack.enter_context(nginx(Path(scratch, f"nginx-{n}"), *servers))
                results[str(n)] = _locust(url, Path(scratch, f"locust-{n}"))
                print(n, results[str(n)], flush=True)
    return results


def _locust(url: str, out: Path) -> dict[str, float]:
    command = ["-m", "locust", "-f", "bench/locustfile.py", "--headless", "--only-summary", "--csv", str(out)]
    users = ["-u", str(N_USERS), "-r", str(N_USERS), "-t", f"{RUN_S}s", "--host", url]
    subprocess.run([sys.executable, *command, *users], check=False, capture_output=True)
    with Path(f"{out}_stats.csv").open(newline="") as file:
        (total,) = (row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    return {
        "per_s": float(total["Requests/s"]),
        "p50_ms": float(total["50%"]),
        "p99_ms": float(total["99%"]),
        "n_failed": float(total["Failure Count"]),
        "n": float(total["Request Count"]),
    }
