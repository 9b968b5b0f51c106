"""Audio of any kind as a file: paths as they are; open files, bytes and arrays as a temporary file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, TypeGuard

import numpy as np
import numpy.typing as npt
import soundfile

from dawnchorus.arrays import as_frames
from dawnchorus.errors import InputError, OutputError
from dawnchorus.storage.paths import as_path

AudioSource = str | os.PathLike[str] | bytes | BinaryIO | tuple[npt.ArrayLike, int]
"""A path, a sound file's bytes, an open sound file, or samples [frames] or [frames, channels] with their rate in Hz."""

ARRAY_NAME = "samples.wav"
BYTES_NAME = "recording"


@dataclass(frozen=True)
class AudioFile:
    """An audio file, which may be temporary."""

    path: Path
    name: str
    """Name for tables: the path as it was given, the name of an open file, or `samples.wav`."""
    is_trusted: bool = False
    """True for samples of this process, which need no process of their own to decode them."""


def is_in_memory(value: object) -> TypeGuard[bytes | BinaryIO | tuple[npt.ArrayLike, int]]:
    """Return True for bytes, open files and samples; False for paths and anything else."""
    is_samples = isinstance(value, tuple) and len(value) == 2 and not isinstance(value[1], str | os.PathLike)
    return is_samples or isinstance(value, bytes) or hasattr(value, "read")


@contextmanager
def open_audio(source: AudioSource) -> Iterator[AudioFile]:
    """Yield the audio as a file, which exists during the block.

    Raises:
        InputError: no audio, samples of another shape or type, or a rate that is not a positive number.
        OutputError: no space for the temporary file.
    """
    if isinstance(source, str | os.PathLike):
        yield AudioFile(as_path(source), os.fspath(source))
        return
    with tempfile.TemporaryDirectory(prefix="dawnchorus-") as folder:
        if isinstance(source, tuple):
            path = Path(folder, ARRAY_NAME)
            _write_samples(path, *source)
            yield AudioFile(path, ARRAY_NAME, is_trusted=True)
        else:
            path = Path(folder, PurePath(_name(source)).name or BYTES_NAME)
            _copy(source, path)
            yield AudioFile(path, _name(source))


def _name(source: bytes | BinaryIO) -> str:
    name = getattr(source, "name", BYTES_NAME)
    return name if isinstance(name, str) else BYTES_NAME


def _copy(source: bytes | BinaryIO, path: Path) -> None:
    if not isinstance(source, bytes) and not hasattr(source, "read"):
        raise InputError(
            f"audio: expected a path, bytes, an open file, or samples with their rate, got {type(source).__name__}."
        )
    try:
        with path.open("wb") as stream:
            if isinstance(source, bytes):
                stream.write(source)
            else:
                shutil.copyfileobj(source, stream)
    except OSError as error:
        raise _no_space(path, error) from error


def _write_samples(path: Path, samples: npt.ArrayLike, sample_rate_hz: int) -> None:
    frames = as_frames(samples)
    if not _is_rate(sample_rate_hz):
        raise InputError(f"sample_rate_hz: expected a positive whole number, got {sample_rate_hz!r}.")
    try:
        soundfile.write(path, frames, int(sample_rate_hz), subtype="FLOAT", format="RF64")
    except (soundfile.LibsndfileError, OSError) as error:
        raise _no_space(path, error) from error


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and float(value) > 0 and float(value).is_integer()


def _no_space(path: Path, error: Exception) -> OutputError:
    return OutputError(f"the temporary file cannot be written ({error}). Set TMPDIR to another folder.", subject=path)
