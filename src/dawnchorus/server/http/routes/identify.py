"""Identifying over HTTP: what the command line does, with the same rows."""

from __future__ import annotations

import asyncio
import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from dawnchorus.errors import BusyError, InputError
from dawnchorus.formats.fields import fields_of
from dawnchorus.formats.registry import TableFormat, table_format
from dawnchorus.identification.options import DEFAULT_MIN_SCORE, DEFAULT_RANGE_THRESHOLD, Options
from dawnchorus.identification.result import provenance_of
from dawnchorus.server.http.auth import needs
from dawnchorus.server.http.dependencies import ServiceOf, receive_recording
from dawnchorus.server.http.parameters import RequestParameters, merge_fields
from dawnchorus.server.http.routes.replies import job_fields, problems
from dawnchorus.server.scheduling import Recognition
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.retention import drop_unneeded
from dawnchorus.server.state.tables import Job
from dawnchorus.types import ChannelOption

SCHEMA = 1

LONG_S = 600.0
"""A longer recording becomes a job, where nobody says otherwise."""

MIN_SCORE, MAX_TOP = 0.01, 100
"""Below this score, nearly every class of a model is heard in every window: so many rows are asked for by `top`."""

router = APIRouter(prefix="/api/v1", tags=["identify"])


class IdentifyRequest(RequestParameters):
    """Parameters of a recording's identification, and of its reply."""

    min_score: float = Field(default=DEFAULT_MIN_SCORE, ge=0, le=1)
    overlap: float = Field(default=0.0, ge=0, le=120, description="Seconds shared by neighbouring windows.")
    top: int | None = Field(default=None, ge=1, le=100_000)
    channel: ChannelOption = Field(
        default="mean", description="Of several: the mean, the first, the second, the clearest, or each by itself."
    )
    merge: bool = Field(default=False, description="Join neighbouring windows into events.")
    lat: float | None = Field(default=None, ge=-90, le=90)
    lon: float | None = Field(default=None, ge=-180, le=180)
    week: int | None = Field(default=None, ge=1, le=48)
    range_threshold: float = Field(default=DEFAULT_RANGE_THRESHOLD, ge=0, le=1)
    format: str = Field(default="json", description="json, or the name of a table's format.")
    keep: bool = Field(default=False, description="Keep the sound and what is heard for the history.")
    background: bool | None = Field(default=None, description="A job; else only if it is longer than ten minutes.")

    def options(self) -> Options:
        """Return the options of the run.

        Raises:
            InputError: nearly every class of a model is asked for, or half of a place.
        """
        if self.min_score < MIN_SCORE and (self.top is None or self.top > MAX_TOP):
            raise InputError(f"expected a min_score of {MIN_SCORE:g} or more, or top={MAX_TOP} or less, got neither.")
        return Options(
            min_score=self.min_score,
            overlap_s=self.overlap,
            top=self.top,
            channel=self.channel,
            merge=self.merge,
            latitude=self.lat,
            longitude=self.lon,
            week=self.week,
            range_threshold=self.range_threshold,
        )


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
            "description": "No time found, a time that is not understood, sources of time or place that contradict "
            "each other, a place given that is not the file's.",
        },
        "detections": {"type": "array", "items": {"type": "object"}},
    },
}


@router.post(
    "/identify",
    dependencies=[needs(Role.IDENTIFY)],
    response_class=Response,
    responses={
        200: {"content": {"application/json": {"schema": _REPLY}, "application/octet-stream": {}}},
        202: {"description": "A job", "content": {"application/json": {}}},
        **problems(408, 413, 503, 507),
    },
    openapi_extra=_BODY,
)
async def identify(request: Request, service: ServiceOf, query: Annotated[IdentifyRequest, Query()]) -> Response:
    """Identify a recording (multipart field `audio`, or the body); a long one becomes a job.

    The parameters may also come as fields of the form. What a job finds is kept, and is at
    /api/v1/recordings/{sha256}/detections when it is done.
    """
    async with receive_recording(service, request, bypass_queue_limit=bool(query.background)) as (path, name):
        asked = merge_fields(query, request.state.texts)
        wanted = None if asked.format == "json" else table_format(asked.format)
        options = asked.options()
        if asked.background or (asked.background is None and await is_long(service, path, asked.channel)):
            job = await asyncio.to_thread(queued, service, path, name, options)
            return JSONResponse(job_fields(job), 202, {"Location": f"/api/v1/jobs/{job.id}"})
        found = await service.recognised(path, options, name)
        best = max(found.table.detections, key=lambda d: d.score, default=None)
        if asked.keep:
            await asyncio.to_thread(service.history.keep, found, path, name)
        else:
            service.history.count(found, best)
    return await asyncio.to_thread(_reply, found, name, options, wanted)


async def is_long(service: Service, path: Path, channel: ChannelOption = "mean") -> bool:
    """Return True if a recording takes longer than somebody waits.

    Raises:
        AudioError: it cannot be opened, or is too much.
    """
    info = await service.probed(path)
    return (info.duration_s or 0.0) * (info.n_channels if channel == "each" else 1) > LONG_S


def queued(service: Service, path: Path, name: str, options: Options) -> Job:
    """Add a job that identifies a recording, whose sound is kept.

    Raises:
        BusyError: too many wait.
        OutputError: no space.
    """
    files, sha256 = service.files, service.files.put(path)
    given = {name: value for name, value in asdict(options).items() if value != getattr(Options(), name)}
    parameters = {"sha256": sha256, "name": name, "options": given}
    try:
        return service.jobs.add("identify", parameters, about=sha256, ready=lambda: files.ensure(sha256, path))
    except BusyError:
        drop_unneeded(service.database, files, sha256)
        raise


def _reply(found: Recognition, name: str, options: Options, wanted: TableFormat | None) -> Response:
    table = replace(found.table, recording=name)
    has_place = any(row.in_range is not None for row in table.detections)
    provenance = provenance_of(found.bundle, options, range_filter=has_place)
    if wanted is not None:
        stream = io.BytesIO()
        wanted.write(stream, [table], provenance)
        return Response(stream.getvalue(), media_type="application/octet-stream")
    rows = [
        {
            **fields_of(table, row, provenance),
            "start_s": round(row.start_s, 3),
            "end_s": round(row.end_s, 3),
            "score": round(row.score, 4),
        }
        for row in table.detections
    ]
    about: dict[str, Any] = {"schema": SCHEMA, "recording": name, "duration_s": table.duration_s}
    said = {"warnings": list(found.warnings), "notes": list(found.notes)}
    return JSONResponse({**about, "bundle_id": found.bundle.id, **said, "detections": rows})
