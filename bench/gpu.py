"""Speed of training on a GPU, and on the processors of the same machine."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SETTINGS = ("model.window_s=5", "trainer.batch_size=32", "augment=light", "loss=bce")
TRAINERS = {"gpu": ("trainer=gpu", "trainer.epochs=3"), "cpu": ("trainer.accelerator=cpu", "trainer.epochs=1")}
"""The first epoch on a GPU is slow: kernels are loaded and chosen."""

NETWORKS = {
    "mel_cnn": ("model=mel_cnn",),
    "efficientnet": ("model=efficientnet", "model.backbone=efficientnet_b0", "model.weights=null"),
}


def measure() -> dict[str, Any] | None:
    """Return clips a second of the last epoch for each network, on the GPU and on the processors."""
    import torch

    if not torch.cuda.is_available():
        print("  no GPU that torch can use: left out")
        return None
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "set")
        for arguments in (
            ["synth", f"{scratch}/raw", "--species", "8", "--clips", "30", "--soundscapes", "0"],
            ["data", "import", f"{scratch}/raw/clips", str(folder)],
            ["data", "split", str(folder)],
        ):
            _run(arguments)
        for name, network in NETWORKS.items():
            results[name] = {}
            for kind, trainer in TRAINERS.items():
                settings = [*network, *trainer, *SETTINGS, f"data={folder}", f"paths.runs={scratch}/{name}-{kind}"]
                results[name][kind] = _train(settings)
                print(f"  {name} on {kind}: {results[name][kind]}", flush=True)
    return {"gpu": torch.cuda.get_device_name(0), "networks": results}


def _run(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "dawnchorus", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _train(settings: list[str]) -> dict[str, float]:
    run = Path(_run(["train", *settings]).strip()).parent
    with (run / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    n_clips = json.loads((run / "run.json").read_text())["n_train"]
    figures = {"clips_per_s": n_clips / float(last["epoch_s"]), "cpu_cores": float(last["cpu_cores"])}
    if "peak_gpu_memory_mb" in last:
        figures["peak_gpu_memory_mb"] = float(last["peak_gpu_memory_mb"])
    return {name: round(value, 2) for name, value in figures.items()}
