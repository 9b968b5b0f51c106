"""Behind a proxy of one's own: TLS, a path below which the server is shown, large bodies, progress as it happens."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.machines import Server, free_port, programs, serving
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle

pytestmark = pytest.mark.ops

TOKEN = "a-token-of-this-test"  # noqa: S105

NGINX = """
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        client_max_body_size 520m;
        location /birds/ {{
            proxy_pass http://127.0.0.1:{server}/;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffering off;
        }}
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
    storage file_system {folder}/storage
}}
https://127.0.0.1:{port} {{
    tls {folder}/certificate.pem {folder}/key.pem
    handle_path /birds/* {{
        reverse_proxy 127.0.0.1:{server} {{
            flush_interval -1
        }}
    }}
}}
"""


@contextmanager
def proxy(kind: str, folder: Path, server: Server) -> Iterator[httpx.Client]:
    """Yield the proxy with a certificate of its own, and a client that knows it."""
    program, openssl = programs(kind, "openssl")
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    port, path = free_port(), folder / f"{kind}.conf"
    path.write_text({"nginx": NGINX, "caddy": CADDY}[kind].format(folder=folder, port=port, server=server.port))
    options = {
        "nginx": ["-c", str(path), "-g", "daemon off;"],
        "caddy": ["run", "--adapter", "caddyfile", "--config", str(path)],
    }[kind]
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([program, *options], stdout=stream, stderr=stream, env={"HOME": str(folder)})
    trusted = ssl.create_default_context(cafile=certificate)
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}/birds", verify=trusted, timeout=120) as client:

            def is_up() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return client.get("/api/v1/health/ready").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(is_up)
            yield client
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_all_is_there_behind_a_proxy(kind: str, level_bundle: Bundle, tmp_path: Path) -> None:
    options = ["--model", level_bundle.folder, "--root-path", "/birds", "--trusted-proxy", "127.0.0.1"]
    server = Server(tmp_path / "server", *options, DAWNCHORUS_TOKEN=TOKEN)
    with serving(server), proxy(kind, tmp_path / "proxy", server) as client:
        page = {"Accept": "text/html"}
        assert client.get("/", headers=page).headers["location"] == "/birds/login"
        logged_in = client.post("/login", data={"token": TOKEN})
        assert logged_in.status_code == 303
        assert "Secure" in logged_in.headers["set-cookie"]
        for path in ("/", "/recordings", "/review", "/training", "/models", "/overview", "/system", "/docs"):
            response = client.get(path, headers=page)
            assert response.status_code == 200, path
            assert 'src="/static' not in response.text
            assert 'href="/recordings' not in response.text
        assert client.get("/static/page.js").status_code == 200
        csrf = {"X-CSRF-Token": page_token(client)}

        long = tmp_path / "long.wav"  # 100 MB
        soundfile.write(long, np.full(25_000_000, 0.25, np.float32), 16_000, subtype="FLOAT")
        reply = client.post("/api/v1/identify?top=1", files={"audio": ("long.wav", long.read_bytes())}, headers=csrf)
        assert reply.status_code == 202, reply.text
        reported = []
        with client.stream("GET", reply.json()["events"]) as stream:
            reported = [line for line in stream.iter_lines() if line.startswith("data:")]
        assert any('"done"' in line for line in reported)
        recording = client.get("/api/v1/recordings").json()["recordings"][0]
        part = client.get(recording["audio"], headers={"Range": "bytes=100-199"})
        assert (part.status_code, len(part.content)) == (206, 100)
        assert client.get(f"{recording['spectrogram']}?end_s=20").headers["content-type"] == "image/png"
        # From another site, though the proxy stands between.
        foreign = {**csrf, "Origin": "https://evil.example.org"}
        assert client.post("/api/v1/models/rollback", headers=foreign).status_code == 403


def page_token(client: httpx.Client) -> str:
    text = client.get("/", headers={"Accept": "text/html"}).text
    return text.partition('data-csrf="')[2].partition('"')[0]
