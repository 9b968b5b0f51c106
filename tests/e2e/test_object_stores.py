"""Runs over a bucket of S3: rows equal those of the folder, whatever happens on the way."""

from __future__ import annotations

import http.client
import io
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
from obstore.store import S3Store
from tests.fixtures.databases import database
from tests.fixtures.http_server import QuietHandler, serving_http
from tests.fixtures.moto_server import VARIABLES, serving_s3
from tests.fixtures.sounds import tone
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.workflows import import_recordings

pytestmark = pytest.mark.ops

BUCKET = "birds"
NAMES = ("2026/a/one_20260601_040000.wav", "2026/a/two.flac", "2026/b/three.wav", "2026/b/four.wav", "2026/five.wav")


class Proxy(QuietHandler):
    """Passes requests on to the store, but for faults of the next reads."""

    protocol_version = "HTTP/1.1"
    endpoint = ""
    faults: deque[Callable[[Proxy], None]]
    always: Callable[[Proxy], None] | None = None
    n_ranges = 0

    def handle_any(self) -> None:
        """Answer a request."""
        kind = type(self)
        is_read = self.command == "GET" and "Range" in self.headers
        kind.n_ranges += is_read
        if is_read and (kind.faults or kind.always):
            (kind.faults.popleft() if kind.faults else kind.always)(self)  # type: ignore[misc]
            return
        status, headers, body = self.forward()
        self.answer(status, headers, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def forward(self) -> tuple[int, dict[str, str], bytes]:
        """Return the reply of the store."""
        host = self.endpoint.removeprefix("http://")
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            connection.request(self.command, self.path, content, {**self.headers, "Connection": "close"})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: int | None = None) -> None:
        """Send a reply; with `cut`, only so many bytes of its body, before the connection ends."""
        self.send_response(status)
        length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = cut is not None


