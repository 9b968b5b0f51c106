"""Access to stores for libraries that open them themselves, such as deltalake."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dawnchorus.storage.credentials import store_options
from dawnchorus.storage.paths import RemotePath, absolute_path, as_path
from dawnchorus.storage.stores import CONNECT_TIMEOUT_S, MAX_RETRIES, TIMEOUT_S, retry_s


@dataclass(frozen=True)
class StoreAccess:
    """Location of a folder, and the options to open it."""

    url: str
    """An absolute path, or a URL without a slash at its end."""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`storage_options` of deltalake, which are secret. What the environment says, the library reads itself."""


def store_access(path: str | os.PathLike[str]) -> StoreAccess:
    """Return what a library needs to open a folder or URL itself, with the credentials that we would use.

    Raises:
        InputError: the profile of the credentials is not there, or of a kind that we cannot read.
    """
    known = absolute_path(as_path(path))
    if not isinstance(known, RemotePath):
        return StoreAccess(os.fspath(known))
    # What a client of obstore has (storage.object_store).
    patience = {
        "timeout": f"{TIMEOUT_S}s",
        "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
        "max_retries": str(MAX_RETRIES if retry_s() else 0),
        "retry_timeout": f"{round(retry_s())}s",
    }
    options = store_options(known.url.scheme, os.environ, Path.home())
    return StoreAccess(str(known.url).rstrip("/"), patience | options)
