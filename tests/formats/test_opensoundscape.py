"""OpenSoundscape opens our Raven tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dawnchorus.formats import raven
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

VERSION = "0.13.2"
pytestmark = pytest.mark.ops

ENVIRONMENT = Path(__file__).parents[2] / ".venv-opensoundscape"

OPEN = """
import importlib.util, json, sys, types

# Reading tables needs none of torch (gigabytes), which the package's __init__ imports: its annotations module is loaded
# without them.
torch = types.ModuleType("torch")
torch.Tensor = type("Tensor", (), {})
sys.modules["torch"] = torch
spec = importlib.util.find_spec("opensoundscape")
package = types.ModuleType("opensoundscape")
package.__path__, package.__spec__ = list(spec.submodule_search_locations), spec
sys.modules["opensoundscape"] = package
from opensoundscape.annotations import BoxedAnnotations

opened = BoxedAnnotations.from_raven_files([sys.argv[1]], annotation_column="Common Name", audio_files=[sys.argv[2]])
print(opened.df.to_json(orient="records"))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter with OpenSoundscape, which needs other versions than we do; made once."""
    python = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (ENVIRONMENT / "ready").exists():
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        subprocess.run([*pip, "pandas<3", "scikit-learn", "librosa", "matplotlib"], check=True)
        subprocess.run([*pip, "--no-deps", f"opensoundscape=={VERSION}"], check=True)
        (ENVIRONMENT / "ready").touch()
    return python


def test_opensoundscape_opens_the_raven_table(tmp_path: Path, python: Path) -> None:
    detections = (
        Detection(0.0, 3.0, "Parus major", "Great Tit", "species", 0.9),
        Detection(4.5, 7.5, "Cuculus canorus", "Common Cuckoo", "species", 0.8, low_hz=500, high_hz=750),
    )
    recording = RecordingTable("/data/a.wav", 60.0, 48_000, RecordingMetadata(), None, detections)
    path = tmp_path / "a.selections.txt"
    with path.open("wb") as stream:
        raven.write(stream, [recording], Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {}))
    done = subprocess.run([python, "-c", OPEN, path, "/data/a.wav"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(r["audio_file"], r["annotation"], r["start_time"], r["end_time"]) for r in rows] == [
        ("/data/a.wav", "Great Tit", 0.0, 3.0),
        ("/data/a.wav", "Common Cuckoo", 4.5, 7.5),
    ]
    assert [(r["low_f"], r["high_f"]) for r in rows] == [(0, 15_000), (500, 750)]
