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

import httpx2 as httpx
import numpy as np
import psutil
import pytest
import soundfile
from tests.e2e.machines import Server, serving, wait_for
from tests.serve.conftest import Serve

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.serve import connections, uploads
from dawnchorus.serve import lanes as lanes_module
from dawnchorus.serve.access import Allowances

Replies = Counter[tuple[int, bool]]
"""How many of each status, without and with the time to come again."""


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    """Five seconds as recorders write them, 480 KB."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 5 * 48_000), 48_000, subtype="PCM_16")
    return path.read_bytes()


def load(server: Server, body: bytes, *, n_clients: int, seconds: float) -> Replies:
    """Clients that ask again as soon as they have an answer, or shortly after a refusal."""

    def ask(_: int) -> Replies:
        found: Replies = Counter()
        until = time.monotonic() + seconds
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            while time.monotonic() < until:
                connection.request("POST", "/api/predict", body, {"Content-Type": "audio/wav"})
                reply = connection.getresponse()
                reply.read()
                found[reply.status, "Retry-After" in reply.headers] += 1
                time.sleep(0.0 if reply.status == 200 else 0.02)
        return found

    with ThreadPoolExecutor(n_clients) as pool:
        return sum(pool.map(ask, range(n_clients)), Counter())


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


def test_who_comes_to_a_full_queue_is_refused_before_anything_is_read(
    level_bundle: Bundle, serve: Serve, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(model=level_bundle.folder, n_lanes=1)
    here = psutil.Process()
    long = tmp_path / "long.wav"
    soundfile.write(long, np.full(1_800 * 16_000, 0.5, np.float32), 16_000)
    monkeypatch.setattr(lanes_module, "STARTED_PER_LANE", 1)
    with ThreadPoolExecutor(2) as pool:
        address = f"{client.base_url}/api/predict"
        first, second = (pool.submit(httpx.post, address, content=long.read_bytes(), timeout=60) for _ in range(2))
        wait_for(lambda: client.get("/api/metrics").json()["waiting"] or first.done())
        monkeypatch.setattr(lanes_module, "QUEUE_S", 1e-6)
        before, n_refused = here.memory_info().rss, 0
        head = b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 480044\r\n\r\n"
        while not second.done() and n_refused < 200:
            with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as connection:
                connection.sendall(head)  # and nothing of the body
                answer = connection.recv(4096)
            if b" 503 " in answer:
                n_refused += 1
                assert b"retry-after: " in answer.lower()
        grown = here.memory_info().rss - before
        assert first.result().status_code == second.result().status_code == 200
    assert n_refused
    assert grown < 50e6
    assert client.post("/api/predict", content=clip).status_code == 200


def test_slow_senders_are_cut_off_and_keep_nobody_waiting(
    level_bundle: Bundle, serve: Serve, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 1.0)
    monkeypatch.setattr(connections, "HEADERS_S", 1.0)
    client = serve(model=level_bundle.folder)
    head = b"POST /api/v1/identify HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    sent = [b"", b"POST", head, head + b"Content-Length: 100000\r\n\r\n"]
    sent.append(head + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n--b\r\n")
    slow = [socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=20) for _ in range(50)]
    for k, connection in enumerate(slow):
        connection.sendall(sent[k % len(sent)])
    stop = threading.Event()

    def drip() -> None:
        """A byte now and then."""
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
    monkeypatch.setattr(uploads, "MIN_BYTES_PER_S", 50_000)
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
    """All that comes until the other side has had enough, or has answered."""
    found = b""
    try:
        while b"\r\n\r\n{" not in found and (part := connection.recv(4096)):
            found += part
    except ConnectionResetError:
        return found
    return found


def test_a_share_of_less_than_one_in_a_while_is_a_share() -> None:
    allowances = Allowances(0.05)
    assert allowances.take("a") == 0
    assert 15 < allowances.take("a") <= 20
    assert allowances.take("b") == 0


def test_one_client_may_not_send_more_than_its_share(level_bundle: Bundle, serve: Serve, clip: bytes) -> None:
    client = serve(model=level_bundle.folder, requests_per_s=0.2)
    replies = [client.post("/api/predict", content=clip) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 429]
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= 5
    # What a client says of where it comes from is not believed, unless a proxy was named.
    forwarded = client.post("/api/predict", content=clip, headers={"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=x"})
    assert forwarded.status_code == 429
    assert client.get("/api/health").status_code == 200
    wait_for(lambda: client.post("/api/predict", content=clip).status_code == 200, within_s=10)
