"""`dawnchorus archive`, and `identify --archive`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.fixtures.archives import write_sounds
from tests.fixtures.commands import Command

from dawnchorus.archive.archive import open_archive
from dawnchorus.cli.archive import _check_table
from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("archived") / "sounds")


@pytest.fixture(scope="module")
def kept(sounds: Path, band_bundle: Bundle, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that the command line wrote."""
    folder = tmp_path_factory.mktemp("kept") / "archive"
    shard = ("identify", sounds, "--archive", folder, "--model", band_bundle.folder, "--unit-mb", "0.096", "--shard")
    done = command(*shard, "1/2", "--json", "-q")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["n_done"], printed["n_units"], printed["n_ended"]) == (2, 2, 2)
    done = command(*shard, "2/2")
    assert done.returncode == 3, done.stderr
    text = done.stderr.decode()
    assert "2 recordings done (0 of them before), 1 failed; 3 of 3 units of shard 2/2 in the archive" in text
    assert "failed: " in text
    assert "Use --resume" in text
    return folder


def test_info_and_status_say_what_is_there(kept: Path, command: Command) -> None:
    text = command("archive", "info", kept).stdout.decode()
    assert "bands 1" in text
    assert "score 0.05, best 10" in text
    assert "recordings" in text
    done = command("archive", "status", kept)
    assert b"5 of 5 units done (100 % of 0.00 GB), 0 running, 0 lost, 0 waiting; 5 recordings, 1 of them" in done.stdout
    (run,) = json.loads(command("archive", "status", kept, "--json").stdout)["runs"]
    assert (run["n_units"], run["n_ended"], run["n_waiting"]) == (5, 5, 0)


def test_what_failed_before_is_said_by_the_same_command(
    kept: Path, sounds: Path, band_bundle: Bundle, command: Command
) -> None:
    again = ("identify", sounds, "--archive", kept, "--model", band_bundle.folder, "--json")
    done = command(*again)
    assert done.returncode == 3, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["n_resumed"], printed["n_failed"], printed["n_failed_before"]) == (4, 1, 1)
    text = done.stderr.decode()
    assert "Of the list pinned in the archive: 4 recordings done (4 of them before), 1 failed" in text
    (said,) = [line for line in text.splitlines() if line.startswith("failed before: 1 recording, ")]
    assert "Use --resume, without --shard, to read failed recordings again" in text
    listed = command(*shlex.split(said.partition("dawnchorus ")[2])).stdout.decode()
    header, row = listed.splitlines()
    assert header == '"recording","reason"'
    assert len(row) > len('"x.wav",""')
    done = command("archive", "query", kept, "--status", "failed")
    assert (done.returncode, b"--table recordings" in done.stderr) == (2, True)


def test_query_prints_and_writes_rows(kept: Path, command: Command, tmp_path: Path) -> None:
    done = command("archive", "query", kept, "--species", "Deep Bird", "--columns", "site,start_s,common_name")
    assert done.stdout.decode().splitlines() == [
        '"site","start_s","common_name"',
        '"A",0,"Deep Bird"',
        '"A",1,"Deep Bird"',
        '"A",2,"Deep Bird"',
    ]
    out = tmp_path / "detections.parquet"
    done = command("archive", "query", kept, "--min-score", "0.25", "--since", "2026-05-01", "--out", out)
    assert b"detections.parquet: 3 rows" in done.stdout
    assert len(pq.read_table(out)) == 3
    done = command("archive", "query", kept, "--table", "recordings", "--site", "B")
    assert done.stdout.decode().count("B_2026") == 2 * 3, "name and path"
    done = command("archive", "query", kept, "--table", "recordings", "--columns", "path,status", "--site", "A")
    header, *lines = done.stdout.decode().splitlines()
    assert header == '"path","status"'
    assert len([line for line in lines if line.endswith('_040000.wav","done"') and line.startswith('"/')]) == len(lines)
    done = command("archive", "query", kept, "--table", "recordings", "--species", "Deep Bird")
    assert done.returncode == 2
    assert b"--species and --min-score: expected with the table detections, got recordings" in done.stderr
    done = command("archive", "query", kept, "--site", "b", "--site", "A")
    assert b"note: no recording is of the site 'b'. Did you mean 'B'?" in done.stderr
    done = command("archive", "query", kept, "--since", "2026-05-10", "--until", "2026-05-01")
    assert (done.returncode, b"until: expected a later time than since (2026-05-10)" in done.stderr) == (2, True)
    done = command("archive", "query", kept, "--out", "s3://bucket/rows.csv")
    assert done.returncode == 2
    assert b"s3://bucket/rows.csv: URLs are not supported here" in done.stderr
    done = command("archive", "query", kept, "--out", tmp_path / "rows.txt")
    assert (done.returncode, b"expected a name that ends in .csv or .parquet" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("table", "advice"),
    [
        ("embeddings", "Embeddings are read in Python"),
        ("runs", "`dawnchorus archive info` and `status` print runs"),
        ("detection", "Did you mean 'detections'?"),
    ],
)
def test_query_names_the_tables_that_it_prints(kept: Path, table: str, advice: str) -> None:
    with pytest.raises(InputError, match="--table: expected detections, recordings, got") as refused:
        _check_table(open_archive(kept), table)
    assert advice in str(refused.value)


def test_check_compact_and_vacuum(kept: Path, command: Command) -> None:
    assert b"no row is missing or doubled" in command("archive", "check", kept).stdout
    assert b"recordings: 5 files before, 2 now" in command("archive", "compact", kept).stdout
    assert b"0 rows and 0 files removed" in command("archive", "vacuum", kept).stdout
    assert b"no row is missing or doubled" in command("archive", "check", kept).stdout


def test_dry_run_says_the_size_of_the_archive(
    sounds: Path, kept: Path, band_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    arguments = ("--model", band_bundle.folder, "--workers", "1", "--dry-run")
    done = command("identify", sounds, "--archive", tmp_path / "archive", *arguments, "--shard", "2/3")
    assert done.returncode == 0, done.stderr
    text = done.stderr.decode()
    assert "5 recordings, 12 seconds of sound; 0.38 MB to read (from 5 headers, 1 of which cannot be read)." in text
    assert "for one process" in text
    assert "for 3 shards at once" in text
    assert "of embeddings (with --keep embeddings)" in text
    assert not (tmp_path / "archive").exists()
    done = command("identify", sounds, "--archive", kept, *arguments, "--json")
    assert "Done already: 5 of 5 units" in done.stderr.decode()
    printed = json.loads(done.stdout)
    assert (printed["n_files"], printed["n_units"], printed["archive_bytes"], printed["core_hours"]) == (0, 0, 0, 0)
    assert "output_bytes" not in printed


def test_options_without_effect_are_refused(sounds: Path, command: Command, tmp_path: Path) -> None:
    done = command("identify", sounds, "--archive", tmp_path / "archive", "--out", "table.csv", "--overwrite")
    assert done.returncode == 2
    assert b"--out, --overwrite: not used with --archive" in done.stderr
    done = command("identify", sounds, "--shard", "1/2")
    assert (done.returncode, b"--shard: expected together with --archive" in done.stderr) == (2, True)
    done = command("archive", "info", tmp_path / "none")
    assert (done.returncode, b"expected the folder of an archive, found no folder" in done.stderr) == (2, True)
