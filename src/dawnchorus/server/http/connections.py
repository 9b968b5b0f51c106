"""Configuration of uvicorn, with a timeout for request headers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dawnchorus.server.http.app import create_app
from dawnchorus.server.service import Service

GRACE_S = 30
"""Maximum number of seconds for which requests in progress may continue when the server shuts down."""


def server_config(service: Service, *, port: int = 0, root_path: str = "", access_log: bool = False) -> uvicorn.Config:
    """Return the configuration of uvicorn for a server.

    Args:
        service: components of the server.
        port: TCP port to listen on; 0 for any free port.
        root_path: path at which a reverse proxy mounts the server, such as "/birds"; empty for the root.
        access_log: True to log each request.
    """
    proxy, limits = service.settings.trusted_proxy, service.settings.limits
    return uvicorn.Config(
        create_app(service),
        port=port,
        http=partial(TimeoutProtocol, headers_timeout_s=limits.headers_timeout_s),  # type: ignore[arg-type]
        ws="none",
        log_level="info",
        access_log=access_log,
        timeout_graceful_shutdown=GRACE_S,
        root_path=root_path.rstrip("/"),
        proxy_headers=proxy is not None,
        forwarded_allow_ips=proxy,
    )


class TimeoutProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that closes a connection if the headers of a request do not arrive in time.

    A connection is also closed if the client only continues the body of a request that was answered already. Other
    bodies have a limit in `uploads.PacedBody`.

    Args:
        options: positional arguments of uvicorn's protocol.
        headers_timeout_s: maximum time from the start of the connection, or of a further request on it, to the end of
            the request's headers.
        named_options: keyword arguments of uvicorn's protocol.
    """

    _timeout: asyncio.TimerHandle | None = None

    def __init__(self, *options: Any, headers_timeout_s: float, **named_options: Any) -> None:
        super().__init__(*options, **named_options)
        self._headers_timeout_s = headers_timeout_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout of the first request's headers."""
        super().connection_made(transport)
        self._timeout = self.loop.call_later(self._headers_timeout_s, transport.close)

    def data_received(self, data: bytes) -> None:
        """Start the timeout if the client sends data after the response is complete."""
        super().data_received(data)
        if self._timeout is None and self.cycle is not None and self.cycle.response_complete:
            self._timeout = self.loop.call_later(self._headers_timeout_s, self.transport.close)

    def on_message_begin(self) -> None:
        """Restart the timeout at the start of a request."""
        super().on_message_begin()
        self._cancel_timeout()
        self._timeout = self.loop.call_later(self._headers_timeout_s, self.transport.close)

    def on_headers_complete(self) -> None:
        """Cancel the timeout, since the headers are complete."""
        self._cancel_timeout()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout, since the connection is closed."""
        self._cancel_timeout()
        super().connection_lost(exc)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
