"""Health, from the start to the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient
from tests.fixtures.disks import small_disk
from tests.fixtures.server import running

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.app import create_app
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Settings

pytestmark = pytest.mark.usefixtures("own_decoders")


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
