"""The interface of an existing dashboard: its routes and its JSON."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError
from dawnchorus.identification.options import Options
from dawnchorus.server.http.auth import needs
from dawnchorus.server.http.dependencies import ServiceOf, receive_recording
from dawnchorus.server.http.parameters import RequestParameters, merge_fields
from dawnchorus.server.http.routes.replies import JsonRoute, problems
from dawnchorus.server.http.routes.training_data import take, upload_reply
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.tables import ACTIVE_STATUSES
from dawnchorus.types import Channel, Detection

N_TOP, N_RECENT = 5, 20

router = APIRouter(prefix="/api", tags=["seed"], route_class=JsonRoute)


@router.get("/health", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def health(service: ServiceOf) -> dict[str, Any]:
    """Report the model, the latest retraining, and what this server has answered since its start."""
    bundle = service.lanes.bundle
    n_requests, n_errors = service.meters.count_replies()
    return {
        "status": "healthy",
        "model_loaded": True,
        "model": bundle.info.name,
        "num_classes": len(bundle.labels),
        "uptime_seconds": round(service.uptime_s, 3),
        "total_requests": n_requests,
        "error_count": n_errors,
        **_retraining(service),
        "timestamp": now().isoformat(timespec="milliseconds"),
    }


@router.get("/metrics", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def metrics(service: ServiceOf) -> dict[str, Any]:
    """Report uptime, totals, average confidence, the ten most frequent species and the latest predictions.

    `recent_predictions` are the last 20, the oldest first; `latest` are the last 50, the newest first. `avg_confidence`
    is 0 where `average_confidence` is null: before the first prediction.
    """
    uptime_s, totals = round(service.uptime_s, 3), service.history.totals()
    return {
        "uptime": uptime_s,
        "uptime_seconds": uptime_s,
        **totals,
        "avg_confidence": totals["average_confidence"] or 0.0,
        "recent_predictions": totals["latest"][:N_RECENT][::-1],
        "model_version": service.lanes.bundle.id,
        "waiting": service.lanes.n_waiting,
    }


@router.get("/classes", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def classes(service: ServiceOf) -> dict[str, Any]:
    """Return the model's classes."""
    names = [label.common_name for label in service.lanes.bundle.labels]
    return {"classes": names, "num_classes": len(names)}


@router.get("/system_stats", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def system_stats(service: ServiceOf) -> dict[str, Any]:
    """Report what this server's process uses, and how much waits and is stored."""
    n_recordings, _ = service.history.recordings(limit=1, offset=0)
    return {
        "uptime_seconds": round(service.uptime_s, 3),
        "cpu_cores": usable_cores(),
        "cpu_seconds": round(time.process_time(), 3),
        "memory_bytes": _memory_bytes(),
        "disk_free_bytes": shutil.disk_usage(service.settings.data).free,
        "waiting": service.lanes.n_waiting,
        "jobs": service.jobs.counts(ACTIVE_STATUSES),
        "recordings": n_recordings,
        "lessons": service.lessons.count(),
    }


def _memory_bytes() -> int | None:
    """Return the memory of this process that is resident, or None where the system has no `/proc`."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


@router.get("/model_performance", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def model_performance(service: ServiceOf) -> dict[str, Any]:
    """Report the model, and its comparison on held-out recordings with the model before; null if there was none."""
    bundle = service.lanes.bundle
    return {
        "model": bundle.info.name,
        "model_version": bundle.id,
        "num_classes": len(bundle.labels),
        "report": service.registry.model(bundle.id).report,
    }


_AUDIO = {"type": "object", "required": ["audio"], "properties": {"audio": {"type": "string", "format": "binary"}}}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _AUDIO}}}}


class PredictRequest(RequestParameters):
    """Parameters of a prediction."""

    channel: Channel = Field(default="mean", description="Of several: the mean, the first, the second, the clearest.")


@router.post(
    "/predict",
    dependencies=[needs(Role.IDENTIFY)],
    responses=problems(408, 413, 503, 507),
    openapi_extra=_BODY,
)
async def predict(request: Request, service: ServiceOf, query: Annotated[PredictRequest, Query()]) -> dict[str, Any]:
    """Return the best species of a clip (multipart field `audio`), and the five best, by their best window.

    The channel may also come as a field of the form.
    """
    async with receive_recording(service, request) as (path, name):
        channel = merge_fields(query, request.state.texts).channel
        found = await service.recognised(path, Options(min_score=0.0, top=N_TOP, channel=channel), name)
    best: dict[str, Detection] = {}
    for detection in found.table.detections:
        known = best.get(detection.common_name)
        if known is None or known.score < detection.score:
            best[detection.common_name] = detection
    ranked = sorted(best.values(), key=lambda d: -d.score)[:N_TOP]
    if not ranked:
        raise InputError("expected sound, got a recording of no length.")
    service.history.count(found, ranked[0])
    return {
        "predicted_species": ranked[0].common_name,
        "confidence": ranked[0].score,
        "confidence_percent": f"{100 * ranked[0].score:.2f}%",
        "top_5_predictions": {each.common_name: each.score for each in ranked},
        "timestamp": now().isoformat(timespec="milliseconds"),
        "model_version": found.bundle.id,
        "warnings": list(found.warnings),
        "notes": list(found.notes),
    }


@router.post(
    "/upload_bulk",
    dependencies=[needs(Role.TEACH)],
    responses=problems(408, 413, 503, 507),
    openapi_extra=_BODY,
)
async def upload_bulk(request: Request, service: ServiceOf) -> Response:
    """Take labelled recordings to learn from, in any field: see /api/v1/lessons."""
    notes: list[str] = []
    files = await take(request, service, notes.append)
    n_taken = sum(each.status == "taken" for each in files)
    fields = {
        "message": f"{n_taken} of {len(files)} files were taken.",
        "uploaded": n_taken,
        "uploaded_count": n_taken,
        "failed": sum(each.status == "refused" for each in files),
        "skipped_count": len(files) - n_taken,
        "total_files_in_folder": await asyncio.to_thread(service.lessons.count),
        "notes": notes,
    }
    return upload_reply(files, fields)


@router.post("/trigger_retrain", dependencies=[needs(Role.TEACH)], responses=problems(409))
def trigger_retrain(service: ServiceOf) -> dict[str, Any]:
    """Retrain with all that was taken; the new model serves when it is as good as the old."""
    job = service.learning.start(list(service.settings.recipe), by_hand=False)
    return {"message": "Retraining has begun.", "status": job.status, "job_id": job.id}


@router.get("/retrain_status", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def retrain_status(service: ServiceOf) -> dict[str, Any]:
    """Report how far the latest retraining is, and when a retraining was last done."""
    retraining = _retraining(service)
    common = {"is_training": retraining["is_retraining"], **retraining}
    _, rows = service.jobs.find(kind="retrain", limit=1)
    if not rows:
        return {**common, "status": "idle", "progress": 0, "message": "No model was retrained yet."}
    job = rows[0]
    return {
        **common,
        "status": job.status,
        "progress": round(100 * job.progress, 1),
        "message": job.error or job.stage,
        "job_id": job.id,
        "result": job.result,
    }


def _retraining(service: Service) -> dict[str, Any]:
    """Return the state of retraining that both `/api/health` and `/api/retrain_status` report."""
    last = service.jobs.latest_done("retrain")
    ended_at = None if last is None else last.ended_at
    return {
        "is_retraining": any(service.jobs.counts(ACTIVE_STATUSES, kind="retrain").values()),
        "last_retrain": None if ended_at is None else ended_at.isoformat(timespec="milliseconds"),
        "model_version": service.lanes.bundle.id,
    }
