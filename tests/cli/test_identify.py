"""The command `identify`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.fixtures.commands import Command

from dawnchorus.cli.identify import command
from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle


def test_identify_loads_no_training_or_web_framework(recordings: Path, level_bundle: Bundle) -> None:
    code = (
        "import sys; from dawnchorus.identification import identify; identify(sys.argv[1], model=sys.argv[2]);"
        "print(sorted({'torch', 'tensorflow', 'fastapi', 'matplotlib', 'librosa', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, recordings, level_bundle.folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_table_goes_to_stdout_and_progress_to_stderr(
    recordings: Path, level_bundle: Bundle, command: Command
) -> None:
    done = command("identify", recordings, "--model", level_bundle.folder)
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "Start (s),End (s),Scientific name,Common name,Confidence,File"
    assert len(lines) == 9
    assert "2 recordings" in done.stderr.decode()
    assert command("identify", recordings, "--model", level_bundle.folder, "-q").stderr == b""
    (recordings / "broken.wav").write_bytes(b"RIFF")
    quiet = command("identify", recordings, "--model", level_bundle.folder, "-q")
    assert (quiet.returncode, quiet.stderr.count(b"\n")) == (3, 1), "what failed is named all the same"
    assert b"failed: " in quiet.stderr


def test_a_list_of_files_on_stdin(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    for listed in (b"sounds/b.wav\r\nsounds/a.wav\r\n", b"sounds/b.wav\0sounds/a.wav\0"):
        done = command(
            "identify",
            "-",
            "--model",
            level_bundle.folder,
            "--format",
            "jsonl",
            "-q",
            cwd=recordings.parent,
            input=listed,
        )
        names = [json.loads(line)["recording"] for line in done.stdout.splitlines()]
        assert names == ["sounds/b.wav"] * 4 + ["sounds/a.wav"] * 4


def test_json_for_machines_has_failures_and_counts(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    (recordings / "bad.wav").write_text("no sound")
    done = command(
        "identify", recordings, "--model", level_bundle.folder, "--json", "--out", recordings.parent / "x.parquet"
    )
    assert done.returncode == 3
    printed = json.loads(done.stdout)
    assert (printed["schema"], printed["n_files"], printed["n_done"], printed["n_failed"]) == (1, 3, 2, 1)
    assert printed["failures"][0]["recording"].endswith("bad.wav")
    assert {s["common_name"]: s["n_detections"] for s in printed["species"]} == {"Loud Bird": 4, "Quiet Bird": 4}
    assert "detections" not in printed
    assert b"Kept for --resume: " in done.stderr
    assert (recordings.parent / "x.parquet.failures.csv").read_text().startswith("recording,reason\n")


def test_cut_table_is_written_again_and_only_that_is_called_written(
    recordings: Path, level_bundle: Bundle, command: Command
) -> None:
    out = recordings.parent / "x.csv"
    arguments = ("identify", recordings, "--model", level_bundle.folder, "--out", out, "--resume")
    command(*arguments)
    whole = out.read_bytes()
    assert f"Up to date: {out}".encode() in command(*arguments).stderr.replace(b"\n", b"")
    out.write_bytes(whole[:90])
    again = command(*arguments).stderr.replace(b"\n", b"")
    assert out.read_bytes() == whole
    assert (again.count(b"was changed since it was written"), b"Written: " in again) == (1, True)


def test_a_dry_run_writes_nothing(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    before = sorted(recordings.parent.rglob("*"))
    done = command(
        "identify", recordings, "--model", level_bundle.folder, "--out", recordings.parent / "x.csv", "--dry-run"
    )
    assert done.returncode == 0
    assert b"2 recordings, 4 seconds of sound" in done.stderr
    assert sorted(recordings.parent.rglob("*")) == before
    assert b"on 1 core: " in done.stderr or b" cores: " in done.stderr
    assert b"8 detections; a csv table of about 0.00 MB." in done.stderr
    assert b"Cost" not in done.stderr


def test_a_dry_run_has_its_numbers_as_json(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    arguments = ("identify", recordings, "--model", level_bundle.folder, "--workers", "1", "--price-per-core-hour", "2")
    done = command(*arguments, "--price-per-gb", "3", "--dry-run", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    printed = json.loads(done.stdout)
    assert (printed["schema"], printed["dry_run"], printed["n_files"], printed["n_detections"]) == (1, True, 2, 8)
    assert (printed["duration_s"], printed["n_windows"]) == (4.0, 4)
    assert printed["output_bytes"] == 8 * (54 + len(str(recordings / "a.wav")))
    assert printed["cost"]["cores"] == pytest.approx(2 * printed["core_hours"])
    assert printed["cost"]["reading"] == pytest.approx(3e-9 * printed["n_bytes"])
    assert printed["estimated_s"] == pytest.approx(3600 * printed["core_hours"])
    done = command(*arguments)
    assert done.returncode == 2
    assert b"--price-per-core-hour, --price-per-gb: expected together with --dry-run" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_is_full_is_one_line(recordings: Path, level_bundle: Bundle, program: Command) -> None:
    with Path("/dev/full").open("wb") as full:
        options = {"capture_output": False, "stdout": full, "stderr": subprocess.PIPE}
        done = program("identify", recordings, "--model", level_bundle.folder, "-q", **options)
    assert done.returncode == 4
    assert done.stderr == b"Error: standard output: No space left on device. Check free space and access rights.\n"


def test_debug_shows_where_an_error_is_from(recordings: Path, program: Command) -> None:
    done = program("identify", recordings, "--model", "nothing", "--debug")
    assert b"Traceback" in done.stderr


def test_a_list_may_come_from_windows(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    listed = "\ufeffa.wav \r\nb.wav\r\n".encode()
    done = command("identify", "-", "--model", level_bundle.folder, "-q", cwd=recordings, input=listed)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_glob_without_match_is_reported(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    done = command("identify", recordings / "a.wav", recordings / "gone [1].wav", "--model", level_bundle.folder)
    assert done.returncode == 3
    assert b"gone [1].wav: no such file" in done.stderr


def test_a_range_without_a_location_is_said(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    done = command("identify", recordings, "--model", level_bundle.folder, "--drop-out-of-range")
    assert b"no recording was checked for range: none has a location" in done.stderr


def test_nearest_species_are_named(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    (recordings.parent / "list.txt").write_text("Avis magna\nAvis parvaa\n")
    done = command(
        "identify", recordings, "--model", level_bundle.folder, "--species-list", recordings.parent / "list.txt"
    )
    message = "'Avis parvaa' is not a class of the model. Did you mean 'Avis parva'?"
    assert done.stderr.decode().count(message) == 1


def test_a_reader_that_goes_away_ends_the_run_quietly(recordings: Path, level_bundle: Bundle) -> None:
    for k in range(200):
        (recordings / f"c{k}.wav").symlink_to("a.wav")
    process = subprocess.Popen(
        [sys.executable, "-m", "dawnchorus", "identify", recordings, "--model", level_bundle.folder, "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert errors == b""


N_PRESSES = """
import os, signal, sys
from dawnchorus.cli import identify, main

