"""The pages: a recording in, its birds out, to see and to hear; all of it works without scripts."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dawnchorus.audio.process import Ended, Opened
from dawnchorus.audio.write import encode_mp3
from dawnchorus.errors import DawnChorusError
from dawnchorus.identify.options import DEFAULT_MIN_SCORE, Options
from dawnchorus.pictures.clip import draw_clip
from dawnchorus.pictures.recording import draw_table
from dawnchorus.pictures.spectrogram import RATE_HZ, clip_spectrogram
from dawnchorus.pictures.summary import CLIP_MARGIN_S
from dawnchorus.serve.lanes import Lanes, Recognition
from dawnchorus.serve.problems import status_of
from dawnchorus.serve.service import Service, ServiceOf
from dawnchorus.types import Detection

MAX_SEEN_S = 300.0
"""Of a longer recording, so much is drawn."""

MAX_CARDS = 12

POLICY = "default-src 'self'; img-src 'self' data:; media-src data:; frame-ancestors 'none'; form-action 'self'"

_STATIC = {"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}

_PAGES = Environment(loader=PackageLoader("dawnchorus.serve", "templates"), autoescape=True, undefined=StrictUndefined)

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class _Card:
    """The best detection of a species, to see and to hear."""

    detection: Detection
    n_detections: int
    png: str
    mp3: str


@router.get("/")
def home(service: ServiceOf) -> Response:
    """Where a recording is given."""
    return _page("home.html", service)


@router.post("/")
async def found(request: Request, service: ServiceOf) -> Response:
    """What is heard in it."""
    options = Options(min_score=DEFAULT_MIN_SCORE, merge=True)
    try:
        async with service.uploaded(request) as (path, name):
            recognition = await service.recognised(path, options)
            picture, cards = await asyncio.to_thread(_pictures, service.lanes, path, name, recognition)
    except DawnChorusError as error:
        message = request.state.shown(str(error)) if hasattr(request.state, "shown") else str(error)
        return _page("home.html", service, error=message, status=status_of(error))
    table = recognition.table
    return _page("found.html", service, name=name, table=table, cards=cards, picture=picture, max_seen_s=MAX_SEEN_S)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """The style and the script."""
    if name not in _STATIC:
        return Response(status_code=404)
    content = resources.files("dawnchorus.serve").joinpath("static", name).read_bytes()
    if name == "style.css":
        content = resources.files("dawnchorus.pictures").joinpath("templates", name).read_bytes() + content
    return Response(content, media_type=_STATIC[name], headers={"Cache-Control": "max-age=3600"})


def _page(template: str, service: Service, *, status: int = 200, **values: object) -> Response:
    bundle = service.lanes.bundle
    values = {"error": None, "bundle": bundle, "min_score": DEFAULT_MIN_SCORE, **values}
    content = _PAGES.get_template(template).render(meters=service.meters.summary(), **values)
    return HTMLResponse(content, status, headers={"Content-Security-Policy": POLICY})


def _pictures(lanes: Lanes, path: Path, name: str, found: Recognition) -> tuple[str, list[_Card]]:
    """The spectrogram with its detections, and a card for each species, the surest first."""
    parts: list[np.ndarray] = []
    n, n_seen = 0, round(MAX_SEEN_S * RATE_HZ)
    with lanes.decoder() as decoder:
        for part in decoder.decode(path, rate_hz=RATE_HZ):
            if isinstance(part, Opened | Ended):
                continue
            parts.append(np.array(part))
            n += len(part)
            if n >= n_seen:
                break
    samples = np.concatenate(parts)[:n_seen] if parts else np.zeros(RATE_HZ, np.float32)
    table = replace(found.table, recording=name, duration_s=len(samples) / RATE_HZ)
    seen = replace(table, detections=tuple(d for d in table.detections if d.start_s < table.duration_s))
    picture = draw_table(clip_spectrogram(samples, rate_hz=RATE_HZ), seen, title=name)
    return _encoded(picture), [_card(samples, group) for group in _by_species(seen.detections)[:MAX_CARDS]]


def _by_species(detections: tuple[Detection, ...]) -> list[list[Detection]]:
    groups: dict[str, list[Detection]] = {}
    for detection in detections:
        groups.setdefault(detection.scientific_name, []).append(detection)
    ordered = [sorted(group, key=lambda d: -d.score) for group in groups.values()]
    return sorted(ordered, key=lambda group: -group[0].score)


def _card(samples: np.ndarray, group: list[Detection]) -> _Card:
    best = group[0]
    begin_s, end_s = max(best.start_s - CLIP_MARGIN_S, 0.0), best.end_s + CLIP_MARGIN_S
    part = samples[round(begin_s * RATE_HZ) : round(end_s * RATE_HZ)]
    png = draw_clip(clip_spectrogram(part, rate_hz=RATE_HZ, start_s=begin_s), (best.start_s, best.end_s))
    return _Card(best, len(group), _encoded(png), _encoded(encode_mp3(part, rate_hz=RATE_HZ)))


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
