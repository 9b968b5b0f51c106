"""What the routes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from dawnchorus.identify.options import Options
from dawnchorus.serve.lanes import Lanes, Recognition
from dawnchorus.serve.meters import Meters
from dawnchorus.serve.settings import Settings
from dawnchorus.serve.uploads import uploaded


@dataclass(frozen=True)
class Service:
    """A server that runs."""

    settings: Settings
    lanes: Lanes
    meters: Meters
    spool: Path
    """Where uploads are while they are worked on."""

    @asynccontextmanager
    async def uploaded(self, request: Request) -> AsyncIterator[tuple[Path, str]]:
        """The recording that the request brings, and the name that its sender gave it; errors name it so.

        Raises:
            UploadTooLarge, InputError, OutputError: see `uploads.uploaded`.
        """
        async with uploaded(request, self.spool, max_bytes=self.settings.limits.max_bytes) as (path, name):
            request.state.shown = lambda message: message.replace(str(path), name)
            yield path, name

    async def recognised(self, path: Path, options: Options) -> Recognition:
        """What is heard in an uploaded recording.

        Raises:
            AudioError, InputError, Overloaded: see `Lanes.submit`.
        """
        future = self.lanes.submit(path, options)
        try:
            found = await asyncio.wrap_future(future)
        finally:
            future.cancel()  # nobody waits for it any more
        self.meters.sound(found.table.duration_s)
        return found


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]
