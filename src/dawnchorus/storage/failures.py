"""Error messages for failures of stores, without keys and signatures."""

from __future__ import annotations

import re

from dawnchorus.storage.urls import hide_secrets

REFUSED = "the store refused access. Check the credentials, and what they may read and write"

NO_CREDENTIALS = (
    "there are no credentials for the store. Set them as for the cloud's own tools, or, for a public bucket of S3, "
    "AWS_SKIP_SIGNATURE=true"
)

NO_BUCKET = "there is no such bucket"

_MACHINE_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")
"""Addresses that cloud libraries query last for credentials; a failure there means that no credentials were found."""

_REFUSALS = (
    "status code: 401",
    "status code: 403",
    "lacked the necessary privileges",
    "lacked valid authentication credentials",
)
"""Substrings of deltalake's messages that mean that access was refused."""

_CAUSE = re.compile(r"\s*(?:\x1b\[\d+m)?↳(?:\x1b\[\d+m)?\s*")
"""Line break and arrow that begin the cause of an error in deltalake's messages."""

_MAX_DETAIL = 300


def describe_failure(error: Exception) -> str:
    """Return a sentence, without a full stop, that explains an error of a library such as deltalake.

    Missing credentials, refused access and a missing bucket are recognized; for other errors, see `unknown_failure`.
    """
    text = str(error)
    if lacks_credentials(error):
        return NO_CREDENTIALS
    if any(status in text for status in _REFUSALS):
        return REFUSED
    return NO_BUCKET if "NoSuchBucket" in text else unknown_failure(error)


def unknown_failure(error: Exception) -> str:
    """Return a sentence, without a full stop, for a failure of unknown cause; it quotes the library's message."""
    return f"the store failed ({failure_detail(error)}). Check that it can be reached"


def lacks_credentials(error: Exception) -> bool:
    """Return True if the error of a library such as deltalake means that it found no credentials.

    It is recognized by the address of a cloud's metadata service in the message.
    """
    return any(host in str(error) for host in _MACHINE_CREDENTIALS)


def failure_detail(error: Exception) -> str:
    """Return the first line of an error's message, without the server's reply and without secrets in URLs.

    The reply (XML or HTML, from the first `<`) is removed since it may quote keys. At most 300 characters are returned.
    """
    text = _CAUSE.sub(": ", str(error)).split("\n", 1)[0].split("<", 1)[0]
    return hide_secrets(text).strip(" :.")[:_MAX_DETAIL]
