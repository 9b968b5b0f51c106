"""Reading by ranges, ahead of the reader."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import pytest
from obstore.store import MemoryStore
from tests.fixtures.object_servers import Objects, serving_objects

from dawnchorus.storage.object_store import ObjectStore
from dawnchorus.storage.range_reader import FIRST_BYTES, MAX_RANGE_BYTES, N_KEPT, RemoteObject
from dawnchorus.storage.stores import ObjectChangedError, ObjectInfo
from dawnchorus.storage.urls import parse_url

CONTENT = random.Random(1).randbytes(12_000_000)
URL = parse_url("s3://bucket/x.wav")


class Counted(ObjectStore):
    """A store that notes the ranges."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.write("x.wav", io.BytesIO(CONTENT), replaces=None)
        self.ranges: list[tuple[int, int]] = []

    def read(self, key: str, start: int, stop: int, *, expected: ObjectInfo | None = None) -> memoryview:
        self.ranges.append((start, stop))
        return super().read(key, start, stop, expected=expected)


@pytest.fixture
def store() -> Counted:
    return Counted()


@pytest.fixture
def content(store: Counted) -> Iterator[RemoteObject]:
    remote = RemoteObject(URL, store=store)
    yield remote
    remote.close()


def test_a_whole_object_is_read_once_in_growing_ranges(store: Counted, content: RemoteObject) -> None:
    with content.open() as file:
        assert file.read() == CONTENT
    ranges = sorted(store.ranges)
    assert ranges[0] == (0, FIRST_BYTES)
    assert [start for start, _ in ranges[1:]] == [stop for _, stop in ranges[:-1]], "nothing twice, nothing left out"
    assert max(stop - start for start, stop in ranges) == MAX_RANGE_BYTES
    assert content.n_read == len(CONTENT)


def test_memory_is_bounded(content: RemoteObject) -> None:
    with content.open() as file:
        while file.read(1 << 20):
            assert len(content._ranges) <= 1 + N_KEPT


def test_a_header_costs_one_small_range(store: Counted, content: RemoteObject) -> None:
    for _ in range(3):
        with content.open() as file:
            assert file.read(44) == CONTENT[:44]
    assert store.ranges == [(0, FIRST_BYTES)]


def test_seeking_reads_what_is_there(content: RemoteObject) -> None:
    places = random.Random(2)
    with content.open() as file:
        for _ in range(50):
            start, n = places.randrange(len(CONTENT)), places.randrange(300_000)
            file.seek(start)
            assert file.read(n) == CONTENT[start : start + n]
        file.seek(-10, io.SEEK_END)
        assert file.read() == CONTENT[-10:]
        assert file.seek(5, io.SEEK_CUR) == len(CONTENT) + 5
        assert file.read() == b""


def test_an_object_replaced_in_the_middle_is_one_failure_that_is_kept(store: Counted, content: RemoteObject) -> None:
    with content.open() as file:
        file.read(1000)
        store.write("x.wav", io.BytesIO(CONTENT[::-1]), replaces=store.head("x.wav"))
        file.seek(6_000_000)
        with pytest.raises(ObjectChangedError):
            file.read(1000)
    assert isinstance(content.failure, ObjectChangedError)


def test_an_object_that_is_not_there_is_kept_as_a_failure(store: Counted) -> None:
    remote = RemoteObject(URL.at("none.wav"), store=store)
    with pytest.raises(FileNotFoundError):
        remote.open()
    assert isinstance(remote.failure, FileNotFoundError)


def test_a_server_without_ranges_is_copied_to_a_file_that_has_no_name() -> None:
    with serving_objects() as objects:
        _check_copy(objects)


def _check_copy(objects: Objects) -> None:
    objects.contents["/x.wav"] = CONTENT[:3_000_000]
    objects.has_ranges = False
    remote = RemoteObject(parse_url(f"{objects.url}/x.wav"))
    with remote.open() as file:
        file.seek(2_000_000)
        assert file.read(9) == CONTENT[2_000_000:2_000_009]
        file.seek(0)
        assert file.read() == CONTENT[:3_000_000]
    assert remote._copy is not None
    assert isinstance(remote._copy.name, int)
    copy = remote._copy
    remote.close()
    assert copy.closed
    assert sum(bool(wanted) for _, wanted in objects.requests) <= 4
