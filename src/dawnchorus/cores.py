"""Number of processor cores that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def usable_cores(root: Path = ROOT) -> int:
    """Return the number of cores available to this process: the smaller of CPU affinity and container quota.

    The quota is rounded up to whole cores; without a quota, only the affinity counts. Where the system has no affinity
    (macOS), all cores of the machine stand in for it.

    Args:
        root: root of the file system in which `proc` and `sys` are read; tests use another folder.
    """
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return n if quota is None else max(min(n, math.ceil(quota)), 1)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the smallest CPU quota of this process's control groups, in cores; None without a quota.

    Both versions of Linux' control groups are read, and with each group all its parents, whose quotas hold too. In a
    container, groups may have the names of the host, so missing files are skipped. Source: the kernel's documentation,
    admin-guide/cgroup-v2 (`cpu.max`) and scheduler/sched-bwc (`cpu.cfs_quota_us`).

    Args:
        root: root of the file system in which `proc` and `sys` are read; tests use another folder.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        for folder in _folders(root / "sys/fs/cgroup", controllers, group):
            quota = _quota_v2(folder) if not controllers else _quota_v1(folder)
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _folders(mount: Path, controllers: str, group: str) -> Iterator[Path]:
    """Yield the folders of a group and of its parents."""
    if controllers and "cpu" not in controllers.split(","):
        return
    names = [part for part in PurePosixPath(group).parts if part not in ("/", "..")]
    for k in range(len(names), -1, -1):
        yield mount.joinpath(controllers, *names[:k])


def _quota_v2(folder: Path) -> float | None:
    numbers = _numbers(folder / "cpu.max")  # "max 100000" is none
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else None


def _quota_v1(folder: Path) -> float | None:
    numbers = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]  # -1 is none
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else None


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []
