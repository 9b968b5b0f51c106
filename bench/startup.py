"""Duration of `import dawnchorus` and `dawnchorus --help`, as medians of whole processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

N_RUNS = 15

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import dawnchorus": ["-c", "import dawnchorus"],
    "dawnchorus --help": ["-m", "dawnchorus", "--help"],
}


def measure() -> dict[str, Any]:
    """Return medians in seconds, measured in turn."""
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(N_RUNS):
        for name, arguments in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            took[name].append(time.perf_counter() - begin)
    return {"median_s": {name: statistics.median(times) for name, times in took.items()}, "n_runs": N_RUNS}
