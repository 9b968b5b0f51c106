"""API routes for a stored recording: audio, spectrogram, detections, tables, deletion and repeated identification."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain, count
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.write import encode_mp3
from dawnchorus.errors import InputError
from dawnchorus.formats.registry import FORMATS, TableFormat
from dawnchorus.plotting.clip import CLIP_MARGIN_S, draw_clip
from dawnchorus.plotting.spectrogram import RATE_HZ, clip_spectrogram, stretch_spectrogram
from dawnchorus.plotting.strip import draw_strip
from dawnchorus.server.detection_reviews import apply_reviews
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.responses import RenderedResponse, while_connected
from dawnchorus.server.http.routes.replies import (
    MAX_PAGE,
    DetectionId,
    JsonRoute,
    Sha256,
    detection_fields,
    error_responses,
    job_fields,
    recording_fields,
)
from dawnchorus.server.listing import DetectionRecord
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import DetectionRow, Identification, Recording
from dawnchorus.types import ChannelSource, Provenance, RecordingMetadata, RecordingTable

MEDIA_TYPES = {
    b"RIFF": "audio/wav",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
}
"""Media types by the first bytes of a file. MP4 is recognized separately; others are `application/octet-stream`."""

MAX_CLIP_S = 30.0
"""Maximum length of a clip; the clip of a longer detection is its start."""

MAX_LISTED = 100_000
"""Maximum number of a recording's detections in a response; further detections are left out."""

router = APIRouter(prefix="/api/v1", tags=["recordings"], route_class=JsonRoute)


@router.get("/recordings/{sha256}", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
def recording(service: ServiceDependency, sha256: Sha256) -> dict[str, Any]:
    """Return a recording, with the `warnings` of its latest identification; 404 if there is no such recording.

    The other fields are the columns of the table `Recording` except `latest_identification`, `state` ("detections",
    "no_detections" or "failed"), and the URL paths `audio` and `spectrogram`.
    """
    row = service.detections.get_recording(sha256)
    warnings = [] if row.error is not None else service.detections.latest_identification(sha256).warnings
    return {**recording_fields(row), "warnings": warnings}


@router.post(
    "/recordings/{sha256}/identify",
    dependencies=[require_role(Role.IDENTIFY)],
    status_code=202,
    responses=error_responses(404, 409),
)
def identify_again(service: ServiceDependency, sha256: Sha256) -> dict[str, Any]:
    """Add a job that identifies a stored recording with the active model and the options of its latest identification.

    The response is the job. 404 if there is no such recording, or its audio is not stored because it could not be
    identified; 409 if the queue is full.
    """
    return job_fields(service.identify_again(sha256))


@router.delete(
    "/recordings/{sha256}", dependencies=[require_role(Role.ADMIN)], status_code=204, responses=error_responses(404)
)
async def delete_recording(service: ServiceDependency, sha256: Sha256) -> Response:
    """Delete a recording with its detections and reviews; clips that are training data stay.

    404 if there is no such recording.
    """
    await run_in_threadpool(service.detections.delete, sha256)
    service.renderer.discard(sha256)
    return Response(status_code=204)


@router.get(
    "/recordings/{sha256}/audio",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"audio/*": {}}}, 206: {"content": {"audio/*": {}}}, **error_responses(404, 416)},
)
def recording_audio(service: ServiceDependency, sha256: Sha256) -> Response:
    """Return the uploaded audio file, or the bytes that a Range header requests; the ETag is the file's sha256.

    404 if there is no such recording, or its audio is not stored because it could not be identified.
    """
    service.detections.get_recording(sha256)
    path = service.files.local(sha256)
    with path.open("rb") as file:
        kind = _media_type(file.read(8))
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "ETag": f'"{sha256}"'}
    return FileResponse(path, media_type=kind, headers=headers, stat_result=path.stat())


def _media_type(head: bytes) -> str:
    """Return the media type of a file by its first eight bytes."""
    if head[4:] == b"ftyp":
        return "audio/mp4"
    return next((media for start, media in MEDIA_TYPES.items() if head.startswith(start)), "application/octet-stream")


