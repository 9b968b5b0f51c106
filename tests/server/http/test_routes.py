"""Every GET route at its worst, 40 requests at once: memory stays within a bound, and the server goes on answering."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from fastapi.routing import APIRoute
from sqlalchemy import insert
from tests.fixtures.machines import Server, serving
from tests.fixtures.server import Serve

from dawnchorus.formats.registry import FORMATS
from dawnchorus.models.bundle import Bundle
from dawnchorus.plotting.tiles import STRETCH_LEVEL
from dawnchorus.server.http import routes
from dawnchorus.server.http.routes.recordings import MAX_LISTED
from dawnchorus.server.http.routes.replies import MAX_PAGE
from dawnchorus.server.listing import Cursor
from dawnchorus.server.service import Service, open_service
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.tables import (
    DetectionRow,
    Identification,
    Job,
    JobEvent,
    Recording,
    RecordingSpecies,
    Species,
)
from dawnchorus.server.training.runner import LOG_NAME

N_AT_ONCE = 40
MAX_GROWTH_BYTES = 500e6
DURATION_S = 1200
PATIENCE_S = 10.0
"""Clients leave when nothing comes for so long, except the first."""

MAX_READ_BYTES = 8 << 20
"""Clients leave in the middle of a longer answer."""

LAST_PAGE = f"limit={MAX_PAGE}&cursor={{cursor}}"

ADDED_AT = datetime(2026, 5, 2, tzinfo=UTC)
V1, V2 = "/api/v1", "/v2/models/{name}"

WORST: dict[str, tuple[str, ...]] = {
    "/": ("/",),
    "/recordings/{sha256}": ("/recordings/{sha256}",),
    "/jobs/{job_id}": ("/jobs/{job_id}",),
    "/history": ("/history",),
    "/teach": ("/teach",),
    "/overview": ("/overview?all_species=true", "/overview?period=month&species=a&min_score=0.5"),
    "/recordings": ("/recordings?name=n&species=a&recorded_from=2001-01-01&state=detections",),
    "/detections": ("/detections?species=a&min_score=0.1&recorded_from=2001-01-01&reviewed=false&cursor={cursor}",),
    "/review": ("/review",),
    "/training": ("/training",),
    "/models": ("/models",),
    "/system": ("/system",),
    "/login": ("/login",),
    "/docs": ("/docs",),
    "/metrics": ("/metrics",),
    "/api/openapi.json": ("/api/openapi.json",),
    "/api/health": ("/api/health",),
    "/api/metrics": ("/api/metrics",),
    "/api/classes": ("/api/classes",),
    "/api/retrain_status": ("/api/retrain_status",),
    "/api/system_stats": ("/api/system_stats",),
    "/api/model_performance": ("/api/model_performance",),
    f"{V1}/health/live": (f"{V1}/health/live",),
    f"{V1}/health/ready": (f"{V1}/health/ready",),
    f"{V1}/recordings": (f"{V1}/recordings?limit={MAX_PAGE}",),
    f"{V1}/recordings/{{sha256}}": (f"{V1}/recordings/{{sha256}}",),
    f"{V1}/recordings/{{sha256}}/audio": (f"{V1}/recordings/{{sha256}}/audio",),
    f"{V1}/recordings/{{sha256}}/spectrogram": tuple(
        f"{V1}/recordings/{{sha256}}/spectrogram?start_s={{k}}&end_s={end}&width=2400&height=600"
        for end in (DURATION_S, 599)
    ),
    f"{V1}/recordings/{{sha256}}/detections": tuple(
        f"{V1}/recordings/{{sha256}}/detections?format={name}" for name in ("json", *FORMATS)
    ),
    f"{V1}/recordings/{{sha256}}/spectrogram/{{top_khz}}/{{level}}/{{index}}": (
        f"{V1}/recordings/{{sha256}}/spectrogram/24/2/{{k}}",
        f"{V1}/recordings/{{sha256}}/spectrogram/12/{STRETCH_LEVEL + 3}/0",
    ),
    f"{V1}/recordings/{{sha256}}/clip": (f"{V1}/recordings/{{sha256}}/clip?start_s=59.{{k}}&end_s=89",),
    f"{V1}/recordings/{{sha256}}/timeline": (f"{V1}/recordings/{{sha256}}/timeline?species=a&limit=500",),
    f"{V1}/recordings/{{sha256}}/activity": (f"{V1}/recordings/{{sha256}}/activity?columns=2000",),
    f"{V1}/detections": (f"{V1}/detections?species=a&{LAST_PAGE}", f"{V1}/detections?reviewed=false&{LAST_PAGE}"),
    f"{V1}/reviews/queue": (f"{V1}/reviews/queue?limit={MAX_PAGE}&after=0.5_{{k}}",),
    f"{V1}/species": (f"{V1}/species?name=a",),
    f"{V1}/sites": (f"{V1}/sites",),
    f"{V1}/overview": (f"{V1}/overview?all_species=true",),
    f"{V1}/overview/events": (f"{V1}/overview/events",),
    f"{V1}/detections/{{number}}/audio": (f"{V1}/detections/{{number}}/audio",),
    f"{V1}/detections/{{number}}/spectrogram": (f"{V1}/detections/{{number}}/spectrogram",),
    f"{V1}/jobs": (f"{V1}/jobs?limit={MAX_PAGE}",),
    f"{V1}/jobs/{{job_id}}": (f"{V1}/jobs/{{job_id}}",),
    f"{V1}/jobs/{{job_id}}/log": (f"{V1}/jobs/{{job_id}}/log",),
    f"{V1}/jobs/{{job_id}}/events": (f"{V1}/jobs/{{job_id}}/events",),
    f"{V1}/training-data": (f"{V1}/training-data",),
    f"{V1}/models": (f"{V1}/models",),
    f"{V1}/models/active": (f"{V1}/models/active",),
    f"{V1}/models/{{bundle_id}}/card": (f"{V1}/models/{{bundle_id}}/card",),
    "/v2": ("/v2",),
    "/v2/health/live": ("/v2/health/live",),
    "/v2/health/ready": ("/v2/health/ready",),
    V2: (V2,),
    f"{V2}/ready": (f"{V2}/ready",),
    f"{V2}/versions/{{version}}": (f"{V2}/versions/{{bundle_id}}",),
    f"{V2}/versions/{{version}}/ready": (f"{V2}/versions/{{bundle_id}}/ready",),
}
"""Requests of every route, in turn; `k` is the number of the request, so that answers differ where they can."""


def all_routes() -> list[APIRoute]:
    """Return every route of the server."""
    modules = [
        importlib.import_module(f"{routes.__name__}.{each.name}") for each in pkgutil.iter_modules(routes.__path__)
    ]
    return [route for module in modules if hasattr(module, "router") for route in module.router.routes]


def test_every_route_is_driven() -> None:
    assert set(WORST) == {route.path for route in all_routes() if "GET" in route.methods}


def test_bodies_that_are_no_recordings_are_read_to_a_limit(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    described = [(method, route.path) for route in all_routes() if route.body_field for method in route.methods]
    assert len(described) >= 3

    def parts() -> Iterator[bytes]:
        for _ in range(32):  # in chunks: no header says how much there is
            yield bytes(1 << 16)

    for method, path in [*described, ("POST", "/login"), ("POST", "/logout")]:
        reply = client.request(method, path.format(number=1), content=parts())
        assert reply.status_code == 413, (method, path, reply.text)
    small = client.put(
        "/api/v1/detections/1/review",
        content=iter([b'{"verdict": ', b'"correct"}']),
        headers={"Content-Type": "application/json"},
    )
    assert small.status_code == 404, "a length in advance is not asked for"
    values = (
        b'{"inputs": [{"name": "waveform", "shape": [1, 9], "datatype": "FP32", "data": [' + b"0," * 200_000 + b"0]}]}"
    )
    reply = client.post("/v2/models/level/infer", content=values)
    assert (reply.status_code, "more values" in reply.text) == (400, True)


@dataclass(frozen=True)
class Filled:
    """Content of the database."""

    sha256: str
    job_id: str
    bundle_id: str
    name: str
    cursor: str

    def url(self, template: str, k: int) -> str:
        return template.format(**vars(self), k=k, number=MAX_LISTED - k)


def fill(service: Service, folder: Path) -> Filled:
    """Return a recording of 20 minutes with as many detections as one answer may have, and a job with many events."""
    path = folder / "long.wav"
    second = np.random.default_rng(1).normal(0, 0.05, (48_000, 2)).astype(np.float32)
    with soundfile.SoundFile(path, "w", 48_000, 2, subtype="PCM_16") as file:
        for _ in range(DURATION_S):
            file.write(second)
    bundle = service.pool.bundle
    job_id = uuid.uuid4().hex
    times = np.linspace(0, DURATION_S - 60, MAX_LISTED).tolist()
    with service.files.keep(path) as (session, sha256):
        session.add(
            Recording(
                sha256=sha256,
                name="n" * 255,
                n_bytes=1,
                duration_s=DURATION_S,
                rate_hz=48_000,
                recorded_at="2026-05-01T04:00:00",
                added_at=ADDED_AT,
                latest_identification=1,
                n_detections=MAX_LISTED,
                best_score=1.0,
            )
        )
        session.flush()
        session.add(Identification(id=1, recording=sha256, bundle_id=bundle.id, duration_s=DURATION_S))
        session.flush()
        detection = {
            "identification": 1,
            "recording": sha256,
            "scientific_name": "Avis magna",
            "common_name": "A Bird With Quite A Long Name",
            "bundle_id": bundle.id,
        }
        rows = [{**detection, "start_s": t, "end_s": t + 60, "score": 0.2 + t / 2000} for t in times]
        session.execute(insert(DetectionRow), rows)
        names = {"scientific_name": "Avis magna", "common_name": "A Bird With Quite A Long Name"}
        session.add(Species(**names))
        counts = {"n_detections": MAX_LISTED, "best_score": 1.0, "added_at": ADDED_AT}
        session.add(RecordingSpecies(recording=sha256, **names, **counts))
        session.add(Job(id=job_id, kind="identify", status="done", parameters={"sha256": sha256}, ended_at=now()))
        session.flush()
        session.execute(insert(JobEvent), [{"job": job_id, "data": {"progress": k}} for k in range(5000)])
    path.unlink()
    log = service.settings.data / "retraining" / job_id / LOG_NAME
    log.parent.mkdir(parents=True)
    log.write_text("a line of the log\n" * 500_000)
    cursor = Cursor((ADDED_AT, sha256, MAX_LISTED - 2 * MAX_PAGE), is_backward=False)
    return Filled(sha256, job_id, bundle.id, bundle.info.name, cursor.encode())


def request_once(url: str, patience_s: float) -> tuple[int, bool]:
    """Return the status, and if the answer says when to come again; status 0: nothing came in time."""
    limits = httpx.Timeout(60, read=patience_s)
    try:
        with httpx.stream("GET", url, timeout=limits, follow_redirects=True) as reply:
            n = 0
            for part in reply.iter_raw():
                n += len(part)
                if n > MAX_READ_BYTES:
                    break
            return reply.status_code, "Retry-After" in reply.headers
    except httpx.ReadTimeout:
        return 0, False


def memory_bytes(server: Server, field: str) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


@pytest.fixture
def filled(level_bundle: Bundle, tmp_path: Path) -> Iterator[tuple[Server, Filled]]:
    data = tmp_path / "server"
    with open_service(Settings(data=data, model=level_bundle.folder, job_kinds=())) as service:
        names = fill(service, tmp_path)
    server = Server(data, "--model", level_bundle.folder)
    with serving(server):
        yield server, names


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.ops
def test_forty_requests_on_any_route_use_at_most_500_mb(filled: tuple[Server, Filled]) -> None:
    server, names = filled
    before = memory_bytes(server, "VmRSS")
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        for path, templates in WORST.items():
            urls = [names.url(templates[k % len(templates)], k) for k in range(N_AT_ONCE)]
            patience_s = [10 * PATIENCE_S] + [PATIENCE_S] * (N_AT_ONCE - 1)
            replies = Counter(pool.map(request_once, [server.url + url for url in urls], patience_s))
            assert set(replies) <= {(200, False), (503, True), (0, False)}, (path, replies)
            assert replies[200, False], (path, replies)
            growth = memory_bytes(server, "VmHWM") - before
            assert growth <= MAX_GROWTH_BYTES, (path, growth)
            assert httpx.get(f"{server.url}/api/v1/health/ready", timeout=30).status_code == 200
