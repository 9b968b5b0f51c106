"""Cores that the control groups of a container or service allow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path


def quota_cores(root: Path = Path("/")) -> int | None:
    """Return the smallest CPU quota of this process's control groups in cores, rounded up; None without a quota.

    A group's quota holds for all groups below it, so all parents count. `root` is the root of the file system.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return math.ceil(min(quotas)) if quotas else None


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the groups that limit the CPU, and of their parents up to the mount."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            base = mount
        elif "cpu" in controllers.split(","):
            base = mount / controllers if (mount / controllers).is_dir() else mount / "cpu"
        else:
            continue
        # In a container the path may be the host's, whose lower folders are not mounted, or begin with `..`.
        names = [name for name in path.split("/") if name not in ("", "..")]
        yield from (base.joinpath(*names[:n]) for n in range(len(names) + 1))


def _quota(group: Path) -> float | None:
    """Return the group's own quota in cores, by version 2 or 1."""
    text = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
    try:
        quota_us, period_us = map(int, text.split())
    except ValueError:  # "max", no such file, or nothing in it
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
