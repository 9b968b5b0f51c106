"""Options of stores from the files and variables of the clouds' own tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import InputError
from dawnchorus.storage.credentials import store_options


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = ONE\naws_secret_access_key = first%\n"
        "[field]\naws_access_key_id = TWO\naws_secret_access_key = second\naws_session_token = third\n"
    )
    (folder / "config").write_text(
        "[default]\nregion = eu-west-3\n[profile field]\nendpoint_url = http://store.lan:9000\n"
        "[profile web]\nsso_session = work\n"
    )
    return tmp_path


def test_the_default_profile_is_read(home: Path) -> None:
    assert store_options("s3", {}, home) == {
        "aws_access_key_id": "ONE",
        "aws_secret_access_key": "first%",
        "aws_region": "eu-west-3",
    }


def test_a_named_profile_has_an_endpoint_of_its_own(home: Path) -> None:
    assert store_options("s3", {"AWS_PROFILE": "field"}, home) == {
        "aws_access_key_id": "TWO",
        "aws_secret_access_key": "second",
        "aws_session_token": "third",
        "aws_endpoint": "http://store.lan:9000",
        "allow_http": "true",
    }


def test_the_environment_is_stronger(home: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "X", "AWS_REGION": "r", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    assert store_options("s3", environment, home) == {"allow_http": "true"}
    assert store_options("s3", {**environment, "AWS_ENDPOINT_URL": "https://store"}, home) == {}


def test_files_may_be_elsewhere(tmp_path: Path, home: Path) -> None:
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws" / "credentials"), "AWS_CONFIG_FILE": "none"}
    assert store_options("s3", environment, tmp_path / "other")["aws_access_key_id"] == "ONE"


def test_a_profile_that_we_cannot_read_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match="no profile 'nobody'"):
        store_options("s3", {"AWS_PROFILE": "nobody"}, home)
    with pytest.raises(InputError, match=r"'web' takes its credentials from sso_session\. Export them before"):
        store_options("s3", {"AWS_PROFILE": "web"}, home)


def test_a_broken_file_is_named_without_its_content(home: Path) -> None:
    (home / ".aws" / "credentials").write_text("aws_secret_access_key = first\n")
    with pytest.raises(InputError) as raised:
        store_options("s3", {}, home)
    assert "credentials: expected a file of the AWS tools" in str(raised.value)
    assert "first" not in str(raised.value)


def test_variables_of_azure_have_other_names(tmp_path: Path) -> None:
    assert store_options("az", {"AZURE_STORAGE_ACCOUNT": "birds", "AZURE_STORAGE_KEY": "k"}, tmp_path) == {
        "azure_storage_account_name": "birds",
        "azure_storage_account_key": "k",
    }
    connection = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=aw==;BlobEndpoint=http://127.0.0.1:10000/a"
    assert store_options("abfs", {"AZURE_STORAGE_CONNECTION_STRING": connection}, tmp_path) == {
        "azure_storage_account_name": "a",
        "azure_storage_account_key": "aw==",
        "azure_storage_endpoint": "http://127.0.0.1:10000/a",
        "allow_http": "true",
    }


def test_who_is_logged_in_with_azures_tool_needs_no_more(tmp_path: Path) -> None:
    (tmp_path / ".azure").mkdir()
    (tmp_path / ".azure" / "azureProfile.json").write_text("{}")
    assert store_options("az", {"AZURE_STORAGE_ACCOUNT": "a"}, tmp_path)["azure_use_azure_cli"] == "true"
    assert "azure_use_azure_cli" not in store_options("az", {"AZURE_CLIENT_ID": "i"}, tmp_path)


def test_other_stores_find_all_themselves(tmp_path: Path) -> None:
    assert store_options("gs", {"AWS_PROFILE": "x"}, tmp_path) == {}
