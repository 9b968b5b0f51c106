"""Searches of an archive beside those of Perch-Hoplite: the same vectors, on the same machine, one after the other."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.peers import SCRIPTS, Peer, install, prepare_nothing
from bench.results import SHARED_AUDIO
from bench.search import archive_audio, find_distinct, mix, write_units
from dawnchorus.archive.maintenance import compact_archive
from dawnchorus.archive.sign_index import FOLDER

N_ROWS = int(os.environ.get("BENCH_PEER_ROWS", "100000"))
"""Embeddings: a tenth of those of `bench.search`, since Perch-Hoplite takes more than a minute to insert these."""

N_REAL, N_UNITS = 8_000, 10
N_QUERIES, K = 20, 100
CLOSE = 1e-4
"""Difference of a cosine that rounding to half precision makes: of rows so close at the last rank, any is right."""

HOPLITE = Peer("perch-hoplite", ("perch-hoplite==1.0.2",), "with_perch_hoplite.py", prepare_nothing)


def measure() -> dict[str, Any] | None:
    """Return seconds of storing vectors and of a search, bytes, and the share of the nearest that is found, of both."""
    if not SHARED_AUDIO.is_dir():
        return None
    install(HOPLITE, Path())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        real = find_distinct(archive_audio(folder / "real", N_REAL))
        parts = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in mix(real, N_ROWS, n_parts=N_UNITS)]
        vectors = np.concatenate(parts)
        queries = vectors[np.random.default_rng(4).choice(len(vectors), N_QUERIES, replace=False)]
        ours = _measure_archive(folder / "archive", parts, vectors, queries)
        print(ours, flush=True)
        theirs = _measure_hoplite(folder / "hoplite", vectors, queries)
        print(theirs, flush=True)
    return {"n_rows": len(vectors), "archive": ours, "hoplite": theirs, "load_average": os.getloadavg()[0]}


def _measure_archive(
    folder: Path,
    parts: list[npt.NDArray[np.float32]],
    vectors: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
) -> dict[str, float]:
    start_s = time.perf_counter()
    archive = write_units(folder, parts)
    list(compact_archive(archive))
    archive.search(queries[0], k=K)
    stored_s = time.perf_counter() - start_s
    found, times_s = [], []
    for query in queries:
        start_s = time.perf_counter()
        hits = archive.search(query, k=K)
        times_s.append(time.perf_counter() - start_s)
        units = [int(name.rpartition("/S")[2].partition("_")[0]) for name in hits["recording"].to_pylist()]
        found.append(np.array(units) * len(parts[0]) + np.array(hits["start_s"].to_pylist(), int))
    derived = [path.stat().st_size for path in (folder / FOLDER).rglob("*") if path.is_file()]
    return {
        "stored_s": stored_s,
        "search_s": statistics.median(times_s),
        "recall": _recall(found, vectors, queries),
        "n_bytes": sum(derived) + sum(file.n_bytes for file in archive.table("embeddings").list_files()),
    }


def _measure_hoplite(
    folder: Path, vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> dict[str, float]:
    given = {"vectors": vectors.astype(np.float16), "queries": queries.astype(np.float16)}
    paths = [folder.parent / f"{name}.npy" for name in given]
    for path, values in zip(paths, given.values(), strict=True):
        np.save(path, values)
    command = [str(each) for each in (HOPLITE.python, SCRIPTS / HOPLITE.script, folder, *paths, K)]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    found = [np.array(rows) for rows in done["rows"]]
    return {
        "stored_s": done["stored_s"],
        "search_s": statistics.median(done["times_s"]),
        "recall": _recall(found, vectors, queries),
        "n_bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def _recall(
    found: list[npt.NDArray[np.intp]], vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> float:
    """Return the share of the `K` nearest of each query that is in `found`, on average."""
    scores = queries @ vectors.T
    lowest = np.partition(scores, -K, axis=1)[:, -K] - CLOSE
    return float(np.mean([(own[rows] >= low).sum() / K for own, rows, low in zip(scores, found, lowest, strict=True)]))
