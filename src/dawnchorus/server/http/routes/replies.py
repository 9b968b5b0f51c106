"""JSON fields of responses, parameter types and the route class that several route modules share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Message, Receive

from dawnchorus.errors import InputError
from dawnchorus.formats.columns import round_values
from dawnchorus.server.detection_reviews import corrected_values
from dawnchorus.server.http.error_handlers import MEDIA_TYPE
from dawnchorus.server.http.json_bodies import parse_json
from dawnchorus.server.http.uploads import read_body
from dawnchorus.server.listing import DetectionRecord, Position, RecordingRecord, RecordingState
from dawnchorus.server.state.tables import Job, Recording, Review, ReviewAnswer

MAX_PAGE = 200
"""Maximum number of rows in a page of a list, and of recordings in one request."""

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Maximum number of rows in the response.")]
Sha256 = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the recording's file, in hexadecimal.")
]
DetectionId = Annotated[int, Field(ge=1, le=2**31 - 1, description="Id of the detection.")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="Number of rows to skip.")]


MAX_JSON_BYTES = 64 << 10
"""Maximum size of a JSON body that has parameters only, and no samples."""


class JsonRoute(APIRoute):
    """Route that rejects bodies above `MAX_JSON_BYTES`, and JSON with repeated keys, NaN or infinity.

    FastAPI's own routes accept all of these. The body's bytes are set as `request.state.body`, for
    `json_bodies.refuse_other_body`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return a handler that checks the body before FastAPI parses it.

        Bodies are not checked if the route declares no body and its function takes the `Request`, to read the body
        itself. Nor are they checked if the route declares no body and is for GET and HEAD only.
        """
        handle = super().get_route_handler()
        reads_itself = self.dependant.request_param_name is not None or (self.methods or set()) <= {"GET", "HEAD"}
        if self.body_field is None and reads_itself:
            return handle

        async def handle_checked(request: Request) -> Response:
            body = await read_body(request, max_bytes=MAX_JSON_BYTES)
            request.state.body = body
            _check_json(body)
            return await handle(Request(request.scope, _Replay(body, request.receive)))

        return handle_checked


class _Replay:
    """ASGI receiver that returns a body that was read before, and then the client's further messages."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _check_json(body: bytes) -> None:
    """Raise InputError for repeated keys, NaN and infinity; invalid JSON is left to FastAPI."""
    try:
        parse_json(body)
    except InputError:
        raise
    except (ValueError, RecursionError):
        return


class ProblemDetails(BaseModel):
    """Body of an error response: problem details (RFC 9457) with additional fields."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: str
    """Type of the problem, a URI or about:blank."""
    title: str
    """Standard phrase for the status code, such as Not Found."""
    status: int
    """HTTP status code."""
    detail: str
    """Cause of the error, and what to do."""
    error: str
    """Copy of `detail`, for clients of the dashboard and of the Open Inference Protocol."""
    id: str
    """Id of the error in the server log."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of a route's error responses by status code, for FastAPI's `responses`.

    Args:
        statuses: status codes of errors of this route, in addition to those that every route may return: 400, 401,
            403, 421, 422 and 429.
    """
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    common = {
        400: "see detail, such as a NUL character in the URL",
        401: "no token",
        403: "not allowed",
        421: "another host",
        422: "a value out of range, or no usable file",
        429: "too many requests",
    }
    texts = {**dict.fromkeys(statuses, "see detail"), **common}
    return {s: {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}} for s, text in sorted(texts.items())}


def as_fields(row: Any) -> dict[str, Any]:
    """Return the columns of a database row (an object of a mapped class) by name, with times as text in ISO 8601."""
    values = {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}
    return {k: v.isoformat(timespec="milliseconds") if hasattr(v, "isoformat") else v for k, v in values.items()}


def recording_fields(row: Recording) -> dict[str, Any]:
    """Return the columns of a recording by name, with `state` (see `recording_state`).

    Other added fields are `audio` and `spectrogram` (URL paths). The column `latest_identification` is left out.
    """
    base = f"/api/v1/recordings/{row.sha256}"
    fields = {name: value for name, value in as_fields(row).items() if name != "latest_identification"}
    return {**fields, "state": recording_state(row), "audio": f"{base}/audio", "spectrogram": f"{base}/spectrogram"}


def recording_state(row: Recording) -> RecordingState:
    """Return the state of a recording: "detections", "no_detections", or "failed" if it could not be identified.

    A recording whose detections were all rejected by reviewers has the state "detections".
    """
    return "failed" if row.error is not None else "detections" if row.n_detections else "no_detections"


def listed_recording_fields(record: RecordingRecord) -> dict[str, Any]:
    """Return the result of `recording_fields`, with `species`, `n_species` and `n_reviewed` of the record.

    Each element of `species` has `scientific_name`, `common_name`, `n_detections` and `best_score`, the latter two
    without rejected detections.
    """
    names = "scientific_name", "common_name", "n_detections", "best_score"
    species = [{name: getattr(each, name) for name in names} for each in record.species]
    return {
        **recording_fields(record.recording),
        "species": species,
        "n_species": record.n_species,
        "n_reviewed": record.n_reviewed,
    }


def detection_fields(record: DetectionRecord) -> dict[str, Any]:
    """Return the columns of a detection by name, with fields on its recording and its review.

    Numbers are rounded to the decimals of detection tables (`formats.columns`).

    Relabeled detections have the values of `detection_reviews.corrected_values`. Added fields are `recording_name`,
    `clock_time` (start by the recorder's clock, ISO 8601; None if unknown), `review` (see `review_fields`), and the URL
    paths `audio` and `spectrogram`.
    """
    row = record.detection
    return {
        **round_values(as_fields(row) | corrected_values(row)),
        "recording_name": record.recording.name,
        "clock_time": _clock_time(record.recording, row.start_s),
        "review": review_fields(record.review),
        "audio": f"/api/v1/detections/{row.id}/audio",
        "spectrogram": f"/api/v1/detections/{row.id}/spectrogram",
    }


def clip_fields(record: DetectionRecord) -> dict[str, Any]:
    """Return the result of `detection_fields`, with `site` (name of the recording site or None) and `position`.

    `position` is the text of the detection's `Position` in the review queue; clients send it to get the detections that
    follow.
    """
    position = Position(record.detection.score, record.detection.id)
    return {**detection_fields(record), "site": record.recording.site, "position": position.encode()}


def answer_fields(answer: ReviewAnswer) -> dict[str, Any]:
    """Return the columns of an answer by name, without `reviewer`, `previous` and `is_undone`."""
    hidden = ("reviewer", "previous", "is_undone")
    return {name: value for name, value in as_fields(answer).items() if name not in hidden}


def review_fields(review: Review | None) -> dict[str, Any] | None:
    """Return the columns of a review by name; None if `review` is None."""
    return None if review is None else as_fields(review)


def job_fields(job: Job) -> dict[str, Any]:
    """Return the columns of a job by name, without `worker_id` and `heartbeat_at`.

    The added field `events` is the URL path of the job's stream of events.
    """
    hidden = ("worker_id", "heartbeat_at")
    fields = {name: value for name, value in as_fields(job).items() if name not in hidden}
    return {**fields, "events": f"/api/v1/jobs/{job.id}/events"}


def _clock_time(recording: Recording, start_s: float) -> str | None:
    if recording.recorded_at is None:
        return None
    try:
        return (datetime.fromisoformat(recording.recorded_at) + timedelta(seconds=start_s)).isoformat()
    except OverflowError:
        return None
