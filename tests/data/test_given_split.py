"""Splits that tables and numbers give are taken as they are."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tests.fixtures.commands import Command

from dawnchorus.data.given_split import split_by_counts, split_by_tables
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.errors import FormatError, InputError


def build_table(folder: Path, *paths: str, **more: object) -> RecordingsTable:
    rows = (
        RecordingRow(recording_id=path, path=path, scientific_name=path.split("/", maxsplit=1)[0], **more)  # type: ignore[arg-type]
        for path in paths
    )
    return RecordingsTable(folder, tuple(rows))


def splits(table: RecordingsTable) -> list[str | None]:
    return [row.split for row in table.rows]


def test_counts_take_the_first_recordings_of_each_species(tmp_path: Path) -> None:
    table = build_table(tmp_path, "a/1", "b/1", "a/2", "a/3", "a/4", "b/2")
    gone = RecordingRow(recording_id="x", path="x", scientific_name="b", problems=("missing",))
    done = split_by_counts(RecordingsTable(tmp_path, (gone, *table.rows)), {"train": 1, "validation": 0, "test": 2})
    assert splits(done) == [None, "train", "train", "test", "test", None, "test"]
    for counts in ({"train": 0, "test": 0}, {"train": -1, "test": 2}, {}):
        with pytest.raises(InputError, match="expected numbers of recordings such as 8,0,7"):
            split_by_counts(table, counts)


def test_tables_that_are_named_by_their_parts(tmp_path: Path) -> None:
    paths = ("set/asbfly/XC1.ogg", "set/asbfly/iNat2.ogg", "set/houspa/iNat2.ogg", "set/houspa/b.OGG")
    table = build_table(tmp_path, *paths)
    header = "filename,path\n"
    train, valid = tmp_path / "birdclef_train.csv", tmp_path / "valid.csv"
    train.write_text(f"{header}asbfly/XC1.ogg,/kaggle/input/asbfly/XC1.ogg\nhoupsa/XC9.ogg,\n")
    valid.write_text(f"{header}asbfly/iNat2.ogg,\n,C:\\data\\b.ogg\niNat2.ogg,\n")
    done = split_by_tables(table, [train, valid])
    assert splits(done.table) == ["train", "validation", None, "validation"]
    assert (done.n_named, done.unmatched) == (5, ("houpsa/XC9.ogg", "iNat2.ogg"))
    (tmp_path / "test.csv").write_text("filename\nXC1.ogg\n")
    with pytest.raises(InputError, match=r"found set/asbfly/XC1.ogg in train and test"):
        split_by_tables(table, [train, tmp_path / "test.csv"])


def test_a_column_split_and_numbers_of_xeno_canto(tmp_path: Path) -> None:
    table = build_table(tmp_path, "a/XC1.mp3", "a/XC2.mp3", "a/XC3.mp3")
    given = tmp_path / "mine.csv"
    given.write_text("xc_id;split\n1;VAL\nXC2;Training\n3.0;\n")
    assert splits(split_by_tables(table, [given]).table) == ["validation", "train", None]


@pytest.mark.parametrize("value", [["XC2"], {"files": ["XC2"], "labels": ["a"]}])
def test_json_with_a_list_for_each_part(value: object, tmp_path: Path) -> None:
    table = build_table(tmp_path, "a/XC1.mp3", "a/XC2.mp3")
    given = tmp_path / "split.json"
    given.write_text(json.dumps({"mapping": ["a"], "train": {"files": ["XC1"]}, "val": value}))
    assert splits(split_by_tables(table, [given]).table) == ["train", "validation"]


def test_json_loses_no_list_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")
    table = build_table(tmp_path, "a/XC1.mp3", "a/XC2.mp3", "a/XC3.mp3")
    given = tmp_path / "split.json"
    given.write_text(json.dumps({"val": ["XC1"], "validation": ["XC2"], "tset": ["XC3"], "version": 1}))
    assert splits(split_by_tables(table, [given]).table) == ["validation", "validation", None]
    (note,) = caplog.messages
    assert note.endswith("'tset' is no name of a split; its list of 1 is not read.")


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("train.csv", "species\na\n", FormatError, "expected a column that names recordings"),
        ("mine.csv", "filename\na\n", FormatError, "expected a column 'split', or a file named train"),
        ("mine.json", "{", FormatError, "expected JSON"),
        ("mine.json", '{"train": 1}', FormatError, "expected lists of recordings"),
        (
            "train.csv",
            "filename\nnone.wav\n",
            InputError,
            "expected recordings of the data set .*found 1 others .as 'none.wav'",
        ),
        ("train.csv", None, InputError, "no such file"),
    ],
)
def test_tables_that_give_no_split(name: str, text: str | None, error: type, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        split_by_tables(build_table(tmp_path, "a/1.wav"), [tmp_path / name])


def test_the_command_splits_by_a_table_and_by_counts(tmp_path: Path, command: Command) -> None:
    write_table(build_table(tmp_path, "a/XC1.mp3", "a/XC2.mp3", "a/XC3.mp3"))
    (tmp_path / "train.csv").write_text("filename\nXC1.mp3\nXC9.mp3\n")
    done = command("data", "split", ".", "--from", "train.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"not in the data set: 1 of 2 that are named: XC9.mp3" in done.stderr
    assert splits(read_table(tmp_path)) == ["train", None, None]
    assert command("data", "split", ".", "--counts", "1,1", cwd=tmp_path).returncode == 0
    assert splits(read_table(tmp_path)) == ["train", "test", None]
    assert command("data", "split", ".", "--counts", "1,1", "--folds", "2", cwd=tmp_path).returncode == 2
