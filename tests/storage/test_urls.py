"""URLs of objects, and what of them may be shown."""

from __future__ import annotations

import pytest

from dawnchorus.storage.urls import hide_secrets, is_url, parse_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://bucket/2026/a b#1?.wav", ("s3", "bucket", "2026/a b#1?.wav")),
        ("S3://bucket", ("s3", "bucket", "")),
        ("abfss://files@account.dfs.core.windows.net/x.wav", ("abfss", "files@account.dfs.core.windows.net", "x.wav")),
        ("https://example.org:8443/My%20Birds/x.wav", ("https", "example.org:8443", "My Birds/x.wav")),
        ("sftp://me:secret@host/home/x.wav", ("sftp", "host", "home/x.wav")),
    ],
)
def test_a_url_has_a_store_and_a_key(text: str, parts: tuple[str, str, str]) -> None:
    url = parse_url(text)
    assert (url.scheme, url.host, url.key) == parts
    assert parse_url(str(url)) == url


@pytest.mark.parametrize("text", ["recordings/x.wav", "/s3:/x", "C:/x.wav", "file:///x.wav", "s3:/bucket/x.wav"])
def test_a_path_is_no_url(text: str) -> None:
    assert not is_url(text)


def test_a_url_without_a_bucket_is_refused_without_its_secrets() -> None:
    with pytest.raises(ValueError, match="expected a URL such as s3://bucket/folder, got 's3:///x.wav'"):
        parse_url("s3:///x.wav")


@pytest.mark.parametrize(
    "text",
    [
        "s3://KEY:SECRET@bucket/x.wav",
        "S3A://KEY@bucket/SECRET.wav",
        "s3://KEY:SEC/SECRET@bucket/x.wav",
        "gs://me:SECRET@bucket",
        "az://me:SECRET@container/x.wav",
        "abfss://files:SECRET@account.dfs.core.windows.net/x.wav",
        "az://container/x.wav?sv=1&sig=SECRET",
        "https://me:SEC/SECRET@example.org/x.wav",
        "sftp://me:SEC/SECRET@host/x.wav",
    ],
)
def test_secrets_that_would_be_ignored_or_shown_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a (URL without user, password|number after the colon)") as refused:
        parse_url(text)
    assert "SEC" not in str(refused.value)
    assert "KEY" not in str(refused.value)


def test_servers_have_ports_and_addresses() -> None:
    assert parse_url("https://me:w%2Fd@[::1]:8443/x.wav").host == "[::1]:8443"
    assert parse_url("sftp://me@host:22/x.wav").host == "host:22"


def test_secrets_are_kept_and_not_shown() -> None:
    url = parse_url("https://me:pass%40word@example.org/x.wav?X-Amz-Signature=abc&X-Amz-Expires=60#t=1")
    assert str(url) == "https://example.org/x.wav"
    assert "pass" not in repr(url)
    assert "abc" not in repr(url)
    assert (url.secret_text,) == ("https://me:pass%40word@example.org/x.wav?X-Amz-Signature=abc&X-Amz-Expires=60",)


def test_parameters_that_name_an_object_tell_objects_apart_and_are_not_shown() -> None:
    first, second = (parse_url(f"https://example.org/get?id={number}&sig=x") for number in (1, 2))
    again = parse_url("https://example.org/get?sig=other&id=1")
    assert first == again
    assert first != second
    assert str(first).startswith("https://example.org/get?")
    assert "id=" not in str(first)
    assert parse_url(str(first)) == first, "so that a journal finds it again"


def test_other_objects_of_the_store_have_its_login_and_not_the_signature() -> None:
    url = parse_url("https://me:word@example.org/a/x.wav?sig=1").at("a/y.wav")
    assert (url.secret_text,) == ("https://me:word@example.org/a/y.wav",)


def test_only_stores_that_list_have_patterns() -> None:
    assert parse_url("s3://bucket/2026/**/*.wav").is_pattern
    assert not parse_url("https://example.org/a*b.wav").is_pattern
    assert not parse_url("s3://bucket/2026").is_pattern


def test_secrets_are_hidden_in_messages_of_libraries() -> None:
    text = "GET https://host/c/x.wav?sv=1&sig=abc%3D failed: sftp://me:word@host/x and http://a/b?c"
    assert hide_secrets(text) == "GET https://host/c/x.wav failed: sftp://***@host/x and http://a/b"
