"""The interface of an existing dashboard: its routes and its JSON."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fastapi import APIRouter, Request

from dawnchorus.errors import InputError
from dawnchorus.identify.options import Options
from dawnchorus.serve.meters import Prediction, now
from dawnchorus.serve.service import ServiceOf

N_TOP = 5

router = APIRouter(prefix="/api", tags=["seed"])


@router.get("/health")
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


@router.get("/metrics")
def metrics(service: ServiceOf) -> dict[str, Any]:
    """Uptime, totals, average confidence, the ten most frequent species, the latest predictions."""
    lanes = service.lanes
    return {**service.meters.summary(), "model_version": lanes.bundle.id, "waiting": lanes.n_waiting}


@router.get("/classes")
def classes(service: ServiceOf) -> dict[str, Any]:
    """What the model can tell."""
    names = [label.common_name for label in service.lanes.bundle.labels]
    return {"classes": names, "num_classes": len(names)}


@router.post("/predict")
async def predict(request: Request, service: ServiceOf) -> dict[str, Any]:
    """The best species of a clip (multipart field `audio`), and the five best, by their best window."""
    async with service.uploaded(request) as (path, _):
        found = await service.recognised(path, Options(min_score=0.0, top=N_TOP))
    best: dict[str, float] = defaultdict(float)
    for detection in found.table.detections:
        best[detection.common_name] = max(best[detection.common_name], detection.score)
    ranked = sorted(best.items(), key=lambda item: -item[1])[:N_TOP]
    if not ranked:
        raise InputError("expected sound, got a recording of no length.")
    (species, confidence), at = ranked[0], now()
    service.meters.prediction(Prediction(species, confidence, at, found.bundle.id))
    return {
        "predicted_species": species,
        "confidence": confidence,
        "confidence_percent": f"{100 * confidence:.2f}%",
        "top_5_predictions": [
            {"species": name, "confidence": score, "confidence_percent": f"{100 * score:.2f}%"}
            for name, score in ranked
        ],
        "timestamp": at.isoformat(timespec="milliseconds"),
        "model_version": found.bundle.id,
    }
