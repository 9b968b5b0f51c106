"""A container with two of 64 cores gets two workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.audio import many
from dawnchorus.audio.cores import quota_cores

V1 = "9:name=systemd:/\n4:memory:/a\n2:cpu,cpuacct:/a/b\n0::/\n"


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # docker run --cpus 2, own namespace
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),  # the parent's counts
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "800000 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "800000 100000", "a/b/cpu.max": "50000 50000"}, 1),
        ("0::/docker/host/path\n", {"cpu.max": "400000 100000"}, 4),  # not mounted here
        ("0::/../../host\n", {"cpu.max": "400000 100000"}, 4),
        (V1, {"cpu,cpuacct/a/b/cpu.cfs_quota_us": "250000", "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"cpu/cpu.cfs_quota_us": "200000\n"}, None),
        ("", {"cpu.max": "200000 100000"}, None),
        ("nonsense\n0\n::\n", {"cpu.max": ""}, None),
        ("0::/\n", {"cpu.max": "200000"}, None),
        ("0::/\n", {"cpu.max": "0 0"}, None),
        ("0::/\n", {"cpu.max": b"\xff\xfe"}, None),
    ],
)
def test_the_smallest_quota_counts(
    cgroup: str, files: dict[str, str | bytes], expected: int | None, tmp_path: Path
) -> None:
    root = write(tmp_path, {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{name}": f for name, f in files.items()}})
    assert quota_cores(root) == expected


def test_systems_without_control_groups_have_no_quota(tmp_path: Path) -> None:
    assert quota_cores(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (2, 2), (64, 4)])
def test_workers_are_as_many_as_affinity_and_quota_allow(
    quota: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(many, "quota_cores", lambda: quota)
    assert many.usable_cores() == expected
