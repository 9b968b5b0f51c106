"""Downloading data sets and competitions from Kaggle, with its own library kagglehub."""

from __future__ import annotations

import re
from pathlib import Path

from dawnchorus.errors import FetchFailed, InputError, MissingExtra

KEY_HELP = (
    "Make a token at kaggle.com (Settings, API), and put it into KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, "
    "or the file ~/.kaggle/kaggle.json. For a competition, accept its rules on its page first."
)


def download(handle: str) -> Path:
    """The folder with the files of a data set ("owner/name") or competition ("birdclef-2026"), or of its page's URL.

    kagglehub keeps them in its cache and goes on with an interrupted download.

    Raises:
        InputError: the handle is none.
        MissingExtra: kagglehub is not installed.
        FetchFailed: Kaggle refused, or could not be reached.
    """
    name, is_competition = _parsed(handle)
    try:
        import kagglehub
        from kagglehub.exceptions import DataCorruptionError, UnauthenticatedError
        from requests import RequestException
    except ImportError:
        raise MissingExtra("kagglehub", extra="data", purpose="Fetching from Kaggle") from None
    try:
        get = kagglehub.competition_download if is_competition else kagglehub.dataset_download
        return Path(get(name))
    except (RequestException, UnauthenticatedError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        is_refusal = status in (401, 403) or isinstance(error, UnauthenticatedError)
        what_to_do = KEY_HELP if is_refusal else "Check the name and the network; the same command then goes on."
        first = " ".join(str(error).split())
        raise FetchFailed(f"Kaggle, {name}: {first} {what_to_do}", status) from error
    except (DataCorruptionError, ValueError) as error:
        raise FetchFailed(
            f"Kaggle, {name}: what came is damaged ({error}). Run the same command again.", None
        ) from error


def _parsed(handle: str) -> tuple[str, bool]:
    """The name, and whether it is a competition's."""
    text = re.sub(r"^(https?://)?(www\.)?kaggle\.com/", "", handle.strip()).rstrip("/")
    if text.startswith(("competitions/", "c/")):
        return text.split("/")[1], True
    text = text.removeprefix("datasets/")
    if re.fullmatch(r"[\w-]+", text):
        return text, True
    if re.fullmatch(r"[\w-]+/[\w.-]+(/versions/\d+)?", text):
        return text, False
    raise InputError(
        f"{handle!r}: expected OWNER/DATA-SET, a competition such as birdclef-2026, or its page's address."
    )
