"""Parquet tables: what is refused, and how much is written at a time."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dawnchorus.errors import FormatError
from dawnchorus.formats import parquet
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

PROVENANCE = Provenance("model", "1", "0123456789ab", "dawnchorus 1", {"thresholds": {"Grünfink": 0.5}})
FOUND = Detection(
    1.5, 4.5, "Parus major", "Great Tit", "species", 0.5, in_range=True, probability=0.25, human_voice=False
)


def table(n: int, name: str = "/a.wav") -> RecordingTable:
    return RecordingTable(name, 60.0, 48_000, RecordingMetadata(None, 52.5, 13.4), 17, (FOUND,) * n)


def written(path: Path, *tables: RecordingTable) -> pa.Table:
    with path.open("wb") as stream:
        parquet.write(stream, tables, PROVENANCE)
    return pq.read_table(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.parquet"


def test_every_field_comes_back(path: Path) -> None:
    written(path, table(2), table(0), table(1, "/b.wav"))
    assert list(parquet.read(path)) == [("/a.wav", FOUND), ("/a.wav", FOUND), ("/b.wav", FOUND)]


@pytest.mark.parametrize(
    ("name", "is_needed"),
    [
        *dict.fromkeys(("start_s", "end_s", "scientific_name", "common_name", "kind", "score"), True).items(),
        *dict.fromkeys(("recording", "probability", "in_range", "human_voice"), False).items(),
    ],
)
def test_needed_values_are_not_missing(path: Path, name: str, is_needed: bool) -> None:
    content = written(path, table(2))
    index = content.column_names.index(name)
    empty = pa.array([content[name][0].as_py(), None], content.schema.field(name).type)
    pq.write_table(content.set_column(index, name, empty), path)
    if is_needed:
        with pytest.raises(FormatError, match=rf"x\.parquet: expected a Parquet file of ours, undamaged \(.*{name}"):
            list(parquet.read(path))
    else:
        assert len(list(parquet.read(path))) == 2


@pytest.mark.parametrize("name", ["score", "software"])
def test_table_without_a_column_is_refused(path: Path, name: str) -> None:
    pq.write_table(written(path, table(1)).drop_columns([name]), path)
    with pytest.raises(FormatError, match=rf"x\.parquet: expected the columns of a Dawn Chorus table.*\['{name}'\]"):
        list(parquet.read(path))


def test_table_may_have_more_columns(path: Path) -> None:
    content = written(path, table(1))
    pq.write_table(content.append_column("notes", pa.array(["mine"])), path)
    assert list(parquet.read(path)) == [("/a.wav", FOUND)]


def test_names_that_are_no_text_are_refused(path: Path) -> None:
    content = written(path, table(1))
    broken = pa.array([b"Parus \xff"], pa.binary()).view(pa.string())
    pq.write_table(content.set_column(content.column_names.index("kind"), "kind", broken), path)
    with pytest.raises(FormatError, match=r"x\.parquet: expected a Parquet file of ours, undamaged \(.*Invalid UTF8"):
        list(parquet.read(path))


def test_file_that_is_no_parquet_is_refused(path: Path) -> None:
    path.write_bytes(b"no parquet")
    with pytest.raises(FormatError, match=r"x\.parquet: expected a Parquet file of ours"):
        list(parquet.read(path))


def test_rows_are_written_by_ten_thousands(path: Path) -> None:
    written(path, table(9_999), table(1), table(2))
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [10_000, 2]
    written(path, table(2), table(3))
    assert pq.ParquetFile(path).metadata.num_row_groups == 1


def test_parameters_lie_in_the_file(path: Path) -> None:
    metadata = written(path).schema.metadata[b"dawnchorus"]
    assert json.loads(metadata)["parameters"] == {"thresholds": {"Grünfink": 0.5}}
    assert "Grünfink".encode() in metadata
    stream = io.BytesIO()
    parquet.write(stream, [], PROVENANCE)
    assert stream.getvalue() == path.read_bytes()
