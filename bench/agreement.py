"""Real recordings: our scores against LiteRT's, and how often the best species of a focal recording is its label."""

from __future__ import annotations

import csv
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.float64_reference import ExactBirdnet
from bench.peers import PREFIX, published_weights
from bench.results import SHARED_AUDIO
from dawnchorus.audio.decode import read_mono
from dawnchorus.identification import Options, Run, identify

MIN_SCORE = 0.25
SLACK = 0.01
"""LiteRT's rows are taken from a little below the threshold, so that one on its edge is not missing there."""

TOLERANCE = 1e-3

Rows = dict[tuple[str, float, str], float]


def _rows(run: Run) -> Rows:
    return {(t.recording, d.start_s, d.scientific_name): d.score for t in run.tables() for d in t.detections}


def measure() -> dict[str, Any] | None:
    """Return the largest score difference, and the share of focal recordings named right; None without recordings."""
    if not SHARED_AUDIO.is_dir():
        print(f"  no recordings at {SHARED_AUDIO}: left out")
        return None
    begin = time.perf_counter()
    ours = identify(SHARED_AUDIO, Options(min_score=MIN_SCORE))
    elapsed_s = time.perf_counter() - begin
    reference = _rows(identify(SHARED_AUDIO, Options(min_score=MIN_SCORE - SLACK), model="birdnet-litert"))
    rows = _rows(ours)
    differences = {key: abs(score - reference.get(key, 0.0)) for key, score in rows.items()}
    far = [key for key, difference in differences.items() if difference > TOLERANCE]
    distances = _distances_from_exact(ours, {key: (rows[key], reference.get(key, 0.0)) for key in far})
    missing = [key for key, score in reference.items() if score >= MIN_SCORE + 1e-3 and key not in rows]
    return {
        "n_recordings": len(ours.paths),
        "n_failed": len(ours.failures),
        "hours": sum(table.duration_s for table in ours.tables()) / 3600,
        "identify_x": sum(table.duration_s for table in ours.tables()) / elapsed_s,
        "n_rows": len(rows),
        "largest_difference": max(differences.values()),
        "tolerance": TOLERANCE,
        "n_far": len(far),
        "n_nearer": sum(ours_off < litert_off for ours_off, litert_off in distances),
        "ours_off": statistics.median(ours_off for ours_off, _ in distances),
        "litert_off": statistics.median(litert_off for _, litert_off in distances),
        "n_missing": len(missing),
        "focal": _focal(),
    }


def _distances_from_exact(
    run: Run, pairs: dict[tuple[str, float, str], tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return the distance of our score, and of LiteRT's, from the model without rounding errors, by row."""
    bundle, distances = run.bundle, []
    rate_hz = bundle.info.sample_rate_hz
    with tempfile.TemporaryDirectory() as scratch, published_weights() as weights:
        exact = ExactBirdnet(weights / f"{PREFIX}Model_FP32.tflite", Path(scratch))
        for (recording, start_s, name), (ours, litert) in pairs.items():
            samples, _ = read_mono(Path(recording), rate_hz=rate_hz)
            first = round(start_s * rate_hz)
            window = np.zeros(bundle.window_samples, np.float32)
            part = samples[first : first + bundle.window_samples]
            window[: len(part)] = part
            score = float(exact.scores(window)[bundle.class_by_scientific_name[name]])
            distances.append((abs(ours - score), abs(litert - score)))
    return distances


def _focal() -> dict[str, dict[str, int]]:
    """Count by set the recordings whose best-scoring species is the labeled one, of those detected and of all."""
    with (SHARED_AUDIO / "metadata.csv").open(encoding="utf-8", newline="") as file:
        labeled = {row["path"]: row for row in csv.DictReader(file) if row["set"] in ("focal", "focal_longtail")}
    run = identify([SHARED_AUDIO / path for path in labeled], Options(min_score=0.05))
    known = run.bundle.class_by_scientific_name
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"right": 0, "detected": 0, "all": 0})
    for path, row in labeled.items():
        if row["species_scientific"] not in known:
            continue
        table = run.table(SHARED_AUDIO / path)
        birds = [d for d in table.detections if d.kind == "species"] if table else []
        count = counts[row["set"]]
        count["all"] += 1
        count["detected"] += bool(birds)
        count["right"] += bool(birds) and max(birds, key=lambda d: d.score).scientific_name == row["species_scientific"]
    return dict(counts)
