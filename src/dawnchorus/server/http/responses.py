"""Responses with files from the renderer, and cancellation of work when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import BinaryIO, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

CHUNK_BYTES = 1 << 16
"""Maximum number of bytes of a response that are in memory at once."""

Result = TypeVar("Result")


class RenderedResponse(Response):
    """Response that sends an open file in chunks, and then closes the file.

    The renderer's cache may delete the file's name meanwhile.

    Args:
        file: open file, from `Renderer`.
        media_type: value of the Content-Type header.
        headers: further headers by name; None for no further headers.
    """

    def __init__(self, file: BinaryIO, *, media_type: str, headers: dict[str, str] | None = None) -> None:
        n_bytes = file.seek(0, 2)
        file.seek(0)
        super().__init__(media_type=media_type, headers={**(headers or {}), "Content-Length": str(n_bytes)})
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response (ASGI)."""
        del scope, receive
        with self._file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while chunk := await run_in_threadpool(self._file.read, CHUNK_BYTES):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for `work` and return its result; cancel `work` if the client disconnects first.

    Raises:
        ClientDisconnect: the client has disconnected before `work` was done.
    """
    task, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait((task, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        disconnect.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
