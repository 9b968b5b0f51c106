"""Silero VAD's graph, from the `silero-vad` package, which is not installed for it (it wants torch)."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import file_sha256
from dawnchorus.models.catalog.packages import Wheel, download_wheel

WHEEL = Wheel(
    "silero_vad-6.2.3-py3-none-any.whl", sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"
)
LICENSE = "MIT"
SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
_MEMBER = "silero_vad/data/silero_vad_16k_sequence.onnx"


def speech_graph(folder: Path, *, wheel: Path | None = None) -> Path:
    """Return the graph in the models' `folder`, fetched on first use (11 MB from the package index, or `wheel`).

    Raises:
        ModelNotFoundError: the package could not be downloaded.
        ModelError: it is not the published one.
    """
    out_path = folder / f"silero-vad-{SHA256[:12]}.onnx"
    if out_path.is_file():
        return out_path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = wheel or download_wheel(
            WHEEL, Path(scratch), what="Silero VAD's weights", instead=f"copy {_MEMBER} out of it to {out_path}"
        )
        unpacked = Path(scratch, "graph.onnx")
        try:
            with zipfile.ZipFile(wheel) as archive:
                unpacked.write_bytes(archive.read(_MEMBER))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelError(f"{wheel}: expected the wheel of {WHEEL.requirement} ({error}).") from error
        digest = file_sha256(unpacked)
        if digest != SHA256:
            raise ModelError(
                f"{wheel}: expected a graph of sha256 {SHA256}, found {digest}. Bring {WHEEL.requirement}."
            )
        os.replace(unpacked, out_path)
    return out_path
