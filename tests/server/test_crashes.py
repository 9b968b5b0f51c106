"""Decoders that are killed, disks that are full, clocks that jump: one request is lost, or none."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import numpy as np
import psutil
import pytest
import soundfile
from starlette.testclient import TestClient
from tests.fixtures.databases import new_database
from tests.fixtures.disks import small_disk
from tests.fixtures.machines import Server, serving
from tests.fixtures.server import Serve, running, running_service
from tests.fixtures.waiting import wait_for

from dawnchorus.inference.engine import N_SHARED_DECODERS
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server import history
from dawnchorus.server.http.app import create_app
from dawnchorus.server.quarantine import MAX_CRASHES
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Settings
from dawnchorus.server.state import clock, job_queue, tables
from dawnchorus.server.state.job_queue import JobQueue

pytestmark = pytest.mark.usefixtures("own_decoders")


def decoders(server: psutil.Process) -> list[psutil.Process]:
    processes = []
    for child in server.children(recursive=True):
        try:
            if "dawnchorus.audio.decoder_server" in child.cmdline():
                processes.append(child)
        except psutil.NoSuchProcess:
            continue
    return processes


@contextmanager
def killing_decoders(server: psutil.Process) -> Iterator[None]:
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.02):
            for decoder in decoders(server):
                decoder.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.ops
def test_decoder_crash_fails_one_request_and_quarantines_file(level_bundle: Bundle, tone: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros(3600 * 16_000, np.int16), 16_000)
    server = Server(tmp_path / "server", "--model", level_bundle.folder)
    with serving(server), server.client() as client:
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        for _ in range(MAX_CRASHES):
            with killing_decoders(process):
                reply = client.post("/api/predict", files={"audio": ("long.flac", long.read_bytes())})
            assert reply.status_code == 422, reply.text
            assert "long.flac: the decoder crashed on this file" in reply.json()["detail"]
            assert client.post("/api/predict", content=tone.read_bytes()).status_code == 200
        refused = client.post("/api/predict", files={"audio": ("again.flac", long.read_bytes())})
        assert refused.status_code == 422
        assert "is not tried again" in refused.json()["detail"]
        assert client.post("/api/predict", content=tone.read_bytes()).status_code == 200
        wait_for(lambda: len(decoders(process)) >= 1)
        assert {child.status() for child in process.children()} <= {psutil.STATUS_SLEEPING, psutil.STATUS_RUNNING}


@pytest.mark.ops
def test_killed_decoder_costs_one_spectrogram(level_bundle: Bundle, tmp_path: Path) -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, 590 * 16_000).astype(np.float32)
    soundfile.write(tmp_path / "long.flac", sound, 16_000)
    with running(Settings(data=tmp_path / "server", model=level_bundle.folder)) as client:
        files = {"audio": ("long.flac", (tmp_path / "long.flac").read_bytes())}
        reply = client.post("/api/v1/identify", data={"store": "yes"}, files=files)
        assert reply.status_code == 200, reply.text
        (stored,) = client.get("/api/v1/recordings").json()["recordings"]
        spectrogram = f"/api/v1/recordings/{stored['sha256']}/spectrogram"
        with killing_decoders(psutil.Process()):
            reply = client.get(spectrogram)
        assert (reply.status_code, "the decoder crashed on this file" in reply.text) == (422, True), reply.text
        assert str(tmp_path) not in reply.text
        assert client.get(spectrogram).status_code == 200


@pytest.mark.ops
def test_decoders_are_bounded_under_requests_of_every_kind(level_bundle: Bundle, tmp_path: Path) -> None:
    level = np.linspace(0.1, 0.9, 60).repeat(16_000).astype(np.float32)
    soundfile.write(tmp_path / "minute.wav", level, 16_000, subtype="FLOAT")
    audio = (tmp_path / "minute.wav").read_bytes()
    limits = Limits(max_active_per_thread=2, max_queue_s=1e6)
    settings = Settings(data=tmp_path / "server", model=level_bundle.folder, n_inference_threads=1, limits=limits)
    tests = psutil.Process()
    before = {process.pid for process in decoders(tests)}
    with running_service(settings) as (client, service):
        identify, labels = "/api/v1/identify", {"species": "noise"}
        reply = client.post(identify, data={"store": "yes"}, files={"audio": ("minute.wav", audio)})
        assert reply.status_code == 200, reply.text
        (stored,) = client.get("/api/v1/recordings").json()["recordings"]
        recording = f"/api/v1/recordings/{stored['sha256']}"
        number = client.get(f"{recording}/detections").json()["detections"][0]["id"]

        def send(k: int) -> httpx.Response:
            kinds = (
                lambda: client.post(identify, content=audio),
                lambda: client.post("/api/v1/training-data", data=labels, files={"audio": ("a.wav", audio)}),
                lambda: client.put(f"/api/v1/detections/{number}/review", json={"verdict": "correct"}),
                lambda: client.get(f"{recording}/spectrogram", params={"end_s": 30 + k}),
                lambda: client.get(f"/api/v1/detections/{number}/audio"),
                lambda: client.get(f"/api/v1/detections/{number}/spectrogram"),
            )
            return kinds[k % len(kinds)]()

        with ThreadPoolExecutor(30) as threads:
            replies = [threads.submit(send, k) for k in range(60)]
            seen = []
            while not all(reply.done() for reply in replies):
                seen.append(len([each for each in decoders(tests) if each.pid not in before]))
        assert {reply.result().status_code for reply in replies} <= {200, 201, 503}
        assert 1 < max(seen) <= service.pool.engine.decoders.limit == 2 + N_SHARED_DECODERS


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    with small_disk(tmp_path / "small", "4m") as folder:
        yield folder


def states(client: httpx.Client, bundle: Bundle) -> tuple[int, ...]:
    model = f"/v2/models/{bundle.info.name}"
    paths = ("/api/v1/health/live", "/api/v1/health/ready", "/v2/health/ready", f"{model}/ready", "/api/health")
    return tuple(client.get(path).status_code for path in paths)


def test_what_health_says_from_the_start_to_the_end(
    level_bundle: Bundle, tone: Path, tmp_path: Path, disk: Path
) -> None:
    """Live as long as the process answers; ready until it is asked to end; a full disk is no reason to be restarted."""
    well = (200, 200, 200, 200, 200)
    with running(Settings(data=disk / "server", model=level_bundle.folder)) as client:
        assert states(client, level_bundle) == well
        stop = threading.Event()
        statuses: list[int] = []

        def request_once() -> None:
            while not stop.is_set():
                statuses.append(httpx.post(f"{client.base_url}/api/predict", content=tone.read_bytes()).status_code)

        threads = [threading.Thread(target=request_once) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                assert states(client, level_bundle) == well
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(statuses) == {200}

        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        assert states(client, level_bundle) == well
        big = tone.read_bytes() + bytes(9 << 20)  # too large for the folder in memory
        assert client.post("/api/v1/identify", content=big).status_code == 507
        kept = client.post("/api/v1/identify?store=true", content=tone.read_bytes())
        assert kept.status_code in (503, 507), kept.text
        ballast.unlink()
        assert client.post("/api/v1/identify?store=true", content=tone.read_bytes()).status_code == 200
        assert client.get("/api/v1/recordings").json()["total"] == 1
    with open_service(Settings(data=tmp_path / "ending", model=level_bundle.folder)) as service:
        client = TestClient(create_app(service), base_url="http://127.0.0.1")
        assert states(client, level_bundle) == well
        service.shutting_down.set()
        assert states(client, level_bundle) == (200, 503, 503, 503, 200)
        assert "retry-after" in client.get("/api/v1/health/ready").headers


def test_clocks_that_jump_give_no_job_away_and_make_no_age_negative(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.now
    jump = [timedelta()]
    for module in (job_queue, history, tables):
        monkeypatch.setattr(module, "now", lambda: real() + jump[0])
    database = new_database(tmp_path)
    mine, other = JobQueue(database, worker_id="mine"), JobQueue(database, worker_id="other")
    job = mine.add("identify", {})
    claimed = mine.claim("identify")
    assert claimed is not None
    for hours in (-5, 3, -1000, 0):
        jump[0] = timedelta(hours=hours)
        mine.heartbeat((job.id,))  # each server says often that it lives, by the clock as it is then
        other.heartbeat(())
        assert mine.should_continue(job.id), hours
    jump[0] = timedelta(hours=-1)  # as at the end of summer time, for clocks that know of it
    mine.finish(job.id, "done")
    ended = mine.get(job.id)
    assert ended.status == "done"
    assert ended.ended_at is not None
    assert ended.ended_at.tzinfo is not None
    assert [event.id for event in mine.events(job.id)] == sorted(event.id for event in mine.events(job.id))

    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true", content=tone.read_bytes())
    jump[0] = timedelta(days=-400)
    again = client.post("/api/v1/identify?store=true&background=true", content=tone.read_bytes()).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{again['id']}").json()["status"] == "done")
    for page in ("/", "/recordings", "/system", "/training", "/models"):
        text = client.get(page).text
        assert not re.search(r">\s*-\d", text), page
    # Times without a zone are UTC, as all that are stored.
    added = datetime.fromisoformat(client.get("/api/v1/recordings").json()["recordings"][0]["added_at"])
    assert added.tzinfo is not None
    naive = (added.astimezone(UTC) - timedelta(seconds=1)).replace(tzinfo=None).isoformat()
    for since in (naive, f"{naive}Z", f"{naive}+00:00"):
        assert client.get("/api/v1/detections", params={"since": since}).json()["total"] > 0, since
