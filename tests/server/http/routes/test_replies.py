"""Examples of the description."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.responses import while_connected
from dawnchorus.server.http.routes.replies import JsonRoute

BIRD = "Parus major_Great Tit"


def differs(example: Any, real: Any, where: str = "") -> str:
    """Yield the paths at which the two have other fields; null or empty in either matches anything."""
    if isinstance(example, dict) and isinstance(real, dict):
        open_ended = "species_distribution", "top_5_predictions", "parameters", "options", "result", "report"
        if not where.endswith(open_ended):
            if example.keys() != real.keys():
                return f"{where}: {sorted(example.keys() ^ real.keys())}"
            differences = (differs(example[key], real[key], f"{where}/{key}") for key in example)
            return next((text for text in differences if text), "")
        return ""
    if isinstance(example, list) and isinstance(real, list):
        return differs(example[0], real[0], f"{where}/0") if example and real else ""
    numbers = (int, float)
    same = (
        example is None or real is None or isinstance(real, type(example)) or {type(example), type(real)} <= {*numbers}
    )
    return "" if same else f"{where}: {example!r}, {real!r}"


def test_examples_look_like_what_the_server_says(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    paths = client.get("/api/openapi.json").json()["paths"]
    body, n_compared = tone.read_bytes(), 0
    values = {"name": level_bundle.info.name, "bundle_id": level_bundle.id}

    def check(operation: str, status: int = 200, query: str = "", **options: Any) -> Any:
        nonlocal n_compared
        method, path = operation.split()
        real = client.request(method, path.format(**values) + query, **options)
        assert real.status_code == status, real.text
        content = paths[path][method.lower()]["responses"][f"{status}"]["content"]["application/json"]
        assert not differs(content["example"], real.json()), f"{operation}: {differs(content['example'], real.json())}"
        n_compared += 1
        return real.json()

    check("POST /api/v1/identify", query="?store=true&min_score=0.01", files={"audio": (tone.name, body)})
    values["job_id"] = check("POST /api/v1/identify", 202, query="?background=true", content=body)["id"]
    wait_for(lambda: client.get(f"/api/v1/jobs/{values['job_id']}").json()["status"] == "done")
    check("POST /api/predict", content=body)
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    values["sha256"] = recording["sha256"]
    values["number"] = client.get("/api/v1/detections").json()["detections"][0]["id"]
    client.get("/review").raise_for_status()  # the cookie of its browser
    check("PUT /api/v1/detections/{number}/review", json={"verdict": "relabeled", "species": BIRD, "new_class": True})
    check("POST /api/v1/training-data", files={"audio": (f"{BIRD}/x.wav", body)})
    check("POST /api/upload_bulk", files={"audio": (f"{BIRD}/y.wav", body + b"\0")})
    for path, methods in paths.items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        # Of a bundle, some fields may be left out.
        if "example" in content.get("application/json", {}) and path != "/api/v1/models/active":
            check(f"GET {path}")
    check("POST /api/v1/reviews/undo", json={})
    check("POST /api/v1/recordings/delete", json={"recordings": [values["sha256"]]})
    job = check("POST /api/v1/retrain", 202)
    values["job_id"] = job["id"]
    check("POST /api/v1/jobs/{job_id}/cancel")
    check("POST /api/v1/models/{bundle_id}/activate")
    assert n_compared > 25


def test_a_detection_in_the_description_has_every_column(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    operation = client.get("/api/openapi.json").json()["paths"]["/api/v1/identify"]["post"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    detection = client.post("/api/v1/identify", content=tone.read_bytes()).json()["detections"][0]
    described = schema["properties"]["detections"]["items"]
    assert detection.keys() == described["properties"].keys() == set(described["required"])
    kinds = {str: "string", float: "number", int: "integer", type(None): "null", bool: "boolean"}
    assert [
        name for name, value in detection.items() if kinds[type(value)] not in described["properties"][name]["type"]
    ] == []


class _Numbers(BaseModel):
    """A body."""

    numbers: list[int]


async def _work_for_ever(request: Request, body: _Numbers) -> None:
    assert body.numbers == [1, 2]
    await while_connected(request, asyncio.Event().wait())


def test_work_for_a_body_ends_when_its_client_leaves() -> None:
    app = FastAPI()
    app.router.add_api_route("/work", _work_for_ever, methods=["POST"], route_class_override=JsonRoute)
    body = {"type": "http.request", "body": b'{"numbers": [1, 2]}'}
    receive = AsyncMock(side_effect=[body, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": "/work", "query_string": b"", "root_path": ""}
    headers = [(b"content-type", b"application/json")]
    with pytest.raises(ClientDisconnect):
        asyncio.run(app({**scope, "headers": headers}, receive, AsyncMock()))
