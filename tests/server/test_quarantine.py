"""Recordings that kill their decoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from tests.fixtures.machines import Server, serving
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.quarantine import MAX_CRASHES

pytestmark = pytest.mark.usefixtures("own_decoders")


def decoders(server: psutil.Process) -> list[psutil.Process]:
    processes = []
    for child in server.children(recursive=True):
        try:
            if "dawnchorus.audio.process" in child.cmdline():
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