def slow_down(proxy: Proxy) -> None:
    """Reply that there is too much to do."""
    proxy.answer(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"}, b"<Error><Code>SlowDown</Code></Error>")


def half(proxy: Proxy) -> None:
    """Send half of what was asked for."""
    status, headers, body = proxy.forward()
    proxy.answer(status, headers, body, cut=len(body) // 2)


def forbidden(proxy: Proxy) -> None:
    """Refuse, and quote a key."""
    proxy.answer(HTTPStatus.FORBIDDEN, {}, b"<Error><AWSAccessKeyId>SECRETKEY</AWSAccessKeyId></Error>")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving_s3(BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def folder(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings on disk, and the same in the bucket."""
    folder = tmp_path_factory.mktemp("bucket")
    bucket = store(endpoint)
    for k, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.tile(tone(level=0.05 + 0.2 * (k % 3)), 30), 16_000)
        bucket.put(name, path)
    (folder / "2026" / "note.txt").write_text("windy")
    bucket.put("2026/note.txt", b"windy")
    return folder


def store(endpoint: str) -> S3Store:
    keys: Any = {
        "access_key_id": VARIABLES["AWS_ACCESS_KEY_ID"],
        "secret_access_key": VARIABLES["AWS_SECRET_ACCESS_KEY"],
    }
    return S3Store(BUCKET, endpoint=endpoint, region="us-east-1", client_options={"allow_http": True}, **keys)


@pytest.fixture
def proxy(endpoint: str) -> Iterator[type[Proxy]]:
    handler = type("OneProxy", (Proxy,), {"endpoint": endpoint, "faults": deque()})
    with serving_http(handler) as handler.url:  # type: ignore[attr-defined]
        yield handler


class Program:
    """The command line against a store."""

    def __init__(self, url: str, bundle: Bundle, runs: Path, *, retry_s: int = 60) -> None:
        self._environment = {
            **os.environ,
            **VARIABLES,
            "AWS_ENDPOINT_URL": url,
            "DAWNCHORUS_RUNS": str(runs),
            "DAWNCHORUS_STORE_RETRY_S": str(retry_s),
            "NO_PROXY": "127.0.0.1",
        }
        self._bundle = bundle

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dawnchorus", "identify", *arguments, "--model", self._bundle.folder]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        with self.start(*arguments) as process:
            output = process.communicate()[0]
        assert "SECRETKEY" not in output
        return process.returncode, output


def rows(table: Path | bytes, root: str) -> list[dict[str, Any]]:
    """Return the rows of a Parquet table, with the recordings' names below a root."""
    source = io.BytesIO(table) if isinstance(table, bytes) else table
    listed: list[dict[str, Any]] = pyarrow.parquet.read_table(source).to_pylist()
    assert listed
    return [{**row, "recording": row["recording"].removeprefix(root)} for row in listed]


@pytest.fixture(scope="module")
def expected(folder: Path, level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("expected") / "x.parquet"
    code, output = Program("", level_bundle, out.parent).run(folder / "2026", "--out", out)
    assert code == 0, output
    return rows(out, f"{folder}/")


def read(endpoint: str, key: str) -> bytes:
    return bytes(store(endpoint).get(key).bytes())


def test_a_bucket_gives_the_rows_of_the_folder(
    endpoint: str, level_bundle: Bundle, tmp_path: Path, expected: list[dict[str, Any]]
) -> None:
    program = Program(endpoint, level_bundle, tmp_path)
    code, output = program.run(f"s3://{BUCKET}/2026", "--out", f"s3://{BUCKET}/out/folder.parquet")
    assert code == 0, output
    assert rows(read(endpoint, "out/folder.parquet"), f"s3://{BUCKET}/") == expected
    code, output = program.run(f"s3://{BUCKET}/2026/**/*.wav", "--out", f"s3://{BUCKET}/out/wav.parquet")
    assert code == 0, output
    found = rows(read(endpoint, "out/wav.parquet"), f"s3://{BUCKET}/")
    wanted = [row for row in expected if row["recording"].endswith(".wav")]
    assert sorted(found, key=repr) == sorted(wanted, key=repr)
    code, output = program.run(f"s3://{BUCKET}/2026", "--out", f"s3://{BUCKET}/out/folder.parquet")
    assert (code, "it holds a finished run" in output) == (4, True)


def test_faults_of_the_store_change_nothing(
    endpoint: str, proxy: Any, level_bundle: Bundle, tmp_path: Path, expected: list[dict[str, Any]]
) -> None:
    proxy.faults.extend([slow_down, half, slow_down, slow_down, half, half, slow_down])
    code, output = Program(proxy.url, level_bundle, tmp_path).run(
        f"s3://{BUCKET}/2026", "--out", f"s3://{BUCKET}/out/faults.parquet", "--quiet"
    )
    assert code == 0, output
    assert not proxy.faults
    assert rows(read(endpoint, "out/faults.parquet"), f"s3://{BUCKET}/") == expected


def test_a_refusal_is_a_failure_of_each_recording_and_the_next_run_reads_them(
    endpoint: str, proxy: Any, level_bundle: Bundle, tmp_path: Path, expected: list[dict[str, Any]]
) -> None:
    proxy.always = forbidden
    program = Program(proxy.url, level_bundle, tmp_path)
    arguments = (f"s3://{BUCKET}/2026", "--out", f"s3://{BUCKET}/out/refused.parquet")
    code, output = program.run(*arguments, "--quiet")
    assert (code, output.count("failed: "), output.count("the store refused access")) == (3, 5, 5)
    assert b"SECRETKEY" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    proxy.always = None
    code, output = program.run(*arguments, "--resume")
    assert code == 0, output
    assert rows(read(endpoint, "out/refused.parquet"), f"s3://{BUCKET}/") == expected


def test_a_recording_replaced_during_the_run_is_one_failure(
    endpoint: str, proxy: Any, level_bundle: Bundle, tmp_path: Path, folder: Path
) -> None:
    key = "changing/x.wav"
    content = (folder / NAMES[0]).read_bytes()
    store(endpoint).put(key, content)

    def replace(handler: Proxy) -> None:
        store(endpoint).put(key, content[::-1])
        handler.answer(*handler.forward())

    proxy.faults.append(replace)
    program = Program(proxy.url, level_bundle, tmp_path)
    code, output = program.run(f"s3://{BUCKET}/changing", "--out", tmp_path / "x.csv", "--quiet", "--workers", "1")
    # The dry look at the headers comes before; so the first range of the run, or the next one, is refused.
    assert (code, output.count("failed: "), "it was replaced while it was read" in output) == (3, 1, True), output


def test_a_killed_run_continues_on_this_machine(
    endpoint: str, proxy: Any, level_bundle: Bundle, tmp_path: Path, expected: list[dict[str, Any]]
) -> None:
    gate = threading.Event()
    program = Program(proxy.url, level_bundle, tmp_path)
    arguments = (f"s3://{BUCKET}/2026", "--out", f"s3://{BUCKET}/out/killed.parquet", "--workers", "1", "--quiet")

    def wait(handler: Proxy) -> None:
        gate.wait(60)
        handler.answer(*handler.forward())

    def late(handler: Proxy) -> None:
        if type(handler).n_ranges > 4:
            wait(handler)
        else:
            handler.answer(*handler.forward())

    proxy.always = late
    process = program.start(*arguments)
    try:
        wait_for(lambda: proxy.n_ranges > 4)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        gate.set()
    proxy.always = None
    with pytest.raises(FileNotFoundError):
        read(endpoint, "out/killed.parquet")
    code, output = program.run(*arguments)
    assert code == 0, output
    assert rows(read(endpoint, "out/killed.parquet"), f"s3://{BUCKET}/") == expected


@pytest.mark.usefixtures("folder")
def test_a_result_that_another_machine_wrote_meanwhile_is_kept(
    endpoint: str, proxy: Any, level_bundle: Bundle, tmp_path: Path
) -> None:
    """The journal and its lock are on one machine: between two, the store decides."""

    def write(handler: Proxy) -> None:
        store(endpoint).put("out/raced.parquet", b"theirs")
        handler.answer(*handler.forward())

    proxy.faults.append(write)
    program = Program(proxy.url, level_bundle, tmp_path)
    arguments = (f"s3://{BUCKET}/2026/five.wav", "--out", f"s3://{BUCKET}/out/raced.parquet", "--quiet")
    code, output = program.run(*arguments)
    assert (code, "kept as raced.parquet.changed-1" in output) == (0, True), output
    assert read(endpoint, "out/raced.parquet.changed-1") == b"theirs"
    assert rows(read(endpoint, "out/raced.parquet"), f"s3://{BUCKET}/")


def test_a_bucket_with_a_folder_for_each_species_is_imported(
    endpoint: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    for species, name in (("Parus major", NAMES[0]), ("Cuculus canorus", NAMES[1])):
        key = f"labeled/{species}/{Path(name).name}"
        store(endpoint).put(key, folder / name)
        (tmp_path / key).parent.mkdir(parents=True)
        (tmp_path / key).write_bytes((folder / name).read_bytes())
    local = import_recordings(tmp_path / "labeled", tmp_path / "local", layout="folders")
    remote = import_recordings(f"s3://{BUCKET}/labeled", tmp_path / "remote")
    assert [replace(row, path="") for row in remote.rows] == [replace(row, path="") for row in local.rows]
    assert remote.rows[0].path == f"s3://{BUCKET}/labeled/Cuculus canorus/two.flac"


def test_a_server_keeps_its_files_in_a_bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    with closing(database(tmp_path)) as state:
        files = BlobStore(state, f"s3://{BUCKET}/server", cache=tmp_path / "cache", scratch=tmp_path)
        (tmp_path / "x.bin").write_bytes(bytes(range(256)) * 40_000)
        for _ in range(2):
            with files.keep(tmp_path / "x.bin") as (_session, sha256):
                assert files.size(sha256) == 10_240_000
        assert files.local(sha256).read_bytes() == (tmp_path / "x.bin").read_bytes()
        files.sweep()
        assert files.size(sha256) is not None
        files.delete_unused(sha256)
        assert files.size(sha256) is None
