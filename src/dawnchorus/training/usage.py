"""Measurement of resource usage during training."""

from __future__ import annotations

import os
import sys
import time

import torch

if sys.platform != "win32":
    import resource


class UsageMeter:
    """Meter of time, CPU cores and memory used by this process and its finished child processes."""

    def __init__(self) -> None:
        self._start_s, self._start_cpu_s = time.monotonic(), _cpu_s()

    def read(self) -> dict[str, float]:
        """Return the figures by name.

        epoch_s is the time since the last call (at first, since the meter was made) in seconds, and cpu_cores the mean
        number of cores in use since then. peak_memory_mb (not on Windows) and peak_gpu_memory_mb (with a GPU in use)
        are the peaks in megabytes since the start of this process, without child processes. All figures are rounded to
        3 decimals.
        """
        now_s, cpu_s = time.monotonic(), _cpu_s()
        elapsed_s = max(now_s - self._start_s, 1e-9)
        usage = {"epoch_s": elapsed_s, "cpu_cores": (cpu_s - self._start_cpu_s) / elapsed_s}
        self._start_s, self._start_cpu_s = now_s, cpu_s
        if sys.platform != "win32":
            usage["peak_memory_mb"] = _peak_memory_bytes() / 1e6
        if torch.cuda.is_initialized():
            usage["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
        return {name: round(value, 3) for name, value in usage.items()}


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
