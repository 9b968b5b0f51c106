"""The notebooks in `examples/`: their cells run from start to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.models import BANDS_HZ

from dawnchorus.models.bundle import Bundle

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_cells(name: str, replacements: dict[str, Path | str]) -> dict[str, object]:
    """Run the code of a notebook, with other texts instead of some in double quotes, and return its variables."""
    namespace: dict[str, object] = {}
    for cell in json.loads((EXAMPLES / name).read_text())["cells"]:
        source = "".join(cell["source"])
        for path, own in replacements.items():
            source = source.replace(f'"{path}', f'"{own}')
        if cell["cell_type"] == "code":
            exec(compile(source, f"{name}, {cell['id']}", "exec"), namespace)  # noqa: S102 - that is the test
    return namespace


@pytest.mark.ops
def test_the_yamnet_notebook_ends_with_a_measured_model(
    command: Command, band_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("noisereduce")
    data = tmp_path / "birdclef"
    rows = ["primary_label,scientific_name,common_name,filename"]
    t = np.arange(2 * 16_000) / 16_000
    for k, (code, name) in enumerate((("deebir1", "Avis gravis"), ("higbir1", "Avis alta"))):
        (data / "train_audio" / code).mkdir(parents=True)
        for n in range(6):
            song = 0.4 * np.sin(2 * np.pi * (BANDS_HZ[1 + 6 * k] + 5 * n) * t) * (np.sin(9 * t) > 0)
            soundfile.write(data / "train_audio" / code / f"XC{k}{n}.ogg", song.astype(np.float32), 16_000)
            rows.append(f"{code},{name},Bird {k},{code}/XC{k}{n}.ogg")
    (data / "train.csv").write_text("\n".join(rows) + "\n")

    run_really = subprocess.run

    def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if arguments[:3] != [sys.executable, "-m", "dawnchorus"]:
            return run_really(arguments, **options)
        done = command(*arguments[3:])
        assert done.returncode == 0, done.stderr
        return subprocess.CompletedProcess(arguments, 0, done.stdout.decode())

    monkeypatch.setattr(subprocess, "run", run)
    changes: dict[str, Path | str] = {
        "birdclef-2025": data,
        "birdclef-yamnet": tmp_path / "work",
        "yamnet": band_bundle.folder,
    }
    changes |= {"8,0,7": "4,0,2"}
    namespace = run_cells("birdclef_yamnet.ipynb", changes)
    auc = namespace["auc"]
    assert isinstance(auc, dict)
    assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1
    assert namespace["table"]


@pytest.mark.parametrize("is_rerun", [True, False], ids=["test recordings", "none yet"])
def test_the_notebook_writes_a_submission(
    command: Command,
    band_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_rerun: bool,
) -> None:
    competition, work, wheels = (tmp_path / name for name in ("birdclef 2026", "working", "wheels"))
    (competition / "test_soundscapes").mkdir(parents=True)
    work.mkdir()
    sample = "row_id,deebir1,hummin1\nsoundscape_7_5,0.5,0.5\n"
    (competition / "sample_submission.csv").write_text(sample)
    taxonomy = "primary_label,scientific_name\ndeebir1,Avis gravis\nhummin1,Avis murmurans\n"
    (competition / "taxonomy.csv").write_text(taxonomy)
    if is_rerun:
        t = np.arange(5 * 16_000) / 16_000
        samples = (0.5 * np.sin(2 * np.pi * BANDS_HZ[0] * t)).astype(np.float32)
        soundfile.write(competition / "test_soundscapes" / "soundscape_7.ogg", samples, 16_000)
    installed = []

    def run(arguments: list[str], *, check: bool) -> None:
        assert check, "what fails must stop the notebook"
        assert arguments[:2] == [sys.executable, "-m"]
        if arguments[2] == "pip":
            installed.append(arguments[3:])
        else:
            done = command(*arguments[3:])
            assert done.returncode == 0, done.stderr

    monkeypatch.setattr(subprocess, "run", run)
    namespace = run_cells(
        "birdclef_submission.ipynb",
        {
            "/kaggle/input/dawnchorus-wheels": wheels,
            "/kaggle/input/dawnchorus-model/bundle": band_bundle.folder,
            "/kaggle/input/birdclef-2026": competition,
            "/kaggle/working": work,
        },
    )
    assert "/kaggle" not in str([value for value in namespace.values() if isinstance(value, Path)])
    assert installed == [["install", "--no-index", "--find-links", str(wheels), "dawnchorus"]]
    lines = (work / "submission.csv").read_text().splitlines()
    assert lines[0] == "row_id,deebir1,hummin1"
    (name, deep, humming) = lines[1].split(",")
    assert name == "soundscape_7_5"
    assert (float(deep) > 0.9 > float(humming)) is is_rerun
