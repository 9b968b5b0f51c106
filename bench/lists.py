"""Time of a page of the lists, and of the overview, in a database with 100,000 recordings and 1,000,000 detections."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph
from tests.fixtures.server import running

from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.server.detection_counts import CountedDetection, Counts, add_counts, count_failed, count_recording
from dawnchorus.server.listing import (
    Cursor,
    DetectionQuery,
    Page,
    RecordingQuery,
    find_detections,
    find_recordings,
)
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.database import FILE_NAME, Database
from dawnchorus.server.state.tables import DetectionRow, Identification, Recording, RecordingSpecies, Species

N_RECORDINGS = int(os.environ.get("BENCH_RECORDINGS", "100000"))
N_SPECIES, N_SITES, PER_RECORDING = 200, 20, 10
N_RUNS, LIMIT = 5, 50
CHUNK = 2000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)

RECORDING_QUERIES = {
    "recordings": RecordingQuery(),
    "recordings, a name that none has": RecordingQuery(name="nowhere"),
    "recordings, a rare species": RecordingQuery(species="Bird 199"),
    "recordings, ten species": RecordingQuery(species="Bird 11"),
    "recordings, failed": RecordingQuery(state="failed"),
    "recordings, one site and one month": RecordingQuery(
        site="SITE7", recorded_from=date(2026, 3, 1), recorded_to=date(2026, 3, 31)
    ),
}
DETECTION_QUERIES = {
    "detections": DetectionQuery(),
    "detections, a rare species": DetectionQuery(species="Bird 199"),
    "detections, ten species": DetectionQuery(species="Bird 11"),
    "detections, all species by name": DetectionQuery(species="Bird"),
    "detections, score from 0.999": DetectionQuery(min_score=0.999),
    "detections, reviewed": DetectionQuery(reviewed=True),
    "detections, one site and one month": DetectionQuery(
        site="SITE7", recorded_from=date(2026, 3, 1), recorded_to=date(2026, 3, 31)
    ),
}


PAGES = (
    "/overview",
    "/overview?period=year",
    "/overview?period=month",
    "/overview?period=month&site=SITE7&min_score=0.5",
    "/overview?species=Bird+199",
    "/overview?species=Bird",
    "/overview?period=month&all_species=true",
)


def measure() -> dict[str, Any]:
    """Return medians of milliseconds at the beginning, in the middle and at the end of each list."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "server")
        data.mkdir()
        database = Database(os.environ.get("BENCH_DATABASE") or f"sqlite:///{data / FILE_NAME}")
        fill(database, N_RECORDINGS)
        rows = [_time(name, database, find_recordings, query, 2) for name, query in RECORDING_QUERIES.items()]
        rows += [_time(name, database, find_detections, query, 3) for name, query in DETECTION_QUERIES.items()]
        database.close()
        pages = _measure_pages(Path(scratch))
    return {
        "n_recordings": N_RECORDINGS,
        "n_detections": N_RECORDINGS * PER_RECORDING,
        "n_runs": N_RUNS,
        "load_average": os.getloadavg()[0],
        "rows": rows,
        "pages": pages,
    }


