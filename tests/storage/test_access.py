"""Access to our folders for other libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.storage.access import store_access


def test_a_folder_is_an_absolute_path_without_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    access = store_access("archive")
    assert (access.url, access.options) == (str(tmp_path / "archive"), {})


def test_a_url_has_the_options_that_we_would_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
    monkeypatch.setenv("DAWNCHORUS_STORE_RETRY_S", "7")
    access = store_access("s3://bucket/archive/")
    assert access.url == "s3://bucket/archive"
    assert access.options["allow_http"] == "true"
    assert (access.options["retry_timeout"], access.options["max_retries"]) == ("7s", "1000")


def test_options_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id=A\naws_secret_access_key=SECRET\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    access = store_access("s3://bucket/archive")
    assert access.options["aws_secret_access_key"] == "SECRET"  # noqa: S105 - it stands for one
    assert "SECRET" not in repr(access)
