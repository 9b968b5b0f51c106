"""Cost of decoding, windows, selection and the journal over the bare ONNX sessions on the same windows."""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.recordings import make_recordings
from dawnchorus.audio.decode import read_mono
from dawnchorus.cores import usable_cores
from dawnchorus.identification import identify
from dawnchorus.models.runner import BATCH_WINDOWS, open_session
from dawnchorus.models.store import ModelStore, default_folder

N_ROUNDS = 5


def measure() -> dict[str, Any]:
    """Return the ratio of `identify` to the bare sessions in each of some rounds."""
    bundle = ModelStore(default_folder()).open("birdnet")
    n_cores = usable_cores()
    sessions = [open_session(bundle) for _ in range(n_cores)]
    ratios, speeds = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        total_s = make_recordings(folder)
        windows = []
        for path in sorted(folder.glob("*.wav")):
            samples, _ = read_mono(path)
            whole = len(samples) // bundle.window_samples
            windows.append(samples[: whole * bundle.window_samples].reshape(whole, bundle.window_samples))
        batches = [w[k : k + BATCH_WINDOWS] for w in windows for k in range(0, len(w), BATCH_WINDOWS)]

        def run_lane(lane: int) -> float:
            best = 0.0
            for batch in batches[lane::n_cores]:
                best = max(best, float(np.max(sessions[lane].run(batch).logits)))
            return best

        for _ in range(N_ROUNDS):
            begin = time.perf_counter()
            with ThreadPoolExecutor(n_cores) as pool:
                list(pool.map(run_lane, range(n_cores)))
            bare_s = time.perf_counter() - begin
            begin = time.perf_counter()
            identify(folder)
            whole_s = time.perf_counter() - begin
            ratios.append(whole_s / bare_s)
            speeds.append((total_s / bare_s, total_s / whole_s))
    return {
        "overhead": statistics.median(ratios) - 1,
        "overhead_each": [ratio - 1 for ratio in ratios],
        "bare_x": statistics.median(bare for bare, _ in speeds),
        "identify_x": statistics.median(whole for _, whole in speeds),
        "hours": total_s / 3600,
        "n_rounds": N_ROUNDS,
    }
