"""Workaround for a `torchvision` whose operators do not load next to the installed PyTorch.

PyPI's torchvision is built for PyPI's torch with CUDA; with a CPU build its compiled operators do not load, and its
import then fails at "operator torchvision::nms does not exist". Nothing here uses these operators (they find boxes in
images), so declaring their names is all that the import needs.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any


@cache
def declare_vision_operators() -> Any:
    """Declare torchvision's operators if its compiled ones cannot be loaded; call this before importing timm.

    The result is the library object that holds the declarations, kept by the cache; None if there are none to hold.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    for compiled in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(compiled))
        except (OSError, RuntimeError):
            break
    else:
        return None
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # kept by the cache: the declarations end with it
