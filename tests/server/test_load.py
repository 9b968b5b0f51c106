"""Under load nobody is lost, who is too many is told when to come again, and slow ones keep nobody waiting."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.machines import Server, serving
from tests.fixtures.server import Serve, busy, running_service
from tests.fixtures.waiting import wait_for

from dawnchorus.identification import Options
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.cost_estimate import FIRST_COST_S, LEAST_BYTES
from dawnchorus.server.http.auth import RateLimiter
from dawnchorus.server.settings import Settings

Replies = Counter[tuple[int, bool]]
"""Number of replies by status, without and with the time to come again."""


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    """Five seconds as recorders write them, 480 KB."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 5 * 48_000), 48_000, subtype="PCM_16")
    return path.read_bytes()


def load(server: Server, body: bytes, *, n_clients: int, seconds: float) -> Replies:
    """Clients that ask again as soon as they have an answer, or shortly after a refusal."""

    def request_once(_: int) -> Replies:
        replies: Replies = Counter()
        until = time.monotonic() + seconds
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            while time.monotonic() < until:
                connection.request("POST", "/api/predict", body, {"Content-Type": "audio/wav"})
                reply = connection.getresponse()
                reply.read()
                replies[reply.status, "Retry-After" in reply.headers] += 1
                time.sleep(0.0 if reply.status == 200 else 0.02)
        return replies

    with ThreadPoolExecutor(n_clients) as pool:
        return sum(pool.map(request_once, range(n_clients)), Counter())


@pytest.mark.ops
def test_no_request_is_lost_from_one_client_to_sixty_four(
    birdnet: Bundle, store: ModelStore, clip: bytes, tmp_path: Path
) -> None:
    server = Server(tmp_path / "server", "--model", "birdnet", "--models-folder", store.folder)
    with serving(server), server.client() as client:
        load(server, clip, n_clients=2, seconds=1)
        done = {n: load(server, clip, n_clients=n, seconds=6)[200, False] / 6 for n in (1, 4, 8)}
        assert client.get("/api/metrics").json()["model_version"] == birdnet.id
        many = load(server, clip, n_clients=64, seconds=8)
        assert set(many) <= {(200, False), (503, True), (429, True)}, many
        # A ratio of two rates that were measured one after the other.
        assert many[200, False] / 8 > 0.5 * max(done.values())
        steady = load(server, clip, n_clients=8, seconds=20)
        assert set(steady) == {(200, False)}
        metrics = client.get("/api/metrics").json()
        counted = client.get("/metrics").text
    total = f'{{method="POST",route="/api/predict",status="200"}} {metrics["total_predictions"]}.0'
    assert total in counted
    assert metrics["total_predictions"] > 60


def test_full_queue_returns_503_before_reading_body(level_bundle: Bundle, tone: Path, tmp_path: Path) -> None:
    limits = Limits(max_queue_s=1.5 * FIRST_COST_S * LEAST_BYTES)  # room for one
    settings = Settings(data=tmp_path / "server", model=level_bundle.folder, n_inference_threads=1, limits=limits)
    head = b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 96044\r\n\r\n"
    with running_service(settings) as (client, service):
        with busy(service.pool):
            waiting = service.pool.submit(tone, Options())
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=60) as connection:
                    connection.sendall(head)  # and nothing of the body
                    answer = connection.recv(4096)
                assert b" 503 " in answer
                assert b"retry-after: " in answer.lower()
        assert waiting.result(timeout=60).table.duration_s == 3
        assert client.post("/api/predict", content=tone.read_bytes()).status_code == 200


@pytest.mark.ops
def test_slow_uploads_time_out_and_block_no_client(
    level_bundle: Bundle, serve: Serve, clip: bytes, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder, limits=Limits(body_timeout_s=1.0, headers_timeout_s=1.0))
    head = b"POST /api/v1/identify HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    sent = [b"", b"POST", head, head + b"Content-Length: 100000\r\n\r\n"]
    sent.append(head + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n--b\r\n")
    slow = [socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=20) for _ in range(50)]
    for k, connection in enumerate(slow):
        connection.sendall(sent[k % len(sent)])
    stop = threading.Event()

    def drip() -> None:
        """Return a byte now and then."""
        while not stop.wait(0.2):
            for connection in slow:
                try:
                    connection.send(b"-")
                except OSError:
                    continue

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        for _ in range(10):
            assert client.post("/api/predict", content=clip).status_code == 200
        for k, connection in enumerate(slow):
            answer = _answer(connection)
            if k % len(sent) >= 3:
                assert b" 408 " in answer
                assert b"bytes in a second" in answer
                connection.settimeout(10)
                assert not _rest(connection), "it is not held open by more of the same"
            else:
                assert not answer or b" 400 " in answer
    finally:
        stop.set()
        thread.join()
        for connection in slow:
            connection.close()
    (spool,) = (tmp_path / "server").glob("spool-*/")
    wait_for(lambda: not list(spool.iterdir()))
    # Who sends slowly but at the pace is heard out.
    limits = Limits(body_timeout_s=1.0, min_bytes_per_s=50_000)
    client = serve(model=level_bundle.folder, limits=limits, data=tmp_path / "other")
    parts = (clip[k : k + 60_000] for k in range(0, len(clip), 60_000) if time.sleep(0.25) is None)
    assert client.post("/api/predict", content=parts).status_code == 200


def _rest(connection: socket.socket) -> bytes:
    try:
        while connection.recv(4096):
            continue
    except ConnectionResetError:
        pass
    return b""


def _answer(connection: socket.socket) -> bytes:
    """Return all that comes until the other side has had enough, or has answered."""
    content = b""
    try:
        while b"\r\n\r\n{" not in content and (part := connection.recv(4096)):
            content += part
    except ConnectionResetError:
        return content
    return content


def test_a_share_of_less_than_one_in_a_while_is_a_share() -> None:
    now = [100.0]
    limiter = RateLimiter(per_s=0.05, burst=0.25, clock=lambda: now[0])
    assert limiter.acquire("a") == 0
    assert limiter.acquire("a") == pytest.approx(20)
    assert limiter.acquire("b") == 0
    now[0] += 19
    assert limiter.acquire("a") == pytest.approx(1)
    now[0] += 1.5
    assert limiter.acquire("a") == 0
    assert limiter.acquire("a") > 19


def test_a_burst_is_given_back_over_time() -> None:
    now = [0.0]
    limiter = RateLimiter(per_s=2.0, burst=10, clock=lambda: now[0])
    assert [limiter.acquire("a") > 0 for _ in range(12)] == [False] * 10 + [True] * 2
    now[0] += 1.1
    assert [limiter.acquire("a") > 0 for _ in range(3)] == [False, False, True]


def test_rate_limit_per_client(level_bundle: Bundle, serve: Serve, clip: bytes) -> None:
    client = serve(model=level_bundle.folder, requests_per_s=1e-3)
    replies = [client.post("/api/predict", content=clip) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 429]
    assert 900 <= int(replies[-1].headers["Retry-After"]) <= 1000
    # What a client says of where it comes from is not believed, unless a proxy was named.
    forwarded = client.post("/api/predict", content=clip, headers={"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=x"})
    assert forwarded.status_code == 429
    assert client.get("/api/health").status_code == 200
