"""Settings of a server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from dawnchorus.errors import InputError
from dawnchorus.models.store import DEFAULT_MODEL
from dawnchorus.server.scheduling import Limits
from dawnchorus.server.state.job_queue import KINDS, Kind


class Role(IntEnum):
    """Permissions of a client; each role includes those before it."""

    OPEN = 0
    """Ask whether the server lives, and log in."""
    IDENTIFY = 1
    """Send recordings, and see what was heard."""
    TEACH = 2
    """Send lessons, review, and retrain."""
    OPERATE = 3
    """Choose the model that serves, and remove things."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked at construction.

    Raises:
        InputError: an address or a proxy by which others can reach the server, and no token.
    """

    data: Path
    """Folder of the server's state: the database, sounds, models, and uploads while they are worked on."""
    database: str | None = None
    """An address of SQLAlchemy's; None: SQLite in `data`. Several servers may share PostgreSQL."""
    files: str | None = None
    """A folder or an address of fsspec's for sounds and models; None: in `data`."""
    model: str | Path = DEFAULT_MODEL
    """Model of a first start, and base of retrained models."""
    models_folder: Path | None = None
    recipe: tuple[str, ...] = ()
    """Settings of `dawnchorus train` for retraining; none: a head on the embeddings of `model`."""
    host: str = "127.0.0.1"
    proxy: str | None = None
    """Address of a proxy whose word of who asks is believed; it lets others reach the server."""
    tokens: dict[str, Role] = field(default_factory=dict, repr=False)
    """Bearer tokens that requests must carry, with the role of each; none: no token is needed, on this machine only."""
    requests_per_s: float | None = None
    """Limit for one client, of requests that change or identify something; None: any number."""
    work: tuple[Kind, ...] = KINDS
    """The kinds of jobs that this server works on; other servers of the database may do the others."""
    n_lanes: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.tokens and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host}: others can reach this address, so a token is needed. Give one in "
                f"$DAWNCHORUS_TOKEN, or serve on 127.0.0.1 only."
            )
        if not self.tokens and self.proxy is not None:
            raise InputError(
                f"--proxy {self.proxy}: others can reach the server through it, so a token is needed. Give one in "
                f"$DAWNCHORUS_TOKEN."
            )
        if any(len(token) < MIN_TOKEN for token in self.tokens):
            raise InputError(f"a token has fewer than {MIN_TOKEN} characters. Take one of `openssl rand -hex 16`.")

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Values of the Host header, without the port, that name a server on this machine."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return tuple(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", own)))


MIN_TOKEN = 12


def is_loopback(host: str) -> bool:
    """Return True if the name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_roles(*, identify: str | None, teach: str | None, operate: str | None) -> dict[str, Role]:
    """Return the role of each token that was given.

    Raises:
        InputError: one token was given for two roles.
    """
    given = (
        ("DAWNCHORUS_IDENTIFY_TOKEN", identify, Role.IDENTIFY),
        ("DAWNCHORUS_TEACH_TOKEN", teach, Role.TEACH),
        ("DAWNCHORUS_TOKEN", operate, Role.OPERATE),
    )
    first: dict[str, str] = {}
    for name, token, _role in given:
        if token and first.setdefault(token, name) != name:
            raise InputError(
                f"${first[token]} and ${name}: expected two tokens, found one, which would allow all that ${name} "
                f"does. Take another of `openssl rand -hex 16`, or leave one of them out."
            )
    return {token: role for _name, token, role in given if token}
