"""Store addresses and credentials for libraries that open stores themselves, such as deltalake."""

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
    """URL or local path of a folder, and the options with which a library opens it."""

    url: str
    """Absolute path, or URL without a slash at its end."""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The `storage_options` argument of deltalake: secret credentials and timeouts.

    Credentials that deltalake itself reads from environment variables are not included.
    """


def store_access(path: str | os.PathLike[str]) -> StoreAccess:
    """Return the URL of a folder and the credentials and timeouts with which a library can open it.

    Of a local folder, return the absolute path without options.

    Raises:
        InputError: a configuration file of the cloud's tools is invalid, or AWS_PROFILE names a profile that does not
            exist, or whose credentials are of a kind that we cannot read.
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
