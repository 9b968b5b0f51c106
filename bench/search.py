"""Searches of an archive: recall on real embeddings, and time and size for a million windows."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tests.fixtures.vectors import write_unit

from bench.results import SHARED_AUDIO
from dawnchorus.archive.archive import Archive, create_archive
from dawnchorus.archive.maintenance import compact_archive
from dawnchorus.archive.runs import ArchiveRun
from dawnchorus.archive.sign_index import FOLDER
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.taxonomy.labels import Label

N_ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
N_REAL = int(os.environ.get("BENCH_REAL_ROWS", "60000"))
HOP_S = 0.1
N_UNITS = 100
N_QUERIES, N_TIMED = 200, 20
K = 100
DIM = 1_024
RUN = ArchiveRun(
    model="bench",
    model_version="1",
    bundle_id="0" * 12,
    software="dawnchorus",
    sample_rate_hz=48_000,
    window_s=3.0,
    overlap_s=0.0,
    min_score=0.05,
    top=10,
    embedding_dim=DIM,
)


def measure() -> dict[str, Any] | None:
    """Recall of the nearest windows, seconds of a search, and bytes of derived files."""
    if not SHARED_AUDIO.is_dir():
        return None
    with tempfile.TemporaryDirectory() as folder:
        real = archive_audio(Path(folder, "real"), N_REAL)
        vectors = find_distinct(real)
        print(f"{len(vectors)} distinct real embeddings", flush=True)
        recall = _measure_recall(real, vectors)
        print(recall, flush=True)
        start_s = time.perf_counter()
        large = write_units(Path(folder, "large"), mix(vectors, N_ROWS, n_parts=N_UNITS))
        written_s = time.perf_counter() - start_s
        result = {"n_real": len(vectors), **recall, "n_rows": N_ROWS, "n_units": N_UNITS, "written_s": written_s}
        result["as_written"] = _measure_times(large, vectors)
        print(result, flush=True)
        list(compact_archive(large))
        result["compacted"] = _measure_times(large, vectors)
    return {**result, "load_average": os.getloadavg()[0]}


def archive_audio(folder: Path, n: int) -> Archive:
    """Keep embeddings of windows that begin every tenth of a second, of as many recordings as give `n` of them."""
    sounds = [
        path
        for path in sorted(SHARED_AUDIO.rglob("*.*"))
        if path.suffix.lower() in (".wav", ".mp3", ".ogg", ".flac", ".m4a")
    ]
    random = np.random.default_rng(7)
    random.shuffle(sounds)
    n_rows, first = 0, 0
    archive: Archive | None = None
    while n_rows < n and first < len(sounds):
        some = sounds[first : first + 40]
        archive = archive_recordings(
            some, folder, keep=["embeddings"], overlap_s=3.0 - HOP_S, min_score=0.9, top=1
        ).archive
        n_rows = sum(file.n_rows for file in archive.table("embeddings").list_files())
        print(f"{n_rows} embeddings of {first + len(some)} recordings", flush=True)
        first += len(some)
    if archive is None:
        raise RuntimeError(f"no recordings in {SHARED_AUDIO}")
    return archive


def find_distinct(archive: Archive) -> npt.NDArray[np.float32]:
    """Return the embeddings that are different from all others [n, dim]."""
    parts = [np.asarray(batch["embedding"].flatten()).reshape(-1, DIM) for batch in archive.embeddings()]
    vectors = np.concatenate(parts)
    content = np.ascontiguousarray(vectors).view(np.dtype((np.void, 2 * DIM))).ravel()
    _, first = np.unique(content, return_index=True)
    return vectors[np.sort(first)].astype(np.float32)


def _measure_recall(archive: Archive, vectors: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the share of the true nearest that searches find, on average and in the worst one."""
    shares = []
    for number in np.random.default_rng(1).choice(len(vectors), N_QUERIES, replace=False):
        exact, found = (archive.search(vectors[number], k=K, exact=each) for each in (True, False))
        lowest = exact["score"][-1].as_py()
        # Of equal ones at the last rank, but for the last digit, any is right.
        shares.append(sum(score >= lowest - 1e-6 for score in found["score"].to_pylist()) / len(exact))
    return {"recall": float(np.mean(shares)), "worst_recall": float(np.min(shares)), "n_queries": N_QUERIES}


def mix(vectors: npt.NDArray[np.float32], n: int, *, n_parts: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield `n` mixtures of two vectors each [n / n_parts, dim], part by part."""
    random = np.random.default_rng(2)
    for _ in range(n_parts):
        one, two = (vectors[random.integers(0, len(vectors), n // n_parts)] for _ in range(2))
        share = random.random((n // n_parts, 1), np.float32)
        yield share * one + (1 - share) * two


def write_units(folder: Path, parts: Iterable[npt.NDArray[np.float32]]) -> Archive:
    """Write an archive with a unit for each part; a window starts at the second that is its number in the part."""
    archive = create_archive(folder)
    archive.add_run(RUN, [Label("Avis gravis", "Deep Bird")])
    for unit, vectors in enumerate(parts):
        write_unit(archive, RUN, unit, np.arange(len(vectors)), vectors)
    return archive


def _measure_times(archive: Archive, vectors: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return seconds of the first search, of one whose files are not in memory, and of later ones."""
    numbers = np.random.default_rng(3).choice(len(vectors), N_TIMED, replace=False)
    first_s = _time(archive, vectors[0])
    files = list((archive.location.root / FOLDER).rglob("*.arrow"))
    _drop_from_memory(files)
    cold_s = _time(archive, vectors[1])
    start_s = time.process_time()
    warm = [_time(archive, vectors[number]) for number in numbers]
    cpu_s = (time.process_time() - start_s) / len(warm)
    data_files = archive.table("embeddings").list_files()
    return {
        "n_files": len(files),
        "first_s": first_s,
        "cold_s": cold_s,
        "warm_s": statistics.median(warm),
        "slowest_s": max(warm),
        "warm_cpu_s": cpu_s,
        "exact_s": _time(archive, vectors[2], exact=True),
        "derived_bytes": sum(path.stat().st_size for path in files),
        "data_bytes": sum(file.n_bytes for file in data_files),
        "arrow_bytes": pa.total_allocated_bytes(),
    }


def _time(archive: Archive, vector: npt.NDArray[np.float32], *, exact: bool = False) -> float:
    start_s = time.perf_counter()
    hits = archive.search(vector, k=K, exact=exact)
    elapsed_s = time.perf_counter() - start_s
    if len(hits) != K:
        raise RuntimeError(f"expected {K} hits, got {len(hits)}")
    return elapsed_s


def _drop_from_memory(files: list[Path]) -> None:
    """Ask the system to read files from the disk again."""
    os.sync()
    for path in files:
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
