"""The Open Inference Protocol, version 2 (KServe, Triton, MLServer): windows in, scores out.

The model has the bundle's name, its version is the bundle's id; only the one that serves can be asked. Data travels as
JSON; https://github.com/kserve/open-inference-protocol has the shapes.
"""

from __future__ import annotations

import asyncio
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dawnchorus import __version__
from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.auth import needs
from dawnchorus.server.http.dependencies import ServiceOf
from dawnchorus.server.http.json_bodies import parse_json
from dawnchorus.server.http.routes.replies import problems
from dawnchorus.server.http.uploads import received_body
from dawnchorus.server.settings import Role

MAX_WINDOWS, MAX_BODY = 8, 32 << 20
"""Numbers as text are large, and take a while to read."""

MAX_OTHER_VALUES = 1000
"""In a question, besides the samples: text takes many times its size as values, so they are counted before."""

INPUT, OUTPUT = "waveform", "scores"


router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


class Tensor(BaseModel):
    """One input."""

    model_config = ConfigDict(extra="forbid")

    name: str
    shape: list[int] = Field(min_length=1, max_length=4)
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}
    """Of the protocol's extensions, of which there are none here."""


class RequestedOutput(BaseModel):
    """One output that the client wants."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["scores"]
    parameters: dict[str, Any] = {}


class Question(BaseModel):
    """A request for inference."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] = Field(default=[], max_length=1)


@router.get("", dependencies=[needs(Role.IDENTIFY)], responses=problems())
async def server() -> dict[str, Any]:
    """Return name and version of the server."""
    return {"name": "dawnchorus", "version": __version__, "extensions": []}


@router.get("/health/live", dependencies=[needs(Role.OPEN)], responses=problems())
async def live() -> dict[str, bool]:
    """Return 200 while the process answers."""
    return {"live": True}


@router.get("/health/ready", dependencies=[needs(Role.OPEN)], responses=problems(503))
async def ready(service: ServiceOf) -> dict[str, bool]:
    """Return 200 while the model is loaded and the server is not about to end."""
    service.check_ready()
    return {"ready": True}


@router.get("/models/{name}", dependencies=[needs(Role.IDENTIFY)], responses=problems(404))
@router.get("/models/{name}/versions/{version}", dependencies=[needs(Role.IDENTIFY)], responses=problems(404))
async def model(service: ServiceOf, name: str, version: str | None = None) -> dict[str, Any]:
    """Return the model's inputs and outputs."""
    bundle = _asked(service.lanes.bundle, name, version)
    return {
        "name": bundle.info.name,
        "versions": [bundle.id],
        "platform": "dawnchorus_bundle",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, bundle.window_samples]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(bundle.labels)]}],
    }


@router.get("/models/{name}/ready", dependencies=[needs(Role.IDENTIFY)], responses=problems(404, 503))
@router.get(
    "/models/{name}/versions/{version}/ready", dependencies=[needs(Role.IDENTIFY)], responses=problems(404, 503)
)
async def model_ready(service: ServiceOf, name: str, version: str | None = None) -> dict[str, Any]:
    """Return 200 while the model can be asked."""
    bundle = _asked(service.lanes.bundle, name, version)
    service.check_ready()
    return {"name": bundle.info.name, "ready": True}


_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": Question.model_json_schema()}}},
}
_INFER: dict[str, Any] = {
    "dependencies": [needs(Role.IDENTIFY)],
    "responses": problems(404, 408, 413, 503),
    "openapi_extra": _BODY,
}


@router.post("/models/{name}/infer", **_INFER)
@router.post("/models/{name}/versions/{version}/infer", **_INFER)
async def infer(request: Request, service: ServiceOf, name: str, version: str | None = None) -> dict[str, Any]:
    """Return the scores [windows, classes] of windows [windows, samples] at the bundle's rate."""
    asked = _asked(service.lanes.bundle, name, version)
    service.lanes.check_room(0)  # before anything is read
    async with received_body(request, service.spool, max_bytes=MAX_BODY) as file, service.few:
        number, windows = await asyncio.to_thread(_windows, file, asked.window_samples)
    scores, bundle = await service.scored(windows)
    _asked(bundle, name, version)  # it may have been changed meanwhile
    if not np.isfinite(scores).all():
        raise InputError("expected samples between -1 and 1; of these the model makes no numbers.")
    data = await asyncio.to_thread(scores.ravel().tolist)
    return {
        "model_name": bundle.info.name,
        "model_version": bundle.id,
        "id": number,
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": list(scores.shape), "data": data}],
    }


def _asked(serving: Bundle, name: str, version: str | None) -> Bundle:
    if name != serving.info.name or version not in (None, serving.id):
        raise NotFoundError(
            f"expected the model that serves, {serving.info.name!r} of the version {serving.id}; others are at "
            f"/api/v1/models."
        )
    return serving


def _windows(file: IO[bytes], window_samples: int) -> tuple[str | None, npt.NDArray[np.float32]]:
    body = file.read()
    if body.count(b",") > MAX_WINDOWS * window_samples + MAX_OTHER_VALUES:
        raise InputError(f"expected 1 to {MAX_WINDOWS} windows of {window_samples} numbers, got more values.")
    try:
        question = Question.model_validate(parse_json(body))
        given = question.inputs[0]
        with np.errstate(over="ignore"):  # infinite, which is refused below
            windows = np.array(given.data, np.float64).astype(np.float32)
    except (ValidationError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InputError(f"expected a question of the Open Inference Protocol: {str(error)[:300]}") from error
    if given.name != INPUT or given.datatype != "FP32" or len(given.shape) != 2 or given.shape[1] != window_samples:
        raise InputError(
            f"expected the input {INPUT!r} of FP32 and the shape [n, {window_samples}], got {given.name[:40]!r} of "
            f"{given.datatype[:10]} and {given.shape}."
        )
    if not 1 <= given.shape[0] <= MAX_WINDOWS or windows.size != given.shape[0] * window_samples:
        raise InputError(
            f"expected 1 to {MAX_WINDOWS} windows and as many numbers as the shape says, got {windows.size} numbers."
        )
    if not (question.id or "").isprintable():
        raise InputError("id: expected text.")
    if not np.isfinite(windows).all():
        raise InputError("expected finite samples between -1 and 1.")
    return question.id, windows.reshape(given.shape)
