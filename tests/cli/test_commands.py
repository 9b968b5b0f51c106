"""The command line: data on stdout, progress on stderr, exit codes, and what a newcomer types."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone

from dawnchorus.cli.main import VERBS
from dawnchorus.cli.models import note_one_species
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, parse_label

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, tone(), 16_000)
    return folder


def test_help_names_every_verb_and_loads_nothing_heavy(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout.decode() for verb in VERBS)
    code = (
        "import sys; from dawnchorus.cli.main import cli; cli(['--help'], standalone_mode=False);"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    for heavy in ("numpy", "onnxruntime", "matplotlib", "torch", "tensorflow", "pyarrow", "rich", "pydantic"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize(("words", "nearest"), [(["idenitfy"], "identify"), (["models", "lst"], "list")])
def test_a_misspelt_verb_names_the_nearest(command: Command, words: list[str], nearest: str) -> None:
    done = command(*words)
    assert done.returncode == 2
    assert f"No such command '{words[-1]}'. Did you mean '{nearest}'?" in done.stderr.decode()


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "completion"])
def test_every_verb_has_help(command: Command, verb: str) -> None:
    done = command(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.decode().startswith(f"Usage: dawnchorus {verb}")


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


def test_a_dry_run_writes_nothing(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    before = sorted(recordings.parent.rglob("*"))
    done = command(
        "identify", recordings, "--model", level_bundle.folder, "--out", recordings.parent / "x.csv", "--dry-run"
    )
    assert done.returncode == 0
    assert b"2 recordings, 4 seconds of sound" in done.stderr
    assert sorted(recordings.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["identfy"], 2, "Did you mean 'identify'?"),
        (["identify", "nowhere/*.wav"], 2, "No recordings found"),
        (["identify", "sounds", "--model", "birdnte"], 5, "Did you mean 'birdnet'?"),
        (["identify", "sounds", "--min-score", "3"], 2, "3.0 is not in the range 0<=x<=1"),
        (["identify", "sounds", "--lat", "50"], 2, "latitude and longitude: expected both or none"),
        (["identify", "sounds", "--date", "1.5.2026"], 2, "expected a date like 2026-05-01"),
        (["identify", "sounds", "--week", "3", "--date", "2026-05-01"], 2, "expected one of them, got both"),
        (["identify", "sounds", "--format", "parket"], 2, "Did you mean 'parquet'?"),
        (["identify", "sounds", "--species-list", "none.txt"], 2, "none.txt: no such file"),
        (["identify", "sounds", "--overlap", "3", "--model", "LEVEL"], 2, "less than the model's window of 1 s"),
        (["identify", "sounds", "--out", "sounds/a.wav/x.csv", "--model", "LEVEL"], 4, "cannot be written"),
        (["models", "path", "nothing"], 5, "neither a built-in model"),
        (["identify", "sounds", "--format", "csv,raven", "--model", "LEVEL"], 2, "Standard output takes one format"),
        (["identify", "sounds", "--models-folder", "sounds/a.wav"], 4, "sounds/a.wav"),
        (["spectrogram", "sounds"], 2, "expected a recording, found a folder"),
        (["synth", "birds", "--seed", "-1"], 2, "-1"),
    ],
)
def test_wrong_requests_end_with_one_clear_line(
    recordings: Path, level_bundle: Bundle, command: Command, arguments: list[str], code: int, message: str
) -> None:
    given = [str(level_bundle.folder) if a == "LEVEL" else a for a in arguments]
    done = command(*given, cwd=recordings.parent)
    assert done.returncode == code
    assert message in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert done.stdout == b""


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


def test_options_that_are_given_twice_are_said(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    """As asked for in pallets/click#2340, anntzer/defopt#110 and rachis-org/rachis-cli#143."""
    options = ("--min-score", "0.9", "-q", "-q", "--format", "csv", "--min-score=0.95", "--format", "raven")
    done = command("identify", recordings, "--model", level_bundle.folder, *options)
    assert done.stderr.splitlines()[0] == b"note: --min-score is given 2 times; the last one counts"
    assert b"--format" not in done.stderr
    below = command("models", "wrap", "x.onnx", "y", "--version", "1", "--version", "2")
    assert b"note: --version is given 2 times" in below.stderr


