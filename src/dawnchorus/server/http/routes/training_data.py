"""API routes for uploads of training data and for retraining."""

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
"""Names of the form's text fields."""

N_REASONS = 5
"""Maximum number of files that the error message of a rejected upload names."""

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
    """Add labeled recordings, a zip with a folder per species, or recordings and a csv, to the training data.

    The response has the outcome of each file (`files`, with the fields of `server.training.data.UploadOutcome`), the
    number of accepted files (`n_accepted`), and `notes` on how labels, times and locations were read. 422 if every file
    was rejected: then `detail` has the reasons, in addition to the fields of a success.
    """
    result = await add_files(request, service)
    return upload_reply(result, {"n_accepted": result.count("accepted")})


def upload_reply(result: UploadResult, fields: Mapping[str, Any]) -> Response:
    """Return the response to an upload of training data; an error response (422) if all files were rejected.

    Args:
        result: outcome of each file, and notes.
        fields: fields of the response by name, in addition to `files` and `notes`.
    """
    content = {**fields, "notes": result.notes, "files": [vars(each) for each in result.files]}
    if result.count("rejected") < len(result.files):
        return JSONResponse(content)
    reasons = [f"{each.name}: {each.reason}" for each in result.files]
    listed = "; ".join(reasons[:N_REASONS]) or "no recordings"
    more = f"; and {len(reasons) - N_REASONS} more" if len(reasons) > N_REASONS else ""
    return problem_response(422, f"no file was accepted: {listed}{more}".rstrip(".") + ".", more=content)


async def add_files(request: Request, service: Service) -> UploadResult:
    """Receive a form with labeled recordings, and add them to the training data; see `TrainingData.add_files`.

    Raises:
        InputError: a field of the form, a zip archive or a csv is invalid, or there are no files.
        OverloadedError: `service.MAX_BATCHES` such uploads are being received.
        UploadTooLargeError: the body is too large (`uploads.receive_files`), or a zip archive unpacks to too much.
        UploadTooSlowError, OutputError: see `uploads.receive_files`.
    """
    async with receive_batch(service, request) as (folder, texts, files):
        refuse_unknown(texts, FIELDS, "field")
        labels, limit = service.pool.bundle.labels, service.settings.limits.max_bytes
        async with service.blocking_slots:
            return await asyncio.to_thread(
                service.training_data.add_files, folder, texts, files, labels, max_bytes=4 * limit
            )


@router.get("/training-data", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def count_by_species(service: ServiceDependency) -> dict[str, Any]:
    """Return the number and the length of labeled recordings of each species, the most frequent species first.

    `total` is the number of labeled recordings; elements of `species` have the fields of
    `server.training.data.SpeciesTrainingData`.
    """
    rows = service.training_data.count_by_species()
    return {"total": sum(row.n_recordings for row in rows), "species": [species_count_fields(row) for row in rows]}


class RetrainRequest(BaseModel):
    """Body of a request for a retraining."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    require_approval: bool = False
    """True to leave the activation of the new model to a user even if the model meets the promotion rule."""
    overrides: tuple[str, ...] = Field(default=(), max_length=20)
    """Training settings NAME=NUMBER, such as trainer.epochs=60; NAME is trainer.epochs, optimizer.lr,
    optimizer.weight_decay, trainer.class_balance, loss.label_smoothing or seed."""


@router.post(
    "/retrain", dependencies=[require_role(Role.TRAIN)], status_code=202, responses=error_responses(408, 409, 413)
)
def retrain(service: ServiceDependency, body: RetrainRequest | None = None) -> dict[str, Any]:
    """Add a job that retrains on all training data, and compares the new and the active model on held-out recordings.

    The new model is activated if it meets the promotion rule (enough held-out recordings, and results at most slightly
    worse than those of the active model), unless `require_approval` is true. The response is the job. 400 if a setting
    in `overrides` is invalid or there is no training data, 409 if another retraining is queued or running, or the queue
    is full.
    """
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
"""Training settings that clients may change: numbers only, since other settings can name files and programs."""


def _check_override(override: str) -> str:
    key, _, value = override.partition("=")
    try:
        is_number = math.isfinite(float(value))
    except ValueError:
        is_number = False
    if key not in ALLOWED or not is_number:
        raise InputError(f"overrides: expected numbers for {', '.join(ALLOWED)}, got {override[:80]!r}.")
    return override
