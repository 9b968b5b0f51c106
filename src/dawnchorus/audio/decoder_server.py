"""The program of a decoder process: `python -m dawnchorus.audio.decoder_server [DESCRIPTOR]`; see `process`."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from dawnchorus import errors
from dawnchorus.arrays import FloatArray
from dawnchorus.audio.backends import check_reading
from dawnchorus.audio.decode import open_recording
from dawnchorus.audio.metadata import metadata_to_json
from dawnchorus.audio.ring_buffer import N_SLOTS, SLOT_SAMPLES, SharedRingBuffer
from dawnchorus.audio.sample_analyses import SampleAnalyses
from dawnchorus.storage.paths import closing_content, path_from_json


class DecoderServer:
    """Server in a decoder process: reads requests as lines of JSON, and writes replies and samples.

    Args:
        ring: memory for samples, shared with the caller; None to write samples into the pipe of the replies.
        requests: pipe of the requests.
        replies: pipe of the replies.
    """

    def __init__(self, ring: SharedRingBuffer | None, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._ring = ring
        self._requests = requests
        self._replies = replies
        self._free = deque(range(N_SLOTS))

    def run(self) -> None:
        """Answer requests until the caller closes the pipe."""
        for line in self._requests:
            message = json.loads(line)
            if isinstance(message, int):
                self._free.append(message)
                continue
            try:
                self._answer(message)
            except errors.AudioError as error:
                self._reply(type(error).__name__, reason=error.reason)
            except BrokenPipeError:
                return
            except OSError as error:
                self._reply("AudioDecodeError", reason=f"it cannot be read ({error.strerror or error})")

    def _reply(self, kind: str, *, then: bytes = b"", **fields: Any) -> None:
        self._replies.write(json.dumps({"kind": kind, **fields}).encode() + b"\n" + then)
        self._replies.flush()

    def _answer(self, request: dict[str, Any]) -> None:
        path = path_from_json(request)
        with closing_content(path):
            try:
                self._decode(path, request)
            except OSError:
                check_reading(path)
                raise

    def _decode(self, path: Path, request: dict[str, Any]) -> None:
        with open_recording(path) as recording:
            self._reply(
                "opened",
                info=asdict(recording.info),
                metadata=metadata_to_json(recording.metadata),
                warnings=recording.warnings,
            )
            pickled = {name: bytes.fromhex(content) for name, content in request.get("analyses", {}).items()}
            analyses = SampleAnalyses(pickled)
            if "start_s" in request:
                clip = {name: request[name] for name in ("start_s", "end_s", "rate_hz", "channel")}
                self._send_samples(recording.clip_blocks(**clip))
            elif "rate_hz" in request:
                self._send_samples(
                    recording.blocks(
                        rate_hz=request["rate_hz"],
                        max_samples=request["max_samples"],
                        channel=request["channel"],
                        analyses=analyses if pickled else None,
                    )
                )
            check_reading(path)
            tables = analyses.finish()
            warnings = [*recording.warnings, *analyses.warnings]
            self._reply("ended", duration_s=recording.duration_s, warnings=warnings, tables=tables)

    def _send_samples(self, blocks: Iterator[FloatArray]) -> None:
        if self._ring is None:
            for block in blocks:
                self._reply("samples", n=len(block), then=block.tobytes())
        else:
            self._share_samples(self._ring, blocks)

    def _share_samples(self, ring: SharedRingBuffer, blocks: Iterator[FloatArray]) -> None:
        n = 0
        for block in blocks:
            rest = block
            while len(rest):
                chunk = rest[: SLOT_SAMPLES - n]
                ring.slot(self._free_slot())[n : n + len(chunk)] = chunk
                rest, n = rest[len(chunk) :], n + len(chunk)
                if n == SLOT_SAMPLES:
                    self._reply("samples", slot=self._free.popleft(), n=n)
                    n = 0
        if n:
            self._reply("samples", slot=self._free.popleft(), n=n)

    def _free_slot(self) -> int:
        """Return the number of a free slot, the same one until it is sent; wait until there is one."""
        while not self._free:
            line = self._requests.readline()
            if not line:  # the caller is gone
                raise BrokenPipeError
            self._free.append(json.loads(line))
        return self._free[0]


def main() -> None:
    """Answer requests on standard input until the caller closes the pipe; replies go to standard output."""
    ring = SharedRingBuffer(int(sys.argv[1])) if len(sys.argv) > 1 else None
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # an analysis or a library may print, and only replies belong into the pipe
    DecoderServer(ring, sys.stdin.buffer, replies).run()


if __name__ == "__main__":
    main()
