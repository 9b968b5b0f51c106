"""Models: switched by many at once, asked by the protocol of other servers, and never code in disguise."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures.commands import Command
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph
from tests.fixtures.server import Serve

from dawnchorus.errors import DawnChorusError, ModelError
from dawnchorus.models.bundle import Bundle, file_sha256, read_bundle
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Role, Settings


@pytest.fixture
def other(tmp_path: Path) -> Bundle:
    graph = level_graph(tmp_path / "half.onnx", window_samples=8_000)
    return wrap_model(graph, tmp_path / "half", labels=LEVEL_LABELS, description=replace(LEVEL, window_s=0.5))


@pytest.mark.ops
def test_eight_concurrent_switches_leave_one_model_and_no_memory(
    level_bundle: Bundle, other: Bundle, tmp_path: Path
) -> None:
    with open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)) as service:
        service.catalog.add(other, job="0" * 32, report={})
        ids = (level_bundle.id, other.id)

        def switch(k: int) -> None:
            for n in range(128):
                service.switcher.activate(ids[(k + n) % 2], f"{k}, {n}")

        with ThreadPoolExecutor(8) as pool:
            first = list(pool.map(switch, range(8)))
            before = psutil.Process().memory_info().rss
            list(pool.map(switch, range(8)))
        assert len(first) == 8
        assert psutil.Process().memory_info().rss < 1.1 * before
        latest, _ = service.catalog.list_activations()[0]
        assert service.pool.bundle.id == latest.bundle_id
        assert latest.id == 1 + 2 * 8 * 128
        assert threading.active_count() < 40


@pytest.mark.parametrize("kind", ["labels", "shape", "numbers", "hash"])
def test_a_model_that_does_not_fit_is_refused_and_the_old_one_serves(
    kind: str, level_bundle: Bundle, other: Bundle, tone: Path, tmp_path: Path, serve: Serve
) -> None:
    """Kept by an operator's hand, and broken afterwards."""
    with open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)) as service:
        service.catalog.add(other, job="0" * 32, report={})
        service.switcher.activate(other.id, "to have it here")
        service.switcher.roll_back()
    folder = tmp_path / "server" / "models" / other.id
    graph = onnx.load(folder / "model.onnx")
    if kind == "labels":
        (folder / "labels.csv").write_text("index,scientific_name,common_name,kind\n0,Avis magna,Loud Bird,species\n")
    elif kind == "shape":
        graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7
    elif kind == "numbers":
        for weight in graph.graph.initializer:
            if weight.name == "b":
                weight.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), "b"))
    else:
        graph.doc_string = "changed"
    onnx.save(graph, folder / "model.onnx")
    if kind in ("shape", "numbers"):  # by somebody who knows about hashes
        text = (folder / "bundle.json").read_text()
        (folder / "bundle.json").write_text(text.replace(other.info.sha256, file_sha256(folder / "model.onnx")))
    (tmp_path / "server" / "files").rename(tmp_path / "no-files")  # or it would be unpacked again
    client = serve(model=level_bundle.folder)
    before = client.post("/api/v1/identify?min_score=0.01", content=tone.read_bytes()).json()["detections"]
    reply = client.post(f"/api/v1/models/{other.id}/activate")
    assert reply.status_code == 409, reply.text
    assert str(tmp_path) not in reply.text
    assert client.get("/api/v1/models/active").json()["bundle_id"] == level_bundle.id
    assert client.post("/api/v1/identify?min_score=0.01", content=tone.read_bytes()).json()["detections"] == before


def test_one_command_rolls_a_server_back(
    level_bundle: Bundle, other: Bundle, tmp_path: Path, serve: Serve, command: Command
) -> None:
    with open_service(Settings(data=tmp_path / "server", model=other.folder)):
        pass  # it has served
    token = "let-me-roll-back"  # noqa: S105 - of this test
    client = serve(model=level_bundle.folder, tokens={token: Role.ADMIN, "only-identify": Role.IDENTIFY})
    server = str(client.base_url)
    client.headers["Authorization"] = f"Bearer {token}"

    def roll_back(given: str | None = token) -> tuple[int, str]:
        run = command("models", "roll-back", "--server", server, DAWNCHORUS_TOKEN=given or "")
        return run.returncode, (run.stdout + run.stderr).decode()

    code, said = roll_back()
    assert (code, "no other model was active before" in said) == (3, True), said
    assert client.post(f"/api/v1/models/{level_bundle.id}/activate").status_code == 200
    for given in (None, "only-identify", "wrong-token-of-this-test"):
        code, said = roll_back(given)
        assert code == 3, said
        assert "Set $DAWNCHORUS_TOKEN" in said
        assert given is None or given not in said
    assert client.get("/api/v1/models/active").json()["bundle_id"] == level_bundle.id
    assert roll_back() == (0, f"{server}: level 1 (bundle {other.id}) serves now.\n")
    assert client.get("/api/v1/models/active").json()["bundle_id"] == other.id


