"""The examples of docs/PYTHON.md run as they are printed, section by section, with tiny models in BirdNET's name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawnchorus.data.clips import write_prepared_table
from dawnchorus.data.recordings import read_table
from dawnchorus.formats.detections import Detections
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable
from tests.fixtures.ranges import range_bundle

PAGE = Path(__file__).parents[1] / "docs" / "PYTHON.md"
SECTIONS = {
    section.partition("\n")[0]: "\n".join(re.findall(r"(?ms)^```python\n(.*?)^```$", section))
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
}
EXAMPLES = [title for title, code in SECTIONS.items() if code]
RATE_HZ = 16_000


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, band_bundle: Bundle) -> None:
    """A current folder with what the examples name; `birdnet` is a tiny model with embeddings and a range model."""
    store = ModelStore(tmp_path / "models")
    folder = shutil.copytree(band_bundle.folder, store.bundle_folder("birdnet"))
    range_bundle(folder, band_bundle)
    monkeypatch.setenv("DAWNCHORUS_MODELS", str(store.folder))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    samples = np.sin(np.arange(3 * RATE_HZ) * (400 * 2 * np.pi / RATE_HZ))
    soundfile.write(tmp_path / "recordings" / "dawn.wav", samples, RATE_HZ)
    detection = Detection(0.0, 1.0, "Avis gravis", "Deep Bird", "species", 0.9)
    detections = Detections([RecordingTable("dawn.wav", 3.0, RATE_HZ, RecordingMetadata(), None, (detection,))])
    detections.write("detections.csv")
    detections.write("detections.txt")
    for species in ("Avis a", "Avis b"):
        (tmp_path / "birds" / species).mkdir(parents=True)
        for k in range(3):
            soundfile.write(tmp_path / "birds" / species / f"{k}.wav", samples * 0.1 * (k + 1), RATE_HZ)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_run(title: str, request: pytest.FixtureRequest) -> None:
    if title == "Train and evaluate":
        Path("my-set").mkdir()
        write_prepared_table(read_table(request.getfixturevalue("birds")), Path("my-set"))
    names: dict[str, object] = {}
    exec("import dawnchorus as dc", names)  # noqa: S102 - the page's first example
    samples, sample_rate_hz = soundfile.read("recordings/dawn.wav")
    names |= {"samples": samples, "sample_rate_hz": sample_rate_hz}
    exec(compile(SECTIONS[title], f"{PAGE.name}: {title}", "exec"), names)  # noqa: S102 - our own page
