"""Scores of windows by the protocol of other servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.server import Serve

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Role


def test_windows_are_scored_by_the_protocol_of_other_servers(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder, tokens={"one-for-identifying": Role.IDENTIFY})
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").status_code == 401
    client.headers["Authorization"] = "Bearer one-for-identifying"
    assert client.get("/v2").json()["name"] == "dawnchorus"
    name, version = level_bundle.info.name, level_bundle.id
    metadata = client.get(f"/v2/models/{name}").json()
    assert metadata == client.get(f"/v2/models/{name}/versions/{version}").json()
    assert metadata["inputs"] == [{"name": "waveform", "datatype": "FP32", "shape": [-1, 16_000]}]
    assert metadata["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]
    assert client.get(f"/v2/models/{name}/versions/{version}/ready").json() == {"name": name, "ready": True}
    samples, _ = soundfile.read(tone, dtype="float32")
    tensor = {"name": "waveform", "shape": [3, 16_000], "datatype": "FP32", "data": samples.tolist()}
    reply = client.post(f"/v2/models/{name}/infer", json={"id": "7", "inputs": [tensor]}).json()
    assert (reply["id"], reply["model_name"], reply["model_version"]) == ("7", name, version)
    (scores,) = reply["outputs"]
    assert scores["shape"] == [3, 3]
    rows = client.post("/api/v1/identify?min_score=0.01", content=tone.read_bytes()).json()["detections"]
    best = [max(scores["data"][3 * k : 3 * k + 3]) for k in range(3)]
    assert best == pytest.approx([max(r["score"] for r in rows if r["start_s"] == k) for k in range(3)], abs=1e-4)
    for wrong in (
        {"inputs": []},
        {"inputs": [{**tensor, "name": "x"}]},
        {"inputs": [{**tensor, "datatype": "BYTES"}]},
        {"inputs": [{**tensor, "shape": [3, 16_001]}]},
        {"inputs": [{**tensor, "shape": [-3, 16_000]}]},
        {"inputs": [{**tensor, "data": ["x"] * 48_000}]},
        {"inputs": [{**tensor, "data": [1e39] * 48_000}]},
        {"inputs": [{**tensor, "data": [[1.0], [1.0, 2.0]]}]},
        {"inputs": [tensor, tensor]},
        {"id": "\ud800", "inputs": [tensor]},
        {"inputs": [{**tensor, "data": [3e38] * 48_000}]},
    ):
        refused = client.post(f"/v2/models/{name}/infer", content=json.dumps(wrong))
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"] == refused.json()["detail"]
    assert client.post(f"/v2/models/{name}/infer", content=b"\xff{").status_code == 400
    for path in ("/v2/models/x", f"/v2/models/{name}/versions/x/ready"):
        missing = client.get(path)
        assert missing.status_code == 404
        assert name in missing.json()["error"]
    assert client.post("/v2/models/x/infer", json={"inputs": [tensor]}).status_code == 404
