"""The versioned interface: what the command line does, over HTTP."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from dawnchorus.formats.fields import fields_of
from dawnchorus.formats.registry import TableFormat, table_format
from dawnchorus.identify.options import DEFAULT_MIN_SCORE, DEFAULT_RANGE_THRESHOLD, Options
from dawnchorus.identify.result import provenance_of
from dawnchorus.serve.lanes import Recognition
from dawnchorus.serve.service import ServiceOf

SCHEMA = 1

router = APIRouter(prefix="/api/v1", tags=["v1"])


@router.get("/health/live")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("/health/ready")
def ready(service: ServiceOf) -> dict[str, str]:
    """The model is loaded and can be asked."""
    return {"status": "ready", "bundle_id": service.lanes.bundle.id}


@router.get("/models/active")
def active(service: ServiceOf) -> dict[str, Any]:
    """What uploads are scored with."""
    bundle = service.lanes.bundle
    fields = bundle.info.model_dump(mode="json", exclude_none=True, exclude={"thresholds"})
    return {**fields, "bundle_id": bundle.id, "n_classes": len(bundle.labels)}


@router.post("/identify")
async def identify(
    request: Request,
    service: ServiceOf,
    min_score: Annotated[float, Query(ge=0, le=1)] = DEFAULT_MIN_SCORE,
    overlap: Annotated[float, Query(ge=0, description="Seconds shared by neighbouring windows.")] = 0.0,
    top: Annotated[int | None, Query(ge=1)] = None,
    merge: Annotated[bool, Query(description="Join neighbouring windows into events.")] = False,  # noqa: FBT002
    lat: Annotated[float | None, Query(ge=-90, le=90)] = None,
    lon: Annotated[float | None, Query(ge=-180, le=180)] = None,
    week: Annotated[int | None, Query(ge=1, le=48)] = None,
    range_threshold: Annotated[float, Query(ge=0, le=1)] = DEFAULT_RANGE_THRESHOLD,
    output: Annotated[str, Query(alias="format", description="json, or the name of a table's format.")] = "json",
) -> Response:
    """The detections of a recording (multipart field `audio`, or the body): the same rows as the command line's."""
    wanted = None if output == "json" else table_format(output)
    options = Options(
        min_score=min_score,
        overlap_s=overlap,
        top=top,
        merge=merge,
        latitude=lat,
        longitude=lon,
        week=week,
        range_threshold=range_threshold,
    )
    async with service.uploaded(request) as (path, name):
        found = await service.recognised(path, options)
    return await asyncio.to_thread(_reply, found, name, options, wanted)


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
    about = {"schema": SCHEMA, "recording": name, "duration_s": table.duration_s, "bundle_id": found.bundle.id}
    return JSONResponse({**about, "warnings": list(found.warnings), "detections": rows})
