"""Shapes that many routes answer in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Message

from dawnchorus.errors import InputError
from dawnchorus.server.history import Found
from dawnchorus.server.http.error_handlers import MEDIA_TYPE
from dawnchorus.server.http.json_bodies import parse_json
from dawnchorus.server.http.uploads import read_body
from dawnchorus.server.state.tables import Job, Recording, Review

MAX_PAGE = 200

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most.")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="How many to pass over.")]


MAX_JSON_BYTES = 1 << 20
"""Of a body that a route's model describes."""


class JsonRoute(APIRoute):
    """A route whose JSON body is refused when it is too long or says one thing twice; FastAPI alone would take any.

    `refuse_other_body` finds it in `request.state.body`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Read the body first, unless the route reads it by itself or its method has none."""
        handle = super().get_route_handler()
        reads_itself = self.dependant.request_param_name is not None or (self.methods or set()) <= {"GET", "HEAD"}
        if self.body_field is None and reads_itself:
            return handle

        async def answer(request: Request) -> Response:
            body = await read_body(request, max_bytes=MAX_JSON_BYTES)
            request.state.body = body
            _refuse_ambiguous(body)

            async def receive() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, receive))

        return answer


def _refuse_ambiguous(body: bytes) -> None:
    """Raise `InputError` for JSON that can be read in two ways; what is no JSON is left to the route."""
    try:
        parse_json(body)
    except InputError:
        raise
    except (ValueError, RecursionError):
        return


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    error: str
    """The same as `detail`."""
    id: str
    """Of the line in the server's log."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the documentation of a route: what it may answer instead."""
    schema = {"$ref": "#/components/schemas/Problem"}
    shown = {
        400: "see detail, such as a NUL character in the address",
        401: "no token",
        403: "not allowed",
        421: "another host",
        422: "a value out of range, or nothing that can be used",
        429: "too often",
    }
    every = {**dict.fromkeys(statuses, "see detail"), **shown}
    return {s: {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}} for s, text in sorted(every.items())}


def as_fields(row: Any) -> dict[str, Any]:
    """Return a row's columns by name, times as ISO 8601."""
    values = {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}
    return {k: v.isoformat(timespec="milliseconds") if hasattr(v, "isoformat") else v for k, v in values.items()}


def recording_fields(row: Recording) -> dict[str, Any]:
    """Return the fields of a recording, with the addresses of its sound and picture."""
    base = f"api/v1/recordings/{row.sha256}"
    return {**as_fields(row), "sound": f"/{base}/sound", "picture": f"/{base}/picture"}


def detection_fields(found: Found) -> dict[str, Any]:
    """Return the fields of a detection, with its review."""
    row = found.detection
    return {
        **as_fields(row),
        "score": round(row.score, 4),
        "recording_name": found.recording.name,
        "clock_time": _clock(found.recording, row.start_s),
        "review": review_fields(found.review),
        "sound": f"/api/v1/detections/{row.id}/sound",
        "picture": f"/api/v1/detections/{row.id}/picture",
    }


def review_fields(review: Review | None) -> dict[str, Any] | None:
    """Return the fields of a review."""
    return None if review is None else as_fields(review)


def job_fields(job: Job) -> dict[str, Any]:
    """Return the fields of a job, with the address of its events."""
    hidden = ("owner", "seen_at")
    fields = {name: value for name, value in as_fields(job).items() if name not in hidden}
    return {**fields, "events": f"/api/v1/jobs/{job.id}/events"}


def _clock(recording: Recording, start_s: float) -> str | None:
    if recording.recorded_at is None:
        return None
    try:
        return (datetime.fromisoformat(recording.recorded_at) + timedelta(seconds=start_s)).isoformat()
    except OverflowError:
        return None
