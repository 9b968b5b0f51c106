"""Identification over HTTP, with the same rows as on the command line."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from dawnchorus.errors import InputError
from dawnchorus.formats.columns import build_json_schema, round_values
from dawnchorus.formats.detection_columns import iterate_rows
from dawnchorus.formats.registry import FORMATS, TableFormat
from dawnchorus.identification.options import (
    Latitude,
    Longitude,
    Merge,
    MinScore,
    Options,
    Overlap,
    RangeThreshold,
    ScoredChannel,
    Top,
    Week,
    option_specs,
)
from dawnchorus.identification.result import build_provenance, has_range
from dawnchorus.limits import Limits
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency, receive_recording
from dawnchorus.server.http.parameters import RequestParameters, merge_fields, note_empty
from dawnchorus.server.http.routes.replies import error_responses, job_fields
from dawnchorus.server.scheduling import IdentifyResult
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Job
from dawnchorus.tables import parse_latitude, parse_longitude
from dawnchorus.types import ChannelOption

SCHEMA = 1

MIN_SCORE, MAX_TOP = 0.01, 100
"""Minimum score of a request without `top`, and maximum `top` below it: lower scores return most classes per window."""

router = APIRouter(prefix="/api/v1", tags=["identify"])


def _read_degrees(parse: Callable[[str], float | None], value: object) -> object:
    """Return degrees that are written as in tables and options, as 52,5; other values stay."""
    degrees = parse(value) if isinstance(value, str) else None
    return value if degrees is None else degrees


class IdentifyRequest(RequestParameters):
    """Parameters of the identification of a recording."""

    min_score: MinScore = Options.min_score
    overlap_s: Annotated[Overlap, Field(le=120, alias="overlap")] = Options.overlap_s
    top: Annotated[Top, Field(le=100_000)] = Options.top
    channel: ScoredChannel = Options.channel
    merge: Merge = Options.merge
    latitude: Annotated[Latitude, BeforeValidator(partial(_read_degrees, parse_latitude)), Field(alias="lat")] = None
    longitude: Annotated[Longitude, BeforeValidator(partial(_read_degrees, parse_longitude)), Field(alias="lon")] = None
    week: Week = Options.week
    range_threshold: RangeThreshold = Options.range_threshold
    format: str = Field(default="json", description="json, or the name of a table format.")
    store: bool = Field(default=False, description="Store the audio and the detections for the history.")
    background: bool | None = Field(
        default=None, description="Run as a job; by default if it is longer than ten minutes."
    )

    def options(self) -> Options:
        """Return the options of the run.

        Raises:
            InputError: a low min_score without `top`, or only one of `lat` and `lon`.
        """
        if self.min_score < MIN_SCORE and (self.top is None or self.top > MAX_TOP):
            raise InputError(f"expected a min_score of {MIN_SCORE:g} or more, or top={MAX_TOP} or less, got neither.")
        return Options(**{name: getattr(self, name) for name in option_specs() if name in type(self).model_fields})


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["audio"],
                    "properties": {"audio": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


_SENTENCES = {"type": "array", "items": {"type": "string"}}
_REPLY = {
    "type": "object",
    "required": ["schema", "recording", "duration_s", "bundle_id", "warnings", "notes", "detections"],
    "properties": {
        "schema": {"type": "integer"},
        "recording": {"type": "string"},
        "duration_s": {"type": "number"},
        "bundle_id": {"type": "string"},
        "warnings": {**_SENTENCES, "description": "Faults of the sound, and parameters without effect."},
        "notes": {
            **_SENTENCES,
            "description": "No time found, a time that is not understood, sources of time or location that contradict "
            "each other, a location given that is not the file's.",
        },
        "detections": {"type": "array", "items": build_json_schema()},
    },
}


@router.post(
    "/identify",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={
        200: {"content": {"application/json": {"schema": _REPLY}, "application/octet-stream": {}}},
        202: {"description": "A job", "content": {"application/json": {}}},
        **error_responses(408, 413, 503, 507),
    },
    openapi_extra=_BODY,
)
async def identify(
    request: Request, service: ServiceDependency, query: Annotated[IdentifyRequest, Query()]
) -> Response:
    """Identify a recording (multipart field `audio`, or the body); a long one becomes a job.

    The parameters may also be fields of the form. The detections of a job are stored; they are at
    /api/v1/recordings/{sha256}/detections when it is done.
    """
    async with receive_recording(service, request, bypass_queue_limit=bool(query.background)) as (path, name):
        merged = merge_fields(query, request.state.texts)
        output_format = None if merged.format == "json" else FORMATS.lookup(merged.format)
        options = merged.options()
        if merged.background or (merged.background is None and await is_long(service, path, merged.channel)):
            _refuse_without_effect(merged, service.settings.limits)
            job = await asyncio.to_thread(enqueue, service, path, name, options)
            return JSONResponse(job_fields(job), 202, {"Location": f"/api/v1/jobs/{job.id}"})
        result = await service.identify(path, options, name)
        best = max(result.table.detections, key=lambda d: d.score, default=None)
        if merged.store:
            await asyncio.to_thread(service.detections.store, result, path, name=name, options=options)
        else:
            service.detections.count(result, best)
    empty = note_empty([*request.query_params.multi_items(), *request.state.texts.items()])
    result = replace(result, warnings=(*result.warnings, *empty))
    return await asyncio.to_thread(_build_response, result, name, options, output_format)


def _refuse_without_effect(query: IdentifyRequest, limits: Limits) -> None:
    """Refuse the parameters of a synchronous response that a job would pass over.

    Raises:
        InputError: the audio is not to be stored, or a table is asked for.
    """
    is_too_long = f"the recording is longer than {limits.max_sync_s:g} s"
    reason = "background=true was given" if query.background else is_too_long
    if query.format != "json":
        raise InputError(
            f"format: {reason}, so this becomes a job, whose reply has no table, got {query.format!r}. Ask for the "
            f"format at /api/v1/recordings/SHA256/detections when it is done, or give background=false."
        )
    if not query.store and "store" in query.model_fields_set:
        raise InputError(
            f"store: {reason}, so this becomes a job, which stores the audio and the detections, got false. Leave "
            f"store out, or give background=false."
        )


async def is_long(service: Service, path: Path, channel: ChannelOption = "mean") -> bool:
    """Return True if a recording takes too long for a synchronous response.

    Raises:
        AudioError: it cannot be opened, or exceeds the limits.
    """
    info = await service.probe(path)
    scored_s = (info.duration_s or 0.0) * (info.n_channels if channel == "each" else 1)
    return scored_s > service.settings.limits.max_sync_s


def enqueue(service: Service, path: Path, name: str, options: Options) -> Job:
    """Store a recording and add a job that identifies it.

    Raises:
        BusyError: the queue is full.
        OutputError: no space on the disk.
    """
    with service.files.keep(path) as (session, sha256):
        parameters = {"sha256": sha256, "name": name, "options": asdict(options)}
        return service.jobs.insert(session, "identify", parameters, files=[sha256])


def _build_response(result: IdentifyResult, name: str, options: Options, output_format: TableFormat | None) -> Response:
    table = replace(result.table, recording=name)
    provenance = build_provenance(result.bundle, options, range_filter=has_range(table.detections))
    if output_format is not None:
        stream = io.BytesIO()
        output_format.write(stream, [table], provenance)
        return Response(stream.getvalue(), media_type="application/octet-stream")
    rows = [round_values(row) for row in iterate_rows(table, provenance)]
    header: dict[str, Any] = {"schema": SCHEMA, "recording": name, "duration_s": table.duration_s}
    texts = {"warnings": list(result.warnings), "notes": list(result.notes)}
    return JSONResponse({**header, "bundle_id": result.bundle.id, **texts, "detections": rows})
