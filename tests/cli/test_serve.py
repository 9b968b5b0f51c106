"""The command `serve`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.machines import Server, serving

from dawnchorus.models.bundle import Bundle


@pytest.mark.ops
def test_sigterm_finishes_running_requests(level_bundle: Bundle, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    long = tmp_path / "long.wav"
    soundfile.write(long, np.full(900 * 16_000, 0.5, np.float32), 16_000)
    arguments = ["serve", "--model", level_bundle.folder, "--port", str(port), "--data-dir", tmp_path / "server"]
    process = subprocess.Popen([sys.executable, "-m", "dawnchorus", *arguments], stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, process.communicate()[1]
            try:
                httpx.get(f"{url}/api/v1/health/ready").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.05)
        with ThreadPoolExecutor(8) as pool:
            body = long.read_bytes()
            replies = [pool.submit(httpx.post, f"{url}/api/predict", content=body, timeout=60) for _ in range(8)]
            while f"dawnchorus_recordings_waiting {8 - (os.cpu_count() or 1)}" not in httpx.get(f"{url}/metrics").text:
                if all(reply.done() for reply in replies):
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            results = [reply.result() for reply in replies]
        assert [reply.status_code for reply in results] == [200] * 8
        errors = process.communicate(timeout=30)[1]
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert f"Serving at {url}\n" in errors
        left = {path.name for path in (tmp_path / "server").rglob("*") if path.is_file()}
        assert left == {"server.lock", "state.db"}
    finally:
        process.kill()
        process.wait()


def test_wrong_requests_to_serve_end_with_advice(tmp_path: Path, command: Command) -> None:
    public = command("serve", "--host", "0.0.0.0", "--data-dir", tmp_path)
    assert public.returncode == 2
    assert b"a token is needed" in public.stderr
    unknown = command("serve", "--model", "nothing", "--data-dir", tmp_path, "--port", "0")
    assert unknown.returncode == 5
    assert b"nothing" in unknown.stderr
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refused = command("serve", "--port", str(port), "--data-dir", tmp_path)
    assert refused.returncode == 6
    assert f"port {port}".encode() in refused.stderr


@pytest.mark.ops
def test_a_proxy_may_show_it_below_a_path(level_bundle: Bundle, tmp_path: Path) -> None:
    audio = tmp_path / "x.wav"
    soundfile.write(audio, np.full(16_000, 0.5, np.float32), 16_000)
    limits = "--max-upload-mb", "3", "--max-hours", "0.5"
    server = Server(tmp_path / "server", "--model", level_bundle.folder, "--root-path", "/birds", *limits)
    with serving(server), server.client() as client:
        assert "up to 3 MB and 0.5 h each" in client.get("/").text
        assert client.post("/api/v1/identify", content=bytes(4 << 20)).status_code == 413
        page = client.get("/recordings").text
        assert 'href="/birds/recordings" aria-current="page"' in page
        assert 'src="/birds/static/page.js"' in page
        reply = client.post("/", files={"audio": ("x.wav", audio.read_bytes())})
        assert reply.headers["location"].startswith("/birds/recordings/")
        assert client.get(reply.headers["location"].removeprefix("/birds")).status_code == 200
        assert client.get("/api/v1/recordings").json()["total"] == 1
