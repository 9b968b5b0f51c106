"""Recordings that are kept, what was heard in them, and what people say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Annotated, Any, BinaryIO

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from dawnchorus.audio.decode import read_clip
from dawnchorus.audio.write import encode_mp3
from dawnchorus.errors import InputError
from dawnchorus.formats.registry import TableFormat, table_format
from dawnchorus.identification.options import Options
from dawnchorus.identification.result import provenance_of
from dawnchorus.plotting.clip import CLIP_MARGIN_S, draw_clip
from dawnchorus.plotting.spectrogram import RATE_HZ, clip_spectrogram, stretch_spectrogram
from dawnchorus.plotting.strip import draw_strip
from dawnchorus.server.history import Found, Heard, as_detection
from dawnchorus.server.http.auth import needs
from dawnchorus.server.http.dependencies import ServiceOf
from dawnchorus.server.http.responses import FileResponse, while_connected
from dawnchorus.server.http.routes.replies import (
    JsonRoute,
    Limit,
    Offset,
    Sha256,
    detection_fields,
    problems,
    recording_fields,
    review_fields,
)
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import DetectionRow, Recording
from dawnchorus.server.training.data import Verdict
from dawnchorus.types import Origin, Provenance, RecordingTable

MEDIA_TYPES = {
    b"RIFF": "audio/wav",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
}
"""By how a file begins; of other files browsers are told nothing."""

MAX_CLIP_S = 30.0
"""Of a longer detection, its beginning is heard and seen."""

MAX_LISTED = 100_000
"""Detections in one table."""

Number = Annotated[int, Field(ge=1, le=2**31 - 1)]

router = APIRouter(prefix="/api/v1", tags=["recordings"], route_class=JsonRoute)


@router.get("/recordings", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def recordings(service: ServiceOf, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
    """All that are kept, the latest first."""
    n, rows = service.history.recordings(limit=limit, offset=offset)
    found = [
        {**recording_fields(recording), "best_species": heard.species, "best_score": heard.score}
        for recording, heard in rows
    ]
    return {"total": n, "recordings": found}


@router.get("/recordings/{sha256}", dependencies=[needs(Role.IDENTIFY)], responses=problems(404))
def recording(service: ServiceOf, sha256: Sha256) -> dict[str, Any]:
    """One of them."""
    return recording_fields(service.history.recording(sha256))


@router.delete("/recordings/{sha256}", dependencies=[needs(Role.OPERATE)], status_code=204, responses=problems(404))
async def forget(service: ServiceOf, sha256: Sha256) -> Response:
    """Remove its sound and what was heard in it."""
    await run_in_threadpool(service.history.forget, sha256)
    service.renderer.drop(sha256)
    return Response(status_code=204)


@router.get(
    "/recordings/{sha256}/sound",
    dependencies=[needs(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"audio/*": {}}}, 206: {"content": {"audio/*": {}}}, **problems(404, 416)},
)
def sound(service: ServiceOf, sha256: Sha256, range_: Annotated[str | None, Header(alias="range")] = None) -> Response:
    """Its bytes as they were sent; parts of them by a Range header."""
    service.history.recording(sha256)
    path = service.files.local(sha256)
    n = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
    kind = next((media for start, media in MEDIA_TYPES.items() if head.startswith(start)), "application/octet-stream")
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    part = parse_range(range_, n)
    if part is None:
        return StreamingResponse(
            service.files.read(sha256, 0, n), media_type=kind, headers={**headers, "Content-Length": str(n)}
        )
    begin, end = part
    if begin >= end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{n}"})
    more = {"Content-Range": f"bytes {begin}-{end - 1}/{n}", "Content-Length": str(end - begin)}
    return StreamingResponse(service.files.read(sha256, begin, end), 206, {**headers, **more}, media_type=kind)


def parse_range(header: str | None, n: int) -> tuple[int, int] | None:
    """Return the first byte and the end of a Range header; None: all. Several ranges at once are not supported."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header or "", re.ASCII)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(n - int(match[2]), 0), n
    return int(match[1]), min(int(match[2]) + 1 if match[2] else n, n)


