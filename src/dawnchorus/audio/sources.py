"""Audio from any source as a file: paths unchanged; open files, bytes and arrays as a temporary file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import numpy.typing as npt
import soundfile

from dawnchorus.arrays import as_frames
from dawnchorus.audio.backends import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from dawnchorus.errors import AudioError, InputError, OutputError
from dawnchorus.storage.paths import as_path

AudioSource = str | os.PathLike[str] | bytes | BinaryIO | tuple[npt.ArrayLike, int]
"""A path, a sound file's bytes, an open sound file, or samples [frames] or [frames, channels] with their rate in Hz."""

ARRAY_NAME = "samples.wav"
BYTES_NAME = "recording"


@dataclass(frozen=True)
class AudioFile:
    """An audio file, which may be temporary."""

    path: Path
    """Path of the file.

    If the source was no path, the file is temporary, and is deleted at the end of `open_audio`'s block.
    """
    name: str
    """Name for tables: the path as given, an open file's `name`, or `samples.wav` for an array.

    It is `recording` for bytes, and for an open file without a name in text.
    """
    is_trusted: bool = False
    """True for samples from this process, which need no child process for decoding; False for files and bytes."""


def is_in_memory(value: object) -> TypeGuard[bytes | BinaryIO | tuple[npt.ArrayLike, int]]:
    """Return True for bytes, open files and tuples of samples and rate; False for paths and anything else."""
    is_samples = isinstance(value, tuple) and len(value) == 2 and not isinstance(value[1], str | os.PathLike)
    return is_samples or isinstance(value, bytes) or hasattr(value, "read")


@contextmanager
def open_audio(source: AudioSource) -> Iterator[AudioFile]:
    """Yield the audio as a file, which exists during the block.

    `source` is a path or URL, the bytes of a sound file, a sound file open for reading bytes, or a tuple of samples
    [frames] or [frames, channels] and their rate in Hz. A path is passed on unchecked. In an AudioError that the block
    raises, the name of the audio replaces the path of a temporary file.

    Raises:
        InputError: the source is none of the known kinds, samples are not those that `arrays.as_frames` takes, or their
            rate or number of channels is beyond the limits in `backends`.
        OutputError: no space for the temporary file.
    """
    if isinstance(source, str | os.PathLike):
        yield AudioFile(as_path(source), os.fspath(source))
        return
    with tempfile.TemporaryDirectory(prefix="dawnchorus-") as folder:
        if isinstance(source, tuple):
            path, name = Path(folder, ARRAY_NAME), ARRAY_NAME
            _write_samples(path, source)
        else:
            name = _name(source)
            path = Path(folder, PurePath(name).name or BYTES_NAME)
            _copy(source, path)
        try:
            yield AudioFile(path, name, is_trusted=isinstance(source, tuple))
        except AudioError as error:
            if error.subject == path:
                error.subject = name  # the temporary file is of no use to the caller
            raise


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
    except (TypeError, ValueError) as error:  # text in place of bytes, or a closed file
        raise InputError(f"audio: expected a file that is open for bytes, as by open(path, 'rb') ({error}).") from error
    except OSError as error:
        raise _no_space(path, error) from error


def _write_samples(path: Path, source: tuple[Any, ...]) -> None:
    if len(source) != 2:
        raise InputError(f"audio: expected (samples, sample_rate_hz), got a tuple of {len(source)}.")
    samples, sample_rate_hz = source
    frames = as_frames(samples)
    if not _is_rate(sample_rate_hz):
        raise InputError(
            f"sample_rate_hz: expected a whole number of Hz, {MIN_RATE_HZ} to {MAX_RATE_HZ}, got {sample_rate_hz!r}."
        )
    if frames.shape[1] > MAX_CHANNELS:
        raise InputError(f"samples: expected at most {MAX_CHANNELS} channels, got {frames.shape[1]}.")
    try:
        soundfile.write(path, frames, int(sample_rate_hz), subtype="FLOAT", format="RF64")
    except (soundfile.LibsndfileError, OSError) as error:
        raise _no_space(path, error) from error


def _is_rate(value: object) -> bool:
    if not isinstance(value, int | float | np.integer | np.floating):
        return False
    return MIN_RATE_HZ <= float(value) <= MAX_RATE_HZ and float(value).is_integer()


def _no_space(path: Path, error: Exception) -> OutputError:
    return OutputError(f"the temporary file cannot be written ({error}). Set TMPDIR to another folder.", subject=path)