@router.get(
    "/recordings/{sha256}/clip",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"audio/mpeg": {}}}, **error_responses(404, 503)},
)
async def recording_clip(
    request: Request,
    service: ServiceDependency,
    sha256: Sha256,
    start_s: Annotated[float, Query(ge=0, le=1e7, description="Start of the segment in seconds.")],
    end_s: Annotated[float, Query(gt=0, le=1e7, description="End of the segment in seconds.")],
) -> Response:
    """Return a segment of a recording (0.01 to 30 s) as mono MP3, for browsers that cannot play the uploaded file.

    The channels are averaged, and the peak is normalized. A segment beyond the recording's end is cut there. 400 for a
    segment of another length.
    """
    await run_in_threadpool(service.detections.get_recording, sha256)
    if not 0.01 <= end_s - start_s <= MAX_CLIP_S:
        raise InputError(f"expected a segment of at most {MAX_CLIP_S:g} s, got {start_s:g} to {end_s:g} s.")
    write = partial(_write_segment, service, sha256, start_s, end_s)
    response = service.renderer.get_or_render(sha256, ("segment", start_s, end_s), write)
    return RenderedResponse(await while_connected(request, response), media_type="audio/mpeg", headers=_CACHE_HEADERS)


def _write_segment(service: Service, sha256: str, start_s: float, end_s: float, file: BinaryIO) -> None:
    file.write(encode_mp3(_read_samples(service, sha256, start_s, end_s), rate_hz=RATE_HZ))


@router.get(
    "/recordings/{sha256}/spectrogram",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **error_responses(404, 503)},
)
async def recording_spectrogram(
    request: Request,
    service: ServiceDependency,
    sha256: Sha256,
    start_s: Annotated[float, Query(ge=0, le=1e6, description="Start of the segment in seconds.")] = 0.0,
    end_s: Annotated[
        float | None,
        Query(gt=0, le=1e6, description="End of the segment in seconds. Default: the end of the recording."),
    ] = None,
    width: Annotated[int, Query(ge=50, le=2400, description="Width of the image in pixels.")] = 1200,
    height: Annotated[int, Query(ge=50, le=600, description="Height of the image in pixels.")] = 240,
) -> Response:
    """Return the spectrogram of a recording as a PNG without axes, from 0 to 12 kHz.

    The segment from `start_s` to `end_s` is drawn, or without them the whole recording, in `width` by `height` pixels.
    400 if less than 0.01 s of the segment lies in the recording.
    """
    row = await run_in_threadpool(service.detections.get_recording, sha256)
    duration_s = row.duration_s or 0.0
    end_s = min(end_s or duration_s, duration_s)
    if end_s - start_s < 0.01:
        raise InputError(f"expected a segment within 0 and {duration_s:.3f} s, got {start_s:g} to {end_s:g} s.")
    draw = partial(_draw_segment, service, sha256, start_s, end_s, width, height)
    response = service.renderer.get_or_render(sha256, ("spectrogram", start_s, end_s, width, height), draw)
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return RenderedResponse(await while_connected(request, response), media_type="image/png", headers=headers)


def _draw_segment(
    service: Service, sha256: str, start_s: float, end_s: float, width: int, height: int, file: BinaryIO
) -> None:
    path = service.files.local(sha256)
    with service.pool.decoder() as decoder:
        spectrogram = stretch_spectrogram(path, start_s=start_s, end_s=end_s, decoder=decoder)
    file.write(draw_strip(spectrogram, width=width, height=height))


@router.get(
    "/recordings/{sha256}/detections", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404, 503)
)
async def recording_detections(
    request: Request,
    service: ServiceDependency,
    sha256: Sha256,
    output: Annotated[
        str,
        Query(alias="format", description="Format of the response: json, or the name of a table format, such as csv."),
    ] = "json",
) -> Response:
    """Return the detections in a recording's latest identification, at most 100,000, as JSON or in a table format.

    Detections are ordered by start, then by falling score. JSON has the recording's name (`recording`) and all
    `detections` with their reviews. Tables leave out detections with the verdicts "incorrect" and "none", have
    relabeled detections under the reviewer's species, and have the verdict if the format has a column for it. 400 for
    an unknown format, 404 if there is no such recording.
    """
    row = await run_in_threadpool(service.detections.get_recording, sha256)
    if output == "json":
        write, media_type = partial(_write_json, service, row), "application/json"
    else:
        write, media_type = partial(_write_table, service, row, FORMATS.lookup(output)), "application/octet-stream"
    return RenderedResponse(await while_connected(request, service.renderer.render_once(write)), media_type=media_type)


