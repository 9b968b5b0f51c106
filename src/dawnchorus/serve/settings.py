"""What a server is started with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from dawnchorus.errors import InputError
from dawnchorus.models.store import DEFAULT_MODEL
from dawnchorus.serve.lanes import Limits


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked at construction.

    Raises:
        InputError: an address that others can reach, and no token.
    """

    data: Path
    """Where uploads are while they are worked on."""
    model: str | Path = DEFAULT_MODEL
    models_folder: Path | None = None
    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    """What requests must carry as a bearer token; None: nothing, on this machine only."""
    n_lanes: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host}: others can reach this address, so a token is needed. Give one in "
                f"$DAWNCHORUS_TOKEN, or serve on 127.0.0.1 only."
            )


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
