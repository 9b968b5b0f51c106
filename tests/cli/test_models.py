"""The commands `models`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.models import LEVEL_LABELS, level_graph

from dawnchorus.cli.models import note_one_species
from dawnchorus.errors import OutputExistsError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, parse_label


def test_labels_of_one_species_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    known = KnownClasses([Label("Parus major", "Great Tit"), Label("Turdus merula", "Common Blackbird")])
    note_one_species([parse_label(name) for name in ("Parus major", "Turdus merula", "Great Tit")], known)
    note_one_species([parse_label(name) for name in ("Parus major", "Turdus merula")], known)
    assert capsys.readouterr().err == (
        "labels: by the names on this machine, 1 species have more than one class, as 'Parus major' and 'Great Tit'. "
        "Each class keeps scores of its own.\n"
    )


def test_models_are_listed_with_their_licenses(command: Command) -> None:
    done = command("models", "list")
    assert "CC-BY-NC-SA-4.0" in done.stdout.decode()
    assert "Apache-2.0" in done.stdout.decode()
    shown = command("models", "show", "birdnet").stdout.decode()
    assert "classes: 6522" in shown
    assert "doi:10.1016/j.ecoinf.2021.101236" in shown
    assert b"intact" in command("models", "verify", "birdnet").stdout


def test_the_wrap_command(tmp_path: Path, command: Command) -> None:
    level_graph(tmp_path / "level.onnx", window_samples=16_000)
    (tmp_path / "labels.txt").write_text("Avis magna_Loud Bird\nAvis parva_Quiet Bird\nEngine_Engine\n")
    arguments = ["models", "wrap", "level.onnx", "mine", "--labels", "labels.txt", "--sample-rate", "16000"]
    arguments += ["--window", "1", "--activation", "identity", "--license", "CC0-1.0"]
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_bundle(tmp_path / "mine").labels == LEVEL_LABELS
    again = command(*arguments, cwd=tmp_path)
    assert (again.returncode, b"exists already" in again.stderr) == (OutputExistsError.exit_code, True)
