"""API route for the identification of recordings, which returns the same rows as the command line."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from dawnchorus.audio.metadata import with_name
from dawnchorus.audio.process import RecordingHeader
from dawnchorus.errors import AudioError, InputError
from dawnchorus.formats.columns import build_json_schema, round_values
from dawnchorus.formats.detection_columns import iterate_rows
from dawnchorus.formats.registry import FORMATS, TableFormat
from dawnchorus.identification.options import (
    ALL_YEAR,
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
from dawnchorus.server.history import UNAVAILABLE
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency, receive_recording
from dawnchorus.server.http.parameters import RequestParameters, merge_fields, note_empty
from dawnchorus.server.http.routes.replies import error_responses, job_fields
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Job
from dawnchorus.server.work import IdentifyResult
from dawnchorus.tables import parse_latitude, parse_longitude
from dawnchorus.types import RecordingMetadata

SCHEMA = 1

MIN_SCORE, MAX_TOP = 0.01, 100
"""Limits that keep responses small: a request needs a `min_score` of at least `MIN_SCORE`, or a `top` of at most
`MAX_TOP`, since lower scores return most classes of each window."""

router = APIRouter(prefix="/api/v1", tags=["identify"])


def _read_degrees(parse: Callable[[str], float | None], value: object) -> object:
    """Return degrees in a text (also with a decimal comma, 52,5) as a number; other values are returned unchanged."""
    degrees = parse(value) if isinstance(value, str) else None
    return value if degrees is None else degrees


class IdentifyRequest(RequestParameters):
    """Parameters of the identification of a recording.

    The parameters from `min_score` to `range_threshold` are those of `identification.options.Options`: minimum score of
    detections, overlap of windows in seconds, maximum number of species per window (None: no maximum), channel to score
    ("mean", "left", "right", "best", or "each" separately), joining of detections in neighboring windows, degrees north
    and east, week (1 to 48; 0: all year; None: that of the recording), and minimum probability of occurrence of species
    in range.

    Without `background`, an identification becomes a job if the audio to score is longer than `Limits.max_sync_s`.
    Audio in overlapping windows, and in channels that are scored separately, counts several times.
    """

    min_score: MinScore = Options.min_score
    overlap_s: Annotated[Overlap, Field(le=120, alias="overlap")] = Options.overlap_s
    top: Annotated[Top, Field(le=100_000)] = Options.top
    channel: ScoredChannel = Options.channel
    merge: Merge = Options.merge
    latitude: Annotated[Latitude, BeforeValidator(partial(_read_degrees, parse_latitude)), Field(alias="lat")] = None
    longitude: Annotated[Longitude, BeforeValidator(partial(_read_degrees, parse_longitude)), Field(alias="lon")] = None
    week: Week = Options.week
    range_threshold: RangeThreshold = Options.range_threshold
    format: str = Field(default="json", description="Format of the response: json, or the name of a table format.")
    own_location_first: bool = Field(
        default=False,
        description="Use `lat`, `lon` and `week` only if the recording itself has no location or no time.",
    )
    store: bool = Field(
        default=False,
        description="Store the audio and the detections, and show them in the lists. If the audio is stored already, "
        "it gets the name, start time, location and site that this request gives, with a warning.",
    )
    site: str | None = Field(
        default=None,
        max_length=255,
        description="Site of the stored recording. Default: the part of the file name before the time.",
    )
    background: bool | None = Field(
        default=None,
        description="Run as a background job, and return the job. Default: only if the windows of the recording "
        "are longer than ten minutes in total.",
    )

    def options(self) -> Options:
        """Return the options of the identification.

        Raises:
            InputError: `min_score` is below `MIN_SCORE` without a `top` of at most `MAX_TOP`, or only one of `lat` and
                `lon` is given.
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
    "required": ["schema", "recording", "duration_s", "bundle_id", "sha256", "warnings", "notes", "detections"],
    "properties": {
        "schema": {"type": "integer"},
        "recording": {"type": "string"},
        "duration_s": {"type": "number"},
        "bundle_id": {"type": "string"},
        "sha256": {"type": ["string", "null"], "description": "Id of the recording, if it was stored."},
        "warnings": {
            **_SENTENCES,
            "description": "Faults of the sound, parameters without effect, and values of a stored recording that were "
            "replaced.",
        },
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
    """Identify a recording, sent as the form field `audio` or as the body; a long recording becomes a job.

    The response has the detections as JSON, or as a table if `format` names one; for a job it is the job (202).

    The parameters may also be fields of the form. A job stores its recording and detections; when the job is done,
    they are at /api/v1/recordings/{sha256}/detections.
    """
    async with receive_recording(service, request, bypass_queue_limit=bool(query.background)) as (path, name):
        merged = merge_fields(query, request.state.texts)
        output_format = None if merged.format == "json" else FORMATS.lookup(merged.format)
        done = await identify_upload(service, merged, path, name)
    if isinstance(done, Job):
        return JSONResponse(job_fields(done), 202, {"Location": f"/api/v1/jobs/{done.id}"})
    empty = note_empty([*request.query_params.multi_items(), *request.state.texts.items()])
    result = replace(done.result, warnings=(*done.result.warnings, *empty))
    return await asyncio.to_thread(_build_response, replace(done, result=result), name, output_format)


@dataclass(frozen=True)
class Identified:
    """An identified upload."""

    result: IdentifyResult
    """Detections and warnings."""
    options: Options
    """Options that were used, which may differ from the request's (`own_location_first`)."""
    sha256: str | None
    """Id of the stored recording; None if it was not stored."""


async def identify_upload(service: Service, query: IdentifyRequest, path: Path, name: str) -> Identified | Job:
    """Identify an upload, and store it if the request says `store`; or add a job that identifies and stores it.

    A job is added if the request says `background`, or by default if the recording is long (see `IdentifyRequest`).

    Args:
        service: components of the server.
        query: parameters of the request.
        path: file of the upload.
        name: client's name of the file.

    Raises:
        AudioError: the recording cannot be decoded, exceeds `Limits`, or is in quarantine, since decoders crashed on it
            repeatedly. If the request says `store`, the recording is listed with this reason, unless it was identified
            before.
        InputError: a parameter is invalid, or the identification becomes a job and the request says `store=false` or a
            `format` other than "json", which would have no effect.
        OverloadedError: the queue of the inference pool is full (`InferencePool.check_room`), or the recording has
            waited for longer than `Limits.wait_s`.
        BusyError: the queue of jobs is full (`job_queue.MAX_JOBS`).
        OutputError: the audio cannot be stored: no space, or no permission.
    """
    options, window_s = query.options(), service.pool.bundle.info.window_s
    _check_overlap(options, window_s, service.settings.limits)
    try:
        is_job = bool(query.background)
        if query.background is None or query.own_location_first:
            header = await service.probe(path)
            if query.own_location_first:
                options = _give_way(options, with_name(header.metadata, name))
            if query.background is None:
                is_job = _is_long(header, options, window_s, service.settings.limits)
        if is_job:
            _refuse_without_effect(query, service.settings.limits)
            return await asyncio.to_thread(enqueue, service, path, name, options, query.site)
        result = await service.identify(path, options, name)
    except AudioError as error:
        if query.store:
            failure = partial(service.detections.store_failure, name=name, reason=error.reason, site=query.site)
            with suppress(*UNAVAILABLE):  # the reply says why in any case
                await asyncio.to_thread(failure, path)
        raise
    if query.store:
        store = partial(service.detections.store, name=name, options=options, site=query.site)
        stored = await asyncio.to_thread(store, result, path)
        return Identified(replace(result, warnings=stored.warnings), options, stored.sha256)
    service.detections.add_to_totals(result, max(result.table.detections, key=lambda d: d.score, default=None))
    return Identified(result, options, None)


def _give_way(options: Options, own: RecordingMetadata) -> Options:
    """Return the options without location and week if the recording's metadata has these; "all year" is not removed."""
    if own.latitude is not None:
        options = replace(options, latitude=None, longitude=None)
    has_own_week = own.start_time is not None and options.week != ALL_YEAR
    return replace(options, week=None) if has_own_week else options


def _refuse_without_effect(query: IdentifyRequest, limits: Limits) -> None:
    """Refuse parameters that have no effect if the identification becomes a job.

    Raises:
        InputError: the request says `store=false` or a format other than JSON.
    """
    is_too_long = f"the recording is longer than {limits.max_sync_s:g} s, its overlaps counted"
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


def _check_overlap(options: Options, window_s: float, limits: Limits) -> None:
    """Refuse a large overlap, with which a short recording would be as much work as a long one.

    Raises:
        InputError: less than `limits.min_step_s` (or half a window, if that is less) would be between the starts of
            neighboring windows.
    """
    max_overlap_s = window_s - min(limits.min_step_s, window_s / 2)
    if max_overlap_s < options.overlap_s < window_s:
        raise InputError(
            f"overlap: expected at most {max_overlap_s:g} s of the model's windows of {window_s:g} s on a server, got "
            f"{options.overlap_s:g}. Use `dawnchorus identify --overlap` for more."
        )


def _is_long(header: RecordingHeader, options: Options, window_s: float, limits: Limits) -> bool:
    """Return True if a recording is too long for a synchronous response, with overlaps and channels counted."""
    n_channels = header.info.n_channels if options.channel == "each" else 1
    n_times = window_s / max(window_s - options.overlap_s, limits.min_step_s)
    return (header.info.duration_s or 0.0) * n_channels * n_times > limits.max_sync_s


def enqueue(service: Service, path: Path, name: str, options: Options, site: str | None) -> Job:
    """Store the audio of a recording, add a job that identifies it, and return the job.

    Args:
        service: components of the server.
        path: file of the recording.
        name: client's name of the file.
        options: options of the identification.
        site: site of the recording; None for the part of `name` before the time, if there is one.

    Raises:
        BusyError: the queue of jobs is full (`job_queue.MAX_JOBS`).
        OutputError: the audio cannot be stored: no space, or no permission.
    """
    with service.files.keep(path) as (session, sha256):
        parameters = {"sha256": sha256, "name": name, "options": asdict(options), "site": site}
        return service.jobs.insert(session, "identify", parameters, files=[sha256])


def _build_response(identified: Identified, name: str, output_format: TableFormat | None) -> Response:
    result = identified.result
    table = replace(result.table, recording=name)
    provenance = build_provenance(result.bundle, identified.options, range_filter=has_range(table.detections))
    if output_format is not None:
        stream = io.BytesIO()
        output_format.write(stream, [table], provenance)
        return Response(stream.getvalue(), media_type="application/octet-stream")
    rows = [round_values(row) for row in iterate_rows(table, provenance)]
    header: dict[str, Any] = {"schema": SCHEMA, "recording": name, "duration_s": table.duration_s}
    texts = {"warnings": list(result.warnings), "notes": list(result.notes)}
    stored = {"bundle_id": result.bundle.id, "sha256": identified.sha256}
    return JSONResponse({**header, **stored, **texts, "detections": rows})
