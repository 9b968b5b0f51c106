"""Download of data sets and competitions from Kaggle with the library kagglehub."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dawnchorus.errors import DownloadError, InputError, MissingExtraError

KEY_HELP = (
    "Make a token at kaggle.com (Settings, API), and put it into KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, "
    "or the file ~/.kaggle/kaggle.json. For a competition, accept its rules on its page first."
)

_NOTEBOOK_HELP = (
    "This is the URL of a notebook: open it in a browser, choose its tab Input, and give the URL of the data "
    "set or competition that is linked there."
)

_DAMAGED = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, tarfile.TarError)
"""Errors when an archive cannot be unpacked, also if the server sent an error page instead of an archive."""

_OWNED = re.compile(r"[\w-]+/[\w.-]+(/versions/\d+)?")
_KINDS: dict[str, tuple[Literal["dataset", "competition", "notebook"], int]] = {
    "datasets": ("dataset", 2),
    "c": ("competition", 1),
    "competitions": ("competition", 1),
    "code": ("notebook", 2),
}
"""Kind of page, and number of path parts in its name, by the first part of the URL's path."""


@dataclass(frozen=True)
class KaggleSource:
    """A data set, competition or notebook of Kaggle."""

    name: str
    """Name in Kaggle's URLs: "owner/name" of a data set or notebook, "owner/name/versions/3" of one version of a data
    set, or "birdclef-2026" of a competition."""
    kind: Literal["dataset", "competition", "notebook"]


def parse_url(url: str) -> KaggleSource:
    """Parse a Kaggle name or URL.

    `owner/name` is a data set and `birdclef-2026` a competition. In a URL such as
    `https://www.kaggle.com/competitions/birdclef-2026` (`datasets/`, `code/`, ...) the path tells the kind.

    Raises:
        InputError: the text is neither a name nor a URL of a data set, competition or notebook.
    """
    text = url.strip()
    host = re.match(r"(https?://)?(www\.)?kaggle\.com/", text)
    path = urlsplit(text[host.end() :] if host else text).path.strip("/")
    first, *others = path.split("/")
    if first in _KINDS and others:
        kind, n_parts = _KINDS[first]
        version = "/".join(others[2:4]) if kind == "dataset" and others[2:3] == ["versions"] else ""
        name = "/".join((*others[:n_parts], *filter(None, (version,))))
    else:
        kind, name = "dataset" if others else "competition", path
    if not (re.fullmatch(r"[\w-]+", name) if kind == "competition" else _OWNED.fullmatch(name)):
        raise InputError(
            f"{url!r}: expected OWNER/DATA-SET, a competition such as birdclef-2026, or the URL of the page of "
            f"one, or of a notebook that uses it."
        )
    return KaggleSource(name, kind)


def find_source(url: str) -> KaggleSource:
    """Return the data set or competition with this name or URL; for a notebook's URL, the only one that it uses.

    Kaggle is asked only about notebooks; whether a data set or competition exists is not checked.

    Raises:
        InputError: the text is no name or URL of Kaggle, or the notebook uses no or several data sets and competitions.
        MissingExtraError: kagglehub, which notebooks need, is not installed.
        DownloadError: Kaggle refused, or could not be reached.
    """
    source = parse_url(url)
    if source.kind != "notebook":
        return source
    try:
        sources = _parse_notebook_sources(source.name)
    except DownloadError as error:
        raise DownloadError(f"{error} {_NOTEBOOK_HELP}", error.status) from error
    if len(sources) != 1:
        names = ", ".join(each.name for each in sources) or "none"
        raise InputError(
            f"{url}: this is a notebook, expected to use one data set or competition; it uses {names}. Name one."
        )
    return sources[0]


def download(source: KaggleSource) -> Path:
    """Download a data set or competition (but not a notebook), and return its folder.

    kagglehub stores it in its cache, resumes interrupted downloads, and verifies checksums. An archive that cannot be
    unpacked is deleted, because kagglehub would take it for complete the next time.

    Raises:
        MissingExtraError: kagglehub is not installed.
        DownloadError: Kaggle refused, could not be reached, or sent damaged data.
    """
    with _kagglehub(source.name) as kagglehub:
        is_competition = source.kind == "competition"
        get = kagglehub.competition_download if is_competition else kagglehub.dataset_download
        try:
            return Path(get(source.name))
        except _DAMAGED:
            for archive in _archives(Path(kagglehub.config.get_cache_folder()), source):
                archive.unlink(missing_ok=True)
            raise


def _archives(cache: Path, source: KaggleSource) -> list[Path]:
    """Return the paths of the archives of a source in kagglehub's cache."""
    if source.kind == "competition":
        return [cache / "competitions" / f"{source.name}.archive"]
    owner, name = source.name.split("/")[:2]
    return list((cache / "datasets" / owner / name).glob("*.archive"))


def _parse_notebook_sources(name: str) -> list[KaggleSource]:
    """Return the data sets and competitions that are inputs of a notebook."""
    with _kagglehub(f"notebook {name}"):
        from kagglehub.clients import build_kaggle_client
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

        request = ApiGetKernelRequest()
        request.user_name, request.kernel_slug = name.split("/")
        with build_kaggle_client() as client:
            metadata = client.kernels.kernels_api_client.get_kernel(request).metadata
    if metadata is None:
        return []
    return [
        *(KaggleSource(each, "dataset") for each in metadata.dataset_data_sources or ()),
        *(KaggleSource(each, "competition") for each in metadata.competition_data_sources or ()),
    ]


@contextmanager
def _kagglehub(name: str) -> Iterator[Any]:
    """Yield the module kagglehub, and convert its errors about `name` to `DownloadError`."""
    try:
        import kagglehub
        from kagglehub.exceptions import DataCorruptionError, UnauthenticatedError
        from requests import RequestException
    except ImportError:
        raise MissingExtraError("kagglehub", extra="data", purpose="Fetching from Kaggle") from None
    try:
        yield kagglehub
    except (RequestException, UnauthenticatedError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        is_refusal = status in (401, 403) or isinstance(error, UnauthenticatedError)
        what_to_do = (
            KEY_HELP if is_refusal else "Check the name and the network, and run the same command again to resume."
        )
        raise DownloadError(f"Kaggle, {name}: {_describe(error)} {what_to_do}", status) from error
    except (DataCorruptionError, *_DAMAGED) as error:
        raise DownloadError(
            f"Kaggle, {name}: what came is damaged ({error}). Run the same command again.", None
        ) from error


def _describe(error: Exception) -> str:
    """Return the message of an error; without a reply, the server's name and the system's reason."""
    host = urlsplit(getattr(getattr(error, "request", None), "url", None) or "").hostname
    if host is None or getattr(error, "response", None) is not None:
        return " ".join(str(error).split())
    causes = list(_causes(error))
    reasons = [each.strerror for each in causes if isinstance(each, OSError) and each.strerror]
    reason = reasons[-1] if reasons else type(causes[-1]).__name__
    return f"{host} cannot be reached ({reason})."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the original error last."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__
