"""The notebook for Kaggle: its cells run from start to end, and install from the attached wheels only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.conftest import BANDS_HZ, Command

from dawnchorus.models.bundle import Bundle

NOTEBOOK = Path(__file__).parents[2] / "examples" / "birdclef_submission.ipynb"


def run_cells(replacements: dict[str, Path]) -> None:
    """Run the code of the notebook, with the paths of another machine replaced."""
    namespace: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        source = "".join(cell["source"])
        for path, own in replacements.items():
            source = source.replace(f'"{path}', f'"{own}')
        if cell["cell_type"] == "code":
            exec(compile(source, f"{NOTEBOOK.name}, {cell['id']}", "exec"), namespace)  # noqa: S102 - that is the test
    assert "/kaggle" not in str([value for value in namespace.values() if isinstance(value, Path)])


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
    run_cells(
        {
            "/kaggle/input/dawnchorus-wheels": wheels,
            "/kaggle/input/dawnchorus-model/bundle": band_bundle.folder,
            "/kaggle/input/birdclef-2026": competition,
            "/kaggle/working": work,
        }
    )
    assert installed == [["install", "--no-index", "--find-links", str(wheels), "dawnchorus"]]
    lines = (work / "submission.csv").read_text().splitlines()
    assert lines[0] == "row_id,deebir1,hummin1"
    (name, deep, humming) = lines[1].split(",")
    assert name == "soundscape_7_5"
    assert (float(deep) > 0.9 > float(humming)) is is_rerun
