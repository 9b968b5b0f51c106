"""Heads on BirdNET's embeddings with few recordings: ours against BirdNET-Analyzer's training, on the same draws.

BirdNET-Analyzer trains in its own environment with the settings that did best for it (learning rate 1e-3, all segments
of a recording); its linear classifier is then run on the same embeddings, and a recording's score is its largest.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.focal import data_sets
from bench.peers import PEERS, SCRIPTS, install, published_weights
from bench.results import RESULTS, SHARED_AUDIO
from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.evaluation.scoring import score_data_set
from dawnchorus.metrics.bootstrap import N_DRAWS
from dawnchorus.metrics.classification import macro_roc_auc, top_k_accuracy
from dawnchorus.models.bundle import read_bundle
from dawnchorus.models.runner import open_session
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.training.compose import compose_config
from dawnchorus.training.trainer import train

FloatArray = npt.NDArray[np.float64]

SHOTS, N_DRAWN = (1, 2, 4), 5
OPTIONS = ("--learning_rate", "0.001", "--crop_mode", "segments", "-t", "2")
SCRIPT = SCRIPTS / "train_with_birdnet_analyzer.py"
KEPT = RESULTS / "heads"
"""The peers' classifiers, which take twenty minutes; delete the folder to train them again."""

METRICS = {"top_1": lambda truth, scores: top_k_accuracy(truth, scores, 1), "macro_roc_auc": macro_roc_auc}


def _draws(rows: list[RecordingRow]) -> dict[str, list[RecordingRow]]:
    by_species: dict[str, list[RecordingRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: r.path):
        by_species[str(row.scientific_name)].append(row)
    draws = {}
    for n in SHOTS:
        for d in range(N_DRAWN):
            rng = random.Random(1000 * n + d)  # noqa: S311 - a choice, not a secret
            draws[f"{n}-{d}"] = [row for name in sorted(by_species) for row in rng.sample(by_species[name], n)]
    return {**draws, "all-0": rows}


def _ours(
    rows: list[RecordingRow], test: RecordingsTable, scratch: Path, store: ModelStore
) -> tuple[FloatArray, float]:
    """Return scores of the test recordings, and the seconds that training took without features."""
    folder = scratch / f"draw-{len(list(scratch.iterdir()))}"
    folder.mkdir()
    write_table(RecordingsTable(folder, tuple(replace(row, split="train") for row in rows)))
    settings = ["experiment=birdnet-head", f"data={folder}", "data.validation=0", f"paths.runs={scratch / 'runs'}"]
    run = train(compose_config([*settings, "trainer.accelerator=cpu"]), started=datetime.now())  # noqa: DTZ005 - a folder's name
    scores = score_data_set(read_bundle(run.bundle), test, test.rows, store=store)
    return scores.by_recording("mean")[0], float(run.metadata["fit_s"])


def _embeddings(test: RecordingsTable, store: ModelStore) -> list[npt.NDArray[np.float32]]:
    """Return BirdNET's embeddings of every window of each recording."""
    bundle = store.open("birdnet")
    session = open_session(bundle)
    plan = WindowPlan.from_seconds(rate_hz=bundle.info.sample_rate_hz, window_s=bundle.info.window_s, overlap_s=0.0)
    embeddings = []
    for row in test.rows:
        samples, _ = read_mono(test.file(row), rate_hz=plan.rate_hz)
        windower = Windower(plan, batch=8)
        parts = [*windower.push(samples), windower.finish()]
        each = [session.run(part, embeddings=True).embeddings for part in parts if part is not None]
        embeddings.append(np.concatenate([part for part in each if part is not None]))
    return embeddings


def _theirs(
    name: str, rows: list[RecordingRow], scratch: Path, embeddings: list[npt.NDArray[np.float32]]
) -> tuple[FloatArray, float]:
    """Return scores of the test recordings by BirdNET-Analyzer's classifier, and the seconds of its whole training."""
    kept = KEPT / f"{name}.npz"
    if not kept.exists():
        peer = next(peer for peer in PEERS if peer.name == "birdnet-analyzer")
        with published_weights() as weights:
            install(peer, weights)
        folder = scratch / f"peer-{name}"
        for row in rows:
            link = folder / f"{row.scientific_name}_{row.scientific_name}" / Path(row.path).name
            link.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(row.path, link)
        KEPT.mkdir(parents=True, exist_ok=True)
        subprocess.run([peer.python, SCRIPT, folder, kept, *OPTIONS], check=True, capture_output=True, cwd=scratch)
    theirs = np.load(kept)
    labels = [str(label).split("_")[0] for label in theirs["labels"]]
    order = np.argsort(labels)
    scores = [(1 / (1 + np.exp(-(e @ theirs["w0"] + theirs["w1"])))).max(0)[order] for e in embeddings]
    return np.stack(scores), float(theirs["took_s"])


def measure() -> dict[str, Any] | None:
    """Return metrics of both by number of recordings, with paired intervals over test recordings."""
    if not SHARED_AUDIO.is_dir():
        print(f"  no recordings at {SHARED_AUDIO}: left out")
        return None
    store = ModelStore(default_folder())
    results: dict[str, list[tuple[FloatArray, FloatArray]]] = defaultdict(list)
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        focal = data_sets(scratch / "sets")["focal"]
        test = focal.with_rows([row for row in focal.rows if row.split == "test"])
        embeddings = _embeddings(test, store)
        names = sorted({str(row.scientific_name) for row in focal.rows})
        truth = np.array([[row.scientific_name == name for name in names] for row in test.rows])
        for name, rows in _draws([row for row in focal.rows if row.split == "train"]).items():
            theirs = _theirs(name, rows, scratch, embeddings)
            own, fit_s = _ours(rows, test, scratch, store)
            shots = name.split("-")[0]
            results[shots].append((own, theirs[0]))
            times[shots].append((fit_s, theirs[1]))
            print(f"  {name}: {METRICS['top_1'](truth, own):.3f} against {METRICS['top_1'](truth, theirs[0]):.3f}")
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, len(truth), (N_DRAWS, len(truth)))
    measured = []
    for shots, pairs in results.items():
        entry: dict[str, Any] = {"shots": shots}
        entry["fit_s"], entry["their_s"] = (statistics.median(t) for t in zip(*times[shots], strict=True))
        for metric, of in METRICS.items():
            ours, theirs_ = ([of(truth, pair[k]) for pair in pairs] for k in (0, 1))
            differences = [
                np.mean([of(truth[d], own[d]) - of(truth[d], other[d]) for own, other in pairs]) for d in chosen
            ]
            low, high = np.nanquantile(differences, [0.025, 0.975])
            entry[metric] = {
                "ours": float(np.mean(ours)),
                "theirs": float(np.mean(theirs_)),
                "low": float(low),
                "high": float(high),
            }
        measured.append(entry)
    return {"n_test": len(truth), "n_draws": N_DRAWN, "rows": measured}
