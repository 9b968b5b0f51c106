"""Writing of audio files: synthetic recordings, and clips for web pages."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import OutputError
from dawnchorus.storage.files import atomic_file

MAX_WAV_BYTES = (1 << 32) - 64
"""Maximum size of a WAV file, whose header has sizes of 32 bits."""


def write_recording(path: Path, samples: FloatArray, *, rate_hz: int) -> None:
    """Write mono samples [n], -1 to 1, as a 16-bit file in the format of the suffix of `path`, .wav or .flac.

    Raises:
        OutputError: no space, no permission, or no such folder.
    """
    try:
        soundfile.write(path, samples, rate_hz, subtype="PCM_16")
    except (soundfile.LibsndfileError, OSError) as error:
        raise OutputError(f"cannot be written ({error}). Check free space and access rights.", subject=path) from error


def write_wav(path: Path, samples: npt.NDArray[np.int16], *, rate_hz: int) -> None:
    """Write 16-bit mono samples [n] atomically; the array may be a memory map of any size.

    Raises:
        OutputError: no space, no permission, no such folder, or more samples than a WAV file can have.
    """
    if samples.nbytes > MAX_WAV_BYTES:
        raise OutputError(
            f"expected at most {MAX_WAV_BYTES / 2 / rate_hz / 3600:.1f} h for a WAV file, found "
            f"{len(samples) / rate_hz / 3600:.1f} h. Choose another format.",
            subject=path,
        )
    with atomic_file(path) as stream, wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(samples.itemsize)
        out.setframerate(rate_hz)
        out.writeframesraw(np.ascontiguousarray(samples, "<i2").data.cast("B"))


def encode_mp3(samples: FloatArray, *, rate_hz: int) -> bytes:
    """Return mono samples [n] as the bytes of an MP3 file, with a peak of 0.9 of full scale; silence stays silent."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    loud = samples * (0.9 / peak) if peak > 0 else samples
    out = io.BytesIO()
    soundfile.write(out, loud, rate_hz, format="MP3", subtype="MPEG_LAYER_III")
    return out.getvalue()
