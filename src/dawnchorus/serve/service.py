"""What the routes share."""

from __future__ import annotations

import asyncio
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

    async def recognised(self, request: Request, options: Options) -> tuple[Recognition, str]:
        """What is heard in the recording that the request brings, and the name that its sender gave it.

        Raises:
            AudioError, InputError, Overloaded: see `uploaded` and `Lanes.submit`.
        """
        async with uploaded(request, self.spool, max_bytes=self.settings.limits.max_bytes) as (path, name):
            # Errors name the recording as its sender does.
            request.state.shown = lambda message: message.replace(str(path), name)
            future = self.lanes.submit(path, options)
            try:
                found = await asyncio.wrap_future(future)
            finally:
                future.cancel()  # nobody waits for it any more
        self.meters.sound(found.table.duration_s)
        return found, name


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]
