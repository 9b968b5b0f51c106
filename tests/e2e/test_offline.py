"""Nothing is asked of any other machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.machines import ROOT

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore

pytestmark = pytest.mark.ops

WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        local = (None, "", "localhost", "127.0.0.1", "::1", b"127.0.0.1", b"localhost")
        is_path = event == "socket.connect" and not isinstance(address, tuple)
        if host not in local and not is_path:
            with open(os.environ["WATCHED"], "a") as file:
                file.write(f"{event} {address!r} {sys.argv}\\n")

sys.addaudithook(watch)
"""
"""Run by every Python process at its start: writes down who wants to reach whom."""


def test_demo_server_and_training_open_no_connection(
    birdnet: Bundle, store: ModelStore, lessons: list[Path], tmp_path: Path
) -> None:
    assert birdnet.folder.is_dir()
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    watched = tmp_path / "watched.txt"
    paths = os.pathsep.join([str(tmp_path / "watch"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "WATCHED": str(watched)}
    check = "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 9), 0.01)\nexcept OSError:\n    pass"
    subprocess.run([sys.executable, "-c", check], env=environment, check=True)
    assert "192.0.2.1" in watched.read_text(), "the watch works"
    watched.unlink()
    # Where this user may, in a namespace without any network.
    alone = subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
    prefix, how = (["unshare", "-n"], "alone") if alone else ([], "watched")
    folder = lessons[0].parents[1]
    command = [*prefix, sys.executable, "-m", "tests.e2e.offline", how, str(tmp_path), str(folder), str(store.folder)]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["demo"] == 0, result
    assert result["taken"] == len(lessons)
    assert result["job"] == "done", result
    assert result["heard"]
    assert not watched.exists(), watched.read_text()
