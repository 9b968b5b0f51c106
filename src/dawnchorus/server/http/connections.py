"""uvicorn's connections, without patience for those who ask nothing."""

from __future__ import annotations

import asyncio

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dawnchorus.server.http.app import create_app
from dawnchorus.server.service import Service

GRACE_S = 30
"""For what is under way, when the server is asked to end."""

HEADERS_S = 20.0
"""For a connection to come to the end of a request's headers."""


def server_config(service: Service, *, port: int = 0, base: str = "", access_log: bool = False) -> uvicorn.Config:
    """Return uvicorn's settings for a server that a proxy shows below the path `base`."""
    proxy = service.settings.proxy
    return uvicorn.Config(
        create_app(service),
        port=port,
        http=Connection,
        ws="none",
        log_level="info",
        access_log=access_log,
        timeout_graceful_shutdown=GRACE_S,
        root_path=base.rstrip("/"),
        proxy_headers=proxy is not None,
        forwarded_allow_ips=proxy,
    )


class Connection(HttpToolsProtocol):
    """HTTP protocol that ends connections whose headers do not come.

    It also ends those of which nothing but more of an answered request comes. Bodies have a pace of their own: see
    `uploads.paced`.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there."""
        super().connection_made(transport)
        self._late = self.loop.call_later(HEADERS_S, transport.close)

    def data_received(self, data: bytes) -> None:
        """Something has come, if only a byte between two requests."""
        super().data_received(data)
        if self._late is None and self.cycle is not None and self.cycle.response_complete:
            self._late = self.loop.call_later(HEADERS_S, self.transport.close)

    def on_message_begin(self) -> None:
        """Note that a request begins, the first or a later one."""
        super().on_message_begin()
        self._on_time()
        self._late = self.loop.call_later(HEADERS_S, self.transport.close)

    def on_headers_complete(self) -> None:
        """Note that the headers are complete."""
        self._on_time()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._on_time()
        super().connection_lost(exc)

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
