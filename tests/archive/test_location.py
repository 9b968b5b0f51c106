"""The folder of an archive: what is opened, created and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from dawnchorus.archive.archive import create_archive, open_archive
from dawnchorus.archive.location import ArchiveLocation
from dawnchorus.errors import InputError, NotFoundError, OutputError


def test_a_folder_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="expected the folder of an archive, found no folder"):
        open_archive(tmp_path / "none")
    with pytest.raises(NotFoundError, match=r"it is no archive: there is no archive\.json in it"):
        open_archive(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="expected an archive, a new folder or an empty one, got other content"):
        create_archive(tmp_path)
    with pytest.raises(InputError, match="expected an archive"):
        create_archive(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_archive_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    create_archive(tmp_path / "archive")
    marker = tmp_path / "archive" / "archive.json"
    fields = json.loads(marker.read_text())
    marker.write_text(json.dumps(fields | {"version": fields["version"] + 1}))
    for open_it in (open_archive, create_archive):
        with pytest.raises(InputError, match="has version 2, and this software reads versions up to 1. Update"):
            open_it(tmp_path / "archive")
    marker.write_text("{}")
    with pytest.raises(InputError, match=r"expected the format 'dawnchorus archive', got \{\}"):
        open_archive(tmp_path / "archive")


def test_a_table_of_a_version_with_fewer_columns_is_read_and_written(tmp_path: Path) -> None:
    """Columns that were added later are null in older rows."""
    archive = create_archive(tmp_path / "archive")
    table = archive.table("analysis_of_old")
    old = pa.table({"recording": ["a"], "month": ["2026-05"]})
    table.append(old)
    archive.table("analysis_of_old").append(pa.table({"recording": ["b"], "level": [1.5], "month": ["2026-05"]}))
    read = archive.table("analysis_of_old").read(["recording", "level"]).sort_by("recording").to_pylist()
    assert read == [{"recording": "a", "level": None}, {"recording": "b", "level": 1.5}]


def test_urls(tmp_path: Path) -> None:
    assert ArchiveLocation.parse(f"file://{tmp_path}/a%20b").root == tmp_path / "a b"
    assert str(ArchiveLocation.parse("s3://bucket/a/").root) == "s3://bucket/a"
    with pytest.raises(
        InputError, match="archive: expected a folder, or a URL that begins with s3://, gs:// or az://, got https://"
    ):
        open_archive("https://example.org/archive")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/archive.*cannot be written"):
        create_archive(tmp_path / "file" / "archive")