def test_labels_of_one_species_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    known = KnownClasses([Label("Parus major", "Great Tit"), Label("Turdus merula", "Common Blackbird")])
    note_one_species([parse_label(name) for name in ("Parus major", "Turdus merula", "Great Tit")], known)
    note_one_species([parse_label(name) for name in ("Parus major", "Turdus merula")], known)
    assert capsys.readouterr().err == (
        "labels: by the names on this machine, 1 species have more than one class, as 'Parus major' and 'Great Tit'. "
        "Each class keeps scores of its own.\n"
    )


def test_nearest_species_are_named(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    (recordings.parent / "list.txt").write_text("Avis magna\nAvis parvaa\n")
    done = command(
        "identify", recordings, "--model", level_bundle.folder, "--species-list", recordings.parent / "list.txt"
    )
    assert "'Avis parvaa' is not a class of the model. Did you mean 'Avis parva'?" in done.stderr.decode()


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


def test_spectrogram_command(dawn: Path, tmp_path: Path, command: Command) -> None:
    done = command("spectrogram", dawn, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = tmp_path / done.stdout.decode().strip()
    assert written.read_bytes().startswith(b"\x89PNG")
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    done = command("spectrogram", broken, cwd=tmp_path)
    assert (done.returncode, b"not a sound file" in done.stderr) == (3, True)


@pytest.mark.ops
def test_the_demo_finds_at_least_five_species_with_at_most_two_false(tmp_path: Path, command: Command) -> None:
    done = command("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = re.search(r"(\d+) of (\d+) species detected at the right times, (\d+) false", done.stdout.decode())
    assert said is not None
    n_right, n_species, n_false = map(int, said.groups())
    assert n_species >= 6
    assert n_right >= 5
    assert n_false <= 2
    written = {path.name for path in (tmp_path / "dawnchorus-demo").iterdir()}
    assert {"DAWN_20260501_034500.wav", "DAWN_20260501_034500.wav.png", "index.html", "detections.csv"} <= written
    assert {"detections.selections.txt", "truth.selections.txt"} <= written
    assert command("demo", cwd=tmp_path).returncode == 0, "a second time replaces the first"


def test_models_are_listed_with_their_licences(command: Command) -> None:
    done = command("models", "list")
    assert "CC-BY-NC-SA-4.0" in done.stdout.decode()
    assert "Apache-2.0" in done.stdout.decode()
    shown = command("models", "show", "birdnet").stdout.decode()
    assert "classes: 6522" in shown
    assert "doi:10.1016/j.ecoinf.2021.101236" in shown
    assert b"intact" in command("models", "verify", "birdnet").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(command: Command, shell: str) -> None:
    done = command("completion", shell)
    assert b"_DAWNCHORUS_COMPLETE" in done.stdout


def test_the_documents_name_only_commands_and_options_that_exist(command: Command) -> None:
    helps = {verb: command(verb, "--help").stdout.decode() for verb in VERBS}
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in re.findall(r"dawnchorus ((?:[a-z]+)(?: [^`\n#|]*)?)", document.read_text(encoding="utf-8")):
            verb, *rest = line.split()
            if verb not in VERBS:
                continue
            text = helps[verb]
            if verb in ("models", "data", "fetch") and rest and re.fullmatch("[a-z-]+", rest[0]):
                assert rest[0] in text, f"{document.name}: dawnchorus {line}"
                text = command(verb, rest[0], "--help").stdout.decode()
            for option in re.findall(r"(?<!\S)--[a-z-]+", line):
                assert option in text, f"{document.name}: dawnchorus {line}"
