"""Real servers for tests: Dawn Chorus as a process, PostgreSQL, nginx; all on loopback, gone afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Server:
    """`dawnchorus serve` as a process of its own, that can be killed and started again."""

    def __init__(
        self,
        data: Path,
        *options: str | Path,
        port: int | None = None,
        through: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        """`through` is a command that begins with ours as its arguments."""
        self.port = port or free_port()
        self.data = data
        self.address = f"http://127.0.0.1:{self.port}"
        self._command = [
            *through,
            sys.executable,
            "-m",
            "dawnchorus",
            "serve",
            "--port",
            str(self.port),
            "--data-dir",
            str(data),
        ]
        self._command += map(str, options)
        self._environment = {**os.environ, **environment}
        self.log = data.parent / f"{data.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, within_s: float = 60.0) -> Server:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            try:
                httpx.get(f"{self.address}/api/v1/health/ready", timeout=5).raise_for_status()
                return self
            except (httpx.TransportError, httpx.HTTPStatusError):
                time.sleep(0.05)
        raise AssertionError(f"not ready within {within_s} s: {self.log.read_text()}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and give its exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a client that may do everything."""
        token = self._environment.get("DAWNCHORUS_TOKEN")
        return {"Authorization": f"Bearer {token}"} if token else {}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60, headers=self.headers)


@contextmanager
def serving(*servers: Server) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            if server.process is not None:
                server.process.kill()
                server.process.wait()


def programs(*names: str) -> list[str]:
    folders = [*map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), "/usr/sbin"]
    path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
    found = [shutil.which(name, path=path) for name in names]
    missing = [name for name, program in zip(names, found, strict=True) if program is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)} (apt install postgresql nginx-light)")
    return [program for program in found if program]


class Postgres:
    """A cluster in a folder; it does not run as root."""

    def __init__(self, folder: Path) -> None:
        self._initdb, self._postgres = programs("initdb", "postgres")
        self.port, self._folder = free_port(), folder
        self._user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        self.url = f"postgresql+psycopg://dawn@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            folder.mkdir(mode=0o700)
            shutil.chown(folder, "postgres", "postgres")
            # Its own folder is private; it must be able to reach it.
            for parent in folder.parents[:-1]:
                if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
                    parent.chmod(0o755)
        command = [self._initdb, "-D", str(folder), "-U", "dawn", "-A", "trust", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._user)  # type: ignore[call-overload]

    def start(self) -> None:
        options = ["-p", str(self.port), "-k", "", "-h", "127.0.0.1"]
        self._process = subprocess.Popen(
            [self._postgres, "-D", str(self._folder), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self._user,  # type: ignore[call-overload]
        )
        wait_for(self._is_up)

    def _is_up(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        # Its children see that it is gone, and go.
        time.sleep(1.0)

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)


@contextmanager
def nginx(folder: Path, *servers: Server) -> Iterator[str]:
    """nginx with the configuration that is shipped, in front of the servers; gives its address."""
    (program,) = programs("nginx")
    folder.mkdir()
    port = free_port()
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    each = "".join(f"server 127.0.0.1:{server.port} max_fails=0;\n" for server in servers)
    text = text.replace("server server:5000 max_fails=0;\n", each)
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
    if os.getuid() == 0:
        text = f"user root;\n{text}"
    path = folder / "nginx.conf"
    path.write_text(re.sub(r"worker_processes auto", "worker_processes 1", text))
    log = folder / "nginx.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([program, "-c", str(path), "-g", "daemon off;"], stderr=stream)
    try:
        address = f"http://127.0.0.1:{port}"

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{address}/api/v1/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(is_up)
        yield address
    finally:
        process.terminate()
        process.wait()
