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
    """Permissions of a client. Each role includes the permissions of the roles with lower numbers."""

    PUBLIC = 0
    """Permission for health checks and login, for clients without a token."""
    IDENTIFY = 1
    """Permission to identify recordings and to read all results."""
    TRAIN = 2
    """Permission to upload training data, to review detections, and to retrain."""
    ADMIN = 3
    """Permission to activate models, and to delete recordings and jobs."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a server, validated on construction.

    Raises:
        InputError: other machines can reach the server (by `host` or `trusted_proxy`) and no token is set, or a token
            has fewer than `MIN_TOKEN` characters.
    """

    data: Path
    """Folder of the server's state: database, audio, models, and uploads in progress."""
    database: str | None = None
    """SQLAlchemy URL of the database; None for SQLite in `data`. Several servers may share PostgreSQL."""
    files: str | None = None
    """Folder or URL of an object store for audio and retrained models; None for a folder in `data`."""
    model: str | Path = DEFAULT_MODEL
    """Name or folder of the model that is active at the first start, and on which retrained models are built."""
    models_folder: Path | None = None
    """Folder of the built-in models; None for `$DAWNCHORUS_MODELS`, or else the user's cache."""
    retrain_overrides: tuple[str, ...] = ()
    """Default settings for retraining in the syntax of `dawnchorus train`; empty for the default recipe, a classifier
    head on the embeddings of `model`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    trusted_proxy: str | None = None
    """Address of a reverse proxy whose X-Forwarded-For header is used; other machines reach the server through it."""
    tokens: dict[str, Role] = field(default_factory=dict, repr=False)
    """Role by bearer token; empty if no token is needed, which is only allowed if no other machine can connect."""
    requests_per_s: float | None = None
    """Maximum number per second of a client's requests that change or identify something; None for no limit."""
    job_kinds: tuple[Kind, ...] = KINDS
    """Kinds of jobs that this server runs, "identify" and "retrain"; servers that share a database may divide them."""
    n_inference_threads: int | None = None
    """Number of threads that run the model; None for the number of usable cores."""
    limits: Limits = field(default_factory=Limits)
    """Limits of uploads, recordings, the queue, sessions and responses."""

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
        """Values of the Host header, without port, that a server without tokens accepts.

        They are "localhost", "127.0.0.1", "[::1]" and `host`, an IPv6 address in brackets.
        """
        own = f"[{self.host}]" if ":" in self.host else self.host
        return tuple(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", own)))


MIN_TOKEN = 12
"""Minimum length of a token in characters."""


def is_loopback(host: str) -> bool:
    """Return True if `host` is "localhost" or a loopback address (127.0.0.0/8 or ::1), False for other host names."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_roles(*, identify: str | None, train: str | None, admin: str | None) -> dict[str, Role]:
    """Return the role of each given token, by token; None or "" means that there is no token for the role.

    Args:
        identify: value of $DAWNCHORUS_IDENTIFY_TOKEN.
        train: value of $DAWNCHORUS_TRAIN_TOKEN.
        admin: value of $DAWNCHORUS_TOKEN.

    Raises:
        InputError: the same token is given for two roles.
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
