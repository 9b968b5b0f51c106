"""Decoding in a child process, so that a crash or hang of a decoder fails only one file.

`DecoderProcess` is the caller's interface, `decoder_child` the handle of the child process, and `decoder_server` its
program. Requests, replies and the numbers of free slots are lines of JSON. Samples are in a `SharedRingBuffer`, on an
open file that the child inherits. If it cannot inherit one (Windows), samples follow their line in the pipe.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from dawnchorus import errors
from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import MAX_DECODED_SAMPLES
from dawnchorus.audio.decoder_child import DecoderChild, can_share_memory, start_child
from dawnchorus.audio.metadata import metadata_from_json
from dawnchorus.audio.ring_buffer import SharedRingBuffer, reserve_file
from dawnchorus.audio.sample_analyses import SampleAnalysis, Table, table_from_json
from dawnchorus.storage.paths import is_remote, path_to_json
from dawnchorus.storage.stores import retry_s
from dawnchorus.types import AudioInfo, ChannelSource, RecordingMetadata

STALL_S = 60.0
"""Seconds without output after which a decoder process is killed."""


@dataclass(frozen=True)
class RecordingHeader:
    """Properties and metadata in a file's header."""

    info: AudioInfo
    """Properties of the audio, such as sample rate and number of channels."""
    metadata: RecordingMetadata
    """Location and time of the recording."""
    warnings: tuple[str, ...] = ()
    """Problems with the header."""


