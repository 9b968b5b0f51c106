"""Synthetic negative examples for training: invented songs, wind, insects and hum.

A model trained on few recordings of few species has seen no other sounds, and would detect these species everywhere.
Synthetic negatives prevent that, without a data set of background recordings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from dawnchorus.audio.write import write_recording
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.data.synthesis.datasets import invented_song
from dawnchorus.data.synthesis.scenes import Singer, compose_scene
from dawnchorus.storage.files import cannot_write

VERSION = 1
"""Version in the folder's name; to be raised if the recordings change."""

N_RECORDINGS = 200
LENGTH_S = 3.0
RATE_HZ = 48_000
N_PER_SILENT = 6
"""One in this number of recordings has no song."""

SOURCE = "generated"

FloatArray = np.ndarray


def make_negatives(folder: Path) -> tuple[RecordingRow, ...]:
    """Return the rows of 200 synthetic recordings without real birds; their files are created if missing.

    The files, of 3 s each, are in a subfolder of `folder`; if this subfolder exists, its files are used unchecked. The
    rows are background of the split "train", with absolute paths.

    Raises:
        OutputError: no space, or no permission.
    """
    target = folder / f"other-sounds-{VERSION}"
    try:
        if not target.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _make(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return tuple(
        RecordingRow(
            recording_id=f"{SOURCE} {k:03d}",
            path=str((target / f"{k:03d}.flac").absolute()),
            kind="background",
            source=SOURCE,
            license="CC0-1.0",
            duration_s=LENGTH_S,
            split="train",
        )
        for k in range(N_RECORDINGS)
    )


def _make(target: Path) -> None:
    """Create the folder of recordings atomically."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        building = Path(scratch, "sounds")
        building.mkdir()
        for k, audio in enumerate(_generate()):
            write_recording(building / f"{k:03d}.flac", audio, rate_hz=RATE_HZ)
        with suppress(OSError):  # another process has made it meanwhile
            building.rename(target)


def _generate() -> Iterator[FloatArray]:
    rng = np.random.default_rng(20261121)
    for k in range(N_RECORDINGS):
        yield _without_song(rng) if k % N_PER_SILENT == 0 else _with_songs(rng)


def _with_songs(rng: np.random.Generator) -> FloatArray:
    singers = [
        Singer(invented_song(0, rng=rng), rng.uniform(0, LENGTH_S / 2), rng.uniform(-30, -3))
        for _ in range(int(rng.integers(1, 4)))
    ]
    background_db = rng.uniform(-60, -30)
    return compose_scene(singers, duration_s=LENGTH_S, rate_hz=RATE_HZ, rng=rng, background_db=background_db).samples


def _without_song(rng: np.random.Generator) -> FloatArray:
    n = round(LENGTH_S * RATE_HZ)
    kind = rng.integers(4)
    if kind < 2:
        return compose_scene(
            [], duration_s=LENGTH_S, rate_hz=RATE_HZ, rng=rng, background_db=rng.uniform(-60, -15)
        ).samples
    if kind == 2:
        # Noise whose power falls with frequency, as that of wind and water does.
        spectrum = np.fft.rfft(rng.normal(size=n)) / np.maximum(np.arange(n // 2 + 1), 1) ** rng.uniform(0, 0.6)
        audio = np.fft.irfft(spectrum, n)
    else:
        seconds = np.arange(n) / RATE_HZ
        hums = 2 ** rng.uniform(np.log2(60), np.log2(4000), size=5)
        audio = sum(np.sin(2 * np.pi * (hz * seconds + rng.uniform())) for hz in hums)
    level = 10 ** (rng.uniform(-50, -6) / 20)
    return np.asarray(level * audio / np.abs(audio).max(), np.float32)
