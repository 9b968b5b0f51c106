"""Cores by affinity and by the quota of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dawnchorus.cores import cpu_quota, usable_cores


def system(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """Return a file system with a process's groups and their files."""
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("cgroup", "files", "quota"),
    [
        ("0::/\n", {f"{V2}/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {f"{V2}/cpu.max": ""}, None),
        ("0::/\n", {f"{V2}/cpu.max": "nonsense"}, None),
        ("0::/\n", {f"{V2}/cpu.max": "0 100000"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {f"{V2}/a/cpu.max": "50000 100000", f"{V2}/a/b/cpu.max": "max 100000"}, 0.5),
        ("0::/a/b\n", {f"{V2}/a/cpu.max": "300000 100000", f"{V2}/a/b/cpu.max": "200000 100000"}, 2.0),
        ("0::/outside/of/it\n", {f"{V2}/cpu.max": "200000 100000"}, 2.0),
        ("0::/../x\n", {f"{V2}/x/cpu.max": "100000 100000"}, 1.0),
        ("4:cpu,cpuacct:/a\n", {f"{V1}/a/cpu.cfs_quota_us": "250000", f"{V1}/a/cpu.cfs_period_us": "100000"}, 2.5),
        ("4:cpu,cpuacct:/a\n", {f"{V1}/a/cpu.cfs_quota_us": "-1", f"{V1}/a/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/a\n", {f"{V1}/cpu.cfs_quota_us": "100000", f"{V1}/cpu.cfs_period_us": "50000"}, 2.0),
        ("5:memory:/a\n", {"sys/fs/cgroup/memory/a/cpu.cfs_quota_us": "1"}, None),
        ("", {}, None),
        ("nonsense\n::\n", {}, None),
    ],
)
def test_cpu_quota(cgroup: str, files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert cpu_quota(system(tmp_path, cgroup, files)) == quota


def test_no_control_groups_mean_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota_us", "cores"), [(1_000, 1), (100_000, 1), (100_001, 2), (10**12, None)])
def test_usable_cores_are_at_least_one_and_at_most_the_affinity(
    quota_us: int, cores: int | None, tmp_path: Path
) -> None:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    root = system(tmp_path, "0::/\n", {f"{V2}/cpu.max": f"{quota_us} 100000"})
    assert usable_cores(root) == min(cores or allowed, allowed)
