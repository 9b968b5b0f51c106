"""Two servers, one PostgreSQL, nginx in front: they share what they know, and one may die."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.machines import Postgres, Server, nginx, serving
from tests.fixtures.stored_files import race_keep_against_sweep
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.job_queue import STALE_S, JobQueue

pytestmark = pytest.mark.ops

TOKEN = "a-token-of-this-test"  # noqa: S105


def send(client: httpx.Client, labeled_files: list[Path]) -> None:
    files = [("audio", (f"{path.parent.name}/{path.name}", path.read_bytes())) for path in labeled_files]
    reply = client.post("/api/v1/training-data", files=files, data={"new_class": "yes"})
    assert reply.status_code == 200, reply.text
    assert {each["status"] for each in reply.json()["files"]} <= {"accepted", "duplicate"}, reply.text


def noise() -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.random.default_rng(1).normal(0, 0.01, 3 * 48_000), 48_000, format="WAV")
    return out.getvalue()


NOISE = noise()


def test_two_servers_are_one(
    birdnet: Bundle, store: ModelStore, labeled_files: list[Path], dawn: Path, tmp_path: Path
) -> None:
    shared = ["--models-folder", store.folder, "--files", tmp_path / "files", "--trusted-proxy", "127.0.0.1"]
    with Postgres(tmp_path / "postgres") as database:
        one, two = (
            Server(tmp_path / name, *shared, "--database", database.url, "--workers", "1", DAWNCHORUS_TOKEN=TOKEN)
            for name in ("one", "two")
        )
        with (
            serving(one, two),
            nginx(tmp_path / "nginx", one, two) as url,
            one.client() as first,
            two.client() as second,
            httpx.Client(base_url=url, timeout=120, headers=one.headers) as both,
        ):
            # what is sent to one is known to the other
            kept = first.post("/api/v1/identify?store=true", files={"audio": (dawn.name, dawn.read_bytes())})
            assert kept.status_code == 200, kept.text
            (recording,) = second.get("/api/v1/recordings").json()["recordings"]
            assert second.get(recording["audio"]).content == dawn.read_bytes()
            with ThreadPoolExecutor(6) as pool:  # at the same moment, of both
                list(pool.map(partial(send, labeled_files=labeled_files), [first, second] * 3))
            assert second.get("/api/v1/training-data").json()["total"] == len(labeled_files)
            with ThreadPoolExecutor(2) as pool:
                kept_again = list(
                    pool.map(lambda c: c.post("/api/v1/identify?store=true", content=NOISE), [first, second])
                )
            assert [reply.status_code for reply in kept_again] == [200, 200]
            sha256 = hashlib.sha256(NOISE).hexdigest()
            assert first.delete(f"/api/v1/recordings/{sha256}").status_code in (200, 204)
            assert second.get(f"/api/v1/recordings/{sha256}").status_code == 404

            # one retraining at a time, whoever is asked; whoever does it, both serve what comes of it
            with ThreadPoolExecutor(2) as pool:
                started = list(pool.map(lambda c: c.post("/api/v1/retrain"), [first, second]))
            assert sorted(reply.status_code for reply in started) == [202, 409]
            job = min(started, key=lambda reply: reply.status_code).json()
            done = wait_for(lambda: _ended(second, job["id"]), within_s=180)
            assert isinstance(done, dict)
            assert done["status"] == "done", done
            # eight recordings of a bird are too few to promote by the rule, so a person does
            assert not done["result"]["is_promoted"]
            (reason,) = done["result"]["reasons"]
            assert "too few held-out recordings" in reason
            new = done["result"]["bundle_id"]
            assert first.post(f"/api/v1/models/{new}/activate").status_code == 200
            for client in (first, second):
                wait_for(lambda c=client: c.get("/api/v1/models/active").json()["bundle_id"] == new, within_s=20)
            bird = next(path for path in labeled_files if "ficta001" in path.name).read_bytes()
            scores = [c.post("/api/predict", files={"audio": bird}).json() for c in (first, second)]
            assert [score["predicted_species"] for score in scores] == ["Synthetic Bird 001"] * 2
            assert scores[0]["confidence"] == scores[1]["confidence"]

            # one is killed under load: its own requests, at most, are lost
            n_before = both.get("/api/metrics").json()["total_predictions"]
            statuses, n_under_way = _load_and_kill(url, bird, two)
            assert statuses[200] > 20
            assert sum(statuses.values()) - statuses[200] <= n_under_way, statuses
            metrics = wait_for(lambda: _metrics_of(both))
            assert isinstance(metrics, dict)
            assert metrics["total_predictions"] >= n_before + statuses[200] - n_under_way
            two.start()
            assert second.get("/api/v1/models/active").json()["bundle_id"] == new
            totals = [c.get("/api/metrics").json()["total_predictions"] for c in (first, second)]
            assert totals[0] == totals[1]

            # back to where they were, both
            assert second.post("/api/v1/models/rollback").json()["active"] == birdnet.id
            wait_for(lambda: first.get("/api/v1/models/active").json()["bundle_id"] == birdnet.id, within_s=20)


def test_a_server_with_another_clock_takes_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, offset = [0.0], timedelta()
    monkeypatch.setattr("dawnchorus.server.state.job_queue.now", lambda: now() + offset)
    with Postgres(tmp_path / "postgres") as postgres:
        database = Database(postgres.url)
        right, ahead = (JobQueue(database, worker_id=name, monotonic=lambda: seconds[0]) for name in ("right", "ahead"))
        job = right.add("retrain", {})
        assert right.claim("retrain")
        for _ in range(2 * int(STALE_S)):
            seconds[0] += 1
            offset = timedelta()
            right.heartbeat((job.id,))
            offset = timedelta(days=1)
            ahead.heartbeat(())
        assert right.should_continue(job.id)
        for _ in range(int(STALE_S) + 2):  # and when it is gone, its job is taken over
            seconds[0] += 1
            ahead.heartbeat(())
        assert (right.get(job.id).status, right.get(job.id).attempts) == ("queued", 1)
        database.close()


def _ended(client: httpx.Client, job_id: str) -> object:
    job = client.get(f"/api/v1/jobs/{job_id}").json()
    return job if job["status"] in ("done", "failed", "cancelled") else None


def _metrics_of(client: httpx.Client) -> object:
    reply = client.get("/api/metrics")
    return reply.json() if reply.status_code == 200 else None


N_CLIENTS = 6


def _load_and_kill(url: str, body: bytes, victim: Server) -> tuple[Counter[int], int]:
    """Statuses of requests sent to `url` while `victim` is killed; 0 for those that got no answer."""
    statuses: Counter[int] = Counter()
    lock = threading.Lock()
    until = time.monotonic() + 6

    def request_once() -> None:
        with httpx.Client(base_url=url, timeout=60, headers=victim.headers) as client:
            while time.monotonic() < until:
                try:
                    status = client.post("/api/predict", content=body).status_code
                except httpx.TransportError:
                    status = 0
                with lock:
                    statuses[status] += 1

    threads = [threading.Thread(target=request_once) for _ in range(N_CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    assert victim.process is not None
    victim.process.kill()
    victim.process.wait()
    for thread in threads:
        thread.join()
    return statuses, N_CLIENTS


@pytest.mark.usefixtures("birdnet")
def test_the_database_is_killed_and_nothing_is_lost(level_bundle: Bundle, tone: Path, tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as database:
        server = Server(tmp_path / "server", "--model", level_bundle.folder, "--database", database.url)
        with serving(server), server.client() as client:
            audio = {"audio": (tone.name, tone.read_bytes())}
            for k in range(5):
                body = tone.read_bytes() + bytes([k])
                assert client.post("/api/v1/identify?store=true", content=body).status_code == 200
            database.kill()
            assert client.get("/api/v1/health/live").status_code == 200
            lost = client.post("/api/v1/identify?store=true", files=audio)
            assert lost.status_code == 503
            assert lost.headers["retry-after"]
            assert "database" in lost.json()["detail"]
            assert client.post("/api/predict", files=audio).status_code == 200, "what needs no database goes on"
            database.start()
            wait_for(lambda: client.post("/api/v1/identify?store=true", files=audio).status_code == 200)
            assert client.get("/api/v1/recordings").json()["total"] == 6
            wait_for(lambda: client.get("/api/metrics").json()["total_predictions"] == 7)


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.full(3 * 16_000, 0.25, np.float32), 16_000, subtype="FLOAT")
    return path


def test_servers_that_keep_and_sweep_at_once_lose_no_file(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as cluster:
        database = Database(cluster.url)
        race_keep_against_sweep(database, tmp_path)
        database.close()
