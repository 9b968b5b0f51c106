"""API routes of the Open Inference Protocol, version 2 (KServe, Triton, MLServer): windows in, scores out.

The protocol's model name is the bundle's name, and its version is the bundle's id; only the active model is available.
Tensors are sent as JSON; https://github.com/kserve/open-inference-protocol describes requests and responses.
"""

from __future__ import annotations

import asyncio
from typing import IO, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.error_handlers import invalid_line
from dawnchorus.server.http.json_bodies import parse_json
from dawnchorus.server.http.routes.replies import error_responses
from dawnchorus.server.http.uploads import receive_body
from dawnchorus.server.settings import Role
from dawnchorus.version import __version__

MAX_WINDOWS, MAX_BODY = 8, 32 << 20
"""Maximum number of windows in a request, and maximum size of its body: numbers as text are large and slow to parse."""

MAX_OTHER_VALUES = 1000
"""Maximum number of values in a body besides the samples.

It is checked before parsing, which takes many times the body's size in memory.
"""

INPUT, OUTPUT = "waveform", "scores"
"""Names of the input and the output tensor."""


router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


ModelName = Annotated[str, Field(description="Name of the active model.")]
ModelVersion = Annotated[str | None, Field(description="Bundle id of the active model.")]


class Tensor(BaseModel):
    """An input tensor of a request."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """Name of the tensor, which must be "waveform"."""
    shape: list[int] = Field(min_length=1, max_length=4)
    """Shape [windows, samples], with 1 to 8 windows of the model's length."""
    datatype: str
    """Type of the values, which must be "FP32"."""
    data: list[Any]
    """Samples, -1 to 1, of all windows in a row, or a list for each window."""
    parameters: dict[str, Any] = {}
    """Parameters of protocol extensions, which are ignored."""


class RequestedOutput(BaseModel):
    """An output tensor that the client requests."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Literal["scores"]
    """Name of the tensor, which must be "scores"."""
    parameters: dict[str, Any] = {}
    """Parameters of protocol extensions, which are ignored."""


class InferenceRequest(BaseModel):
    """Body of a request for inference."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    id: str | None = None
    """Id that the client gives the request, copied to the response; None for no id."""
    parameters: dict[str, Any] = {}
    """Parameters of protocol extensions, which are ignored."""
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    """The only input tensor, "waveform"."""
    outputs: list[RequestedOutput] = Field(default=[], max_length=1)
    """Tensors to return, at most "scores"; the scores are returned also if the list is empty."""


@router.get("", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
async def server() -> dict[str, Any]:
    """Return `name` and `version` of the server, and its protocol `extensions` (none)."""
    return {"name": "dawnchorus", "version": __version__, "extensions": []}


@router.get("/health/live", dependencies=[require_role(Role.PUBLIC, is_probe=True)], responses=error_responses())
async def live() -> dict[str, bool]:
    """Return status 200 and `{"live": true}` as long as the server process answers."""
    return {"live": True}


@router.get("/health/ready", dependencies=[require_role(Role.PUBLIC, is_probe=True)], responses=error_responses(503))
async def ready(service: ServiceDependency) -> dict[str, bool]:
    """Return status 200 and `{"ready": true}` while the server accepts requests, 503 while it shuts down."""
    service.check_ready()
    return {"ready": True}


@router.get("/models/{name}", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
@router.get(
    "/models/{name}/versions/{version}", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404)
)
async def model(service: ServiceDependency, name: ModelName, version: ModelVersion = None) -> dict[str, Any]:
    """Return the metadata of the active model: `inputs` and `outputs` have names, types and shapes of its tensors.

    The other fields are `name`, `versions` (the bundle id) and `platform`. 404 if `name` is not the name, or `version`
    not the bundle id, of the active model.
    """
    bundle = _check_model(service.pool.bundle, name, version)
    return {
        "name": bundle.info.name,
        "versions": [bundle.id],
        "platform": "dawnchorus_bundle",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, bundle.window_samples]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(bundle.labels)]}],
    }


