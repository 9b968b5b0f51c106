"""The commands together: help, wrong requests and the documents."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.fixtures.commands import Command

from dawnchorus.cli.main import VERBS, cli
from dawnchorus.models.bundle import Bundle

ROOT = Path(__file__).parents[2]


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
def test_a_misspelled_verb_names_the_nearest(command: Command, words: list[str], nearest: str) -> None:
    done = command(*words)
    assert done.returncode == 2
    assert f"No such command '{words[-1]}'. Did you mean '{nearest}'?" in done.stderr.decode()


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "completion"])
def test_every_verb_has_help(command: Command, verb: str) -> None:
    done = command(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.decode().startswith(f"Usage: dawnchorus {verb}")


def list_options(command: click.Command, name: str) -> Iterator[tuple[str, click.Option]]:
    """Yield the options of a command and of its subcommands, with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for verb in command.list_commands(context):
            if (subcommand := command.get_command(context, verb)) is not None:
                yield from list_options(subcommand, f"{name} {verb}".strip())
    yield from ((name, option) for option in command.params if isinstance(option, click.Option))


def test_every_option_has_help() -> None:
    options = [(name, option) for name, option in list_options(cli, "") if not option.hidden]
    assert len(options) > 100
    assert [(name, option.opts[0]) for name, option in options if not option.help] == []


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


def test_options_that_are_given_twice_are_said(recordings: Path, level_bundle: Bundle, command: Command) -> None:
    """As asked for in pallets/click#2340, anntzer/defopt#110 and rachis-org/rachis-cli#143."""
    options = ("--min-score", "0.9", "-q", "-q", "--format", "csv", "--min-score=0.95", "--format", "raven")
    done = command("identify", recordings, "--model", level_bundle.folder, *options)
    assert done.stderr.splitlines()[0] == b"note: --min-score is given 2 times; the last one counts"
    assert b"--format" not in done.stderr
    below = command("models", "wrap", "x.onnx", "y", "--version", "1", "--version", "2")
    assert b"note: --version is given 2 times" in below.stderr


def test_the_documents_name_only_commands_and_options_that_exist(command: Command) -> None:
    helps = {verb: command(verb, "--help").stdout.decode() for verb in VERBS}
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in re.findall(r"dawnchorus ((?:[a-z]+)(?: [^`\n#|]*)?)", document.read_text(encoding="utf-8")):
            verb, *rest = line.split()
            if verb not in VERBS:
                continue
            text = helps[verb]
            if verb in ("archive", "models", "data", "fetch") and rest and re.fullmatch("[a-z-]+", rest[0]):
                assert rest[0] in text, f"{document.name}: dawnchorus {line}"
                text = command(verb, rest[0], "--help").stdout.decode()
            for option in re.findall(r"(?<!\S)--[a-z-]+", line):
                assert option in text, f"{document.name}: dawnchorus {line}"
