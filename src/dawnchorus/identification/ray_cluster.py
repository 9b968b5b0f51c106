"""Connection of this process to a Ray cluster, and runs on its nodes."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dawnchorus.archive.writer import UnitWriter
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.identification.ray_node import NodeWork
from dawnchorus.identification.unit_run import UnitRun

AUTO, LOCAL = "auto", "local"

OBJECT_STORE_BYTES = 100_000_000
"""Size of the shared memory of a cluster on this machine: only paths and counts pass through it."""

CONNECT_S = 10.0
"""Maximum number of seconds to connect to a cluster's head; Ray itself tries for minutes."""

_ADDRESS = re.compile(r"\[?([\w.:-]+?)\]?:(\d{1,5})")

_START = (
    "Start one: `RAY_AUTH_MODE=token ray get-auth-token --generate`, with the same token on all machines; then "
    "`RAY_AUTH_MODE=token ray start --head` on the first one, and `RAY_AUTH_MODE=token ray start --address=HOST:6379` "
    "on the others. On this machine alone, leave --ray out, or give --ray local."
)


@contextmanager
def connect_to_cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster for a `with` block, and disconnect at its end.

    If this process is connected already, that connection is used and stays. $RAY_AUTH_MODE becomes "token", unless it
    is set.

    Args:
        address: HOST:PORT of the cluster's head; "auto" for the cluster of $RAY_ADDRESS, or else on this machine;
            "local" for a new cluster on this machine.

    Raises:
        InputError: there is no cluster, it cannot be reached, or it requires another token.
        MissingExtraError: Ray is not installed.
    """
    if address not in (AUTO, LOCAL):
        _check_reachable(address)
    # Read when Ray is imported. Without a token, whoever reaches a node can run code on it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
        from ray.exceptions import AuthenticationError
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "ray", extra="ray", purpose="A run on a Ray cluster") from None
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == LOCAL:
            ray.init(
                LOCAL,
                num_cpus=usable_cores(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            ray.init(address, **quiet)
    except AuthenticationError as error:
        raise InputError(
            f"ray: this process has no token of the cluster ({_first_line(error)}). Copy the head's ~/.ray/auth_token, "
            f"or set RAY_AUTH_TOKEN_PATH; for a cluster without tokens, set RAY_AUTH_MODE=disabled."
        ) from error
    except ConnectionError as error:
        where = "no cluster runs on this machine" if address == AUTO else f"cannot connect to {address}"
        raise InputError(
            f"ray: {where} ({_first_line(error)}), or it has another token. For a cluster that runs, copy its head's "
            f"~/.ray/auth_token, or set RAY_AUTH_TOKEN_PATH. {_START}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def create_ray_run(writer: UnitWriter, work: NodeWork, *, n_workers: int | None) -> UnitRun:
    """Create a run on the Ray cluster that this process is connected to; see `ray_run.RayRun`."""
    from dawnchorus.identification.ray_run import RayRun

    return RayRun(writer, work, n_workers=n_workers)


def _check_reachable(address: str) -> None:
    """Check that a server accepts connections at the address of a cluster's head.

    Raises:
        InputError: the text is not an address, or no server accepts connections.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InputError(
            f"ray: expected the address of a cluster's head like 192.0.2.7:6379, or auto or local, got {address!r}. "
            f"On the command line, give --ray after the paths, or as --ray={AUTO}. The command runs on a node of the "
            f"cluster."
        )
    try:
        socket.create_connection((match[1], int(match[2])), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"ray: cannot connect to {address} ({error}). {_START}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
