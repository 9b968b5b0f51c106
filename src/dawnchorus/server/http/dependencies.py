"""Dependencies of routes: the service and uploaded files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from dawnchorus.server.http.uploads import Batch, announced_bytes, receive_file, receive_files
from dawnchorus.server.service import Service, hold_slot


async def _get_service(request: Request) -> Service:  # async, since sync dependencies run in a thread
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(_get_service)]


@asynccontextmanager
async def receive_recording(
    service: Service, request: Request, *, bypass_queue_limit: bool = False
) -> AsyncIterator[tuple[Path, str]]:
    """Yield the uploaded recording and the client's name of it, which error messages use.

    Raises:
        OverloadedError: the queue is full and `bypass_queue_limit` is False; nothing was read.
        UploadTooLargeError, InputError, OutputError: see `uploads.receive_file`.
    """
    start_s = time.monotonic()
    announced = announced_bytes(request)
    if announced is not None and not bypass_queue_limit:
        service.pool.check_room(announced)
    limit = service.settings.limits.max_bytes
    async with receive_file(request, service.spool_for(announced), max_bytes=limit) as (path, name):
        service.metrics.observe_stage("receive", time.monotonic() - start_s)
        request.state.upload_names = {path: name}
        yield path, name


@asynccontextmanager
async def receive_batch(service: Service, request: Request) -> AsyncIterator[Batch]:
    """Yield the uploaded files, see `uploads.receive_files`.

    Raises:
        OverloadedError: too many batches are being received; nothing was read.
    """
    limit = service.settings.limits.max_bytes
    batches = hold_slot(service.batches, "uploads")
    async with batches, receive_files(request, service.spool, max_bytes=limit) as batch:
        yield batch
