"""Writing sound: recordings that we synthesise, and short clips for pages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from dawnchorus.errors import OutputError

FloatArray = npt.NDArray[np.float32]


def write_recording(path: Path, samples: FloatArray, *, rate_hz: int) -> None:
    """Write mono samples [n] as 16-bit sound, in the format of the suffix (.wav, .flac).

    Raises:
        OutputError: no space, no permission, or no such folder.
    """
    try:
        soundfile.write(path, samples, rate_hz, subtype="PCM_16")
    except (soundfile.LibsndfileError, OSError) as error:
        raise OutputError(f"{path}: cannot be written ({error}). Check free space and access rights.") from error


def encode_mp3(samples: FloatArray, *, rate_hz: int) -> bytes:
    """Mono samples [n] as an MP3 file, raised to nearly full scale so that a faint bird is heard."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    loud = samples * (0.9 / peak) if peak > 0 else samples
    out = io.BytesIO()
    soundfile.write(out, loud, rate_hz, format="MP3", subtype="MPEG_LAYER_III")
    return out.getvalue()