def _write_json(service: Service, row: Recording, file: BinaryIO) -> None:
    """Write all detections of a recording as one JSON object, with one page of rows in memory."""
    file.write(b'{"recording":' + _json(row.name) + b',"detections":[')
    separator = b""
    for page in service.detections.iterate_pages(row.sha256, limit=MAX_LISTED):
        for each in page:
            file.write(separator + _json(detection_fields(each)))
            separator = b","
    file.write(b"]}")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _write_table(service: Service, row: Recording, output_format: TableFormat, file: BinaryIO) -> None:
    """Write all detections of a recording in a table format, with one page of rows in memory."""
    pages = service.detections.iterate_pages(row.sha256, limit=MAX_LISTED)
    first = next(pages, [])
    run = service.detections.latest_identification(row.sha256)
    provenance = _read_provenance(service, run, first)
    if service.detections.is_reviewed(run.id):
        provenance = replace(provenance, parameters=provenance.parameters | {"reviewed": True})
    output_format.write(file, _tables(row, run, chain([first], pages)), provenance)


def _tables(row: Recording, run: Identification, pages: Iterator[list[DetectionRecord]]) -> Iterator[RecordingTable]:
    """Yield each page of detections as a table with the duration 0.

    Some formats add the durations of earlier tables to the times of the next one, and all pages are of one recording.
    """
    start_time = None if row.recorded_at is None else datetime.fromisoformat(row.recorded_at)
    metadata = RecordingMetadata(start_time=start_time, latitude=run.latitude, longitude=run.longitude)
    for page in pages:
        rows = tuple(apply_reviews(page))
        yield RecordingTable(row.name, 0.0, row.rate_hz or 0, metadata, run.week, rows)


def _read_provenance(service: Service, run: Identification, records: list[DetectionRecord]) -> Provenance:
    """Return the provenance of an identification, without opening the model's bundle, which may be missing.

    For identifications from before revision 0004 of the database, software and most options are unknown.
    """
    if run.provenance is not None:
        return Provenance(**run.provenance)
    is_each = bool(records) and records[0].detection.channel is not None
    parameters = {"channel": "each"} if is_each else {}
    return Provenance(service.catalog.get(run.bundle_id).name, "", run.bundle_id, "", parameters)


class DownloadRequest(BaseModel):
    """Body of a request for tables of several recordings: their sha256, and the name of the table format."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"recordings": ["0" * 64]}]})

    recordings: Annotated[
        list[Sha256], Field(min_length=1, max_length=MAX_PAGE, description="SHA-256 of each recording to write.")
    ]
    format: Annotated[str, Field(max_length=40, description="Name of a table format, such as csv or raven.")] = "csv"


@router.post(
    "/recordings/download",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}, **error_responses(404, 408, 413, 503)},
)
async def download(request: Request, service: ServiceDependency, body: DownloadRequest) -> Response:
    """Return a zip archive with a table of each recording's detections, with the corrections of reviewers.

    A table is named after its recording, with a number if several recordings have the same name. 404 if one of the
    recordings is unknown, 400 if one could not be identified.
    """
    output_format = FORMATS.lookup(body.format)
    unique = dict.fromkeys(body.recordings)
    rows = [await run_in_threadpool(service.detections.get_recording, sha256) for sha256 in unique]
    for row in rows:
        if row.error is not None:
            raise InputError(f"{row.name}: expected an identified recording, got one that failed: {row.error}")
    write = partial(_write_tables, service, rows, output_format)
    return RenderedResponse(
        await while_connected(request, service.renderer.render_once(write)),
        media_type="application/zip",
        headers={"Content-Disposition": 'attachment; filename="detections.zip"'},
    )


def _write_tables(service: Service, rows: list[Recording], output_format: TableFormat, file: BinaryIO) -> None:
    """Write a zip archive with a table of each recording's detections."""
    names = _number_names([row.name for row in rows])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for row, name in zip(rows, names, strict=True):
            with tempfile.TemporaryFile(dir=service.spool) as table:  # some formats move within their file
                _write_table(service, row, output_format, table)
                table.seek(0)
                with archive.open(f"{name}{output_format.suffix}", "w") as member:
                    shutil.copyfileobj(table, member)


