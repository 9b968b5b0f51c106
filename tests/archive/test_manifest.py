"""Listings: cut into units, pinned once, divided into shards."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.archive.archive import create_archive
from dawnchorus.archive.manifest import (
    ListedFile,
    Shard,
    UnitSize,
    cut_units,
    list_manifests,
    pin_manifest,
    read_entries,
    unit_sizes,
)
from dawnchorus.errors import InputError


def files(*sizes: int | None) -> list[ListedFile]:
    return [
        ListedFile(f"{k}.wav", b"/%d.wav" % k, size, None if size is None else str(k)) for k, size in enumerate(sizes)
    ]


def test_units_end_at_bytes_or_recordings() -> None:
    size = UnitSize(max_bytes=10, min_bytes=10, max_recordings=3)
    assert cut_units(files(4, 4, 4, 20, None, 1, 1, 1), size) == [0, 0, 1, 2, 3, 3, 3, 4]
    assert cut_units([], size) == []


def test_a_unit_has_files_of_one_month() -> None:
    """As far as their names tell; sites are not divided for it."""
    names = (
        "A_20260430_040000",
        "A_20260501_040000",
        "B_20260430_040000",
        "B_20260501_040000",
        "x",
        "B_20260502_040000",
    )
    named = [ListedFile(f"{name}.wav", name.encode(), 4, "1") for name in names]
    assert cut_units(named, UnitSize(max_bytes=8, min_bytes=8)) == [1, 2, 1, 2, 0, 3]


def test_small_listings_have_small_units() -> None:
    assert UnitSize().limit_bytes(1e6) == 64e6
    assert UnitSize().limit_bytes(100e9) == 500e6
    sizes = {1e12: (1e9, 500), 100e12: (20e9, 10_000), 1e15: (50e9, 25_000)}
    assert {total: (UnitSize().limit_bytes(total), UnitSize().limit_recordings(total)) for total in sizes} == sizes
    assert UnitSize(max_bytes=1e8, largest_bytes=1e8).limit_bytes(1e15) == 1e8


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 12))
def test_shards_have_each_unit_once_as_neighbors_and_equal_bytes(sizes: list[int], count: int) -> None:
    units = {f"1-{k:06d}": size for k, size in enumerate(sizes)}
    shards = [Shard(index, count).select(units) for index in range(1, count + 1)]
    assert [unit for shard in shards for unit in shard] == list(units)
    total, largest = sum(max(size, 1) for size in sizes), max([1, *sizes])
    for shard in shards:
        assert sum(max(units[unit], 1) for unit in shard) <= total / count + largest


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", ""])
def test_wrong_shards_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="shard: expected"):
        Shard.parse(text)


def test_unit_limits_are_positive() -> None:
    with pytest.raises(InputError, match="max_bytes: expected a positive number, got 0"):
        UnitSize(max_bytes=0)


def test_a_listing_is_pinned_once(tmp_path: Path) -> None:
    archive = create_archive(tmp_path / "archive")
    one, two = archive.table("manifest"), archive.table("manifest")
    list_manifests(one), list_manifests(two)
    size = UnitSize(max_recordings=2)
    assert pin_manifest(one, number=1, run="r", source="s", files=files(1, 2, 3), size=size)
    (manifest,) = list_manifests(two)
    assert unit_sizes(two, [manifest]) == {"1-000000": 3, "1-000001": 3}
    entries = read_entries(two, [manifest], ["1-000001"])
    assert [(entry.recording_id, str(entry.path)) for entry in entries] == [((1 << 32) + 2, "/2.wav")]
    assert pin_manifest(two, number=2, run="r", source="t", files=files(None), size=size)
    assert [each.number for each in list_manifests(archive.table("manifest"))] == [1, 2]


def test_of_two_that_pin_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has read the state from before the first."""
    archive = create_archive(tmp_path / "archive")
    slow, fast = archive.table("manifest"), archive.table("manifest")
    list_manifests(slow)
    assert pin_manifest(fast, number=1, run="r", source="s", files=files(1), size=UnitSize())
    refresh, skipped = slow.refresh, [None]
    monkeypatch.setattr(slow, "refresh", lambda: skipped.pop() if skipped else refresh())
    assert not pin_manifest(slow, number=1, run="r", source="s", files=files(1), size=UnitSize())
    assert len(archive.table("manifest").read()) == 1
