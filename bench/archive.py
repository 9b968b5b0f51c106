"""Bytes that queries of an archive read, before and after it is compacted."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dawnchorus.archive.archive import Archive, create_archive
from dawnchorus.archive.maintenance import check_archive, compact_archive
from dawnchorus.archive.rows import recording_rows
from dawnchorus.archive.runs import ArchiveRun
from dawnchorus.archive.schemas import DETECTIONS, RECORDINGS, SCHEMAS
from dawnchorus.taxonomy.labels import Label

N_ROWS = int(os.environ.get("BENCH_ROWS", "10000000"))
N_UNITS, N_SPECIES, N_MONTHS = 120, 300, 12
ROWS_PER_RECORDING = 100
LABELS = tuple(Label(f"Genus{k % 37:02d} species{k:03d}", f"Bird {k:03d}") for k in range(N_SPECIES))
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
)


def measure() -> dict[str, Any]:
    """Return bytes and seconds of queries in an archive of ten million detections."""
    with tempfile.TemporaryDirectory() as folder:
        archive = create_archive(Path(folder, "archive"))
        archive.add_run(RUN, LABELS)
        start_s = time.perf_counter()
        for unit in range(N_UNITS):
            _add_unit(archive, unit)
        written_s = time.perf_counter() - start_s
        shares = _species_shares()
        queries: dict[str, dict[str, Any]] = {
            f"one species ({100 * shares[k]:.2f} % of all rows)": {"species": LABELS[k].scientific_name}
            for k in (0, N_SPECIES // 4, N_SPECIES // 2, N_SPECIES - 1)
        }
        queries["one species of one month"] = {
            "species": LABELS[N_SPECIES // 4].scientific_name,
            "since": "2026-05-01",
            "until": "2026-06-01",
        }
        queries["one site of one month"] = {"sites": "SITE07", "since": "2026-05-01", "until": "2026-06-01"}
        rows = {name: {"before": _time(archive, query)} for name, query in queries.items()}
        sizes = {"before": _size(archive)}
        start_s = time.perf_counter()
        list(compact_archive(archive))
        compacted_s = time.perf_counter() - start_s
        sizes["after"] = _size(archive)
        for name, query in queries.items():
            rows[name]["after"] = _time(archive, query)
        is_whole = check_archive(archive).is_whole
    return {
        "n_rows": N_ROWS,
        "n_units": N_UNITS,
        "written_s": written_s,
        "compacted_s": compacted_s,
        "sizes": sizes,
        "is_whole": is_whole,
        "load_average": os.getloadavg()[0],
        "rows": rows,
    }


def _species_shares() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the share of each species: few are common, as in a real soundscape."""
    weights = 1 / np.arange(1, N_SPECIES + 1) ** 0.8
    shares: np.ndarray[Any, np.dtype[np.float64]] = weights / weights.sum()
    return shares


def _add_unit(archive: Archive, unit: int) -> None:
    """Write a unit: recordings of one site and of one month."""
    random = np.random.default_rng(unit)
    n = N_ROWS // N_UNITS
    n_recordings = max(n // ROWS_PER_RECORDING, 1)
    month, site = f"2026-{unit % N_MONTHS + 1:02d}", f"SITE{unit // N_MONTHS:02d}"
    name, attempt = f"1-{unit:06d}", f"bench-1-{unit:06d}"
    of_recording = np.sort(random.integers(0, n_recordings, n))
    ids = (1 << 32) + unit * n_recordings + np.arange(n_recordings)
    days = np.arange(n_recordings) * 28 // n_recordings + 1
    starts = [f"{month}-{day:02d}T{k % 24:02d}:{k % 60:02d}:00.000" for k, day in enumerate(days.tolist())]
    paths = [
        f"/data/{site}/{site}_{start.replace('-', '').replace(':', '')[:15]}_{k}.wav" for k, start in enumerate(starts)
    ]
    species = random.choice(N_SPECIES, n, p=_species_shares())
    start_s = random.integers(0, 200, n) * 3.0
    labels = {
        key: np.array([getattr(label, key) for label in LABELS], object) for key in ("scientific_name", "common_name")
    }
    fixed = {
        "run": RUN.id,
        "unit": name,
        "attempt": attempt,
        "site": site,
        "month": month,
        "kind": "species",
        "model": RUN.model,
        "model_version": RUN.model_version,
        "bundle_id": RUN.bundle_id,
        "software": RUN.software,
    }
    columns: dict[str, Any] = {
        "recording": np.array(paths, object)[of_recording],
        "recording_id": ids[of_recording],
        "start_s": start_s,
        "end_s": start_s + 3.0,
        "start_time": np.array(starts, object)[of_recording],
        "score": (0.05 + 0.95 * random.random(n) ** 3).astype(np.float32),
        "latitude": np.full(n, 52.5),
        "longitude": np.full(n, 13.4),
        "week": np.full(n, 4 * (unit % N_MONTHS) + 2),
        **{key: values[species] for key, values in labels.items()},
    }
    schema = SCHEMAS[DETECTIONS]
    arrays = []
    for field in schema:
        if field.name in fixed:
            arrays.append(pa.repeat(pa.scalar(fixed[field.name], field.type), n))
        else:
            values = columns.get(field.name)
            arrays.append(pa.nulls(n, field.type) if values is None else pa.array(values, field.type))
    rows = pa.Table.from_arrays(arrays, schema=schema)
    order = [("scientific_name", "ascending"), ("site", "ascending"), ("recording_id", "ascending")]
    archive.table(DETECTIONS).append(rows.sort_by(order))
    counts = np.bincount(of_recording, minlength=n_recordings)
    own = {key: fixed[key] for key in ("run", "unit", "attempt", "site", "month")}
    recordings = [
        {
            "recording": path,
            "path": path.encode(),
            "status": "done",
            "duration_s": 600.0,
            "start_time": start,
            "n_detections": int(count),
            "recording_id": int(each),
            **own,
        }
        for path, start, count, each in zip(paths, starts, counts.tolist(), ids.tolist(), strict=True)
    ]
    archive.table(RECORDINGS).append(recording_rows(recordings), {f"unit-{name}": 1})


def _size(archive: Archive) -> dict[str, int]:
    files = archive.table(DETECTIONS).list_files()
    return {"n_files": len(files), "n_bytes": sum(file.n_bytes for file in files)}


def _time(archive: Archive, query: dict[str, Any]) -> dict[str, Any]:
    """Return rows, seconds and the bytes that this process has read, logs and recordings included."""
    before, start_s = _bytes_read(), time.perf_counter()
    n_rows = sum(len(batch) for batch in archive.detections(**query))
    measured = {"n_rows": n_rows, "s": time.perf_counter() - start_s, "n_bytes": _bytes_read() - before}
    print(query, measured, flush=True)
    return measured


def _bytes_read() -> int:
    """Return the bytes that this process has asked the system for, from the cache of the disk or not (Linux)."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])