def _number_names(names: Sequence[str]) -> list[str]:
    """Return the names with numbers added to repeated ones, ignoring case: a.wav, a.wav (2)."""
    used: set[str] = set()
    numbered = []
    for name in names:
        choices = chain([name], (f"{name} ({k})" for k in count(2)))
        free = next(each for each in choices if each.casefold() not in used)
        used.add(free.casefold())
        numbered.append(free)
    return numbered


@router.get(
    "/detections/{number}/audio",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"audio/mpeg": {}}}, **error_responses(404, 503)},
)
async def detection_audio(request: Request, service: ServiceDependency, number: DetectionId) -> Response:
    """Return the audio of a detection with one second before and after it, with normalized peak, as mono MP3.

    Of a detection longer than 30 s, the first 30 s with these margins are used. 404 if there is no such detection.
    """
    row, channel = await run_in_threadpool(service.detections.get, number)
    parameters = "clip", row.start_s, row.end_s, channel
    response = service.renderer.get_or_render(row.recording, parameters, partial(_write_clip, service, row, channel))
    return RenderedResponse(await while_connected(request, response), media_type="audio/mpeg", headers=_CACHE_HEADERS)


@router.get(
    "/detections/{number}/spectrogram",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **error_responses(404, 503)},
)
async def detection_spectrogram(request: Request, service: ServiceDependency, number: DetectionId) -> Response:
    """Return the spectrogram of a detection with one second before and after it, as PNG.

    Of a detection longer than 30 s, the first 30 s with these margins are used. 404 if there is no such detection.
    """
    row, channel = await run_in_threadpool(service.detections.get, number)
    parameters = "still", row.start_s, row.end_s, channel
    response = service.renderer.get_or_render(row.recording, parameters, partial(_draw_clip, service, row, channel))
    return RenderedResponse(await while_connected(request, response), media_type="image/png", headers=_CACHE_HEADERS)


_CACHE_HEADERS = {"Cache-Control": "private, max-age=86400"}


def _write_clip(service: Service, row: DetectionRow, channel: ChannelSource, file: BinaryIO) -> None:
    samples, _ = _read_clip(service, row, channel)
    file.write(encode_mp3(samples, rate_hz=RATE_HZ))


def _draw_clip(service: Service, row: DetectionRow, channel: ChannelSource, file: BinaryIO) -> None:
    samples, start_s = _read_clip(service, row, channel)
    file.write(draw_clip(clip_spectrogram(samples, rate_hz=RATE_HZ, start_s=start_s), (row.start_s, row.end_s)))


def _read_clip(service: Service, row: DetectionRow, channel: ChannelSource) -> tuple[FloatArray, float]:
    """Return the samples of a detection with its margins, and the start of the samples in seconds."""
    start_s = max(row.start_s - CLIP_MARGIN_S, 0.0)
    end_s = min(row.end_s, row.start_s + MAX_CLIP_S) + CLIP_MARGIN_S
    decode = partial(_read_samples, service, row.recording, start_s, end_s, channel)
    return service.recent_clips.read((row.recording, start_s, end_s, channel), decode), start_s


def _read_samples(
    service: Service, sha256: str, start_s: float, end_s: float, channel: ChannelSource = "mean"
) -> FloatArray:
    path = service.files.local(sha256)
    with service.pool.decoder() as decoder:
        return decoder.read_clip(path, start_s=start_s, end_s=end_s, rate_hz=RATE_HZ, channel=channel)
