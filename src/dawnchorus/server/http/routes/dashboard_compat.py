"""API routes and JSON fields of the Bird Sound dashboard, an earlier program whose clients still use them."""

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
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency, receive_recording
from dawnchorus.server.http.parameters import RequestParameters, merge_fields
from dawnchorus.server.http.routes.replies import JsonRoute, error_responses
from dawnchorus.server.http.routes.training_data import add_files, upload_reply
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.tables import ACTIVE_STATUSES
from dawnchorus.types import Channel, Detection

N_TOP, N_RECENT = 5, 20
"""Number of species in a prediction, and of predictions in `recent_predictions`."""

router = APIRouter(prefix="/api", tags=["dashboard"], route_class=JsonRoute)


@router.get("/health", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def health(service: ServiceDependency) -> dict[str, Any]:
    """Return the active model, the latest retraining, and the number of this server's requests since its start.

    `status` is always "healthy", and `model_loaded` always true. `error_count` is the number of responses with a status
    code of 400 or more; `last_retrain` is the time in UTC at which a retraining was last completed, or null. The other
    fields are `model` (name), `model_version` (bundle id), `num_classes`, `uptime_seconds`, `total_requests`,
    `is_retraining` (true if a retraining is queued or running) and `timestamp` (of the response, in UTC).
    """
    bundle = service.pool.bundle
    n_requests, n_errors = service.metrics.count_replies()
    return {
        "status": "healthy",
        "model_loaded": True,
        "model": bundle.info.name,
        "num_classes": len(bundle.labels),
        "uptime_seconds": round(service.uptime_s, 3),
        "total_requests": n_requests,
        "error_count": n_errors,
        **_retraining_fields(service),
        "timestamp": now().isoformat(timespec="milliseconds"),
    }


@router.get("/metrics", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def metrics(service: ServiceDependency) -> dict[str, Any]:
    """Return uptime, totals, mean confidence, the ten most frequent species and the latest predictions.

    A prediction is the species with the highest score in an identified recording, and confidence is this score.
    `recent_predictions` are the last 20, the oldest first; `latest` are the last 50, the newest first; each has
    `species`, `confidence`, `timestamp` and `bundle_id`. `avg_confidence` is 0 and `average_confidence` is null before
    the first prediction. `species_distribution` is the number of predictions by common name, `sound_seconds` the length
    of all identified audio in seconds, and `waiting` the number of recordings in the queue. `uptime` and
    `uptime_seconds` are equal, `total_predictions` is the number of all identified recordings, and `model_version` the
    bundle id of the active model.
    """
    uptime_s, totals = round(service.uptime_s, 3), service.detections.totals()
    return {
        "uptime": uptime_s,
        "uptime_seconds": uptime_s,
        **totals,
        "avg_confidence": totals["average_confidence"] or 0.0,
        "recent_predictions": totals["latest"][:N_RECENT][::-1],
        "model_version": service.pool.bundle.id,
        "waiting": service.pool.n_waiting,
    }


@router.get("/classes", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def classes(service: ServiceDependency) -> dict[str, Any]:
    """Return the common names of the active model's classes (`classes`), and their number (`num_classes`)."""
    names = [label.common_name for label in service.pool.bundle.labels]
    return {"classes": names, "num_classes": len(names)}


@router.get("/system_stats", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def system_stats(service: ServiceDependency) -> dict[str, Any]:
    """Return the resources of this server's process, and the numbers of jobs and stored recordings.

    `cpu_seconds` is the process's CPU time, `memory_bytes` its resident memory (null if unknown), `waiting` the number
    of recordings in the queue, `jobs` the number of queued and of running jobs by status, `recordings` the number of
    listed recordings, also of those that could not be identified, and `lessons` the number of labeled recordings in the
    training data. The other fields are `uptime_seconds`, `cpu_cores` and `disk_free_bytes` (of the data folder).
    """
    return {
        "uptime_seconds": round(service.uptime_s, 3),
        "cpu_cores": usable_cores(),
        "cpu_seconds": round(time.process_time(), 3),
        "memory_bytes": _memory_bytes(),
        "disk_free_bytes": shutil.disk_usage(service.settings.data).free,
        "waiting": service.pool.n_waiting,
        "jobs": service.jobs.count_by_status(ACTIVE_STATUSES),
        "recordings": service.detections.count_recordings(),
        "lessons": service.training_data.count(),
    }


def _memory_bytes() -> int | None:
    """Return the resident memory of this process in bytes, or None if the system has no `/proc`."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


@router.get("/model_performance", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def model_performance(service: ServiceDependency) -> dict[str, Any]:
    """Return `model` (name), `model_version` (bundle id) and `num_classes` of the active model, and its `report`.

    The report is the comparison, on held-out recordings, with the model that was active when the active model was
    trained; it is null if the active model was not made by a retraining. Its fields are `meets_promotion_rule`,
    `reasons` (clauses with reasons against promotion) and `report`, the numbers, with the keys that
    `training.retraining.compare` describes.
    """
    bundle = service.pool.bundle
    return {
        "model": bundle.info.name,
        "model_version": bundle.id,
        "num_classes": len(bundle.labels),
        "report": service.catalog.get(bundle.id).report,
    }


_AUDIO = {"type": "object", "required": ["audio"], "properties": {"audio": {"type": "string", "format": "binary"}}}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _AUDIO}}}}


class PredictRequest(RequestParameters):
    """Parameters of a request for a prediction, in the URL or in the form.

    `channel` is "mean" (of all channels), "left" (the first), "right" (the second) or "best" (the channel whose
    frequency bands vary most over time).
    """

    channel: Channel = Field(
        default="mean", description="Channel to score: the mean of all, the first, the second or the clearest."
    )


@router.post(
    "/predict",
    dependencies=[require_role(Role.IDENTIFY)],
    responses=error_responses(408, 413, 503, 507),
    openapi_extra=_BODY,
)
async def predict(
    request: Request, service: ServiceDependency, query: Annotated[PredictRequest, Query()]
) -> dict[str, Any]:
    """Return the five classes (species or other sounds) with the highest scores in any window of a clip.

    The clip is the form field `audio`; the channel may also be a field of the form. `predicted_species` is the common
    name of the first of the five, `confidence` its score, 0 to 1, and `top_5_predictions` the score by common name, the
    highest first; `model_version` is the bundle id. The other fields are `confidence_percent` (a text), `timestamp`
    (UTC), and the sentences `warnings` and `notes`. 400 if the clip has no audio.
    """
    async with receive_recording(service, request) as (path, name):
        channel = merge_fields(query, request.state.texts).channel
        result = await service.identify(path, Options(min_score=0.0, top=N_TOP, channel=channel), name)
    best: dict[str, Detection] = {}
    for detection in result.table.detections:
        highest = best.get(detection.common_name)
        if highest is None or highest.score < detection.score:
            best[detection.common_name] = detection
    ranked = sorted(best.values(), key=lambda d: -d.score)[:N_TOP]
    if not ranked:
        raise InputError("expected audio, got a recording of no length.")
    service.detections.add_to_totals(result, ranked[0])
    return {
        "predicted_species": ranked[0].common_name,
        "confidence": ranked[0].score,
        "confidence_percent": f"{100 * ranked[0].score:.2f}%",
        "top_5_predictions": {each.common_name: each.score for each in ranked},
        "timestamp": now().isoformat(timespec="milliseconds"),
        "model_version": result.bundle.id,
        "warnings": list(result.warnings),
        "notes": list(result.notes),
    }


@router.post(
    "/upload_bulk",
    dependencies=[require_role(Role.TRAIN)],
    responses=error_responses(408, 413, 503, 507),
    openapi_extra=_BODY,
)
async def upload_bulk(request: Request, service: ServiceDependency) -> Response:
    """Add labeled recordings to the training data, as /api/v1/training-data does, with the dashboard's response.

    `uploaded` is the number of accepted files, `failed` that of rejected ones, `skipped_count` that of rejected files
    and duplicates, and `total_files_in_folder` the number of all labeled recordings in the training data.
    `uploaded_count` equals `uploaded`; `message`, `files` (the outcome of each file) and `notes` are further fields.
    422 if every file was rejected.
    """
    result = await add_files(request, service)
    n_files, n_accepted = len(result.files), result.count("accepted")
    fields = {
        "message": f"{n_accepted} of {n_files} files were accepted.",
        "uploaded": n_accepted,
        "uploaded_count": n_accepted,
        "failed": result.count("rejected"),
        "skipped_count": n_files - n_accepted,
        "total_files_in_folder": await asyncio.to_thread(service.training_data.count),
    }
    return upload_reply(result, fields)


@router.post("/trigger_retrain", dependencies=[require_role(Role.TRAIN)], responses=error_responses(409))
def trigger_retrain(service: ServiceDependency) -> dict[str, Any]:
    """Add a job that retrains on all training data; the new model is activated if it meets the promotion rule.

    Returns `message`, the job's `status`, and `job_id`. 409 if another retraining is queued or running, or the queue of
    jobs is full; 400 if there is no training data.
    """
    job = service.retraining.start(list(service.settings.retrain_overrides), require_approval=False)
    return {"message": "Retraining has started.", "status": job.status, "job_id": job.id}


@router.get("/retrain_status", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def retrain_status(service: ServiceDependency) -> dict[str, Any]:
    """Return the progress of the latest retraining, and the time at which a retraining was last completed.

    `status` is that of the latest retraining job ("queued", "running", "done", "failed" or "cancelled"), or "idle" if
    there is none; `progress` is in percent; `message` is the stage of the work, or the reason of a failure;
    `last_retrain` is the time in UTC, or null. `is_training` and `is_retraining` are equal: true if a retraining is
    queued or running. `model_version` is the active model's bundle id. If there is a job, `job_id` and `result` are
    added; `result` is null unless the job is done, and has the new model's `bundle_id`, whether it `is_promoted` (was
    activated) and `meets_promotion_rule`, the `reasons`, and its `report`.
    """
    retraining = _retraining_fields(service)
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


def _retraining_fields(service: Service) -> dict[str, Any]:
    """Return the fields on retraining that the responses of `/api/health` and `/api/retrain_status` share."""
    last = service.jobs.latest_done("retrain")
    ended_at = None if last is None else last.ended_at
    return {
        "is_retraining": any(service.jobs.count_by_status(ACTIVE_STATUSES, kind="retrain").values()),
        "last_retrain": None if ended_at is None else ended_at.isoformat(timespec="milliseconds"),
        "model_version": service.pool.bundle.id,
    }
