"""Dependencies of routes: the service, and the files that a request brings."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from dawnchorus.server.http.uploads import Batch, announced_bytes, receive_file, receive_files
from dawnchorus.server.service import Service, unless_full


async def _service(request: Request) -> Service:  # not async, it would wait for a thread
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]


@asynccontextmanager
async def receive_recording(
    service: Service, request: Request, *, bypass_queue_limit: bool = False
) -> AsyncIterator[tuple[Path, str]]:
    """Yield the recording that the request brings, and the client's name for it, which errors use.

    Raises:
        OverloadedError: the queue is full and `bypass_queue_limit` is False; nothing was read.
        UploadTooLargeError, InputError, OutputError: see `uploads.receive_file`.
    """
    begin = time.monotonic()
    announced = announced_bytes(request)
    if announced is not None and not bypass_queue_limit:
        service.lanes.check_room(announced)
    limit = service.settings.limits.max_bytes
    async with receive_file(request, service.spool_for(announced), max_bytes=limit) as (path, name):
        service.meters.stage("receive", time.monotonic() - begin)
        request.state.shown = lambda message: message.replace(str(path), name)
        yield path, name


@asynccontextmanager
async def receive_batch(service: Service, request: Request) -> AsyncIterator[Batch]:
    """Yield the files of a request, see `uploads.receive_files`; errors have no path of this machine.

    Raises:
        OverloadedError: too many batches are being received; nothing was read.
    """
    limit = service.settings.limits.max_bytes
    batches = unless_full(service.batches, "uploads")
    async with batches, receive_files(request, service.spool, max_bytes=limit) as batch:
        request.state.shown = lambda message: message.replace(f"{batch[0]}/tree/", "").replace(str(batch[0]), "it")
        yield batch
