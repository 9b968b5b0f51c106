"""Recordings that kill their decoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import numpy as np
import psutil
import pytest
import soundfile
from tests.fixtures.machines import Server, serving
from tests.fixtures.server import running, running_service
from tests.fixtures.waiting import wait_for

from dawnchorus.inference.engine import N_SHARED_DECODERS
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.quarantine import MAX_CRASHES
from dawnchorus.server.settings import Settings

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
