"""The two decoders, libsndfile and FFmpeg, with a common interface."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import soundfile

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.header_lengths import UndeclaredAudio, find_undeclared_audio, open_undeclared_audio
from dawnchorus.audio.mp3_frames import find_frames
from dawnchorus.errors import AudioDecodeError, AudioError, AudioNotFoundError, AudioReadError
from dawnchorus.storage.paths import can_list, is_remote, read_failure
from dawnchorus.storage.stores import describe
from dawnchorus.types import AudioInfo

if TYPE_CHECKING:
    from av import AudioFrame

BLOCK_FRAMES = 1 << 16
"""Number of frames read at a time; bounds memory regardless of the header."""

BLOCK_SAMPLES = BLOCK_FRAMES * 32
"""Number of samples, over all channels, read at a time; with many channels, fewer frames are read."""

NEAR_S = 30.0
"""Time in seconds before which decoding from the start is as fast as seeking."""

BEFORE_S = 0.5
"""Seconds of audio that are decoded before a position in an MP4, since frames overlap with the frames before them."""

_WEB_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|<\?xml[^>]*>|<!--.*?-->)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_N_FIRST_BYTES = 1024

MIN_RATE_HZ, MAX_RATE_HZ = 500, 500_000
MAX_CHANNELS = 256


class Backend(Protocol):
    """Protocol of a decoder of an open audio file."""

    info: AudioInfo
    """Properties in the file's header."""

    def blocks(self, *, first_frame: int = 0) -> Iterator[FloatArray]:
        """Yield blocks of float32 samples [frames, channels], full scale -1 to 1, from frame `first_frame` (from 0) on.

        To be called once for an open file. Samples are as decoded: they may be NaN, infinite or beyond full scale.

        Raises:
            AudioDecodeError: the samples cannot be decoded; raised after the blocks before the damage.
            AudioReadError: the store of the file failed.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_backend(path: Path) -> Backend:
    """Open `path` with libsndfile or, if libsndfile cannot read the file, with FFmpeg.

    Raises:
        AudioNotFoundError: no such file, a folder, a dangling link, or no permission to read it.
        AudioDecodeError: the file is empty, neither decoder can read it, its sample rate is not from `MIN_RATE_HZ` to
            `MAX_RATE_HZ`, or it has more than `MAX_CHANNELS` channels.
        AudioReadError: the store of the file failed.
    """
    _require_file(path)
    try:
        backend = _open_decoder(path)
    except (AudioDecodeError, OSError):
        check_reading(path)
        raise
    try:
        check_reading(path)
        _check_bounds(path, backend.info)
    except AudioError:
        backend.close()
        raise
    return backend


def _open_decoder(path: Path) -> Backend:
    """Return the first decoder that can read the file.

    If the header states no length, or too short a one, the samples are read as raw samples.
    """
    undeclared = _open_undeclared_audio(path)
    if undeclared is not None:
        return undeclared
    try:
        file = _open_soundfile(path)
        return (_Mp3Backend if file.format == "MP3" else _SoundfileBackend)(path, file)
    except soundfile.LibsndfileError as first:
        try:
            return _AvBackend(path)
        except AudioDecodeError as second:
            if _is_web_page(path):
                raise AudioDecodeError(
                    "not a sound file that we can decode, but a page in HTML, as a failed download leaves. "
                    "Fetch the recording again.",
                    subject=path,
                ) from second
            raise AudioDecodeError(
                f"not a sound file that we can decode (libsndfile: {_reason(first)}; "
                f"FFmpeg: {second.reason}). Check that the copy is complete.",
                subject=path,
            ) from second


def _open_soundfile(path: Path) -> soundfile.SoundFile:
    if is_remote(path):
        return soundfile.SoundFile(path.open("rb"))
    # Bytes reach libsndfile unchanged, also where the name is not UTF-8.
    return soundfile.SoundFile(str(path) if sys.platform == "win32" else os.fsencode(path))


def _open_undeclared_audio(path: Path) -> Backend | None:
    """Return a decoder of samples beyond the length in the header; None if there are none or they cannot be decoded."""
    audio = find_undeclared_audio(path)
    if audio is None:
        return None
    try:
        if audio.subtype is None:
            return _AvBackend(path)
        return _RawBackend(path, audio, audio.subtype)
    except (AudioDecodeError, soundfile.LibsndfileError):
        return None


def _reason(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's message, without the object address that soundfile adds.

    libsndfile's "File does not exist" means an mp3 without audio, and is replaced.
    """
    message = str(error.error_string).strip().rstrip(".")
    return "no sound found in it" if message.startswith("File does not exist") else message


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        return _WEB_PAGE.match(file.read(_N_FIRST_BYTES)) is not None


