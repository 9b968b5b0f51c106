"""Code that routes share: the dependency on the server's components, and reception of uploaded files."""

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
    """Receive an uploaded recording into a temporary file, which is deleted at the end of the block.

    The text fields of the form are set as `request.state.texts`. Error messages of the request name the file as the
    client does.

    Args:
        service: components of the server.
        request: the request.
        bypass_queue_limit: True to accept the upload even if the inference queue is full, for background jobs.

    Yields:
        Path of the temporary file, and the client's name of the file.

    Raises:
        OverloadedError: the queue has no room for the size in the header Content-Length (`InferencePool.check_room`),
            and `bypass_queue_limit` is False; the body was not read. Without this header, the room is not checked.
        UploadTooLargeError, UploadTooSlowError, InputError, HTTPException, OutputError: see `uploads.receive_file`.
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
    """Receive a form with several files into a temporary folder, which is deleted at the end of the block.

    Yields:
        Temporary folder, text fields of the form by name, and client's name and path of each file (`uploads.Batch`).

    Raises:
        OverloadedError: `service.MAX_BATCHES` such forms are being received already; the body was not read.
        UploadTooLargeError, UploadTooSlowError, InputError, OutputError: see `uploads.receive_files`.
    """
    limit = service.settings.limits.max_bytes
    batches = hold_slot(service.batches, "uploads")
    async with batches, receive_files(request, service.spool, max_bytes=limit) as batch:
        yield batch
