"""The examples of docs/PYTHON.md run as they are printed, section by section, with tiny models in BirdNET's name."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.examples import EXAMPLES as EXAMPLE_PACKAGES
from tests.fixtures.ranges import range_bundle

from dawnchorus.data.clips import write_prepared_table
from dawnchorus.data.recordings import read_table
from dawnchorus.formats.detections import Detections
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable

PAGE = Path(__file__).parents[2] / "docs" / "PYTHON.md"
SECTIONS = {
    section.partition("\n")[0]: "\n".join(re.findall(r"(?ms)^```python\n(.*?)^```$", section))
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
}
EXAMPLES = [title for title, code in SECTIONS.items() if code]
RATE_HZ = 16_000


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, band_bundle: Bundle) -> Path:
    """A folder with what the examples name; `birdnet` is a tiny model with embeddings and a range model."""
    store = ModelStore(tmp_path / "models")
    folder = shutil.copytree(band_bundle.folder, store.bundle_folder("birdnet"))
    range_bundle(folder, band_bundle)
    monkeypatch.setenv("DAWNCHORUS_MODELS", str(store.folder))
    (tmp_path / "recordings").mkdir()
    samples = np.sin(np.arange(3 * RATE_HZ) * (400 * 2 * np.pi / RATE_HZ))
    soundfile.write(tmp_path / "recordings" / "dawn.wav", samples, RATE_HZ)
    detection = Detection(0.0, 1.0, "Avis gravis", "Deep Bird", "species", 0.9)
    detections = Detections([RecordingTable("dawn.wav", 3.0, RATE_HZ, RecordingMetadata(), None, (detection,))])
    detections.write(tmp_path / "detections.csv")
    detections.write(tmp_path / "detections.txt")
    for species in ("Avis a", "Avis b"):
        (tmp_path / "birds" / species).mkdir(parents=True)
        for k in range(3):
            soundfile.write(tmp_path / "birds" / species / f"{k}.wav", samples * 0.1 * (k + 1), RATE_HZ)
    return tmp_path


PATHS = re.compile(r'"(?=(?:recordings|results|detections|birds|my-set|my-clips|dawn)[./"-])')
"""Paths of the examples, which a current folder of their own would make as they are, but no decoder could be shared."""


@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=[pytest.mark.ops] if title.startswith("Train") else []) for title in EXAMPLES]
)
def test_examples_run(
    title: str, workplace: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if title == "Train and evaluate":
        monkeypatch.chdir(workplace)  # for the folder of runs
        (workplace / "my-set").mkdir()
        write_prepared_table(read_table(request.getfixturevalue("birds")), workplace / "my-set")
    names: dict[str, object] = {}
    exec("import dawnchorus as dc", names)  # noqa: S102 - the page's first example
    samples, sample_rate_hz = soundfile.read(workplace / "recordings" / "dawn.wav")
    names |= {"samples": samples, "sample_rate_hz": sample_rate_hz}
    code = PATHS.sub(f'"{workplace}/', SECTIONS[title])
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), names)  # noqa: S102 - our own page


CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict"],
    "pyright": [Path(sys.executable).with_name("basedpyright"), "--pythonpath", sys.executable],
}
PREAMBLE = """
import dawnchorus as dc
import soundfile

samples = soundfile.read("dawn.wav")[0]
sample_rate_hz = 48_000
"""


@pytest.mark.ops
@pytest.mark.parametrize("checker", CHECKERS)
def test_examples_type_check(checker: str, tmp_path: Path) -> None:
    """Each section as a module, and the packages of `examples/`."""
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-soundfile.*,pandas.*]\nignore_missing_imports = True\n")
    for number, title in enumerate(EXAMPLES):
        (tmp_path / f"section_{number}.py").write_text(PREAMBLE + SECTIONS[title])
    for folder in EXAMPLE_PACKAGES:
        for path in folder.glob("*.py"):
            shutil.copy(path, tmp_path)
    command = [*CHECKERS[checker], *sorted(tmp_path.glob("*.py"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
