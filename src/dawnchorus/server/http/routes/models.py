"""API routes for models: list, activation, roll-back and comparison."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.errors import AudioError
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.identification.options import Options
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.routes.replies import JsonRoute, as_fields, error_responses
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.service import Service, hold_slot
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import CatalogModel
from dawnchorus.server.work import IdentifyResult

MAX_COMPARED, MAX_COMPARED_S = 20, 300.0
"""Maximum number of recordings in a comparison, and maximum length of each, because the response is synchronous."""

BundleId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", description="Id of the model's bundle.")]

router = APIRouter(prefix="/api/v1/models", tags=["models"], route_class=JsonRoute)


@router.get("", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def models(service: ServiceDependency) -> dict[str, Any]:
    """Return all `models`, the bundle id of the `active` model, and the `history` of at most 100 activations.

    Models and activations are listed with the latest first. A model has `is_active`, and the columns of the table
    `CatalogModel` except `storage_key`; an activation has `bundle_id`, `at` (ISO 8601, in UTC) and `reason`.
    """
    active = service.pool.bundle.id
    history = [
        {"bundle_id": row.bundle_id, "at": row.at.isoformat(timespec="milliseconds"), "reason": row.reason}
        for row, _ in service.catalog.list_activations()
    ]
    return {
        "active": active,
        "models": [_model_fields(row, active) for row in service.catalog.list_models()],
        "history": history,
    }


def _model_fields(row: CatalogModel, active: str) -> dict[str, Any]:
    fields = as_fields(row)
    del fields["storage_key"]
    return {**fields, "is_active": row.bundle_id == active}


@router.get("/active", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def active(service: ServiceDependency) -> dict[str, Any]:
    """Return the description of the active model from its bundle (`bundle.json`), with `bundle_id` and `n_classes`.

    The fields of the description are those of `models.bundle.BundleInfo`; `thresholds` and values that are null are
    left out.
    """
    bundle = service.pool.bundle
    fields = bundle.info.model_dump(mode="json", exclude_none=True, exclude={"thresholds"})
    return {**fields, "bundle_id": bundle.id, "n_classes": len(bundle.labels)}


@router.get(
    "/{bundle_id}/card",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"text/markdown": {}}}, **error_responses(404, 409)},
)
def card(service: ServiceDependency, bundle_id: BundleId) -> Response:
    """Return the model card of a model as Markdown; 404 if there is no such model, 409 if its bundle is damaged."""
    path = service.catalog.open(bundle_id).folder / "MODEL_CARD.md"
    return Response(path.read_bytes(), media_type="text/markdown; charset=utf-8")


@router.post("/{bundle_id}/activate", dependencies=[require_role(Role.ADMIN)], responses=error_responses(404, 409))
def activate(service: ServiceDependency, bundle_id: BundleId) -> dict[str, Any]:
    """Activate a model, which then scores new uploads; recordings in progress are finished with the previous model.

    The response has the bundle id of the activated model as `active`. 404 if there is no such model, 409 if the model
    cannot be run.
    """
    service.switcher.activate(bundle_id, "activated by hand")
    return {"active": service.pool.bundle.id}


@router.post("/rollback", dependencies=[require_role(Role.ADMIN)], responses=error_responses(409))
def roll_back(service: ServiceDependency) -> dict[str, Any]:
    """Activate the model that was active before the active one, and return its bundle id as `active`.

    A second call activates the model that the first one replaced. 400 if no other model was active before, 409 if that
    model cannot be run any more.
    """
    return {"active": service.switcher.roll_back()}


class CompareRequest(BaseModel):
    """Body of a request that compares two models on the latest `n_recordings` recordings."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    first: Annotated[BundleId, Field(description="Bundle id of the first model.")]
    second: Annotated[BundleId, Field(description="Bundle id of the second model.")]
    n_recordings: int = Field(default=10, ge=1, le=MAX_COMPARED)
    """Number of recordings to score."""


@router.post("/compare", dependencies=[require_role(Role.TRAIN)], responses=error_responses(404, 408, 409, 413, 503))
async def compare(
    service: ServiceDependency,
    body: CompareRequest,
    min_score: Annotated[float, Query(ge=0, le=1, description="Minimum score of a detected species.")] = 0.25,
) -> dict[str, Any]:
    """Return the species that two models detect in the latest `n_recordings` stored recordings.

    Of these, recordings longer than 5 minutes are left out, so that fewer may be compared. A species is detected if its
    score is at least `min_score`. The response has the bundle ids of the models as `first` and `second`. Each element
    of `recordings` has `recording` (sha256) and `name`, the highest score of each species by common name for the
    `first` and the `second` model, and the common names that `only_first`, `only_second` or `both` detect; all are
    empty if the recording cannot be decoded. 404 if there is no such model, 409 if its bundle is damaged, 503 if
    another comparison is running.
    """
    async with hold_slot(service.comparisons, "comparisons"):
        return await asyncio.to_thread(_compare, service, body, min_score)


def _compare(service: Service, body: CompareRequest, min_score: float) -> dict[str, Any]:
    first, second = (service.catalog.open(name) for name in (body.first, body.second))
    rows = service.detections.latest_recordings(limit=body.n_recordings)
    short = [recording for recording in rows if (recording.duration_s or 0) <= MAX_COMPARED_S]
    paths = {service.files.local(recording.sha256): recording for recording in short}
    options = Options(min_score=min_score)
    species = [_detect_species(service.pool, bundle, list(paths), options) for bundle in (first, second)]
    comparisons = []
    for recording, one, other in zip(paths.values(), *species, strict=True):
        comparisons.append(
            {
                "recording": recording.sha256,
                "name": recording.name,
                "first": one,
                "second": other,
                "only_first": sorted(set(one) - set(other)),
                "only_second": sorted(set(other) - set(one)),
                "both": sorted(set(one) & set(other)),
            }
        )
    return {"first": first.id, "second": second.id, "recordings": comparisons}


def _detect_species(pool: InferencePool, bundle: Bundle, paths: list[Path], options: Options) -> list[dict[str, float]]:
    """Return the highest score of each detected species by common name, for each recording."""
    model = pool.open_model(bundle)
    futures = [pool.submit(path, options, model=model, bypass_queue_limit=True) for path in paths]
    return [_best_scores(future) for future in futures]


def _best_scores(future: Future[IdentifyResult]) -> dict[str, float]:
    """Return the highest score of each species by common name; empty if the recording cannot be decoded."""
    best: dict[str, float] = {}
    with suppress(AudioError):
        detections = DetectionColumns.from_detections(future.result().table.detections)
        for name, score in detections.rows("common_name", "score"):
            best[name] = max(best.get(name, 0.0), round(score, 4))
    return best