def interrupted(*arguments, report, run=identify.identify, **options):
    def press(progress):
        if progress.done == 2:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                if is_twice:
                    os.kill(os.getpid(), signal.SIGINT)
                raise

    return run(*arguments, report=press, **options)

is_twice = sys.argv.pop() == "2"
identify.identify = interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)
main.main()
"""
"""`dawnchorus identify` for whom Ctrl-C is pressed so often, when two recordings are done."""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another event there")
@pytest.mark.parametrize(
    ("n_presses", "message"),
    [(1, b"What was scored is kept: run the same command again to resume."), (2, b"Stopped at once.")],
)
def test_ctrl_c_keeps_what_was_scored(
    n_presses: int, message: bytes, tmp_path: Path, recordings: Path, level_bundle: Bundle, command: Command
) -> None:
    for k in range(30):
        (recordings / f"c{k:02d}.wav").symlink_to("a.wav")
    arguments = ["identify", recordings, "--model", level_bundle.folder, "--out", tmp_path / "x.csv"]
    done = subprocess.run([sys.executable, "-c", N_PRESSES, *arguments, str(n_presses)], capture_output=True)
    assert done.returncode == 130
    assert message in done.stderr
    assert b"Traceback" not in done.stderr
    resumed = command(*arguments, "--json", "-q")
    assert json.loads(resumed.stdout)["n_resumed"] >= 2
    assert len((tmp_path / "x.csv").read_bytes().splitlines()) == 1 + 32 * 4


def test_locations_of_options_and_table_that_differ_are_said(tmp_path: Path) -> None:
    (tmp_path / "locations.csv").write_text("path,latitude,longitude\na.wav,52.5,13.4\nb.wav,48.1,11.5\n")
    for name in ("a.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"")
    given = ["--recordings", str(tmp_path / "locations.csv"), "--lat", "48.1", "--lon", "11.5", "--model", "none"]
    done = CliRunner().invoke(command, [str(tmp_path), *given])
    assert "--lat and --lon (48.1, 11.5) are used for 1 recording with another location" in done.output
    assert "as a.wav (52.5, 13.4)" in done.output
    assert "has 1 row of other recordings, as " in done.output
    assert f"has no row of 1 of 2 recordings, as {tmp_path / 'c.wav'}" in done.output


def test_tables_of_recordings_are_files() -> None:
    done = CliRunner().invoke(command, ["x.wav", "--recordings", "s3://KEY:SECRET@bucket/recordings.csv"])
    assert isinstance(done.exception, InputError)
    assert "SECRET" not in str(done.exception)
    done = CliRunner().invoke(command, ["x.wav", "--recordings", "s3://bucket/recordings.csv"])
    assert (done.exit_code, "URLs are not supported here" in done.output) == (2, True)


def test_ray_needs_an_archive_and_an_address(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    done = command("identify", recordings, "--model", level_bundle.folder, "--ray=auto")
    assert (done.returncode, b"--ray: expected together with --archive" in done.stderr) == (2, True)
    archive = recordings.parent / "archive"
    done = command("identify", recordings, "--archive", archive, "--model", level_bundle.folder, "--ray", recordings)
    assert done.returncode == 2
    assert b"ray: expected the address of a cluster's head" in done.stderr
    done = command("identify", recordings, "--archive", archive, "--model", level_bundle.folder, "--ray", "--shard=1/2")
    assert done.returncode == 2
    assert b"shard: the nodes of a Ray cluster share all units" in done.stderr
    assert not archive.exists()
