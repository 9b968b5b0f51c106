"""URLs as paths."""

from __future__ import annotations

import json
import pickle
import uuid
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import fsspec
import pytest

from dawnchorus.errors import InputError, OutputExistsError, StoreError
from dawnchorus.storage.files import atomic_file
from dawnchorus.storage.paths import (
    RemotePath,
    absolute_path,
    as_path,
    content_version,
    full_name,
    listed_version,
    path_from_json,
    path_to_json,
    read_failure,
)
from dawnchorus.storage.stores import RETRY_VARIABLE, ObjectInfo


@pytest.fixture
def folder() -> RemotePath:
    """A new folder of fsspec's file system in memory."""
    path = as_path(f"memory://{uuid.uuid4().hex}/results")
    assert isinstance(path, RemotePath)
    return path


def remote(url: str) -> RemotePath:
    path = as_path(url)
    assert isinstance(path, RemotePath)
    return path


def test_names_and_folders_are_those_of_the_key() -> None:
    path = remote("https://me:word@example.org/My%20Birds/2026-06-01.x.WAV?sig=1")
    assert (path.name, path.stem, path.suffix) == ("2026-06-01.x.WAV", "2026-06-01.x", ".WAV")
    assert str(path) == path.as_posix() == "https://example.org/My%20Birds/2026-06-01.x.WAV"
    assert str(path.parent / "a" / "b.csv") == "https://example.org/My%20Birds/a/b.csv"
    assert str(path.with_suffix(".csv")) == "https://example.org/My%20Birds/2026-06-01.x.csv"
    assert path.parent.url.login == "me:word", "for what is written beside it"
    assert path.relative_to("https://example.org") == PurePosixPath("My Birds/2026-06-01.x.WAV")
    assert path.is_relative_to(path.parent)
    assert not path.is_relative_to("https://example.com")
    with pytest.raises(ValueError, match="is not below"):
        path.relative_to("s3://example.org")


def test_urls_are_equal_by_what_they_name() -> None:
    one, same, other = remote("s3://b/x//y.wav"), remote("s3://b/x//y.wav"), remote("s3://b/x/y.wav")
    assert {one: 1}[same] == 1
    assert one != other
    assert one != Path(str(one))
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own


def test_paths_stay_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert type(as_path("a/b.wav")) is type(Path())
    assert as_path((tmp_path / "My Birds").as_uri()) == tmp_path / "My Birds"
    assert absolute_path(Path("x.wav")) == tmp_path / "x.wav"
    assert full_name(Path("x.wav")) == str(tmp_path / "x.wav")
    assert absolute_path(remote("s3://b/x.wav")) == remote("s3://b/x.wav")
    assert full_name(remote("s3://b/x.wav")) == "s3://b/x.wav"
    assert (listed_version(Path("x.wav")), content_version(Path("x.wav")), read_failure(Path("x.wav"))) == (None,) * 3
    with pytest.raises(InputError, match="expected a URL such as"):
        as_path("s3:///x.wav")


@pytest.mark.parametrize("name", ["x.wav", "a\udcff.wav"])
def test_a_path_goes_to_another_process_and_back(name: str) -> None:
    assert path_from_json(json.loads(json.dumps(path_to_json(Path(name))))) == Path(name)


def test_a_url_goes_to_another_process_with_its_secrets_and_version() -> None:
    info = ObjectInfo(5, '"abc"', datetime(2026, 6, 1, tzinfo=UTC))
    path = remote("https://me:word@example.org/x.wav?id=1&sig=2").with_info(info)
    back = path_from_json(json.loads(json.dumps(path_to_json(path))))
    assert isinstance(back, RemotePath)
    assert (back.url, back.url.secret_text, back.head()) == (path.url, path.url.secret_text, info)
    assert listed_version(back) == (5, "abc")


def test_a_file_is_put_whole_or_not_at_all(folder: RemotePath) -> None:
    path = folder / "x.csv"
    with pytest.raises(ZeroDivisionError), atomic_file(path) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert not path.exists()
    assert not folder.is_dir()
    with atomic_file(path) as stream:
        stream.write(b"whole")
    assert path.is_file()
    assert folder.is_dir()
    assert path.read_bytes() == b"whole"
    assert path.stat().st_size == 5
    assert list(fsspec.filesystem("memory").ls(f"/{folder.url.host}/results", detail=False)) == [
        f"/{folder.url.host}/results/x.csv"
    ]


def test_a_file_that_another_program_wrote_meanwhile_stays(folder: RemotePath) -> None:
    path = folder / "x.csv"
    with pytest.raises(OutputExistsError, match=r"x\.csv: another program has written it"), atomic_file(path) as stream:
        stream.write(b"ours")
        with atomic_file(remote(str(path))) as other:
            other.write(b"theirs")
    assert remote(str(path)).read_bytes() == b"theirs"


def test_objects_are_renamed_and_deleted(folder: RemotePath) -> None:
    path = folder / "x.csv"
    with atomic_file(path) as stream:
        stream.write(b"1")
    renamed = path.rename(path.with_name("y.csv"))
    assert (path.exists(), renamed.exists()) == (False, True)
    renamed.unlink()
    renamed.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        renamed.unlink()


def test_a_store_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_VARIABLE, "0")
    path = remote("http://127.0.0.1:1/x.csv")
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1/x\.csv: the store failed"):
        path.exists()


def test_objects_are_not_written_in_place() -> None:
    with pytest.raises(ValueError, match="expected the mode 'rb'"):
        remote("s3://b/x.csv").open("w")
