"""Stores of obstore: conditions, faults of web servers, and messages without secrets."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore
from tests.fixtures.object_servers import Objects, busy, forbidden, half, serving_objects

from dawnchorus.errors import InputError
from dawnchorus.storage.object_store import ObjectStore, open_object_store
from dawnchorus.storage.stores import NoRangesError, ObjectChangedError
from dawnchorus.storage.urls import parse_url


@pytest.fixture
def memory() -> ObjectStore:
    store = ObjectStore(MemoryStore())
    store.write("a/x.wav", io.BytesIO(b"0123456789"), replaces=None)
    return store


@pytest.fixture(scope="module")
def served() -> Iterator[Objects]:
    with serving_objects() as objects:
        yield objects


@pytest.fixture
def objects(served: Objects) -> Objects:
    served.contents = {"/x.wav": bytes(range(256)) * 4}
    served.faults.clear()
    served.requests.clear()
    served.always, served.has_ranges, served.has_versions = None, True, True
    return served


def web(objects: Objects, name: str = "", *, retry_s: float = 30) -> ObjectStore:
    return open_object_store(parse_url(f"{objects.url}/{name}"), retry_s=retry_s)


def test_objects_are_written_listed_read_renamed_and_deleted(memory: ObjectStore) -> None:
    memory.write("b.wav", io.BytesIO(b"b"), replaces=None)
    assert {key: info.size for key, info in memory.list("")} == {"a/x.wav": 10, "b.wav": 1}
    assert [key for key, _ in memory.list("a/")] == ["a/x.wav"]
    assert bytes(memory.read("a/x.wav", 3, 5)) == b"34"
    assert bytes(memory.read("a/x.wav", 8, 20)) == b"89"
    memory.move("a/x.wav", "a/y.wav")
    memory.delete("b.wav")
    assert [key for key, _ in memory.list("")] == ["a/y.wav"]
    with pytest.raises(FileNotFoundError, match="no such object"):
        memory.head("a/x.wav")


def test_an_object_of_a_store_without_conditions_that_another_program_wrote_stays(tmp_path: Path) -> None:
    local = ObjectStore(LocalStore(tmp_path))
    local.write("x.wav", io.BytesIO(b"0123456789"), replaces=None)
    before = local.head("x.wav")
    local.write("x.wav", io.BytesIO(b"mine"), replaces=before)
    with pytest.raises(FileExistsError):
        local.write("x.wav", io.BytesIO(b"mine, too"), replaces=before)
    assert (tmp_path / "x.wav").read_bytes() == b"mine"


def test_an_object_that_another_program_wrote_stays(memory: ObjectStore) -> None:
    before = memory.head("a/x.wav")
    with pytest.raises(FileExistsError):
        memory.write("a/x.wav", io.BytesIO(b"mine"), replaces=None)
    memory.write("a/x.wav", io.BytesIO(b"mine"), replaces=before)
    with pytest.raises(FileExistsError, match="another program"):
        memory.write("a/x.wav", io.BytesIO(b"again"), replaces=before)
    assert bytes(memory.read("a/x.wav", 0, 9)) == b"mine"


def test_an_object_that_was_replaced_is_not_read_on(memory: ObjectStore) -> None:
    before = memory.head("a/x.wav")
    memory.write("a/x.wav", io.BytesIO(b"9876543210"), replaces=before)
    with pytest.raises(ObjectChangedError, match="replaced while it was read"):
        memory.read("a/x.wav", 0, 5, expected=before)


def test_a_web_server_gets_range_requests(objects: Objects) -> None:
    store = web(objects)
    info = store.head("x.wav")
    assert (info.size, info.etag) == (1024, objects.version("/x.wav"))
    assert bytes(store.read("x.wav", 250, 260, expected=info)) == bytes((*range(250, 256), 0, 1, 2, 3))
    assert objects.requests[-1] == ("/x.wav", "bytes=250-259")


def test_a_busy_server_and_half_a_reply_are_retried(objects: Objects) -> None:
    store = web(objects)
    objects.faults.extend([busy, busy, half, None])
    assert bytes(store.read("x.wav", 0, 1024)) == objects.contents["/x.wav"]
    assert not objects.faults


def test_replies_that_stay_short_are_a_failure(objects: Objects) -> None:
    objects.always = half
    with pytest.raises(OSError, match="the store failed"):
        web(objects, retry_s=0).read("x.wav", 0, 1024)


def test_a_changed_object_of_a_server_with_and_without_conditions(objects: Objects) -> None:
    store = web(objects)
    before = store.head("x.wav")
    objects.contents["/x.wav"] = b"other" * 300
    with pytest.raises(ObjectChangedError):
        store.read("x.wav", 0, 10, expected=before)
    objects.has_versions = False
    with pytest.raises(ObjectChangedError):
        store.read("x.wav", 0, 10, expected=before)


def test_a_refusal_says_what_to_do_and_nothing_secret(objects: Objects) -> None:
    objects.always = forbidden
    with pytest.raises(PermissionError, match="Check the credentials") as raised:
        web(objects, "x.wav?X-Amz-Signature=SIGNED").read("x.wav", 0, 10)
    error: BaseException | None = raised.value
    while error is not None:
        assert "SIGNED" not in str(error)
        assert "AKIASECRET" not in str(error)
        error = None if error.__suppress_context__ else error.__context__


def test_a_failure_is_reported_without_the_signature(objects: Objects) -> None:
    objects.always = busy
    with pytest.raises(OSError, match="the store failed.*503") as raised:
        web(objects, "x.wav?X-Amz-Signature=SIGNED", retry_s=0).read("x.wav", 0, 10)
    assert "SIGNED" not in str(raised.value)


def test_a_signed_url_is_sent_whole(objects: Objects) -> None:
    store = web(objects, "x.wav?sig=1")
    assert store.head("x.wav").size == 1024
    assert bytes(store.read("x.wav", 1, 3)) == b"\x01\x02"


def test_a_server_without_ranges_gives_whole_objects(objects: Objects) -> None:
    objects.has_ranges = False
    store = web(objects)
    assert store.head("x.wav").size == 1024
    with pytest.raises(NoRangesError):
        store.read("x.wav", 10, 20)
    copy = io.BytesIO()
    store.copy_to("x.wav", copy)
    assert copy.getvalue() == objects.contents["/x.wav"]


def test_a_web_server_lists_nothing(objects: Objects) -> None:
    with pytest.raises(OSError, match="a web server lists no folders"):
        list(web(objects).list(""))


def test_a_store_that_cannot_be_set_up_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    with pytest.raises(InputError, match="az://container/: the store cannot be opened"):
        open_object_store(parse_url("az://container/x.wav"), retry_s=0)


def test_folders_are_listed_and_conditions_are_tried(memory: ObjectStore) -> None:
    memory.write("a/b/y.wav", io.BytesIO(b"y"), replaces=None)
    memory.write("c/z.wav", io.BytesIO(b"z"), replaces=None)
    assert memory.list_folders("") == ["a", "c"]
    assert memory.list_folders("a/") == ["b"]
    assert memory.keeps_existing("a/probe")
    assert "a/probe" not in dict(memory.list(""))


class Undeletable(ObjectStore):
    """A store in which nothing may be deleted."""

    def delete(self, key: str) -> None:
        raise PermissionError(key)


def test_conditions_are_tried_where_nothing_may_be_deleted() -> None:
    assert Undeletable(MemoryStore()).keeps_existing("probe")
