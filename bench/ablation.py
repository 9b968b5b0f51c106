"""The recipe birdclef-yamnet with each cleaning step on and off, in training and when recordings are scored."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.focal import data_sets
from bench.results import RESULTS, SHARED_AUDIO
from dawnchorus.data.recordings import RecordingsTable
from dawnchorus.evaluation.evaluation import METRICS
from dawnchorus.evaluation.scoring import score_data_set
from dawnchorus.metrics.bootstrap import interval
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.training.compose import compose_config
from dawnchorus.training.trainer import train

STEPS: dict[str, Cleaning] = {
    "none": Cleaning(),
    "noise reduced": Cleaning(denoise="nonstationary"),
    "speech cut": Cleaning(cut_speech=True),
    "both": Cleaning(denoise="nonstationary", cut_speech=True),
}
MEASURED = ("top_1", "macro_roc_auc")
KEPT = RESULTS / "ablation"


def _train(table: RecordingsTable, cleaning: Cleaning, backbone: Path) -> Bundle:
    settings = [
        "experiment=birdclef-yamnet",
        f"data={table.folder}",
        f"model.backbone={backbone}",
        f"data.denoise={cleaning.denoise or 'null'}",
        f"data.cut_speech={str(cleaning.cut_speech).lower()}",
        f"paths.runs={KEPT / 'runs'}",
        f"paths.models={default_folder()}",
    ]
    run = train(compose_config(settings), started=datetime.now().astimezone(), overrides=settings)
    return read_bundle(run.bundle)


def _scored_with(bundle: Bundle, cleaning: Cleaning, folder: Path) -> Bundle:
    """Copy the bundle, with another cleaning."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle.folder, folder)
    about = json.loads((folder / "bundle.json").read_text())
    about["cleaning"] = cleaning.model_dump() if cleaning else None
    (folder / "bundle.json").write_text(json.dumps(about))
    return read_bundle(folder)


def measure() -> dict[str, Any] | None:
    """Return metrics with intervals: trained with each cleaning, scored with the same and with none."""
    graph = SHARED_AUDIO.parent / "models" / "yamnet" / "yamnet_waveform.onnx"
    if not SHARED_AUDIO.is_dir() or not graph.is_file():
        print(f"  no recordings at {SHARED_AUDIO}, or no {graph}: left out")
        return None
    store = ModelStore(default_folder())
    backbone = ModelStore(KEPT / "models").pull("yamnet", source=graph).folder
    table = data_sets(KEPT / "sets")["focal"]
    rows = [row for row in table.rows if row.split == "test"]
    measured = []
    for name, cleaning in STEPS.items():
        bundle = _train(table, cleaning, backbone)
        for scored, steps in {name: cleaning, "none": Cleaning()}.items():
            scores = score_data_set(_scored_with(bundle, steps, KEPT / "bundle"), table, rows, store=store)
            values, truth = scores.by_recording("mean")
            each = {metric: str(interval(METRICS[metric], truth, values)) for metric in MEASURED}
            measured.append({"trained": name, "scored": scored, **each})
            print(f"  {name}, scored with {scored}: {each}", flush=True)
    return {"n_test": len(rows), "rows": measured}
