"""Teaching: labelled recordings, and retraining."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.data.layout_detection import OnNote
from dawnchorus.errors import InputError
from dawnchorus.server.http.auth import needs
from dawnchorus.server.http.dependencies import ServiceOf, receive_batch
from dawnchorus.server.http.error_handlers import problem
from dawnchorus.server.http.parameters import refuse_repeated, refuse_unknown
from dawnchorus.server.http.routes.replies import JsonRoute, job_fields, problems
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.training.data import Taken, lesson_fields

FIELDS = ("species", "new_class")
"""Text fields beside the files."""

N_REASONS = 5
"""Refused files that the message of a refused upload names."""

router = APIRouter(prefix="/api/v1", tags=["teaching"], route_class=JsonRoute)

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "audio": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "species": {"type": "string", "description": "Of all files; else the folder in their names."},
                        "new_class": {"type": "string", "description": "yes: make classes of names that are unknown."},
                    },
                }
            }
        },
    }
}


@router.post(
    "/lessons", dependencies=[needs(Role.TEACH)], responses=problems(408, 409, 413, 503, 507), openapi_extra=_BODY
)
async def teach(request: Request, service: ServiceOf) -> Response:
    """Take labelled recordings, a zip with a folder per species, or recordings and a csv; says what became of each.

    `notes` say which columns of the csv are not read, and what is known of time and sound.
    422 if every file was refused: its fields are those of a success, besides the reasons in `detail`.
    """
    notes: list[str] = []
    files = await take(request, service, notes.append)
    return upload_reply(files, {"n_taken": sum(each.status == "taken" for each in files), "notes": notes})


def upload_reply(files: Sequence[Taken], fields: Mapping[str, Any]) -> Response:
    """Return the reply to an upload: `fields` and what became of each file; a problem if all were refused."""
    told = {**fields, "files": [vars(each) for each in files]}
    if any(each.status != "refused" for each in files):
        return JSONResponse(told)
    reasons = [f"{each.name}: {each.reason}" for each in files]
    shown = "; ".join(reasons[:N_REASONS]) or "no recordings"
    more = f"; and {len(reasons) - N_REASONS} more" if len(reasons) > N_REASONS else ""
    return problem(422, f"nothing was taken: {shown}{more}".rstrip(".") + ".", more=told)


async def take(request: Request, service: Service, on_note: OnNote) -> list[Taken]:
    """Add labelled recordings, and return the outcome for each file."""
    async with receive_batch(service, request) as (folder, texts, files):
        refuse_unknown(texts, FIELDS, "field")
        labels, limit = service.lanes.bundle.labels, service.settings.limits.max_bytes
        async with service.few:
            return await asyncio.to_thread(
                service.lessons.take, folder, texts, files, labels, max_bytes=4 * limit, on_note=on_note
            )


@router.get("/lessons", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def balance(service: ServiceOf) -> dict[str, Any]:
    """Return the amount of training data by species."""
    rows = service.lessons.balance()
    return {"total": sum(row.n_recordings for row in rows), "species": [lesson_fields(row) for row in rows]}


class Wish(BaseModel):
    """Options of a retraining."""

    model_config = ConfigDict(extra="forbid")

    by_hand: bool = False
    """True if a person, and not the rule, decides about the new model."""
    recipe: tuple[str, ...] = Field(default=(), max_length=20)
    """Epochs, and other numbers of `dawnchorus train`, such as trainer.epochs=60."""


@router.post("/retrain", dependencies=[needs(Role.TEACH)], status_code=202, responses=problems(408, 409, 413))
def retrain(service: ServiceOf, wish: Wish | None = None) -> dict[str, Any]:
    """Learn from all lessons; the new model is compared with the active one on recordings that neither learned from."""
    wish = wish or Wish()
    refuse_repeated([(name, value) for name, _, value in (each.partition("=") for each in wish.recipe)], "recipe")
    overrides = [*service.settings.recipe, *map(_number, wish.recipe)]
    return job_fields(service.learning.start(overrides, by_hand=wish.by_hand))


ALLOWED = (
    "trainer.epochs",
    "optimizer.lr",
    "optimizer.weight_decay",
    "trainer.class_balance",
    "loss.label_smoothing",
    "seed",
)
"""Settings allowed over HTTP; none that name files or programs."""


def _number(override: str) -> str:
    key, _, value = override.partition("=")
    try:
        is_number = math.isfinite(float(value))
    except ValueError:
        is_number = False
    if key not in ALLOWED or not is_number:
        raise InputError(f"recipe: expected numbers for {', '.join(ALLOWED)}, got {override[:80]!r}.")
    return override
