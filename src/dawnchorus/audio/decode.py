"""Decoding of a recording into mono blocks at one sample rate, within bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import soxr

from dawnchorus.arrays import FloatArray, ScaleCheck
from dawnchorus.audio.backends import Backend, open_backend
from dawnchorus.audio.channels import ChannelStatistics, find_best_channel, mix_to_mono
from dawnchorus.audio.header_lengths import find_undeclared_audio
from dawnchorus.audio.metadata import read_metadata
from dawnchorus.audio.ogg import is_cut_off
from dawnchorus.audio.riff import missing_data_bytes
from dawnchorus.audio.sample_analyses import SampleAnalyses
from dawnchorus.audio.trailing_bytes import find_second_flac, find_trailing_bytes
from dawnchorus.errors import AudioDecodeError, AudioTooLargeError
from dawnchorus.types import AudioInfo, ChannelSource, RecordingMetadata

MAX_SAMPLE = 1e12
"""Maximum absolute sample; larger values are no audio at any scale, and overflow in models."""

MAX_DECODED_SAMPLES = 400 * 3600 * 48_000
"""Default limit on frames x channels: 400 hours of 48 kHz mono, against decompression bombs."""

LOW_RATE_HZ = 4_000
"""Sample rate below which a recording is read with a warning, since common models know no bird at such frequencies."""

ZEROS_S, ZEROS_PART = 1.0, 0.1
"""Minimum length of zeros at the end of a WAV file for a warning, in seconds and as a share of the file."""

SILENT_PEAK = 1.5 / 32768
"""Maximum absolute sample of a recording that counts as digital silence: one step of 16 bits."""

END_TOLERANCE_S = 0.5
"""Seconds that a lossy file may end before the length in its header without being called truncated."""


def resampler(rate_in_hz: int, rate_out_hz: int) -> soxr.ResampleStream:
    """Return a soxr resampler for one channel, of high quality (linear phase, with an anti-aliasing filter)."""
    return soxr.ResampleStream(rate_in_hz, rate_out_hz, 1, dtype="float32", quality="HQ")


class OpenRecording(Protocol):
    """Protocol of an open recording.

    It is decoded here (`Recording`) or in a child process (`process.IsolatedRecording`), or also cleaned
    (`inference.preparation.CleanedRecording`).
    """

    @property
    def info(self) -> AudioInfo:
        """Properties in the audio file's header."""
        ...

    @property
    def metadata(self) -> RecordingMetadata:
        """Location and time of the recording."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """Problems with the header and, after the last block, with the samples."""
        ...

    @property
    def duration_s(self) -> float:
        """True length in seconds after the last block; before, the length decoded so far, or 0, by implementation."""
        ...

    def blocks(self) -> Iterator[FloatArray]:
        """Yield mono float32 blocks [samples]; a block is valid until the next one is requested.

        Blocks have the sample rate for which the recording was opened, by default that of the file. To be called once
        for an open recording. Damage after the first decoded sample ends the blocks there, and adds a warning.

        Raises:
            AudioError: no sample can be decoded, the recording is too large, its store failed, or the decoder crashed
                or hung on the recording.
            MissingExtraError: the recording is cleaned, and noisereduce is not installed.
        """
        ...


@dataclass
class Recording:
    """An open recording, used in a `with` block, which closes the file; opened by `open_recording`."""

    path: Path
    """Path of the audio file."""
    info: AudioInfo
    """Properties in the file's header."""
    _backend: Backend
    warnings: list[str] = field(default_factory=list)
    """Problems with the header, from the start, and, after the last block, with the samples."""
    n_frames_decoded: int = 0
    """Number of frames decoded so far, at the file's rate."""

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._backend.close()

    @cached_property
    def metadata(self) -> RecordingMetadata:
        """Location and time from the file's metadata, or else from its name; see `metadata.read_metadata`."""
        return read_metadata(self.path)

    @property
    def duration_s(self) -> float:
        """Seconds decoded so far; after the last block, the true length."""
        return self.n_frames_decoded / self.info.rate_hz

    def blocks(
        self,
        *,
        rate_hz: int | None = None,
        max_samples: int = MAX_DECODED_SAMPLES,
        channel: ChannelSource = "mean",
        analyses: SampleAnalyses | None = None,
    ) -> Iterator[FloatArray]:
        """Yield mono float32 blocks [samples] of a channel.

        To be called once for an open recording. Damage after the first decoded sample ends the audio there, and adds a
        warning. If the caller reads the channels one by one by their numbers, only the decoding of channel 1 warns of
        silent or noisy channels.

        Args:
            rate_hz: sample rate of the blocks; None for the file's rate.
            max_samples: maximum number of frames x channels at the file's rate.
            channel: a channel's number from 1, "mean" of all channels, "left" (the first), "right" (the second) or
                "best". The last decodes the recording twice, first to find the channel whose frequency bands vary most
                over time. Of a recording with a single channel, each of these names reads that channel.
            analyses: analyses that get the samples of all channels at the file's rate; None for none.

        Raises:
            AudioDecodeError: no sample could be decoded, no sample is finite, or there is no channel of this number.
            AudioTooLargeError: the recording has more than `max_samples` samples.
            AudioReadError: the store of the recording failed.
        """
        used = _find_channel(self.path, self.info.n_channels, channel)
        number = channel if isinstance(channel, int) else None
        mono = self._mono_blocks(max_samples=max_samples, used=used, number=number, analyses=analyses)
        yield from _resample(mono, self.info.rate_hz, rate_hz or self.info.rate_hz)

    def clip_blocks(
        self, *, start_s: float, end_s: float, rate_hz: int, channel: ChannelSource = "mean"
    ) -> Iterator[FloatArray]:
        """Yield the audio from `start_s` to `end_s` as mono float32 blocks [samples], one block in memory at a time.

        Times are in seconds from the start of the recording; the audio is shorter at its end. `rate_hz` is the sample
        rate of the blocks; `channel` is as in `blocks`. To be called once for an open recording, in place of `blocks`.

        Raises:
            AudioError: the recording cannot be decoded there, has no audio at `start_s`, or has no such channel.
        """
        used = _find_channel(self.path, self.info.n_channels, channel)
        mono = _mono_clip(self.path, self._backend, start_s, end_s, used)
        yield from _resample(mono, self.info.rate_hz, rate_hz)

    def _mono_blocks(
        self, *, max_samples: int, used: int | None, number: int | None, analyses: SampleAnalyses | None
    ) -> Iterator[FloatArray]:
        checks, n_zeros = _SampleChecks(self.info.codec), 0
        statistics = None
        try:
            for block in self._backend.blocks():
                self.n_frames_decoded += len(block)
                n_zeros = _zeros_at_end(block, n_zeros)
                if self.n_frames_decoded * self.info.n_channels > max_samples:
                    raise AudioTooLargeError(
                        f"decodes to more than {max_samples} samples "
                        f"({max_samples / self.info.n_channels / self.info.rate_hz / 3600:.1f} hours of "
                        f"{self.info.n_channels} channels at {self.info.rate_hz} Hz). Split it, or raise the limit.",
                        subject=self.path,
                    )
                block = checks.clean(block)
                if block.shape[1] > 1 and number in (None, 1):
                    statistics = statistics or ChannelStatistics(block.shape[1])
                    statistics.add(block)
                if analyses is not None:
                    analyses.on_samples(block, self.info.rate_hz)
                yield mix_to_mono(block) if used is None else np.ascontiguousarray(block[:, used])
        except AudioDecodeError as error:
            if not self.n_frames_decoded:
                raise
            self.warnings.append(f"damaged: decoding stopped at {self.duration_s:.3f} s ({error.reason})")
        if not self.n_frames_decoded:
            raise AudioDecodeError("there are no samples in the file.", subject=self.path)
        if checks.n_bad == self.n_frames_decoded * self.info.n_channels:
            raise AudioDecodeError("all samples are NaN, infinite or as good as that.", subject=self.path)
        self.warnings += checks.warnings(self.duration_s)
        self._check_zeros(n_zeros / self.info.rate_hz)
        if statistics is not None:
            self.warnings += statistics.warnings(used) if number is None else statistics.faults()
        self._check_end()

    def _check_zeros(self, zeros_s: float) -> None:
        """Warn of exact zeros at the end of a WAV file, which are space reserved by the recorder.

        Silence is not exactly 0.
        """
        is_wav = self.info.container.startswith(("WAV", "RF64", "W64"))
        if is_wav and max(ZEROS_S, ZEROS_PART * self.duration_s) <= zeros_s < self.duration_s:
            self.warnings.append(
                f"zeros at the end: the last {zeros_s:.3f} s are exactly zero, as space that a recorder set aside"
            )

    def _check_end(self) -> None:
        """Warn if fewer samples were decoded than the header states, or a second FLAC stream follows."""
        second = find_second_flac(self.path) if self.info.container == "FLAC" else None
        if second is not None:
            self.warnings.append(second.warning)
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


