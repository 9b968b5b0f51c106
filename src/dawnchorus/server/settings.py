"""Settings of a server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from dawnchorus.errors import InputError
from dawnchorus.limits import Limits
from dawnchorus.models.store import DEFAULT_MODEL
from dawnchorus.server.state.job_queue import KINDS, Kind


class Role(IntEnum):
    """Permissions of a client; each role includes those before it."""

    PUBLIC = 0
    """Health checks and login."""
    IDENTIFY = 1
    """Identification, and reading of all results."""
    TRAIN = 2
    """Uploads of training data, reviews and retraining."""
    ADMIN = 3
    """Activation of models and deletion."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a server, validated on construction.

    Raises:
        InputError: other machines can reach the server and no token is set.
    """

    data: Path
    """Folder of the server's state: database, audio, models, and uploads in progress."""
    database: str | None = None
    """URL of SQLAlchemy; None means SQLite in `data`. Several servers may share PostgreSQL."""
    files: str | None = None
    """Folder or URL of fsspec for audio and models; None means a folder in `data`."""
    model: str | Path = DEFAULT_MODEL
    """Model of a first start, and base of retrained models."""
    models_folder: Path | None = None
    retrain_overrides: tuple[str, ...] = ()
    """Overrides of `dawnchorus train` for retraining; empty: a head on the embeddings of `model`."""
    host: str = "127.0.0.1"
    trusted_proxy: str | None = None
    """Address of a trusted reverse proxy, through which other machines can reach the server."""
    tokens: dict[str, Role] = field(default_factory=dict, repr=False)
    """Bearer tokens with their roles; empty: no token is needed, and only this machine can connect."""
    requests_per_s: float | None = None
    """Limit of one client's requests that change or identify something; None means no limit."""
    job_kinds: tuple[Kind, ...] = KINDS
    """Kinds of jobs that this server runs; other servers of the database may run the others."""
    n_inference_threads: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.tokens and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host}: others can reach this address, so a token is needed. Give one in "
                f"$DAWNCHORUS_TOKEN, or serve on 127.0.0.1 only."
            )
        if not self.tokens and self.trusted_proxy is not None:
            raise InputError(
                f"--trusted-proxy {self.trusted_proxy}: others can reach the server through it, so a token is "
                f"needed. Give one in $DAWNCHORUS_TOKEN."
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


def token_roles(*, identify: str | None, train: str | None, admin: str | None) -> dict[str, Role]:
    """Return the role of each token.

    Raises:
        InputError: one token is given for two roles.
    """
    given = (
        ("DAWNCHORUS_IDENTIFY_TOKEN", identify, Role.IDENTIFY),
        ("DAWNCHORUS_TRAIN_TOKEN", train, Role.TRAIN),
        ("DAWNCHORUS_TOKEN", admin, Role.ADMIN),
    )
    first: dict[str, str] = {}
    for name, token, _role in given:
        if token and first.setdefault(token, name) != name:
            raise InputError(
                f"${first[token]} and ${name}: expected two tokens, got one, which would allow all that ${name} "
                f"does. Take another of `openssl rand -hex 16`, or leave one of them out."
            )
    return {token: role for _name, token, role in given if token}
