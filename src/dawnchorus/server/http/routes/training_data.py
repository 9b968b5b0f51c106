"""Training data and retraining."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.errors import InputError
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency, receive_batch
from dawnchorus.server.http.error_handlers import problem_response
from dawnchorus.server.http.parameters import refuse_repeated, refuse_unknown
from dawnchorus.server.http.routes.replies import JsonRoute, error_responses, job_fields
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.training.data import UploadResult, species_count_fields

FIELDS = ("species", "new_class")
"""Text fields of the form."""

N_REASONS = 5
"""Number of files that the message of a rejected upload names."""

router = APIRouter(prefix="/api/v1", tags=["training"], route_class=JsonRoute)

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "audio": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "species": {
                            "type": "string",
                            "description": "Of all files; by default the folder in their names.",
                        },
                        "new_class": {"type": "string", "description": "yes: add classes for unknown names."},
                    },
                }
            }
        },
    }
}


@router.post(
    "/training-data",
    dependencies=[require_role(Role.TRAIN)],
    responses=error_responses(408, 409, 413, 503, 507),
    openapi_extra=_BODY,
)
async def upload(request: Request, service: ServiceDependency) -> Response:
    """Add labeled recordings, a zip with a folder per species, or recordings and a csv; return the outcome of each.

    `notes` name the columns of the csv that are not read, and times and locations that are not known.
    422 if every file was rejected: with the fields of a success, and the reasons in `detail`.
    """
    result = await add_files(request, service)
    return upload_reply(result, {"n_accepted": result.count("accepted")})


def upload_reply(result: UploadResult, fields: Mapping[str, Any]) -> Response:
    """Return the response to an upload, with `fields`; a problem if all files were rejected."""
    content = {**fields, "notes": result.notes, "files": [vars(each) for each in result.files]}
    if result.count("rejected") < len(result.files):
        return JSONResponse(content)
    reasons = [f"{each.name}: {each.reason}" for each in result.files]
    listed = "; ".join(reasons[:N_REASONS]) or "no recordings"
    more = f"; and {len(reasons) - N_REASONS} more" if len(reasons) > N_REASONS else ""
    return problem_response(422, f"no file was accepted: {listed}{more}".rstrip(".") + ".", more=content)


async def add_files(request: Request, service: Service) -> UploadResult:
    """Add labeled recordings, and return the outcome for each file."""
    async with receive_batch(service, request) as (folder, texts, files):
        refuse_unknown(texts, FIELDS, "field")
        labels, limit = service.pool.bundle.labels, service.settings.limits.max_bytes
        async with service.blocking_slots:
            return await asyncio.to_thread(
                service.training_data.add_files, folder, texts, files, labels, max_bytes=4 * limit
            )


@router.get("/training-data", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def count_by_species(service: ServiceDependency) -> dict[str, Any]:
    """Return the amount of training data by species."""
    rows = service.training_data.count_by_species()
    return {"total": sum(row.n_recordings for row in rows), "species": [species_count_fields(row) for row in rows]}


class RetrainRequest(BaseModel):
    """Options of a retraining."""

    model_config = ConfigDict(extra="forbid")

    require_approval: bool = False
    """True if the new model is not activated without approval."""
    overrides: tuple[str, ...] = Field(default=(), max_length=20)
    """Numeric overrides of `dawnchorus train`, such as trainer.epochs=60."""


@router.post(
    "/retrain", dependencies=[require_role(Role.TRAIN)], status_code=202, responses=error_responses(408, 409, 413)
)
def retrain(service: ServiceDependency, body: RetrainRequest | None = None) -> dict[str, Any]:
    """Retrain on all training data; the new model is compared with the active one on held-out recordings."""
    body = body or RetrainRequest()
    settings = [(name, value) for name, _, value in (each.partition("=") for each in body.overrides)]
    refuse_repeated(settings, "overrides")
    overrides = [*service.settings.retrain_overrides, *map(_check_override, body.overrides)]
    return job_fields(service.retraining.start(overrides, require_approval=body.require_approval))


ALLOWED = (
    "trainer.epochs",
    "optimizer.lr",
    "optimizer.weight_decay",
    "trainer.class_balance",
    "loss.label_smoothing",
    "seed",
)
"""Overrides that are allowed over HTTP; none names files or programs."""


def _check_override(override: str) -> str:
    key, _, value = override.partition("=")
    try:
        is_number = math.isfinite(float(value))
    except ValueError:
        is_number = False
    if key not in ALLOWED or not is_number:
        raise InputError(f"overrides: expected numbers for {', '.join(ALLOWED)}, got {override[:80]!r}.")
    return override