class _SampleChecks:
    """Checks of the samples of all channels, block by block."""

    def __init__(self, codec: str) -> None:
        self.n_bad = 0
        """Number of samples that are not finite or too large, which were set to zero."""
        self._is_silent = True
        # Names of libsndfile and FFmpeg for samples of floating point.
        self._scale = ScaleCheck() if codec.startswith(("FLOAT", "DOUBLE", "PCM_F")) else None

    def clean(self, block: FloatArray) -> FloatArray:
        """Return the block with zeros in place of samples that are not finite or too large."""
        finite = np.abs(block) < MAX_SAMPLE  # not so of NaN
        if not finite.all():
            self.n_bad += int(finite.size - np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0))
        self._is_silent = self._is_silent and float(np.abs(block).max(initial=0)) <= SILENT_PEAK
        if self._scale is not None:
            self._scale.add(block)
        return block

    def warnings(self, duration_s: float) -> Iterator[str]:
        """Yield a message for each problem found in the samples of a recording of this length."""
        if self.n_bad:
            yield f"{self.n_bad} samples are NaN, infinite or as good as that; they were set to zero"
        if self._is_silent:
            yield (
                f"silence: no sample of {duration_s:.3f} s is above one step of 16 bits; ignore anything that is "
                f"detected in it"
            )
        if self._scale is not None and (problem := self._scale.describe()) is not None:
            yield f"scale: {problem}, and write the file again; scores of it may be wrong"


