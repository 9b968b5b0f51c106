"""Failures of stores in words, without what is secret."""

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
"""Addresses that libraries ask last for credentials; a failure there means that there are none."""

_REFUSALS = (
    "status code: 401",
    "status code: 403",
    "lacked the necessary privileges",
    "lacked valid authentication credentials",
)
"""Parts of messages of deltalake for refusals."""

_CAUSE = re.compile(r"\s*(?:\x1b\[\d+m)?↳(?:\x1b\[\d+m)?\s*")
"""Start of a line with a cause of the line above, in messages of deltalake."""

_MAX_DETAIL = 300


def describe_failure(error: Exception) -> str:
    """Return a sentence, without a full stop, for an error of a library that opens stores itself."""
    text = str(error)
    if lacks_credentials(error):
        return NO_CREDENTIALS
    if any(status in text for status in _REFUSALS):
        return REFUSED
    return NO_BUCKET if "NoSuchBucket" in text else unknown_failure(error)


def unknown_failure(error: Exception) -> str:
    """Return a sentence, without a full stop, for a failure of which only the library's message is known."""
    return f"the store failed ({failure_detail(error)}). Check that it can be reached"


def lacks_credentials(error: Exception) -> bool:
    """Return True for the failure of a library that has found no credentials."""
    return any(host in str(error) for host in _MACHINE_CREDENTIALS)


def failure_detail(error: Exception) -> str:
    """Return the first sentence of a message, without replies, which may quote keys, and without secrets in URLs."""
    text = _CAUSE.sub(": ", str(error)).split("\n", 1)[0].split("<", 1)[0]
    return hide_secrets(text).strip(" :.")[:_MAX_DETAIL]
