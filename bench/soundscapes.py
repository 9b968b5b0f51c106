"""Seconds for a BirdCLEF submission: a tenth of 2024's 1,100 soundscapes of four minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import soundfile

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder

N_RECORDINGS, LENGTH_S, STEP_S = 110, 240, 5
N_DISTINCT = 4
"""Number of different recordings; the others are links to them, which a decoder cannot tell."""
N_CLASSES = 182
FAMILY = "efficientnet"
SETTINGS = (f"model={FAMILY}", "model.weights=null", "data.validation=0", "trainer.epochs=1", "trainer.accelerator=cpu")


def measure(n_recordings: int = N_RECORDINGS) -> dict[str, Any]:
    """Return seconds from the command to the submission, for BirdNET and for an EfficientNet on spectrograms of 5 s."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_birds(folder / "raw")
        names = _write_soundscapes(folder / "raw" / "soundscapes", folder / "test_soundscapes", n_recordings)
        _dawnchorus("data", "import", folder / "test_soundscapes", folder / "set")
        store = ModelStore(default_folder())
        for bundle in (store.open(DEFAULT_MODEL), store.open(_train(folder))):
            sample, out = _write_sample(folder, bundle, names), folder / "submission.csv"
            start_s = time.perf_counter()
            _dawnchorus(
                "evaluate",
                bundle.folder,
                folder / "set",
                "--submission",
                out,
                "--sample-submission",
                sample,
                "--overwrite",
            )
            seconds[bundle.info.name] = time.perf_counter() - start_s
    return {"n_recordings": n_recordings, "n_classes": N_CLASSES, "seconds": seconds}


def _write_birds(folder: Path) -> None:
    """Write clips to train on, and soundscapes, of birds that do not exist."""
    counts = {"--species": N_CLASSES, "--clips": 2, "--soundscapes": N_DISTINCT, "--soundscape-seconds": LENGTH_S}
    _dawnchorus("synth", folder, *(str(value) for option in counts.items() for value in option))


def _write_soundscapes(source: Path, folder: Path, n_recordings: int) -> list[str]:
    """Write the recordings as the competition has them, and return their names."""
    folder.mkdir()
    distinct = []
    for k, path in enumerate(sorted(source.glob("*.wav"))):
        samples, rate_hz = soundfile.read(path, dtype="float32")
        distinct.append(folder / f"soundscape_{k}.ogg")
        with soundfile.SoundFile(distinct[-1], "w", rate_hz, 1, "VORBIS") as file:
            for start in range(0, len(samples), rate_hz):  # libsndfile crashes on minutes at once
                file.write(samples[start : start + rate_hz])
    names = [f"soundscape_{k}" for k in range(n_recordings)]
    for k, name in enumerate(names[len(distinct) :]):
        os.link(distinct[k % len(distinct)], folder / f"{name}.ogg")
    return names


def _train(folder: Path) -> Path:
    """Train a network for an epoch, and return its run; what it knows has no part in its speed."""
    _dawnchorus("data", "import", folder / "raw" / "clips", folder / "birds")
    _dawnchorus("data", "split", folder / "birds", "--ratios", "0.9,0.1")
    _dawnchorus("train", *SETTINGS, f"data={folder / 'birds'}", f"paths.runs={folder / 'runs'}", "--quiet")
    (run,) = (folder / "runs").glob(f"*-{FAMILY}")
    return run


def _write_sample(folder: Path, bundle: Bundle, names: list[str]) -> Path:
    """Write a sample with classes that the model knows, by scientific name."""
    classes = [label.scientific_name for label in bundle.labels if label.kind == "species"][:N_CLASSES]
    ends = range(STEP_S, LENGTH_S + 1, STEP_S)
    zeros = ",0" * len(classes)
    lines = [",".join(["row_id", *classes]), *(f"{name}_{end}{zeros}" for name in names for end in ends)]
    path = folder / "sample_submission.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _dawnchorus(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "dawnchorus", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