@router.get("/models/{name}/ready", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404, 503))
@router.get(
    "/models/{name}/versions/{version}/ready",
    dependencies=[require_role(Role.IDENTIFY)],
    responses=error_responses(404, 503),
)
async def model_ready(service: ServiceDependency, name: ModelName, version: ModelVersion = None) -> dict[str, Any]:
    """Return status 200, `name` and `ready` (true) while the active model accepts requests, 503 while shutting down.

    404 if `name` is not the name, or `version` not the bundle id, of the active model.
    """
    bundle = _check_model(service.pool.bundle, name, version)
    service.check_ready()
    return {"name": bundle.info.name, "ready": True}


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": InferenceRequest.model_json_schema()}},
    },
}
_INFER: dict[str, Any] = {
    "dependencies": [require_role(Role.IDENTIFY)],
    "responses": error_responses(404, 408, 413, 503),
    "openapi_extra": _BODY,
}


@router.post("/models/{name}/infer", **_INFER)
@router.post("/models/{name}/versions/{version}/infer", **_INFER)
async def infer(
    request: Request, service: ServiceDependency, name: ModelName, version: ModelVersion = None
) -> dict[str, Any]:
    """Score windows of audio [windows, samples] at the model's sample rate; return the scores [windows, classes].

    The body is an `InferenceRequest` with 1 to 8 windows. The scores, 0 to 1, are `outputs[0].data`, all windows in a
    row. The other fields are `model_name`, `model_version` (bundle id) and the request's `id`. 404 if `name` is not the
    name, or `version` not the bundle id, of the active model.
    """
    active = _check_model(service.pool.bundle, name, version)
    service.pool.check_room(0)  # before the body is read
    async with receive_body(request, service.spool, max_bytes=MAX_BODY) as file, service.blocking_slots:
        number, windows = await asyncio.to_thread(_parse_windows, file, active.window_samples)
    scores, bundle = await service.score_windows(windows)
    _check_model(bundle, name, version)  # another model may have been activated
    if not np.isfinite(scores).all():
        raise InputError("expected samples between -1 and 1; the scores of these are not finite.")
    data = await asyncio.to_thread(scores.ravel().tolist)
    return {
        "model_name": bundle.info.name,
        "model_version": bundle.id,
        "id": number,
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": list(scores.shape), "data": data}],
    }


def _check_model(active: Bundle, name: str, version: str | None) -> Bundle:
    if name != active.info.name or version not in (None, active.id):
        raise NotFoundError(
            f"expected the active model, {active.info.name!r} of the version {active.id}; others are at /api/v1/models."
        )
    return active


def _parse_windows(file: IO[bytes], window_samples: int) -> tuple[str | None, npt.NDArray[np.float32]]:
    body = file.read()
    if body.count(b",") > MAX_WINDOWS * window_samples + MAX_OTHER_VALUES:
        raise InputError(f"expected 1 to {MAX_WINDOWS} windows of {window_samples} numbers, got more values.")
    try:
        inference = InferenceRequest.model_validate(parse_json(body))
        tensor = inference.inputs[0]
        with np.errstate(over="ignore"):  # infinite, which is refused below
            windows = np.array(tensor.data, np.float64).astype(np.float32)
    except ValidationError as error:
        lines = "; ".join(invalid_line({**each, "loc": ("body", *each["loc"])}) for each in error.errors())
        raise InputError(f"expected a request of the Open Inference Protocol: {lines[:300]}") from error
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InputError(f"expected a request of the Open Inference Protocol: {str(error)[:300]}") from error
    if tensor.name != INPUT or tensor.datatype != "FP32" or len(tensor.shape) != 2 or tensor.shape[1] != window_samples:
        raise InputError(
            f"expected the input {INPUT!r} of FP32 and the shape [n, {window_samples}], got {tensor.name[:40]!r} of "
            f"{tensor.datatype[:10]} and {tensor.shape}."
        )
    if not 1 <= tensor.shape[0] <= MAX_WINDOWS or windows.size != tensor.shape[0] * window_samples:
        raise InputError(
            f"expected 1 to {MAX_WINDOWS} windows and as many numbers as the shape says, got {windows.size} numbers."
        )
    if not (inference.id or "").isprintable():
        raise InputError("id: expected text.")
    if not np.isfinite(windows).all():
        raise InputError("expected finite samples between -1 and 1.")
    return inference.id, windows.reshape(tensor.shape)
