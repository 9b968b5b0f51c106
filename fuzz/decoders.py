"""Damaged sound files of every kind, decoded as runs and servers do it: each may cost only itself."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile

from dawnchorus.audio.decode import open_recording
from dawnchorus.audio.metadata import metadata_to_json, read_metadata
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.errors import AudioError, DecoderCrashError
from fuzz.contract import scratch_folder

NAME = "decoders"

RATE_HZ = 48_000
SECONDS = 0.1
STALL_S = 20.0

_LIBSNDFILE = (
    ("WAV", "PCM_16"),
    ("WAV", "IMA_ADPCM"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
    ("W64", "PCM_16"),
    ("RF64", "PCM_16"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("AU", "PCM_16"),
)
_FFMPEG = (("mp4", "aac"), ("asf", "wmav2"), ("matroska", "aac"), ("ac3", "ac3"))

_HEADER_BYTES = 256
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80")


def _samples() -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 1000 * np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def _from_libsndfile(container: str, codec: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, _samples(), RATE_HZ, format=container, subtype=codec)
    return out.getvalue()


def _from_ffmpeg(container: str, codec: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = cast(av.AudioStream, file.add_stream(codec, rate=RATE_HZ, layout="mono"))
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(_samples()[None], format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def sound_files() -> dict[str, bytes]:
    """Return 0.1 s of a tone in each format, by name."""
    files = {f"{container}-{codec}": _from_libsndfile(container, codec) for container, codec in _LIBSNDFILE}
    return files | {f"{container}-{codec}": _from_ffmpeg(container, codec) for container, codec in _FFMPEG}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the file with bits flipped, its end cut off, or bytes of its header replaced, removed or repeated."""
    data = bytearray(content)
    at = int(rng.integers(min(_HEADER_BYTES, len(data) - 4)))
    kind = rng.integers(5)
    if kind == 0:
        for position in rng.integers(len(data), size=rng.integers(1, 20)):
            data[position] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[int(rng.integers(1, len(data))) :]
    elif kind == 2:
        data[at : at + 4] = _EXTREMES[rng.integers(len(_EXTREMES))]
    elif kind == 3:
        for position in at + rng.integers(4, size=rng.integers(1, 4)):
            data[position] = int(rng.integers(256))
    else:
        length = int(rng.integers(1, 64))
        data[at : at + length] = data[at : at + length] * int(rng.integers(3))
    return bytes(data)


def decode_here(path: Path) -> None:
    """Decode a file as a decoder's process does, but in this one.

    Raises:
        AudioError: it cannot be decoded.
    """
    with open_recording(path) as recording:
        metadata_to_json(read_metadata(path))
        for _block in recording.blocks(rate_hz=RATE_HZ):
            pass


def fuzz_decoders(n_files: int, seed: int, findings: Path) -> Counter[str]:
    """Decode `n_files` damaged files, and count what became of them.

    Files on which the decoder's process ended or hung are kept in `findings`, with the reason beside them.
    """
    rng = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    path = scratch_folder() / "damaged"
    decoder = DecoderProcess(stall_s=STALL_S)
    try:
        for number, (name, content) in enumerate(_files(n_files)):
            path.write_bytes(damaged(content, rng))
            outcome = _outcome(decoder, path)
            outcomes[outcome] += 1
            if is_crash(outcome):
                kept = findings / f"{NAME}-{seed}-{number}-{name}"
                kept.write_bytes(path.read_bytes())
                kept.with_name(f"{kept.name}.txt").write_text(_reason(kept), encoding="utf-8")
                path.write_bytes(content)
                if _outcome(decoder, path) != "decoded":
                    outcomes["a good file after a crash was not decoded"] += 1
    finally:
        decoder.close()
    return outcomes


def is_crash(outcome: str) -> bool:
    """Return True if the outcome is the end of a decoder's process."""
    return outcome not in ("decoded", "decoded with warnings", "refused")


def _files(n_files: int) -> Iterator[tuple[str, bytes]]:
    files = list(sound_files().items())
    for number in range(n_files):
        yield files[number % len(files)]


def _outcome(decoder: DecoderProcess, path: Path) -> str:
    try:
        with decoder.open(path, rate_hz=RATE_HZ) as recording:
            for _block in recording.blocks():
                pass
            return "decoded with warnings" if recording.warnings else "decoded"
    except DecoderCrashError as error:
        status = re.search(r"exit status (-?\d+)", str(error))
        return f"decoder ended with status {status[1]}" if status else "decoder hung"
    except AudioError:
        return "refused"


def _reason(path: Path) -> str:
    """Return the exception or the stack on which decoding the file ends."""
    command = [sys.executable, "-m", "fuzz", "--reproduce", str(path)]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=STALL_S, check=False).stderr
    except subprocess.TimeoutExpired:
        return f"no end within {STALL_S:g} s"
