"""Stores by URL."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest

from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.storage.stores import RETRY_VARIABLE, ObjectInfo, changed, describe, not_found, open_store, retry_s
from dawnchorus.storage.urls import parse_url


@pytest.mark.parametrize(("package", "url"), [("obstore", "s3://bucket/x.wav"), ("fsspec", "sftp://host/x.wav")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    package: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRY_VARIABLE, "7")  # so that no store of another test is taken
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("object_store", "file_systems"):
        monkeypatch.delitem(sys.modules, f"dawnchorus.storage.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*pip install 'dawnchorus\[cloud\]'"):
        open_store(parse_url(url))


def test_objects_of_a_store_share_its_connections_and_signed_ones_do_not() -> None:
    one, other = (parse_url(f"https://example.org/{name}.wav") for name in "ab")
    assert open_store(one) is open_store(other)
    signed = parse_url("https://example.org/a.wav?sig=1")
    assert open_store(signed) is not open_store(parse_url("https://example.org/a.wav?sig=2"))
    assert open_store(signed) is not open_store(one)


def test_other_credentials_are_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    url = parse_url("s3://bucket/x.wav")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of both")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    first = open_store(url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "two")
    assert open_store(url) is not first


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match="nonsense://x/: "):
        open_store(parse_url("nonsense://x/y.wav"))


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("2.5", 2.5), ("-1", 0.0), ("soon", 180.0)])
def test_the_time_of_repetitions_can_be_set(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_VARIABLE, text)
    assert retry_s() == seconds


def test_versions_are_compared_by_what_is_known() -> None:
    day, later = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC)
    known = ObjectInfo(5, '"a"', day)
    assert known.is_same(ObjectInfo(5, "a", later)), "a list may have no quotation marks"
    assert not known.is_same(ObjectInfo(5, '"b"', day))
    assert not known.is_same(ObjectInfo(6, '"a"', day))
    assert known.is_same(ObjectInfo(5))
    assert not known.is_same(ObjectInfo(5, None, later))


def test_errors_are_sentences() -> None:
    assert describe(not_found()).endswith("deleted?")
    assert describe(changed()).endswith("Run the same command again.")
    assert describe(OSError("odd")) == "odd."
