"""The server: the same numbers as the command line, limits that hold, errors that help and tell no secrets."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import InputError
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.settings import Role, Settings, token_roles


def test_the_rows_are_those_of_the_command_line(
    dawn: Path, birdnet: Bundle, store: ModelStore, serve: Serve, command: Command
) -> None:
    client = serve(models_folder=store.folder)
    expected = json.loads(command("identify", dawn, "--json", "-q", "--min-score", "0.1").stdout)["detections"]
    with dawn.open("rb") as file:
        reply = client.post("/api/v1/identify?min_score=0.1", files={"audio": (dawn.name, file)})
    assert reply.status_code == 200, reply.text
    reply_fields = reply.json()
    assert reply_fields["bundle_id"] == birdnet.id
    assert reply_fields["recording"] == dawn.name
    keys = ("start_s", "end_s", "scientific_name", "common_name")
    assert [[row[k] for k in keys] for row in reply_fields["detections"]] == [
        [row[k] for k in keys] for row in expected
    ]
    assert [row["score"] for row in reply_fields["detections"]] == pytest.approx(
        [r["score"] for r in expected], abs=1e-4
    )
    raven = client.post("/api/v1/identify?format=raven&min_score=0.1", content=dawn.read_bytes())
    assert raven.text.splitlines()[0].startswith("Selection\tView")
    assert len(raven.text.splitlines()) == 1 + len(expected)
    result = client.post("/api/v1/identify?lat=52.5&lon=13.4&week=18", content=dawn.read_bytes()).json()
    assert {row["in_range"] for row in result["detections"]} == {True, False}
    best = client.post("/api/predict", files={"audio": ("x.wav", dawn.read_bytes())}).json()
    top = max(expected, key=lambda row: row["score"])
    assert best["predicted_species"] == top["common_name"]
    assert best["confidence"] == pytest.approx(top["score"], abs=1e-4)


def test_the_dashboards_interface(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    for _ in range(3):
        reply = client.post("/api/predict", files={"audio": (tone.name, tone.read_bytes())})
        assert reply.status_code == 200, reply.text
    reply_fields = reply.json()
    assert reply_fields["predicted_species"] == "Quiet Bird"
    assert reply_fields["confidence"] == pytest.approx(0.75, abs=1e-4)
    assert reply_fields["confidence_percent"] == "75.00%"
    assert list(reply_fields["top_5_predictions"]) == ["Quiet Bird", "Loud Bird", "Engine"], "the surest first"
    assert reply_fields["top_5_predictions"]["Quiet Bird"] == reply_fields["confidence"]
    assert client.get("/api/health").json()["model_version"] == level_bundle.id
    assert client.get("/api/classes").json() == {"classes": ["Loud Bird", "Quiet Bird", "Engine"], "num_classes": 3}
    metrics = client.get("/api/metrics").json()
    assert metrics["total_predictions"] == 3
    assert metrics["average_confidence"] == pytest.approx(0.75, abs=1e-4)
    assert metrics["species_distribution"] == {"Quiet Bird": 3}
    counted = client.get("/metrics").text
    assert 'dawnchorus_requests_total{method="POST",route="/api/predict",status="200"} 3.0' in counted
    assert "dawnchorus_audio_seconds_total 9.0" in counted
    assert client.get("/api/v1/health/ready").json() == {"status": "ready", "bundle_id": level_bundle.id}
    assert client.get("/api/v1/models/active").json()["n_classes"] == 3
    assert "/api/v1/identify" in client.get("/api/openapi.json").json()["paths"]


def lying_flac(path: Path) -> Path:
    """Return a FLAC whose header promises 2**36 - 1 samples."""
    soundfile.write(path, np.zeros(48_000), 48_000)
    data = bytearray(path.read_bytes())
    (word,) = struct.unpack(">Q", data[18:26])
    data[18:26] = struct.pack(">Q", word | (1 << 36) - 1)
    path.write_bytes(data)
    return path


def test_bad_uploads_are_refused_by_name_and_leave_nothing(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder, limits=Limits(max_bytes=300_000, max_duration_s=600))
    many = tmp_path / "many.wav"
    soundfile.write(many, np.zeros((800, 16)), 16_000)
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros(700 * 8_000), 8_000)
    cases: list[tuple[int, str, bytes]] = [
        (400, "got nothing", b""),
        (422, "but a page in HTML", b"<!-- moved --><html>no</html>"),
        (422, "not a sound file", b"PK\x03\x04" + bytes(1000)),
        (413, "header promises 700 s", long.read_bytes()),
        (413, "header promises", lying_flac(tmp_path / "lying.flac").read_bytes()),
        (413, "at most 8 channels", many.read_bytes()),
        (413, "at most 300000 bytes", bytes(300_001)),
    ]
    for status, message, body in cases:
        for reply in (
            client.post("/api/v1/identify", content=body),
            client.post("/api/predict", files={"audio": ("<b>the name.wav", body)}),
        ):
            assert reply.status_code == status, reply.text
            assert reply.headers["content-type"] == "application/problem+json"
            assert message in reply.json()["detail"]
            assert str(tmp_path) not in reply.text
            assert "upload-" not in reply.text
    unannounced = client.post("/api/v1/identify", content=(bytes(100_000) for _ in range(5)))
    assert unannounced.status_code == 413
    for query, status in (("overlap=-1", 422), ("min_score=2", 422), ("format=nope", 400), ("overlap=2", 400)):
        assert client.post(f"/api/v1/identify?{query}", content=tone.read_bytes()).status_code == status
    assert client.post("/api/predict", files={"other": b"x"}).status_code == 400
    assert client.post("/api/predict", files=[("audio", b"x"), ("audio", b"y")]).status_code == 400
    assert client.get("/nowhere").json()["title"] == "Not Found"
    detail = client.post("/api/v1/identify/", content=b"x").json()["detail"]
    assert detail == "Not Found: /api/v1/identify/. Addresses here have no slash at their end."
    (spool,) = (tmp_path / "server").glob("spool-*/")
    assert not list(spool.iterdir()), "no upload stays"
    assert client.post("/api/predict", files={"audio": tone.read_bytes()}).status_code == 200


def test_disconnected_client_leaves_nothing(level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    head = b"POST /api/v1/identify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    assert client.post("/api/predict", files={"audio": tone.read_bytes()}).status_code == 200
    n_open = psutil.Process().num_fds()
    for _ in range(100):
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(head + bytes(1000))
    assert client.post("/api/predict", files={"audio": tone.read_bytes()}).status_code == 200
    (spool,) = (tmp_path / "server").glob("spool-*/")
    wait_for(lambda: not list(spool.iterdir()), within_s=10)
    wait_for(lambda: psutil.Process().num_fds() <= n_open + 20, within_s=10)
    assert client.get("/api/metrics").json()["waiting"] == 0


def test_token_is_required_except_for_health_checks(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"operator-secret": Role.ADMIN})
    assert client.get("/api/v1/health/live").status_code == 200
    for path in ("/api/health", "/api/metrics", "/metrics", "/docs", "/api/openapi.json", "/api/v1/recordings"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        reply = client.get(path, headers={"Authorization": "Bearer operator-secret"})
        assert reply.status_code == 200
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert client.post("/api/predict", content=b"x").status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "birds.example.org", "::"])
def test_public_host_requires_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a token is needed"):
        Settings(data=tmp_path, host=host)
    settings = Settings(data=tmp_path, host=host, tokens={"operator-secret": Role.ADMIN})
    assert "secret" not in repr(settings)
    with pytest.raises(InputError, match="fewer than 12 characters"):
        Settings(data=tmp_path, host=host, tokens={"short": Role.ADMIN})


def test_every_route_requires_a_token_unless_listed(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"operator-secret": Role.ADMIN})
    paths = client.get("/api/openapi.json", headers={"Authorization": "Bearer operator-secret"}).json()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(routes) >= 7
    answered = {(m, p) for m, p in routes if client.request(m, p).status_code != 401}
    assert answered == {("GET", f"{base}/health/{what}") for base in ("/api/v1", "/v2") for what in ("live", "ready")}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example.org"}, 421),
        ({"Host": "evil.example.org", "Sec-Fetch-Site": "same-origin"}, 421),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:80"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(
    headers: dict[str, str], status: int, level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    assert client.post("/api/predict", content=tone.read_bytes(), headers=headers).status_code == status


def test_malicious_multipart_bodies_are_rejected(
    level_bundle: Bundle, serve: Serve, tmp_path: Path, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    kind = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    bodies = [
        (kind, b"".join(part % k for k in range(10_000)) + b"--b--\r\n"),
        (kind, b"--b\r\n" + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n--b--"),
        (kind, b"\r\n" * 100_000 + b"--b--"),
        (kind, b"no boundary at all"),
        ("multipart/form-data", b"--b--"),
        (kind, b'--b\r\nContent-Disposition: form-data; name="audio"\r\n\r\n' + b"x" * 10_000 + b"\r\n--b--\r\n"),
    ]
    for content_type, body in bodies:
        reply = client.post("/api/predict", content=body, headers={"Content-Type": content_type})
        assert reply.status_code == 400, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
    names = [
        "../../etc/passwd",
        "..\\..\\x",
        "%2e%2e%2fx",
        "a" * 1000,
        "<script>alert(1)</script>.wav",
        "x\n.wav",
        "-rf",
    ]
    for name in names:
        reply = client.post("/api/v1/identify", files={"audio": (name, tone.read_bytes())})
        assert reply.status_code == 200
        assert not {"/", "\\"} & set(reply.json()["recording"])
        assert len(reply.json()["recording"]) <= 255
    assert {path.name for path in tmp_path.iterdir()} == {"server", tone.name}


def test_tables_that_are_read_in_pages_are_whole_and_in_order(
    level_bundle: Bundle, serve: Serve, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder, limits=Limits(page_rows=7))
    soundfile.write(tmp_path / "long.wav", np.full(20 * 16_000, 0.25, np.float32), 16_000, subtype="FLOAT")
    body = (tmp_path / "long.wav").read_bytes()
    assert client.post("/api/v1/identify?store=true&min_score=0.5", content=body).status_code == 200
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    table = f"/api/v1/recordings/{recording['sha256']}/detections"
    rows = client.get(table).json()["detections"]
    assert [row["start_s"] for row in rows] == list(range(20))
    assert rows == client.get("/api/v1/detections?limit=200").json()["detections"]
    lines = client.get(f"{table}?format=raven").text.splitlines()[1:]
    assert [line.split("\t")[0] for line in lines] == [str(k + 1) for k in range(20)]
    assert [float(line.split("\t")[3]) for line in lines] == list(range(20))
    lines = client.get(f"{table}?format=audacity").text.splitlines()
    assert [float(line.split("\t")[0]) for line in lines] == list(range(20))


def test_spectrogram_is_drawn_once_and_deleted_with_its_recording(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true&min_score=0.5", content=tone.read_bytes())
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    first = client.get(recording["spectrogram"])
    kept = list((tmp_path / "server").glob("spool-*/response-*"))
    assert [path.read_bytes() for path in kept] == [first.content]
    assert client.get(recording["spectrogram"]).content == first.content
    assert list((tmp_path / "server").glob("spool-*/response-*")) == kept
    assert client.delete(f"/api/v1/recordings/{recording['sha256']}").status_code == 204
    assert not list((tmp_path / "server").glob("spool-*/response-*"))
    assert client.get(recording["spectrogram"]).status_code == 404


def test_one_token_for_two_roles_is_refused() -> None:
    apart = token_roles(identify="for-identifying", train=None, admin="the-operators-one")
    assert apart == {"for-identifying": Role.IDENTIFY, "the-operators-one": Role.ADMIN}
    with pytest.raises(InputError, match=r"\$DAWNCHORUS_TRAIN_TOKEN and \$DAWNCHORUS_TOKEN: expected two tokens"):
        token_roles(identify=None, train="the-same-token", admin="the-same-token")
