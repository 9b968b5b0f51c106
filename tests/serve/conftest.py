"""A real server on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
import uvicorn

from dawnchorus.serve.connections import server_config
from dawnchorus.serve.service import open_service
from dawnchorus.serve.settings import Settings

Serve = Callable[..., httpx.Client]


@contextmanager
def running(settings: Settings) -> Iterator[httpx.Client]:
    with open_service(settings) as service:
        server = uvicorn.Server(server_config(service))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                yield client
        finally:
            service.ending.set()
            server.should_exit = True
            thread.join()


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
