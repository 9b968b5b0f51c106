"""Slow senders."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle


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
