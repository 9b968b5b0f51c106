"""Responses that are files, and work that ends when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import BinaryIO, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PART = 1 << 16
"""Bytes of a response in memory while it is sent."""

Result = TypeVar("Result")


class FileResponse(Response):
    """An open file as a reply, a part of it in memory at a time; the file is closed afterwards."""

    def __init__(self, file: BinaryIO, *, media_type: str, headers: dict[str, str] | None = None) -> None:
        n_bytes = file.seek(0, 2)
        file.seek(0)
        super().__init__(media_type=media_type, headers={**(headers or {}), "Content-Length": str(n_bytes)})
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        del scope, receive
        with self._file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while part := await run_in_threadpool(self._file.read, PART):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for `work`; cancel it when the client leaves.

    Raises:
        ClientDisconnect: the client has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
