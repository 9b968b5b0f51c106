"""The server: a service with its routes, and what is done to every request."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response

from dawnchorus import __version__
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.serve import pages, problems, seed, v1
from dawnchorus.serve.access import refusal
from dawnchorus.serve.lanes import Lanes
from dawnchorus.serve.meters import Meters
from dawnchorus.serve.service import Service, ServiceOf
from dawnchorus.serve.settings import Settings

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(settings: Settings) -> FastAPI:
    """The application; its model is loaded, and its lanes begin, when it starts."""
    meters = Meters()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = ModelStore(settings.models_folder or default_folder())
        bundle = await asyncio.to_thread(store.open, settings.model)
        settings.data.mkdir(parents=True, exist_ok=True)
        spool = Path(tempfile.mkdtemp(prefix="spool-", dir=settings.data))
        lanes = await asyncio.to_thread(Lanes, bundle, store=store, n_lanes=settings.n_lanes, limits=settings.limits)
        app.state.service = Service(settings, lanes, meters, spool)
        try:
            yield
        finally:
            await asyncio.to_thread(lanes.close)
            shutil.rmtree(spool, ignore_errors=True)

    app = FastAPI(
        title="Dawn Chorus",
        version=__version__,
        summary="From any recording to a table of birds",
        lifespan=lifespan,
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    problems.install(app)
    app.include_router(pages.router)
    app.include_router(seed.router)
    app.include_router(v1.router)

    @app.get("/metrics", include_in_schema=False)
    def prometheus(service: ServiceOf) -> Response:
        """For Prometheus."""
        service.meters.waiting.set(service.lanes.n_waiting)
        return Response(service.meters.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.middleware("http")
    async def watched(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        begin = time.perf_counter()
        reply = refusal(request, settings) or await call_next(request)
        for name, value in SECURITY_HEADERS.items():
            reply.headers.setdefault(name, value)
        route = getattr(request.scope.get("route"), "path", "none")
        meters.request(request.method, route, reply.status_code, time.perf_counter() - begin)
        return reply

    return app
