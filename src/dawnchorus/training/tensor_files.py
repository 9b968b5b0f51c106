"""Conversion of NumPy files to PyTorch tensor files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dawnchorus.errors import OutputError


def convert_arrays(folder: Path) -> None:
    """Replace every `.npy` file below a folder by a `.pt` file that `torch.load` can memory-map.

    Raises:
        OutputError: no space, or no permission.
    """
    for path in sorted(folder.rglob("*.npy")):
        tensor = torch.from_numpy(np.load(path, mmap_mode="c"))
        try:
            torch.save(tensor, path.with_suffix(".pt"))
        except RuntimeError as error:  # the zip writer's, for a disk that is full
            raise OutputError(
                f"cannot be written ({error}). Check free space.", subject=path.with_suffix(".pt")
            ) from error
        path.unlink()