class DecoderProcess:
    """Child process that decodes one recording at a time; started on first use, restarted after a crash.

    Args:
        stall_s: seconds without output after which the process is killed, while a caller waits for a reply.
        shares_memory: True to pass samples in shared memory, False through a pipe; None for `can_share_memory()`.
    """

    def __init__(self, *, stall_s: float = STALL_S, shares_memory: bool | None = None) -> None:
        self._stall_s = stall_s
        self._shares_memory = can_share_memory() if shares_memory is None else shares_memory
        self._child: DecoderChild | None = None

    def probe(self, path: Path) -> RecordingHeader:
        """Read a file's header and metadata without decoding the file.

        Raises:
            AudioError: the file cannot be opened, or the decoder crashed or hung on it.
        """
        with self._request(path) as recording:
            for _none in recording.blocks():
                continue
            return recording.header

    def open(
        self,
        path: Path,
        *,
        rate_hz: int | None = None,
        max_samples: int = MAX_DECODED_SAMPLES,
        channel: ChannelSource = "mean",
        analyses: Mapping[str, SampleAnalysis] | None = None,
    ) -> IsolatedRecording:
        """Start to decode a recording, which is used in a `with` block.

        The process begins at once, and decodes ahead. It decodes one recording at a time: the next request ends a
        recording that is still open. Errors of the recording are raised later, by its `with` block and `blocks`.

        Args:
            path: the recording.
            rate_hz: sample rate of the blocks; None for the file's rate.
            max_samples: maximum number of frames x channels at the file's rate.
            channel: channel to read: "mean" of all, "left" (the first), "right" (the second), "best" (the one whose
                frequency bands vary most over time) or a number from 1. Of a recording with a single channel, each of
                these names reads that channel.
            analyses: new analyses of all channels, by name, which run in the process; their results are in
                `IsolatedRecording.tables` after the last block. None for none.

        Raises:
            DecoderCrashError: the process ended before it had the request.
        """
        decoding: dict[str, Any] = {"rate_hz": rate_hz, "max_samples": max_samples, "channel": channel}
        if analyses:
            decoding["analyses"] = {name: pickle.dumps(analysis).hex() for name, analysis in analyses.items()}
        return self._request(path, **decoding)

    def open_clip(
        self, path: Path, *, start_s: float, end_s: float, rate_hz: int, channel: ChannelSource = "mean"
    ) -> IsolatedRecording:
        """Start to decode a recording from `start_s` to `end_s`; the result is used in a `with` block.

        Times are in seconds from the start of the recording. `rate_hz` is the sample rate of the blocks, and `channel`
        is as in `open`.

        Raises:
            DecoderCrashError: the process ended before it had the request.
        """
        return self._request(path, start_s=start_s, end_s=end_s, rate_hz=rate_hz, channel=channel)

    def read_clip(
        self, path: Path, *, start_s: float, end_s: float, rate_hz: int, channel: ChannelSource = "mean"
    ) -> FloatArray:
        """Read the audio from `start_s` to `end_s` as mono float32 [samples]; shorter at the end of the recording.

        `rate_hz` is the sample rate of the result, and `channel` is as in `open`.

        Raises:
            AudioError: the recording cannot be opened or decoded there, has no audio at `start_s` or no such channel,
                or the decoder crashed or hung on it.
        """
        with self.open_clip(path, start_s=start_s, end_s=end_s, rate_hz=rate_hz, channel=channel) as clip:
            return np.concatenate([np.zeros(0, np.float32), *(block.copy() for block in clip.blocks())])

    def is_ready(self, *, within_s: float = 0.0) -> bool:
        """Return True if the process has replied or ended; wait for that up to `within_s` seconds.

        Always True on Windows, where this cannot be checked, and before the process was started.
        """
        child = self._child
        return child is None or child.is_ready(within_s)

    def abandon(self) -> None:
        """End the process if a recording is open, since its replies would be taken for those to the next request."""
        if self._child is not None and self._child.recording is not None:
            self.close()

    def close(self) -> None:
        """End the process; a later request starts a new one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _request(self, path: Path, **decoding: Any) -> IsolatedRecording:
        self.abandon()
        child = self._start()
        child.repeated_s = 2 * retry_s() if is_remote(path) else 0.0
        child.recording = recording = IsolatedRecording(child, path)
        try:
            child.send(path, {**path_to_json(path), **decoding})
        except errors.AudioError:
            recording.close()
            raise
        return recording

    def _start(self) -> DecoderChild:
        if self._child is None or self._child.process.poll() is not None:
            self.close()
            if self._shares_memory:
                with reserve_file() as file:
                    ring = SharedRingBuffer(file.fileno())
                    self._child = DecoderChild(start_child(file.fileno()), ring, self._stall_s)
            else:
                self._child = DecoderChild(start_child(), None, self._stall_s)
        return self._child


class IsolatedRecording:
    """A recording decoded by a `DecoderProcess`, used in a `with` block; implements `decode.OpenRecording`.

    Entering the block reads the header. It raises AudioError if the file cannot be opened, or the decoder crashed or
    hung on it. Leaving the block before the last sample was read ends the process.

    Args:
        child: the process, which got the request for this recording.
        path: the recording.

    Attributes:
        path: the recording.
        n_samples: number of samples in the blocks so far.
        tables: tables of the analyses by name, without those of failed analyses; empty before the last block.
    """

    header: RecordingHeader
    """Properties and metadata in the header; set when the block is entered."""

    def __init__(self, child: DecoderChild, path: Path) -> None:
        self.path = path
        self._child = child
        self._duration_s: float | None = None
        self._warnings: tuple[str, ...] = ()
        self.n_samples = 0
        """Number of samples in the blocks so far."""
        self.tables: dict[str, Table] = {}
        """Tables of the analyses by name; empty before the last block."""

    def __enter__(self) -> Self:
        """Read the header, and return the recording.

        Raises:
            AudioError: the file cannot be opened, or the decoder crashed or hung on it.
        """
        try:
            reply = self._receive()
        except BaseException:
            self.close()
            raise
        info, metadata = AudioInfo(**reply["info"]), metadata_from_json(reply["metadata"])
        self.header = RecordingHeader(info, metadata, tuple(reply["warnings"]))
        self._warnings = self.header.warnings
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def info(self) -> AudioInfo:
        """Properties in the audio file's header."""
        return self.header.info

    @property
    def metadata(self) -> RecordingMetadata:
        """Location and time of the recording."""
        return self.header.metadata

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems with the header and, after the last block, with the samples."""
        return self._warnings

    @property
    def duration_s(self) -> float:
        """True length in seconds after the last block; 0 before."""
        return self._duration_s or 0.0

    def blocks(self) -> Iterator[FloatArray]:
        """Yield mono float32 blocks [samples]; a block is valid until the next one is requested.

        To be called once. Damage after the first decoded sample ends the blocks there, and adds a message to
        the property `warnings`.

        Raises:
            AudioError: no sample can be decoded, the recording is too large, its store failed, or the decoder crashed
                or hung on the recording.
        """
        while (reply := self._receive())["kind"] == "samples":
            self.n_samples += reply["n"]
            if self._child.ring is not None:
                yield self._child.ring.slot(reply["slot"])[: reply["n"]]
                self._child.send(self.path, reply["slot"])
            else:
                yield np.frombuffer(self._child.receive_bytes(self.path, 4 * reply["n"]), np.float32)
        self._duration_s, self._warnings = reply["duration_s"], tuple(reply["warnings"])
        self.tables = {name: table_from_json(fields) for name, fields in reply["tables"].items()}
        self._child.recording = None

    def close(self) -> None:
        """End the process, unless all its replies for this recording were read."""
        if self._child.recording is self:
            self._child.recording = None
            self._child.close()

    def _receive(self) -> dict[str, Any]:
        """Return the next reply of the process, or raise the error that it reports, which ends the recording."""
        reply: dict[str, Any] = json.loads(self._child.receive_line(self.path))
        if reply["kind"] not in ("opened", "samples", "ended"):
            self._child.recording = None
            raise getattr(errors, reply["kind"])(reply["reason"], subject=self.path)
        return reply
