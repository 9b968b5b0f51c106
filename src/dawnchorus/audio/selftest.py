"""Test of the audio decoders on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

SUFFIXES = ("wav", "flac", "mp3", "ogg")


def broken_formats() -> list[str]:
    """Return the audio formats that cannot be decoded on this machine, each with the reason; empty if all can.

    An entry is a text such as "mp3 (LibsndfileError)", or a single one that begins with "anything" if the libraries for
    audio cannot be imported.
    """
    try:
        import numpy as np
        import soundfile

        from dawnchorus.audio.decode import read_mono
    except (ImportError, OSError) as error:
        return [f"anything ({error})"]
    broken = []
    with tempfile.TemporaryDirectory() as scratch:
        for suffix in SUFFIXES:
            path = Path(scratch, f"x.{suffix}")
            try:
                soundfile.write(path, np.zeros(48_000, np.float32), 48_000)
                read_mono(path, rate_hz=16_000)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it is what is looked for
                broken.append(f"{suffix} ({type(error).__name__})")
    try:
        import av  # noqa: F401
    except (ImportError, OSError) as error:
        broken.append(f"FFmpeg's formats ({error})")
    return broken