def _measure_pages(scratch: Path) -> list[dict[str, Any]]:
    """Return milliseconds of the overview as a page of a server with this database."""
    graph = level_graph(scratch / "level.onnx", window_samples=16_000)
    bundle = wrap_model(graph, scratch / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    settings = Settings(model=bundle.folder, data=scratch / "server", database=os.environ.get("BENCH_DATABASE"))
    rows = []
    with running(settings) as client:
        for path in PAGES:
            client.get(path).raise_for_status()
            wall_s, cpu_s = [], []
            for _ in range(N_RUNS):
                start_s, start_cpu_s = time.perf_counter(), time.process_time()
                reply = client.get(path)
                wall_s.append(time.perf_counter() - start_s)
                cpu_s.append(time.process_time() - start_cpu_s)
            ms, cpu_ms = 1000 * statistics.median(wall_s), 1000 * statistics.median(cpu_s)
            rows.append({"page": path, "ms": ms, "cpu_ms": cpu_ms, "kb": len(reply.content) / 1000})
            print(rows[-1], flush=True)
    return rows


def _time(name: str, database: Database, find: Callable[..., Page[Any]], query: Any, n_keys: int) -> Any:
    depths = {"0": None} | {
        where: Cursor((FIRST + timedelta(seconds=at), "f" * 64, 0)[:n_keys], is_backward=False).encode()
        for where, at in (("half", N_RECORDINGS / 2), ("end", 5.0))
    }
    row: dict[str, Any] = {"list": name}
    for depth, cursor in depths.items():
        wall_s, cpu_s = [], []
        for _ in range(N_RUNS):
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            page = find(database, query, limit=LIMIT, cursor=cursor)
            wall_s.append(time.perf_counter() - start_s)
            cpu_s.append(time.process_time() - start_cpu_s)
        row[depth] = {"ms": 1000 * statistics.median(wall_s), "cpu_ms": 1000 * statistics.median(cpu_s)}
        row.setdefault("total", page.total)
    print(row, flush=True)
    return row


def fill(database: Database, n_recordings: int) -> None:
    """Write recordings of 20 sites, a minute apart, each with ten detections of few of 200 species."""
    random = np.random.default_rng(1)
    names = [(f"Avis {k:03d}", f"Bird {k:03d}") for k in range(N_SPECIES)]
    with database.write() as session:
        session.execute(insert(Species), [{"scientific_name": s, "common_name": c} for s, c in names])
    for first in range(0, n_recordings, CHUNK):
        recordings, identifications, detections, species = [], [], [], []
        counts = Counts()
        for k in range(first, min(first + CHUNK, n_recordings)):
            sha256, added_at = f"{random.integers(1 << 62):016x}{k:048x}", FIRST + timedelta(seconds=k)
            start_time = FIRST.replace(tzinfo=None) + timedelta(minutes=3 * k)
            is_failed = k % 1000 == 7
            # Few species are common: the last ones are in every ten-thousandth recording or so.
            drawn = [] if is_failed else (N_SPECIES * random.random(PER_RECORDING) ** 4).astype(int).tolist()
            scores = random.random(len(drawn)).tolist()
            recordings.append(
                {
                    "sha256": sha256,
                    "name": f"SITE{k % N_SITES}_{start_time:%Y%m%d_%H%M%S}.wav",
                    "n_bytes": 5_760_044,
                    "duration_s": 60.0,
                    "rate_hz": 48_000,
                    "recorded_at": start_time.isoformat(),
                    "added_at": added_at,
                    "site": f"SITE{k % N_SITES}",
                    "error": "the file is cut off after 12 s." if is_failed else None,
                    "latest_identification": k + 1,
                    "n_detections": len(drawn),
                    "best_score": max(scores, default=None),
                }
            )
            identifications.append(
                {"id": k + 1, "recording": sha256, "at": added_at, "bundle_id": "0" * 12, "duration_s": 60.0}
            )
            best: dict[int, list[float]] = {}
            for n, (drawn_species, score) in enumerate(zip(drawn, scores, strict=True)):
                scientific_name, common_name = names[drawn_species]
                best.setdefault(drawn_species, []).append(score)
                detections.append(
                    {
                        "identification": k + 1,
                        "recording": sha256,
                        "start_s": 5.0 * n,
                        "end_s": 5.0 * n + 3,
                        "scientific_name": scientific_name,
                        "common_name": common_name,
                        "score": score,
                        "bundle_id": "0" * 12,
                    }
                )
            counts.update(_count(recordings[-1], detections[len(detections) - len(drawn) :]))
            species += [
                {
                    "recording": sha256,
                    "scientific_name": names[each][0],
                    "common_name": names[each][1],
                    "n_detections": len(scores),
                    "best_score": max(scores),
                    "added_at": added_at,
                }
                for each, scores in best.items()
            ]
        with database.write() as session:
            add_counts(session, counts)
            session.execute(insert(Recording), recordings)
            session.execute(insert(Identification), identifications)
            session.execute(insert(DetectionRow), detections)
            session.execute(insert(RecordingSpecies), species)


def _count(recording: dict[str, Any], detections: list[dict[str, Any]]) -> Counts:
    if recording["error"] is not None:
        return count_failed(recording["site"])
    names = "scientific_name", "common_name", "start_s", "score"
    return count_recording(
        site=recording["site"],
        recorded_at=recording["recorded_at"],
        duration_s=recording["duration_s"],
        detections=[CountedDetection(*(each[name] for name in names)) for each in detections],
    )