def _find_channel(path: Path, n_channels: int, channel: ChannelSource) -> int | None:
    """Return the index of the channel to read; None for the mean, or if there is only one channel.

    Raises:
        AudioDecodeError: the recording has fewer channels.
    """
    if isinstance(channel, int) and channel > n_channels:
        raise AudioDecodeError(f"expected a channel {channel}, and the recording has {n_channels}.", subject=path)
    if channel == "mean" or n_channels == 1:
        return None
    if isinstance(channel, int):
        return channel - 1
    if channel == "best":
        backend = open_backend(path)
        try:
            return find_best_channel(_until_damage(backend.blocks()), n_channels)
        finally:
            backend.close()
    return ("left", "right").index(channel)


def _until_damage(blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
    """Yield the blocks before the first one that cannot be decoded; the later full decoding reports the damage."""
    try:
        yield from blocks
    except AudioDecodeError:
        return


def _zeros_at_end(block: FloatArray, n_before: int) -> int:
    """Return the number of frames at the end of a block that are zero in all channels.

    If the whole block is zero, the `n_before` frames before it, which are zero as well, are included.
    """
    if block[-1].any():
        return 0
    used = np.flatnonzero(block.any(axis=1))
    return len(block) - 1 - int(used[-1]) if len(used) else n_before + len(block)


def open_recording(path: Path) -> Recording:
    """Open an audio file of any format that libsndfile or FFmpeg can read, for use in a `with` block.

    Raises:
        AudioNotFoundError: no such file, a folder, a dangling link, or no permission.
        AudioDecodeError: no decoder can read the file, or its sample rate or number of channels is out of bounds; see
            `backends.open_backend`.
        AudioReadError: the store of the file failed.
    """
    backend = open_backend(path)
    rest = find_undeclared_audio(path) or find_trailing_bytes(path)
    warnings = [] if rest is None else [rest.warning]
    if backend.info.rate_hz < LOW_RATE_HZ:
        warnings.append(f"low rate: {backend.info.rate_hz} Hz hold no sound above {backend.info.rate_hz // 2} Hz")
    return Recording(path=path, info=backend.info, _backend=backend, warnings=warnings)


def read_mono(path: Path, *, rate_hz: int | None = None) -> tuple[FloatArray, int]:
    """Read a whole recording into memory; return the mean of its channels, float32 [samples], and the rate in Hz.

    `rate_hz` is the rate to resample to; None for the file's rate.

    Raises:
        AudioError: the recording cannot be opened or decoded.
    """
    with open_recording(path) as recording:
        samples = np.concatenate(list(recording.blocks(rate_hz=rate_hz)))
        return samples, rate_hz or recording.info.rate_hz


def read_clip(path: Path, *, start_s: float, end_s: float, rate_hz: int, channel: ChannelSource = "mean") -> FloatArray:
    """Read the audio from `start_s` to `end_s` as mono float32 [samples]; shorter at the end of the recording.

    `rate_hz` is the sample rate of the result, and `channel` is as in `Recording.blocks`.

    Raises:
        AudioError: the recording cannot be opened or decoded there, has no audio at `start_s`, or has no such channel.
    """
    backend = open_backend(path)
    with Recording(path=path, info=backend.info, _backend=backend) as recording:
        blocks = recording.clip_blocks(start_s=start_s, end_s=end_s, rate_hz=rate_hz, channel=channel)
        return np.concatenate([np.zeros(0, np.float32), *blocks])


def _mono_clip(path: Path, backend: Backend, start_s: float, end_s: float, used: int | None) -> Iterator[FloatArray]:
    """Yield the audio between two times as mono blocks at the file's rate; `used` is the channel's index or None.

    Raises:
        AudioDecodeError: there is no audio at that time.
    """
    first = max(round(start_s * backend.info.rate_hz), 0)
    n_samples = max(round(end_s * backend.info.rate_hz) - first, 1)
    n = 0
    ended = backend.info.n_frames is not None and first >= backend.info.n_frames
    for block in () if ended else backend.blocks(first_frame=first):
        chunk = block[: n_samples - n]
        chunk = np.nan_to_num(chunk, nan=0.0, posinf=0.0, neginf=0.0)
        n += len(chunk)
        yield mix_to_mono(chunk) if used is None else np.ascontiguousarray(chunk[:, used])
        if n == n_samples:
            return
    if not n:
        raise AudioDecodeError(f"there is no sound at {start_s:.3f} s.", subject=path)


def _resample(blocks: Iterator[FloatArray], rate_in_hz: int, rate_out_hz: int) -> Iterator[FloatArray]:
    """Resample mono blocks [samples] to another rate."""
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
