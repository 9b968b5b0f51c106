"""The cost that `identify --dry-run` estimates against that of the run itself."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.recordings import make_recordings
from bench.results import SHARED_AUDIO
from dawnchorus.archive.schemas import EMBEDDINGS
from dawnchorus.audio.discovery import find_recordings
from dawnchorus.cores import usable_cores
from dawnchorus.identification import Options, identify
from dawnchorus.identification.archiving import archive_recordings, plan_archiving
from dawnchorus.identification.dry_run import RunCost, estimate_cost
from dawnchorus.identification.journal import file_version
from dawnchorus.identification.run import build_run_plan, load_sessions
from dawnchorus.inference.model import Model, load_model

N_FILES = int(os.environ.get("BENCH_FILES", "48"))
N_DISTINCT = 8
"""Recordings that are synthesized; the others are copies of these."""


def measure() -> dict[str, Any]:
    """Return estimated and real numbers of runs into a table and into an archive with embeddings."""
    model = load_model("birdnet")
    n_workers = usable_cores()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        make_recordings(scratch / "long", n_files=min(N_FILES, N_DISTINCT))
        for k in range(N_DISTINCT, N_FILES):
            shutil.copy(scratch / "long" / f"dawn{k % N_DISTINCT}.wav", scratch / "long" / f"dawn{k}.wav")
        sources = {f"{N_FILES} synthetic recordings of 6 minutes": scratch / "long"}
        if SHARED_AUDIO.is_dir():
            sources["real recordings of some seconds to minutes"] = SHARED_AUDIO
        rows, loads = [], []
        for k, (name, folder) in enumerate(sources.items()):
            rows.append(_compare_table(name, folder, scratch / f"{k}.csv", model, n_workers))
            rows.append(_compare_archive(name, folder, scratch / f"archive-{k}", model, n_workers))
            loads.append(os.getloadavg()[0])
    return {"n_workers": n_workers, "load_average": max(loads), "rows": rows}


def _compare_table(name: str, folder: Path, out: Path, model: Model, n_workers: int) -> dict[str, Any]:
    options = Options()

    def estimate() -> RunCost:
        files = [(path, file_version(path)[0]) for path in find_recordings([folder])]
        plan = build_run_plan(model, options, ())
        return estimate_cost(files, load_sessions(model, options), plan, n_workers=n_workers, clock=time.perf_counter)

    cost, estimate_s = _time(estimate)
    run, real_s = _time(lambda: identify(folder, options, model=model, out=out, workers=n_workers))
    pairs = {
        "hours of sound": (cost.source.duration_s / 3600, run.counts.scored_s / 3600),
        "seconds": (cost.wall_s(n_workers), real_s),
        "MB of table": (cost.table_bytes / 1e6, out.stat().st_size / 1e6),
    }
    return _row(f"{name}, a table", estimate_s, pairs)


def _compare_archive(name: str, folder: Path, archive: Path, model: Model, n_workers: int) -> dict[str, Any]:
    def estimate() -> tuple[RunCost, int]:
        plan = plan_archiving(folder, archive, model=model, keep=["embeddings"])
        files = [(file.full_path, file.n_bytes) for files in plan.missing.values() for file in files]
        cost = estimate_cost(files, plan.model, plan.plan, n_workers=n_workers, clock=time.perf_counter)
        return cost, len(plan.missing)

    (cost, n_units), estimate_s = _time(estimate)
    result, real_s = _time(
        lambda: archive_recordings(folder, archive, model=model, keep=["embeddings"], workers=n_workers)
    )
    embeddings_bytes = _size(archive / EMBEDDINGS)
    pairs = {
        "hours of sound": (cost.source.duration_s / 3600, result.counts.scored_s / 3600),
        "seconds": (cost.wall_s(n_workers), real_s),
        "MB without embeddings": (
            cost.archive_bytes(n_units=n_units, n_classes=len(model.labels)) / 1e6,
            (_size(archive) - embeddings_bytes) / 1e6,
        ),
        "MB of embeddings": (
            cost.embeddings_bytes(model.embedding_dim or 0, n_units=n_units) / 1e6,
            embeddings_bytes / 1e6,
        ),
    }
    return _row(f"{name}, an archive with embeddings", estimate_s, pairs)


def _row(name: str, estimate_s: float, pairs: dict[str, tuple[float, float]]) -> dict[str, Any]:
    values = {key: {"estimated": estimated, "real": real} for key, (estimated, real) in pairs.items()}
    print(name, {key: f"{each['estimated']:.4g} of {each['real']:.4g}" for key, each in values.items()}, flush=True)
    return {"name": name, "estimate_s": estimate_s, "values": values}


def _time(work: Callable[[], Any]) -> tuple[Any, float]:
    start_s = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start_s


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
