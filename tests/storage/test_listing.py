"""Objects of a store by URL, as files of a folder."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from tests.fixtures.object_servers import Handler, list_keys, no_bucket, serving_objects

from dawnchorus.errors import StoreError
from dawnchorus.storage.listing import list_objects, translate
from dawnchorus.storage.paths import RemotePath, as_path
from dawnchorus.storage.stores import RETRY_VARIABLE

KEYS = ("2026/a/y.wav", "2026/a/b/z.wav", "2026/a-b/x.wav", "2026/a/note.txt", "2026/.hidden/h.wav", "top.wav")


@pytest.fixture
def bucket() -> Iterator[str]:
    """A file system of fsspec in memory."""
    name = uuid.uuid4().hex
    system = fsspec.filesystem("memory")
    for key in KEYS:
        system.pipe_file(f"/{name}/{key}", key.encode())
    yield f"memory://{name}"
    system.rm(f"/{name}", recursive=True)


def listed(url: str) -> list[tuple[str, bool]]:
    path = as_path(url)
    assert isinstance(path, RemotePath)
    return [(each.path.url.key, each.is_named) for each in list_objects([path])[0]]


def test_a_folder_is_walked_as_one_on_a_disk_is(bucket: str) -> None:
    keys = ["2026/.hidden/h.wav", "2026/a/note.txt", "2026/a/y.wav", "2026/a/b/z.wav", "2026/a-b/x.wav"]
    assert listed(f"{bucket}/2026") == listed(f"{bucket}/2026/") == [(key, False) for key in keys]
    assert [key for key, _ in listed(bucket)] == ["top.wav", *keys]


def test_an_object_is_named_with_its_size(bucket: str) -> None:
    (only,) = list_objects([as_path(f"{bucket}/top.wav")])[0]  # type: ignore[list-item]
    assert (only.is_named, only.path.is_listed, only.path.stat().st_size) == (True, True, 7)


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("2026/**/*.wav", {"2026/a/y.wav": True, "2026/a/b/z.wav": True, "2026/a-b/x.wav": True}),
        ("2026/*/*.wav", {"2026/a/y.wav": True, "2026/a-b/x.wav": True}),
        (
            "2026/a*",
            {"2026/a/note.txt": False, "2026/a/y.wav": False, "2026/a/b/z.wav": False, "2026/a-b/x.wav": False},
        ),
        ("2026/?/[!n]*", {"2026/a/y.wav": True, "2026/a/b/z.wav": False}),
        ("2026/[.]hidden/*", {}),
        ("2026/.hidden/*", {"2026/.hidden/h.wav": True}),
    ],
)
def test_patterns_fit_what_they_fit_on_a_disk(bucket: str, tmp_path: Path, pattern: str, keys: dict[str, bool]) -> None:
    found = dict(listed(f"{bucket}/{pattern}"))
    if not keys:
        assert found == {pattern: True}, "it stays in the list, so that the run reports it"
        return
    assert found == keys
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text(key)
    on_disk = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob(pattern) if path.is_file()}
    assert {key for key, is_named in keys.items() if is_named} == {
        key for key in on_disk if "/.h" not in key or ".h" in pattern
    }


def test_a_key_with_brackets_is_found_as_it_is(bucket: str) -> None:
    fsspec.filesystem("memory").pipe_file(bucket.removeprefix("memory:/") + "/a[1].wav", b"x")
    assert listed(f"{bucket}/a[1].wav") == [("a[1].wav", True)]


def test_what_is_not_there_stays_in_the_list(bucket: str) -> None:
    assert listed(f"{bucket}/none") == [("none", True)]


def test_a_store_that_cannot_be_reached_is_a_failure_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_VARIABLE, "0")
    ((refused,),) = list_objects([as_path("http://me:word@127.0.0.1:1/x.wav?sig=abc")])  # type: ignore[list-item]
    assert isinstance(refused.failure, StoreError)
    assert str(refused.failure).startswith("http://127.0.0.1:1/x.wav: the store failed")
    assert "abc" not in str(refused.failure)
    assert "word" not in str(refused.failure)


@pytest.mark.parametrize(
    ("pattern", "text"), [("a.b", "axb"), ("[]]", "]x"), ("[^a]", "b"), ("a+", "aa"), ("*", "a/b")]
)
def test_other_characters_stand_for_themselves(pattern: str, text: str) -> None:
    assert re.fullmatch(translate(pattern), text) is None


@pytest.mark.parametrize(
    ("reply", "url", "sentence"),
    [
        (no_bucket, "s3://nobkt/2026", "s3://nobkt/2026: there is no bucket nobkt."),
        (
            list_keys("a.wav", "dbl//a.wav"),
            "s3://bucket",
            'it has an object that cannot be listed (.*"dbl//a.wav".*). Rename it, or name the folders and objects',
        ),
    ],
)
def test_what_ends_a_listing_is_said(
    reply: Callable[[Handler], None], url: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_objects() as objects:
        objects.always = reply
        monkeypatch.setenv("AWS_ENDPOINT_URL", objects.url)
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv(RETRY_VARIABLE, "0")
        with pytest.raises(StoreError, match=sentence):
            listed(url)
