"""Decoding a recording into mono blocks at one sample rate, within bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import soxr

from dawnchorus.audio.backends import Backend, open_backend
from dawnchorus.audio.ogg import is_cut_off
from dawnchorus.audio.riff import missing_data_bytes
from dawnchorus.errors import AudioTooLarge, AudioUnreadable
from dawnchorus.types import AudioInfo

FloatArray = npt.NDArray[np.float32]

MAX_SAMPLE = 1e12
"""Larger ones are no sound, whatever its scale, and overflow in models."""

MAX_DECODED_SAMPLES = 400 * 3600 * 48_000
"""Default bound on samples x channels: 400 hours of 48 kHz mono. It stops decompression bombs, not recorders."""

END_TOLERANCE_S = 0.5
"""A lossy file may end this much earlier than its header says without being called truncated."""


def mix_to_mono(samples: FloatArray) -> FloatArray:
    """Average the channels: [frames, channels] -> [frames], float32."""
    n_channels = samples.shape[1]
    if n_channels == 1:
        return np.ascontiguousarray(samples[:, 0])
    mono: FloatArray
    if n_channels == 2:  # equal to the mean to the last bit, and 20 times as fast
        mono = (samples[:, 0] + samples[:, 1]) * np.float32(0.5)
    else:
        mono = samples.mean(axis=1, dtype=np.float32)
    return mono


def resampler(rate_in_hz: int, rate_out_hz: int) -> soxr.ResampleStream:
    """The one resampler: soxr's high quality, linear phase, with an anti-aliasing filter."""
    return soxr.ResampleStream(rate_in_hz, rate_out_hz, 1, dtype="float32", quality="HQ")


@dataclass
class Recording:
    """An opened recording: `info` at once, samples from `blocks()`, and then what was wrong in `warnings`."""

    path: Path
    info: AudioInfo
    _backend: Backend
    warnings: list[str] = field(default_factory=list)
    n_frames_decoded: int = 0

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._backend.close()

    @property
    def duration_s(self) -> float:
        """Seconds decoded so far; after the last block, the true length."""
        return self.n_frames_decoded / self.info.rate_hz

    def blocks(self, *, rate_hz: int | None = None, max_samples: int = MAX_DECODED_SAMPLES) -> Iterator[FloatArray]:
        """Mono float32 blocks [samples] at `rate_hz` (default: the file's own rate).

        Damage after the first decoded sample ends the sound there and leaves a line in `warnings`.

        Raises:
            AudioUnreadable: not one sample could be decoded, or none of them is a finite number.
            AudioTooLarge: more than `max_samples` samples, counted over all channels.
        """
        mono = self._mono_blocks(max_samples=max_samples)
        yield from _resample(mono, self.info.rate_hz, rate_hz or self.info.rate_hz)

    def _mono_blocks(self, *, max_samples: int) -> Iterator[FloatArray]:
        n_bad = 0
        try:
            for block in self._backend.blocks():
                self.n_frames_decoded += len(block)
                if self.n_frames_decoded * self.info.n_channels > max_samples:
                    raise AudioTooLarge(
                        f"{self.path}: decodes to more than {max_samples} samples "
                        f"({max_samples / self.info.n_channels / self.info.rate_hz / 3600:.1f} hours of "
                        f"{self.info.n_channels} channels at {self.info.rate_hz} Hz). Split it, or raise the limit."
                    )
                finite = np.abs(block) < MAX_SAMPLE  # not so of NaN
                if not finite.all():
                    n_bad += int(finite.size - np.count_nonzero(finite))
                    block = np.where(finite, block, np.float32(0))
                yield mix_to_mono(block)
        except AudioUnreadable as error:
            if not self.n_frames_decoded:
                raise
            self.warnings.append(f"damaged: decoding stopped at {self.duration_s:.3f} s ({error})")
        if not self.n_frames_decoded:
            raise AudioUnreadable(f"{self.path}: there are no samples in the file.")
        if n_bad == self.n_frames_decoded * self.info.n_channels:
            raise AudioUnreadable(f"{self.path}: all samples are NaN, infinite or as good as that.")
        if n_bad:
            self.warnings.append(f"{n_bad} samples are NaN, infinite or as good as that; they were set to zero")
        self._check_end()

    def _check_end(self) -> None:
        """Compare what came with what the header promised."""
        if any(line.startswith("damaged") for line in self.warnings):
            return
        promised_s = self.info.duration_s
        missing = missing_data_bytes(self.path)
        if missing:
            self.warnings.append(
                f"truncated: the header promises {missing} bytes more than the file has; "
                f"{self.duration_s:.3f} s could be decoded"
            )
        elif is_cut_off(self.path):
            self.warnings.append(f"truncated: the last Ogg page is missing; {self.duration_s:.3f} s could be decoded")
        elif promised_s is not None and self.duration_s < promised_s - END_TOLERANCE_S:
            self.warnings.append(
                f"truncated: the header promises {promised_s:.3f} s, {self.duration_s:.3f} s could be decoded"
            )


