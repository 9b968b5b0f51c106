"""A real server on loopback."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
import uvicorn
from tests.waiting import wait_for

from dawnchorus.server.http.connections import server_config
from dawnchorus.server.scheduling import InferencePool, Steps
from dawnchorus.server.service import Service, open_service
from dawnchorus.server.settings import Settings

Serve = Callable[..., httpx.Client]

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak plain HTTP: to read the certificates of this machine costs 20 ms each time."""


@contextmanager
def running(settings: Settings) -> Iterator[httpx.Client]:
    """A server, and a client of it."""
    with running_service(settings) as (client, _service):
        yield client


@contextmanager
def running_service(settings: Settings) -> Iterator[tuple[httpx.Client, Service]]:
    """A server, a client of it, and its parts."""
    with open_service(settings) as service:
        server = uvicorn.Server(server_config(service))
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_for(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, verify=NO_AUTHORITIES) as client:
                yield client, service
        finally:
            service.shutting_down.set()
            server.should_exit = True
            thread.join()


@contextmanager
def busy(inference_pool: InferencePool) -> Iterator[None]:
    """Keep the only lane at work until the block ends."""
    is_started, is_over = threading.Event(), threading.Event()

    def steps() -> Steps:
        yield
        is_started.set()
        is_over.wait()

    inference_pool._enqueue(Future(), steps(), 0, bypass_queue_limit=True)
    is_started.wait()
    try:
        yield
    finally:
        is_over.set()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server with some settings, and give a client of it."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(Settings(**{"data": tmp_path / "server", **options})))


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """Three seconds at a mean level of 0.25, at 16 kHz."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.full(3 * 16_000, 0.25, np.float32), 16_000, subtype="FLOAT")
    return path