def _require_file(path: Path) -> None:
    if is_remote(path):
        _require_object(path)
        return
    if path.is_symlink() and not path.exists():
        raise AudioNotFoundError("the link points to a file that is not there.", subject=path)
    if not path.exists():
        raise AudioNotFoundError("no such file. Was it moved or is a drive missing?", subject=path)
    if path.is_dir() and not can_list(path):
        raise AudioNotFoundError(
            "no permission to list this folder, so its recordings are missing. Change its access rights.", subject=path
        )
    if not path.is_file():
        raise AudioNotFoundError("expected a sound file, found a folder or a device.", subject=path)
    if path.stat().st_size == 0:
        raise AudioDecodeError("the file is empty (0 bytes).", subject=path)
    if not os.access(path, os.R_OK):
        raise AudioNotFoundError("no permission to read this file. Change its access rights.", subject=path)


def _require_object(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise AudioNotFoundError("there is no such object. Was it moved or deleted?", subject=path) from None
    except OSError as error:
        raise AudioReadError(describe(error), subject=path) from None
    if size == 0:
        raise AudioDecodeError("the object is empty (0 bytes).", subject=path)


def check_reading(path: Path) -> None:
    """Raise an error if a read of the recording `path` from a store has failed, which decoders take for the file's end.

    For a path on a disk, nothing is checked.

    Raises:
        AudioReadError: the store failed, or the recording was replaced there.
    """
    failure = read_failure(path)
    if failure is not None:
        raise AudioReadError(failure, subject=path)


def _check_bounds(path: Path, info: AudioInfo) -> None:
    if not MIN_RATE_HZ <= info.rate_hz <= MAX_RATE_HZ:
        raise AudioDecodeError(
            f"the header says {info.rate_hz} Hz; expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz. "
            f"The header is probably damaged.",
            subject=path,
        )
    if not 1 <= info.n_channels <= MAX_CHANNELS:
        raise AudioDecodeError(
            f"the header says {info.n_channels} channels; expected 1 to {MAX_CHANNELS}. "
            f"Split the file by channel, or repair its header.",
            subject=path,
        )


class _SoundfileBackend:
    def __init__(self, path: Path, file: soundfile.SoundFile, *, container: str | None = None) -> None:
        self._path = path
        self._file = file
        frames = int(self._file.frames)
        self.info = AudioInfo(
            container=container or self._file.format,
            codec=self._file.subtype,
            rate_hz=int(self._file.samplerate),
            n_channels=int(self._file.channels),
            n_frames=frames if 0 <= frames < 1 << 62 else None,
        )

    def blocks(self, *, first_frame: int = 0) -> Iterator[FloatArray]:
        if first_frame:
            try:
                self._file.seek(first_frame)
            except soundfile.LibsndfileError as error:
                raise AudioDecodeError(_reason(error), subject=self._path) from error
        n_frames = min(BLOCK_FRAMES, BLOCK_SAMPLES // self.info.n_channels)
        while True:
            try:
                block = self._file.read(n_frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                check_reading(self._path)
                raise AudioDecodeError(_reason(error), subject=self._path) from error
            check_reading(self._path)
            if not len(block):
                return
            yield block

    def close(self) -> None:
        self._file.close()


class _Mp3Backend(_SoundfileBackend):
    """An MP3 file, in which seeking to positions after `NEAR_S` uses an index of frames."""

    def blocks(self, *, first_frame: int = 0) -> Iterator[FloatArray]:
        is_near = first_frame < NEAR_S * self.info.rate_hz
        index = None if is_near or is_remote(self._path) else find_frames(self._path)
        if index is None:
            yield from super().blocks(first_frame=first_frame)
        else:
            try:
                yield from index.blocks(self._path, first_frame, self.info.n_frames)
            except soundfile.LibsndfileError as error:
                raise AudioDecodeError(_reason(error), subject=self._path) from error


class _RawBackend(_SoundfileBackend):
    """Samples of a file whose header states no length, or too short a one."""

    def __init__(self, path: Path, audio: UndeclaredAudio, subtype: str) -> None:
        with ExitStack() as opened:
            samples = opened.enter_context(open_undeclared_audio(path, audio))
            file = soundfile.SoundFile(
                samples,
                format="RAW",
                subtype=subtype,
                endian=audio.endian,
                samplerate=audio.rate_hz,
                channels=audio.n_channels,
            )
            self._opened = opened.pop_all()
        super().__init__(path, file, container=audio.container)

    def close(self) -> None:
        super().close()
        self._opened.close()


NO_PLAYLISTS = {
    "protocol_whitelist": "none",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,mp3,ogg,flac,wav,w64,aiff,caf,au,wv,ape,amr,ac3,"
    "avi,mpegts,tta,dsf,iff,voc,rm",
}
"""Options that restrict FFmpeg to the file itself: a playlist could make it open other files or URLs."""


class _AvBackend:
    def __init__(self, path: Path) -> None:
        import av  # 50 ms of import, needed for few formats
        import av.error

        self._av = av
        self._path = path
        with ExitStack() as opened:
            try:
                file = opened.enter_context(path.open("rb"))
                self._container = opened.enter_context(av.open(file, mode="r", container_options=NO_PLAYLISTS))
                streams = self._container.streams.audio
            except (av.error.FFmpegError, OSError, ValueError) as error:
                # FFmpeg's own message names the file.
                raise AudioDecodeError(str(getattr(error, "strerror", None) or error), subject=path) from error
            if not streams:
                raise AudioDecodeError("there is no sound in the file", subject=path)
            self._stream = streams[0]
            self.info = self._read_info()
            self._opened = opened.pop_all()

    def _read_info(self) -> AudioInfo:
        context = self._stream.codec_context
        if context is None:
            raise AudioDecodeError("there is no decoder for the codec that the header names", subject=self._path)
        if not context.sample_rate:
            raise AudioDecodeError("there is no sound in the file", subject=self._path)
        seconds = None
        if self._stream.duration is not None and self._stream.time_base is not None:
            seconds = float(self._stream.duration * self._stream.time_base)
        elif self._container.duration is not None:
            seconds = self._container.duration / self._av.time_base
        return AudioInfo(
            container=self._container.format.name.upper(),
            codec=context.name.upper(),
            rate_hz=int(context.sample_rate),
            n_channels=int(context.channels),
            n_frames=None if seconds is None else round(seconds * context.sample_rate),
        )

    def blocks(self, *, first_frame: int = 0) -> Iterator[FloatArray]:
        to_float = self._av.AudioResampler(format="fltp")
        try:
            frames, position = self._decode_near(first_frame)
            unwanted = first_frame - position
            for frame in frames:
                for resampled in to_float.resample(frame):
                    samples = resampled.to_ndarray().T.astype(np.float32, copy=False)
                    skipped = min(unwanted, len(samples))
                    unwanted -= skipped
                    if skipped < len(samples):
                        yield samples[skipped:]
        except self._av.error.FFmpegError as error:
            check_reading(self._path)
            raise AudioDecodeError(f"{error.strerror or error}", subject=self._path) from error
        except OSError:
            check_reading(self._path)
            raise

    def _decode_near(self, first_frame: int) -> tuple[Iterator[AudioFrame], int]:
        """Return decoded frames from shortly before frame `first_frame` on, and the number of the first frame.

        Only MP4 has timestamps in samples, so that only in MP4 can it seek; other files are decoded from the start.
        """
        frames = self._container.decode(self._stream)
        first = next(frames, None)
        ticks = self._samples_of_tick()
        if first is None:
            return frames, 0
        if ticks is None or first.pts is None or first_frame < NEAR_S * self.info.rate_hz:
            return chain([first], frames), 0
        before = first_frame - round(BEFORE_S * self.info.rate_hz)
        for start in (first.pts + before // ticks, first.pts):
            self._container.seek(start, stream=self._stream)
            frames = self._container.decode(self._stream)
            next_frame = next(frames, None)
            position = None if next_frame is None or next_frame.pts is None else (next_frame.pts - first.pts) * ticks
            if next_frame is not None and position is not None and 0 <= position <= first_frame:
                return chain([next_frame], frames), position
        raise AudioDecodeError(f"{first_frame / self.info.rate_hz:.3f} s are not found in it", subject=self._path)

    def _samples_of_tick(self) -> int | None:
        """Return the number of samples per tick of the stream's timestamps.

        None if not a whole number, or not in an MP4.
        """
        time_base = self._stream.time_base
        if time_base is None or "MP4" not in self.info.container:
            return None
        ticks = time_base * self.info.rate_hz
        return ticks.numerator if ticks.denominator == 1 else None

    def close(self) -> None:
        self._opened.close()
