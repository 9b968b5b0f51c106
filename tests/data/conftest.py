"""Fixtures of the tests of data sets."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import soundfile

from dawnchorus.data.check import check_table
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.data.synthesis.datasets import invented_song
from dawnchorus.data.synthesis.scenes import Singer, compose_scene

FloatArray = np.ndarray


@cache
def song(number: int, seed: int, seconds: float = 8.0, rate_hz: int = 32_000) -> FloatArray:
    """Return three phrases that nobody else sings, whatever the seed."""
    rng = np.random.default_rng([number, seed])
    singers = [Singer(invented_song(number, rng=rng), at_s, -12) for at_s in (0.3, 2.5, 5.0)]
    return compose_scene(singers, duration_s=seconds, rate_hz=rate_hz, rng=rng).samples


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> RecordingsTable:
    """Two songs of each of four species; a copy in another container, a faint shorter MP3, and things gone wrong."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = []

    def add(name: str, samples: FloatArray | None, rate_hz: int = 32_000, species: str | None = "A a") -> None:
        if samples is not None:
            soundfile.write(folder / name, samples, rate_hz)
        rows.append(RecordingRow(recording_id=name, path=name, scientific_name=species, license="CC0-1.0"))

    for number in (3, 4, 5, 7):
        for seed in (1, 2):
            add(f"{number}-{seed}.wav", song(number, seed), species=f"A {number}")
    soundfile.write(folder / "copy.flac", *soundfile.read(folder / "3-1.wav", dtype="int16"))
    add("copy.flac", None)
    add("near.mp3", 0.3 * song(4, 2)[24_000:])
    add("silent.wav", np.zeros(32_000))
    add("constant.wav", np.full(32_000, 0.25))
    add("clipped.wav", np.clip(3 * song(3, 9) / np.abs(song(3, 9)).max(), -1, 1))
    add("short.wav", song(3, 10)[:8000])
    add("gone.wav", None)
    (folder / "broken.wav").write_text("no sound")
    add("broken.wav", None)
    add("nameless.wav", song(5, 11), species=None)
    whole = (folder / "7-1.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 3])
    add("cut.wav", None)
    return RecordingsTable(folder, tuple(rows))


@pytest.fixture(scope="session")
def checked(recordings: RecordingsTable) -> RecordingsTable:
    """The recordings with their problems."""
    return check_table(recordings, n_workers=2)
