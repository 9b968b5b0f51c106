"""Stored measurements, and the machine that they are from."""

from __future__ import annotations

import json
import platform
from datetime import date
from pathlib import Path
from typing import Any

from dawnchorus.cores import usable_cores
from dawnchorus.version import __version__

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
SHARED_AUDIO = ROOT.parent / "shared" / "audio"
"""Real recordings, which are not part of the project; what needs them is left out where they are not there."""


def machine() -> str:
    """Return the processor, cores, memory and versions in one line."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        memory = f"{int(Path('/proc/meminfo').read_text(encoding='utf-8').split()[1]) / 1e6:.0f} GB"
    except (OSError, StopIteration):
        cpu, memory = platform.processor() or platform.machine(), "memory unknown"
    return (
        f"{usable_cores()} cores of {cpu}, {memory}, {platform.system()}, Python {platform.python_version()}, "
        f"dawnchorus {__version__}"
    )


def save(name: str, result: dict[str, Any] | None) -> None:
    """Keep a measurement; None removes an older one."""
    path = RESULTS / f"{name}.json"
    if result is None:
        path.unlink(missing_ok=True)
        return
    RESULTS.mkdir(exist_ok=True)
    about = {"machine": machine(), "date": date.today().isoformat()}  # noqa: DTZ011 - for readers
    path.write_text(json.dumps({**about, **result}, indent=2) + "\n", encoding="utf-8")


def load(name: str) -> dict[str, Any] | None:
    """Return the measurement that was kept last."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result
