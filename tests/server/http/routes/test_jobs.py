"""Jobs by HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle


def detected(client: httpx.Client, url: str, after: str | None = None) -> list[tuple[str, dict[str, object]]]:
    """Return number and data of the events of a job, to its end."""
    updates, event = [], {}
    with client.stream("GET", url, headers={"Last-Event-ID": after} if after else {}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            name, _, value = line.partition(": ")
            event[name] = value
            if line:
                continue
            if event.get("event") == "end":
                return updates
            if "data" in event:
                updates.append((event["id"], json.loads(event["data"])))
            event = {}
    raise AssertionError("the stream ended before the job")


def test_long_recording_is_a_job_with_stored_audio(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "LONG_20260501_034500.wav"
    audio = np.full(1_000 * 16_000, 0.1, np.float32)
    audio[500 * 16_000 : 501 * 16_000] = 0.9
    soundfile.write(path, audio, 16_000)
    client = serve(model=level_bundle.folder)
    with path.open("rb") as file:
        reply = client.post("/api/v1/identify?min_score=0.8", files={"audio": (path.name, file)})
    assert reply.status_code == 202, reply.text
    job = reply.json()
    assert reply.headers["location"] == f"/api/v1/jobs/{job['id']}"
    events = detected(client, job["events"])
    assert [data["progress"] for _, data in events] == sorted(data["progress"] for _, data in events)
    assert events[-1][1]["status"] == "done"
    assert detected(client, job["events"], after=events[1][0]) == events[2:]
    done = client.get(f"/api/v1/jobs/{job['id']}").json()
    detections = client.get(f"/api/v1/recordings/{done['result']['recording']}/detections").json()["detections"]
    loud = [row for row in detections if row["common_name"] == "Loud Bird"]
    assert [(row["start_s"], row["score"]) for row in loud] == [(500.0, pytest.approx(0.9, abs=1e-3))]
    assert loud[0]["clock_time"] == "2026-05-01T03:53:20"
    answered = client.post("/api/v1/identify?min_score=0.8&background=false", content=path.read_bytes()).json()
    assert len(answered["detections"]) == len(detections)
    for name in ("csv", "raven", "audacity", "json"):
        table = client.get(f"/api/v1/recordings/{done['result']['recording']}/detections?format={name}")
        assert table.status_code == 200
        assert table.content


def test_undecodable_recording_is_reported_by_upload_name_and_deleted(
    level_bundle: Bundle, serve: Serve, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder)
    sent = client.post("/api/v1/identify?background=true", files={"audio": ("mine.wav", b"no sound")}).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{sent['id']}").json()["status"] == "failed")
    error = client.get(f"/api/v1/jobs/{sent['id']}").json()["error"]
    assert "mine.wav" in error
    assert "/tmp" not in error
    store = tmp_path / "server" / "files"
    wait_for(lambda: not [path for path in store.rglob("*") if path.is_file()])


def test_a_job_is_cancelled_within_seconds(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(5 * 3600 * 8_000, np.int16), 8_000)
    client = serve(model=level_bundle.folder)
    job = client.post("/api/v1/identify", content=path.read_bytes()).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "running")
    client.post(f"/api/v1/jobs/{job['id']}/cancel")
    wait_for(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "cancelled", within_s=30)
    page = client.get(f"/jobs/{job['id']}").text
    assert "<strong>Identification was cancelled.</strong> There are no results." in page
    assert f'data-post="/api/v1/jobs/{job["id"]}/restart"' in page
    again = client.post(f"/api/v1/jobs/{job['id']}/restart")
    assert again.status_code == 202
    assert again.json()["parameters"] == job["parameters"]
    assert client.post(f"/api/v1/jobs/{again.json()['id']}/restart").status_code == 409, "it has not ended"
    client.post(f"/api/v1/jobs/{again.json()['id']}/cancel")
    wait_for(lambda: client.get(f"/api/v1/jobs/{again.json()['id']}").json()["status"] == "cancelled", within_s=30)
    assert client.delete(f"/api/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/v1/jobs/{job['id']}").status_code == 404


def test_a_job_whose_file_is_gone_says_so(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    job = client.post("/api/v1/identify?background=true", files={"audio": ("x.wav", b"no sound")}).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "failed")
    wait_for(lambda: client.post(f"/api/v1/jobs/{job['id']}/restart").status_code == 404)
    page = client.get(f"/jobs/{job['id']}").text
    assert "The file is no longer on the server." in page
    assert "Start again" not in page
