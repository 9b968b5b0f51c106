"""The interface of an existing dashboard: the keys and types that its page and its load test read."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from tests.fixtures.server import Serve, running_service

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings

NUMBER = (int, float)
EXPECTED: dict[str, dict[str, Any]] = {
    "health": {
        "status": str,
        "uptime_seconds": NUMBER,
        "model_version": str,
        "total_requests": int,
        "error_count": int,
        "is_retraining": bool,
        "last_retrain": (str, type(None)),
        "timestamp": str,
    },
    "metrics": {
        "total_predictions": int,
        "avg_confidence": NUMBER,
        "species_distribution": dict,
        "recent_predictions": list,
        "uptime": NUMBER,
    },
    "retrain_status": {
        "is_retraining": bool,
        "progress": NUMBER,
        "last_retrain": (str, type(None)),
        "model_version": str,
    },
}
PREDICTION = {
    "predicted_species": str,
    "confidence": float,
    "confidence_percent": str,
    "top_5_predictions": dict,
    "timestamp": str,
}
UPLOAD = {"message": str, "uploaded_count": int, "skipped_count": int, "total_files_in_folder": int}


def check_shape(reply: dict[str, Any], expected: dict[str, Any]) -> None:
    wrong = {key: reply.get(key, "nothing") for key, kind in expected.items() if not isinstance(reply.get(key), kind)}
    assert reply.keys() >= expected.keys(), expected.keys() - reply.keys()
    assert not wrong


def check_all(client: httpx.Client) -> None:
    for route, expected in EXPECTED.items():
        check_shape(client.get(f"/api/{route}").json(), expected)


def test_replies_have_the_keys_that_the_page_reads_before_and_after_predictions(
    level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    check_all(client)
    for _ in range(22):
        reply = client.post("/api/predict", files={"audio": ("x.wav", tone.read_bytes())}).json()
    check_shape(reply, PREDICTION)
    scores = list(reply["top_5_predictions"].values())
    assert scores == sorted(scores, reverse=True)
    assert next(iter(reply["top_5_predictions"].items())) == (reply["predicted_species"], reply["confidence"])
    check_all(client)
    metrics = client.get("/api/metrics").json()
    times = [datetime.fromisoformat(each["timestamp"]) for each in metrics["recent_predictions"]]
    assert times == sorted(times), "the oldest first"
    assert len(times) == 20
    assert set(metrics["recent_predictions"][0]) >= {"timestamp", "species", "confidence"}
    assert metrics["avg_confidence"] == metrics["average_confidence"]


def test_errors_are_counted_and_have_the_field_that_the_page_shows(
    level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    for wrong in ({"files": {"audio": ("x.txt", b"no sound")}}, {"files": {"file": ("x.wav", tone.read_bytes())}}, {}):
        refused = client.post("/api/predict", **wrong)  # type: ignore[arg-type]
        assert refused.status_code in (400, 422)
        assert refused.json()["error"] == refused.json()["detail"]
    assert client.post("/api/trigger_retrain").json()["error"].startswith("no training data yet")
    health = client.get("/api/health").json()
    assert (health["total_requests"], health["error_count"]) == (4, 4)


def test_dashboard_reports_server_and_model_statistics(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    before = client.get("/api/system_stats").json()
    client.post("/api/v1/identify?store=true", files={"audio": ("x.wav", tone.read_bytes())})
    client.post("/api/upload_bulk", files={"files": ("Loud Bird1.wav", tone.read_bytes())})
    stats = client.get("/api/system_stats").json()
    assert (before["recordings"], stats["recordings"], before["lessons"], stats["lessons"]) == (0, 1, 0, 1)
    assert stats["cpu_seconds"] > before["cpu_seconds"] > 0
    assert 10e6 < stats["memory_bytes"] < 10e9
    performance = client.get("/api/model_performance").json()
    assert performance == {"model": "level", "model_version": level_bundle.id, "num_classes": 3, "report": None}
    assert client.get("/api/feature_analysis").status_code == 404


def test_upload_succeeds_only_if_a_file_is_accepted(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    good, bad = ("files", ("Loud Bird/a.wav", tone.read_bytes())), ("files", ("Loud Bird/b.wav", b"no sound"))
    for route in ("upload_bulk", "v1/training-data"):
        refused = client.post(f"/api/{route}", files=[bad])
        assert refused.status_code == 422
        assert "b.wav" in refused.json()["detail"]
        assert [each["status"] for each in refused.json()["files"]] == ["rejected"]
    check_shape(refused := client.post("/api/upload_bulk", files=[bad]).json(), UPLOAD)
    assert (refused["uploaded_count"], refused["skipped_count"]) == (0, 1)
    reply = client.post("/api/upload_bulk", files=[good, bad])
    assert reply.status_code == 200
    check_shape(reply.json(), UPLOAD)
    counts = [reply.json()[key] for key in ("uploaded_count", "skipped_count", "total_files_in_folder")]
    assert counts == [1, 1, 1]
    again = client.post("/api/upload_bulk", files=[good])
    assert (again.status_code, again.json()["uploaded_count"]) == (200, 0), "an upload may be repeated"


def test_retraining_is_reported_while_running_and_when_done(level_bundle: Bundle, tmp_path: Path) -> None:
    settings = Settings(model=level_bundle.folder, data=tmp_path / "server", job_kinds=("identify",))
    with running_service(settings) as (client, service):

        def reported() -> list[dict[str, Any]]:
            check_all(client)
            return [client.get(f"/api/{route}").json() for route in ("health", "retrain_status")]

        begin, times = datetime.now(UTC) - timedelta(seconds=1), set()
        for status, progress in (("done", 100), ("failed", 30)):
            service.jobs.add("retrain", {})
            assert [each["is_retraining"] for each in reported()] == [True, True]
            job = service.jobs.claim("retrain")
            assert job is not None
            service.jobs.update_progress(job.id, "training", 0.3)
            assert reported()[1]["progress"] == 30
            service.jobs.finish(job.id, status)
            health, state = reported()
            assert (health["is_retraining"], state["is_retraining"], state["progress"]) == (False, False, progress)
            assert health["last_retrain"] == state["last_retrain"]
            times.add(state["last_retrain"])
        assert len(times) == 1, "one that failed made no model"
        assert begin < datetime.fromisoformat(times.pop()) < datetime.now(UTC)


def test_counts_equal_those_of_the_clients(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    statuses: list[int] = []

    def request_once() -> None:
        for k in range(20):
            body = tone.read_bytes() if k % 4 else b"no sound"
            statuses.append(client.post("/api/predict", content=body).status_code)

    threads = [threading.Thread(target=request_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = client.get("/metrics").text
    for status in (200, 422):
        assert f'{{method="POST",route="/api/predict",status="{status}"}} {statuses.count(status)}.0' in text
    assert client.get("/api/metrics").json()["total_predictions"] == statuses.count(200)
    assert json.loads(json.dumps(client.get("/api/metrics").json()))["average_confidence"] == pytest.approx(0.75)
    client.request("FOO", "/")
    assert "FOO" not in client.get("/metrics").text


def test_the_dashboards_interface(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    for _ in range(3):
        reply = client.post("/api/predict", files={"audio": (tone.name, tone.read_bytes())})
        assert reply.status_code == 200, reply.text
    reply_fields = reply.json()
    assert reply_fields["predicted_species"] == "Quiet Bird"
    assert reply_fields["confidence"] == pytest.approx(0.75, abs=1e-4)
    assert reply_fields["confidence_percent"] == "75.00%"
    assert list(reply_fields["top_5_predictions"]) == ["Quiet Bird", "Loud Bird", "Engine"], "the surest first"
    assert reply_fields["top_5_predictions"]["Quiet Bird"] == reply_fields["confidence"]
    assert client.get("/api/health").json()["model_version"] == level_bundle.id
    assert client.get("/api/classes").json() == {"classes": ["Loud Bird", "Quiet Bird", "Engine"], "num_classes": 3}
    metrics = client.get("/api/metrics").json()
    assert metrics["total_predictions"] == 3
    assert metrics["average_confidence"] == pytest.approx(0.75, abs=1e-4)
    assert metrics["species_distribution"] == {"Quiet Bird": 3}
    counted = client.get("/metrics").text
    assert 'dawnchorus_requests_total{method="POST",route="/api/predict",status="200"} 3.0' in counted
    assert "dawnchorus_audio_seconds_total 9.0" in counted
    assert client.get("/api/v1/health/ready").json() == {"status": "ready", "bundle_id": level_bundle.id}
    assert client.get("/api/v1/models/active").json()["n_classes"] == 3
    assert "/api/v1/identify" in client.get("/api/openapi.json").json()["paths"]
