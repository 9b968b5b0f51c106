"""The commands `data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.imports import make_audio, write_csv


def test_the_recordings_of_the_114_species_are_listed_by_number(tmp_path: Path, command: Command) -> None:
    make_audio(tmp_path / "Andean Guan_sound" / "Andean Guan1.wav")
    metadata = {"common_name": "Andean Guan", "scientific_name": "Penelope montagnii", "recordist_name": "Ana Example"}
    write_csv(
        tmp_path / "Birds Voice.csv",
        {**metadata, "xc_id": "XC1"},
        {**metadata, "xc_id": "2"},
        {**metadata, "xc_id": ""},
    )
    done = command("data", "import", ".", "set", cwd=tmp_path)
    assert b"belong to no file: files carry no numbers" in done.stderr
    done = command("data", "attribution", "set", "--voices", "Birds Voice.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "set" / "ATTRIBUTION.md").read_text()
    assert "2 recordings by 1 recordist" in text
    assert "- Ana Example, XC1. Accessible at www.xeno-canto.org/1" in text


def test_the_commands_from_folder_to_split(tmp_path: Path, command: Command) -> None:
    rng = np.random.default_rng(1)
    for species in ("Avis una", "Avis altera"):
        for k in range(10):
            path = tmp_path / "birds" / species / f"{k}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 32_000), 16_000)
    done = command("data", "import", "birds", "set", cwd=tmp_path)
    assert (done.returncode, done.stdout.decode().strip()) == (0, "set/recordings.parquet"), done.stderr
    assert command("data", "import", "birds", "set", cwd=tmp_path).returncode == 4
    done = command("data", "check", "set", cwd=tmp_path)
    assert done.stdout.decode().startswith("no_license: 20 (its license is not known")
    done = command("data", "split", "set", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train: 14 recordings" in done.stdout.decode()
    assert "0 of 6 recordings outside the largest split have a known relative in it" in done.stdout.decode()
    assert b"split: " in command("data", "show", "set", cwd=tmp_path).stdout
    assert (
        b"scientific_name: Avis una"
        in command("data", "show", "set", "--recording", "Avis una/3.wav", cwd=tmp_path).stdout
    )
    assert command("data", "attribution", "set", cwd=tmp_path).stdout.decode().strip() == "set/ATTRIBUTION.md"


def test_detections_of_a_run_become_annotations(tmp_path: Path, dawn: Path, command: Command) -> None:
    assert command("identify", dawn, "--merge", "--out", tmp_path / "found.parquet", "-q").returncode == 0
    done = command("data", "import", tmp_path / "found.parquet", tmp_path / "set", "--layout", "detections")
    assert done.returncode == 0, done.stderr
    assert b"1 recording (1 soundscape)" in done.stderr
    shown = command("data", "show", tmp_path / "set", "--recording", str(dawn)).stdout.decode()
    assert "Cuculus canorus" in shown
    assert "duration_s: 18.0" in shown
    assert "date: 2026-05-01" in shown


@pytest.mark.parametrize(
    "arguments",
    [("data", "import", "sounds", "URL"), ("data", "show", "URL"), ("prepare", "URL", "x"), ("synth", "URL")],
)
def test_a_data_set_in_a_store_is_refused(arguments: tuple[str, ...], command: Command) -> None:
    done = command(*(each.replace("URL", "s3://bucket/set") for each in arguments))
    assert done.returncode == 2
    assert b"s3://bucket/set: URLs are not supported here" in done.stderr
