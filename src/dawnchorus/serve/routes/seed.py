"""The interface of an existing dashboard: its routes and its JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from dawnchorus.errors import InputError
from dawnchorus.identify.options import Options
from dawnchorus.serve.access import needs
from dawnchorus.serve.clock import now
from dawnchorus.serve.routes.lessons import take
from dawnchorus.serve.routes.replies import problems
from dawnchorus.serve.service import ServiceOf
from dawnchorus.serve.settings import Role
from dawnchorus.serve.state.tables import ACTIVE_STATUSES
from dawnchorus.types import Detection

N_TOP = 5

router = APIRouter(prefix="/api", tags=["seed"])


@router.get("/health", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def health(service: ServiceOf) -> dict[str, Any]:
    """Whether the model is loaded."""
    bundle = service.lanes.bundle
    return {
        "status": "healthy",
        "model_loaded": True,
        "model": bundle.info.name,
        "model_version": bundle.id,
        "num_classes": len(bundle.labels),
        "timestamp": now().isoformat(timespec="milliseconds"),
    }


@router.get("/metrics", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def metrics(service: ServiceOf) -> dict[str, Any]:
    """Uptime, totals, average confidence, the ten most frequent species, the latest predictions."""
    about = {"uptime_seconds": round(service.uptime_s, 3), **service.history.totals()}
    return {**about, "model_version": service.lanes.bundle.id, "waiting": service.lanes.n_waiting}


@router.get("/classes", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def classes(service: ServiceOf) -> dict[str, Any]:
    """What the model can tell."""
    names = [label.common_name for label in service.lanes.bundle.labels]
    return {"classes": names, "num_classes": len(names)}


_AUDIO = {"type": "object", "required": ["audio"], "properties": {"audio": {"type": "string", "format": "binary"}}}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _AUDIO}}}}


@router.post(
    "/predict",
    dependencies=[needs(Role.IDENTIFY)],
    responses=problems(408, 413, 503, 507),
    openapi_extra=_BODY,
)
async def predict(request: Request, service: ServiceOf) -> dict[str, Any]:
    """The best species of a clip (multipart field `audio`), and the five best, by their best window."""
    async with service.uploaded(request) as (path, name):
        found = await service.recognised(path, Options(min_score=0.0, top=N_TOP), name)
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
        **_confidence(ranked[0]),
        "top_5_predictions": [{"species": each.common_name, **_confidence(each)} for each in ranked],
        "timestamp": now().isoformat(timespec="milliseconds"),
        "model_version": found.bundle.id,
    }


def _confidence(found: Detection) -> dict[str, Any]:
    return {"confidence": found.score, "confidence_percent": f"{100 * found.score:.2f}%"}


@router.post(
    "/upload_bulk",
    dependencies=[needs(Role.TEACH)],
    responses=problems(408, 413, 503, 507),
    openapi_extra=_BODY,
)
async def upload_bulk(request: Request, service: ServiceOf) -> dict[str, Any]:
    """Labelled recordings to learn from: see /api/v1/lessons."""
    taken = await take(request, service)
    return {
        "message": f"{sum(each.status == 'taken' for each in taken)} of {len(taken)} files were taken.",
        "uploaded": sum(each.status == "taken" for each in taken),
        "failed": sum(each.status == "refused" for each in taken),
        "files": [vars(each) for each in taken],
    }


@router.post("/trigger_retrain", dependencies=[needs(Role.TEACH)], responses=problems(409))
def trigger_retrain(service: ServiceOf) -> dict[str, Any]:
    """Retrain with all that was taken; the new model serves when it is as good as the old."""
    job = service.learning.start(list(service.settings.recipe), by_hand=False)
    return {"message": "Retraining has begun.", "status": job.status, "job_id": job.id}


@router.get("/retrain_status", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def retrain_status(service: ServiceOf) -> dict[str, Any]:
    """How far the latest retraining is."""
    _, rows = service.jobs.find(kind="retrain", limit=1)
    if not rows:
        return {"is_training": False, "status": "idle", "progress": 0, "message": "No model was retrained yet."}
    job = rows[0]
    return {
        "is_training": job.status in ACTIVE_STATUSES,
        "status": job.status,
        "progress": round(100 * job.progress, 1),
        "message": job.error or job.stage,
        "job_id": job.id,
        "result": job.result,
    }