@router.get(
    "/recordings/{sha256}/picture",
    dependencies=[needs(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **problems(404, 503)},
)
async def picture(
    request: Request,
    service: ServiceOf,
    sha256: Sha256,
    start_s: Annotated[float, Query(ge=0, le=1e6)] = 0.0,
    end_s: Annotated[float | None, Query(gt=0, le=1e6)] = None,
    width: Annotated[int, Query(ge=50, le=2400)] = 1200,
    height: Annotated[int, Query(ge=50, le=600)] = 240,
) -> Response:
    """Its spectrogram from 0 to 12 kHz, or that of a stretch, without axes."""
    row = await run_in_threadpool(service.history.recording, sha256)
    duration_s = row.duration_s or 0.0
    end_s = min(end_s or duration_s, duration_s)
    if end_s - start_s < 0.01:
        raise InputError(f"expected a stretch within 0 and {duration_s:.3f} s, got {start_s:g} to {end_s:g} s.")
    draw = partial(_draw_stretch, service, sha256, start_s, end_s, width, height)
    answer = service.renderer.cached(sha256, ("picture", start_s, end_s, width, height), draw)
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(await while_connected(request, answer), media_type="image/png", headers=headers)


def _draw_stretch(
    service: Service, sha256: str, start_s: float, end_s: float, width: int, height: int, file: BinaryIO
) -> None:
    spectrogram = stretch_spectrogram(service.files.local(sha256), start_s=start_s, end_s=end_s)
    file.write(draw_strip(spectrogram, width=width, height=height))


@router.get("/recordings/{sha256}/detections", dependencies=[needs(Role.IDENTIFY)], responses=problems(404, 503))
async def detections_of(
    request: Request,
    service: ServiceOf,
    sha256: Sha256,
    output: Annotated[str, Query(alias="format", description="json, or the name of a table's format.")] = "json",
) -> Response:
    """Return the detections of a recording, in any of the formats of the command line."""
    row = await run_in_threadpool(service.history.recording, sha256)
    if output == "json":
        write, media_type = partial(_write_json, service, row), "application/json"
    else:
        write, media_type = partial(_write_table, service, row, table_format(output)), "application/octet-stream"
    return FileResponse(await while_connected(request, service.renderer.once(write)), media_type=media_type)


def _write_json(service: Service, row: Recording, file: BinaryIO) -> None:
    """Write all detections of a recording as one JSON object, a page at a time."""
    file.write(b'{"recording":' + _json(row.name) + b',"detections":[')
    separator = b""
    for page in service.history.all_detections(row.sha256, limit=MAX_LISTED):
        for each in page:
            file.write(separator + _json(detection_fields(each)))
            separator = b","
    file.write(b"]}")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _write_table(service: Service, row: Recording, wanted: TableFormat, file: BinaryIO) -> None:
    """Write all detections of a recording in a table format, a page at a time."""
    pages = service.history.all_detections(row.sha256, limit=MAX_LISTED)
    first = next(pages, [])
    wanted.write(file, _tables(row, chain([first], pages)), _provenance(service, first))


def _tables(row: Recording, pages: Iterator[list[Found]]) -> Iterator[RecordingTable]:
    """Each page as a table; without a length, which some formats add to the times of the tables that follow."""
    begin = None if row.recorded_at is None else datetime.fromisoformat(row.recorded_at)
    origin = Origin(start_time=begin, latitude=row.latitude, longitude=row.longitude)
    for page in pages:
        rows = tuple(as_detection(each.detection) for each in page)
        yield RecordingTable(row.name, 0.0, row.rate_hz or 0, origin, None, rows)


def _provenance(service: Service, found: list[Found]) -> Provenance:
    """Return the provenance of the rows, even if their model is not there any more."""
    options = Options(channel="each") if found and found[0].detection.channel is not None else Options()
    provenance = provenance_of(service.lanes.bundle, options, range_filter=False)
    if not found or found[0].detection.bundle_id == provenance.bundle_id:
        return provenance
    model = service.registry.model(found[0].detection.bundle_id)
    return replace(provenance, model=model.name, model_version="", bundle_id=model.bundle_id)


@router.get("/detections", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def detections(
    service: ServiceOf,
    species: Annotated[str | None, Query(max_length=200, description="A part of either name.")] = None,
    min_score: Annotated[float, Query(ge=0, le=1)] = 0.0,
    reviewed: bool | None = None,  # noqa: FBT001 - a query's
    recording: Sha256 | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Return the detections of kept recordings, the latest first."""
    wanted = Heard(species, min_score, recording, reviewed, since, until)
    n, found = service.history.detections(wanted, limit=limit, offset=offset)
    return {"total": n, "detections": [detection_fields(each) for each in found]}


@router.get(
    "/detections/{number}/sound",
    dependencies=[needs(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"audio/mpeg": {}}}, **problems(404, 503)},
)
async def detection_sound(request: Request, service: ServiceOf, number: Number) -> Response:
    """Return the detection with a second around it, as MP3 at full level."""
    row = await run_in_threadpool(service.history.detection, number)
    shown = "clip", row.start_s, row.end_s, row.channel
    answer = service.renderer.cached(row.recording, shown, partial(_cut, service, row))
    return FileResponse(await while_connected(request, answer), media_type="audio/mpeg", headers=_KEPT)


@router.get(
    "/detections/{number}/picture",
    dependencies=[needs(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **problems(404, 503)},
)
async def detection_picture(request: Request, service: ServiceOf, number: Number) -> Response:
    """Its spectrogram, and that of a second around it."""
    row = await run_in_threadpool(service.history.detection, number)
    shown = "still", row.start_s, row.end_s, row.channel
    answer = service.renderer.cached(row.recording, shown, partial(_draw, service, row))
    return FileResponse(await while_connected(request, answer), media_type="image/png", headers=_KEPT)


_KEPT = {"Cache-Control": "private, max-age=86400"}


def _cut(service: Service, row: DetectionRow, file: BinaryIO) -> None:
    samples, _ = _stretch(service, row)
    file.write(encode_mp3(samples, rate_hz=RATE_HZ))


def _draw(service: Service, row: DetectionRow, file: BinaryIO) -> None:
    samples, begin_s = _stretch(service, row)
    file.write(draw_clip(clip_spectrogram(samples, rate_hz=RATE_HZ, start_s=begin_s), (row.start_s, row.end_s)))


def _stretch(service: Service, row: DetectionRow) -> tuple[np.ndarray, float]:
    """Return the sound of a detection with its margins, and its start."""
    begin_s = max(row.start_s - CLIP_MARGIN_S, 0.0)
    end_s = min(row.end_s, row.start_s + MAX_CLIP_S) + CLIP_MARGIN_S
    path = service.files.local(row.recording)
    return read_clip(path, start_s=begin_s, end_s=end_s, rate_hz=RATE_HZ, channel=row.source), begin_s


class Said(BaseModel):
    """A person's review of a detection."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"verdict": "other", "species": "Parus major_Great Tit"}]}
    )

    verdict: Verdict
    species: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The right species, where the verdict is "other"."""
    new_class: bool = False
    """Consent to a new class, where no class has the name in `species`."""


@router.put("/detections/{number}/review", dependencies=[needs(Role.TEACH)], responses=problems(404, 408, 413))
def review(service: ServiceOf, number: Number, said: Said) -> dict[str, Any]:
    """Say whether it is right; models learn from it."""
    labels = service.lanes.bundle.labels
    row = service.lessons.review(number, said.verdict, said.species, labels, new_class=said.new_class)
    return review_fields(row) or {}


@router.delete("/detections/{number}/review", dependencies=[needs(Role.TEACH)], status_code=204, responses=problems())
def take_back(service: ServiceOf, number: Number) -> Response:
    """Take it back."""
    service.lessons.take_back(number)
    return Response(status_code=204)