def open_recording(path: Path) -> Recording:
    """Open a sound file of any format that libsndfile or FFmpeg knows.

    Raises:
        AudioNotFound: no such file, a folder, a dangling link, or no permission.
        AudioUnreadable: no decoder knows the file, or its rate or channel count is out of bounds.
    """
    backend = open_backend(path)
    return Recording(path=path, info=backend.info, _backend=backend)


def read_mono(path: Path, *, rate_hz: int | None = None) -> tuple[FloatArray, int]:
    """A whole short recording as mono float32 [samples], and its rate in Hz. Long ones: use `open_recording`."""
    with open_recording(path) as recording:
        samples = np.concatenate(list(recording.blocks(rate_hz=rate_hz)))
        return samples, rate_hz or recording.info.rate_hz


def read_clip(path: Path, *, start_s: float, end_s: float, rate_hz: int) -> FloatArray:
    """The part of a recording between two times, as mono float32 [samples]; shorter where the recording ends.

    Raises:
        AudioError: the recording cannot be decoded there.
    """
    blocks = clip_blocks(path, start_s=start_s, end_s=end_s, rate_hz=rate_hz)
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def clip_blocks(path: Path, *, start_s: float, end_s: float, rate_hz: int) -> Iterator[FloatArray]:
    """Decode the part of a recording between two times, as mono float32 blocks [samples], one in memory at a time.

    Raises:
        AudioError: the recording cannot be decoded there.
    """
    backend = open_backend(path)
    try:
        yield from _resample(_mono_clip(path, backend, start_s, end_s), backend.info.rate_hz, rate_hz)
    finally:
        backend.close()


def _mono_clip(path: Path, backend: Backend, start_s: float, end_s: float) -> Iterator[FloatArray]:
    """Decode the frames between two times, as mono blocks at the file's own rate."""
    first = max(round(start_s * backend.info.rate_hz), 0)
    wanted = max(round(end_s * backend.info.rate_hz) - first, 1)
    n = 0
    ended = backend.info.n_frames is not None and first >= backend.info.n_frames
    for block in () if ended else backend.blocks(first_frame=first):
        part = block[: wanted - n]
        n += len(part)
        yield mix_to_mono(np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0))
        if n == wanted:
            return
    if not n:
        raise AudioUnreadable(f"{path}: there is no sound at {start_s:.3f} s.")


def _resample(blocks: Iterator[FloatArray], rate_in_hz: int, rate_out_hz: int) -> Iterator[FloatArray]:
    """Bring mono blocks [samples] to another rate."""
    if rate_in_hz == rate_out_hz:
        yield from blocks
        return
    stream = resampler(rate_in_hz, rate_out_hz)
    for block in blocks:
        resampled = stream.resample_chunk(block)
        if len(resampled):
            yield resampled
    tail = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(tail):
        yield tail