class Answers(BaseHTTPRequestHandler):
    """Some other program: it redirects POST, or answers as it likes."""

    tokens: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        self.send_response(302 if self.path.startswith("/moved") else 200)
        self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
        self.end_headers()
        self.wfile.write(b"hello" if self.path.startswith("/text") else b"[]")

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def test_what_is_no_server_of_ours_is_said(command: Command) -> None:
    other = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    base = f"http://127.0.0.1:{other.server_port}"
    for server, code, message in (
        (f"{base}/moved", 3, f"It redirects to {base}/elsewhere: give that server's URL with --server"),
        (f"{base}/text", 3, "expected the reply of a Dawn Chorus server"),
        (base, 3, "expected the reply of a Dawn Chorus server"),
        ("localhost:5000", 2, "expected a URL such as http://127.0.0.1:5000"),
        ("http://127.0.0.1:x", 3, "nonnumeric port"),
    ):
        run = command("models", "roll-back", "--server", server, DAWNCHORUS_TOKEN="x")
        assert (run.returncode, message in run.stderr.decode()) == (code, True), run.stderr
        assert b"Traceback" not in run.stderr
    assert Answers.tokens == ["Bearer x"] * 3, "a redirect is not followed"
    other.shutdown()
    other.server_close()
    run = command("models", "roll-back", "--server", base)
    assert run.returncode == 3
    assert b"the server cannot be reached" in run.stderr


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickles_are_models_nowhere(level_bundle: Bundle, tmp_path: Path, command: Command) -> None:
    canary = tmp_path / "canary"
    payload = pickle.dumps(Canary(canary))
    for name in ("model.pt", "model.pkl", "model.onnx", "model.tflite", "model.ckpt"):
        (tmp_path / name).write_bytes(payload)
        labels = tmp_path / "labels.txt"
        labels.write_text("a_A\nb_B\nc_C\n")
        common = ("--labels", labels, "--rate", "16000", "--window", "1", "--license", "CC0-1.0")
        made = command("models", "wrap", tmp_path / name, tmp_path / f"of {name}", *common)
        assert made.returncode not in (0, 1), made.stderr
        assert b"Traceback" not in made.stderr
        served = command("serve", "--model", tmp_path / name, "--data-dir", tmp_path / "server")
        assert served.returncode not in (0, 1), served.stderr
        assert b"Traceback" not in served.stderr
    for part in ("model.onnx", "bundle.json", "labels.csv"):
        folder = tmp_path / f"bundle with {part}"
        folder.mkdir()
        for path in level_bundle.folder.iterdir():
            (folder / path.name).write_bytes(payload if path.name == part else path.read_bytes())
        served = command("serve", "--model", folder, "--data-dir", tmp_path / "server")
        assert served.returncode not in (0, 1), served.stderr
        assert b"Traceback" not in served.stderr
    assert not canary.exists()


def odd_graph(kind: str, folder: Path) -> Path:
    """Return a classifier of 16,000 samples into three that reaches for what it should not."""
    shape = [16_000, 3]
    if kind == "outside":
        secret = folder / "secret"
        secret.write_bytes(np.full(48_000, 7, np.float32).tobytes())
        (folder / "in").mkdir()
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape)
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="../secret")
    elif kind == "huge":
        shape = [16_000, 10**9]
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape)
    else:
        weight = numpy_helper.from_array(np.zeros(shape, np.float32), "w")
    domain = "evil.example.org" if kind == "domain" else ""
    node = helper.make_node("MatMul", ["sound", "w"], ["scores"], domain=domain)
    audio = helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", 16_000])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", shape[1]])
    graph = helper.make_graph([node], "odd", [audio], [scores], [weight])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("evil.example.org", 1)]
    path = folder / "in" / "odd.onnx" if kind == "outside" else folder / "odd.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["outside", "huge", "domain"])
def test_graphs_that_reach_out_are_refused(kind: str, level_bundle: Bundle, tmp_path: Path) -> None:
    graph = odd_graph(kind, tmp_path)
    with pytest.raises(DawnChorusError):
        wrap_model(graph, tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    assert not (tmp_path / "bundle").exists()
    # As a bundle of somebody's, with hashes that fit.
    folder = tmp_path / "in" / "made" if kind == "outside" else tmp_path / "made"
    folder.mkdir()
    for path in level_bundle.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if kind == "outside":
        (folder.parent / "secret").write_bytes((tmp_path / "secret").read_bytes())
    (folder / "model.onnx").write_bytes(graph.read_bytes())
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace(level_bundle.info.sha256, file_sha256(folder / "model.onnx")))
    read_bundle(folder)
    with pytest.raises(ModelError), open_service(Settings(data=tmp_path / "server", model=folder)):
        pass
