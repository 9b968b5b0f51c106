"""Synthetic soundscapes with known annotations: songs over wind and insects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.data.synthesis.songs import Song, render_song
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable


@dataclass(frozen=True)
class Singer:
    """A song in a scene, with its start and level."""

    song: Song
    """The song."""
    start_s: float
    """Start of the song in the scene."""
    level_db: float = -12.0
    """Peak level of the song in dB relative to full scale."""


@dataclass(frozen=True)
class Event:
    """A song's annotation: a species sings from `start_s` to `end_s`, between `low_hz` and `high_hz`."""

    start_s: float
    end_s: float
    scientific_name: str
    common_name: str
    low_hz: float
    high_hz: float


@dataclass(frozen=True)
class Scene:
    """A synthetic soundscape: mono samples [n] (float32, -1 to 1) at `rate_hz`, and its events ordered by start."""

    samples: FloatArray
    rate_hz: int
    events: tuple[Event, ...]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz

    def truth(self, recording: str) -> RecordingTable:
        """Return the events as detections with score 1; `recording` is the recording's name in the table."""
        detections = tuple(Detection(kind="species", score=1.0, **asdict(event)) for event in self.events)
        return RecordingTable(recording, self.duration_s, self.rate_hz, RecordingMetadata(), None, detections)


def compose_scene(
    singers: Sequence[Singer],
    *,
    duration_s: float,
    rate_hz: int,
    rng: np.random.Generator,
    background_db: float = -52.0,
) -> Scene:
    """Mix songs with wind and insects to a scene; songs and events are cut at the scene's end.

    If the peak is above 0.95 of full scale, the whole scene is attenuated to this peak. Events have the frequency range
    of the song's fundamental, widened by 10 % at both ends.

    Args:
        singers: the songs, with their starts and levels.
        duration_s: length of the scene in seconds.
        rate_hz: sample rate in Hz.
        rng: generator for the noise, and for the variations of songs.
        background_db: level of the background (root mean square of the wind) in dB relative to full scale.
    """
    n = round(duration_s * rate_hz)
    audio = np.zeros(n)
    events = []
    for singer in singers:
        song = singer.song
        wave = _distance(render_song(song, rate_hz=rate_hz, rng=rng), rate_hz, rng)
        wave = wave * 10 ** (singer.level_db / 20) / np.max(np.abs(wave))
        start = round(singer.start_s * rate_hz)
        stop = min(start + len(wave), n)
        audio[start:stop] += wave[: stop - start]
        low, high = song.pitch_range_hz
        end_s = min(singer.start_s + song.duration_s, duration_s)
        events.append(Event(singer.start_s, end_s, song.scientific_name, song.common_name, 0.9 * low, 1.1 * high))
    level = 10 ** (background_db / 20)
    audio += level * (_wind(n, rate_hz, rng) + 0.5 * _insects(n, rate_hz, rng))
    peak = np.max(np.abs(audio))
    if peak > 0.95:
        audio *= 0.95 / peak
    return Scene(audio.astype(np.float32), rate_hz, tuple(sorted(events, key=lambda e: e.start_s)))


def _distance(
    audio: FloatArray, rate_hz: int, rng: np.random.Generator, *, decay_s: float = 0.07
) -> npt.NDArray[np.float64]:
    """Add faint echoes, as in a forest: exponentially decaying noise after the direct sound."""
    n_echo = round(5 * decay_s * rate_hz)
    echo = rng.standard_normal(n_echo) * np.exp(-np.arange(n_echo) / (decay_s * rate_hz)) * 0.012
    echo[0] = 1.0
    n = len(audio) + n_echo
    spectrum = np.fft.rfft(audio, n) * np.fft.rfft(echo, n)
    reverberant: npt.NDArray[np.float64] = np.fft.irfft(spectrum, n)
    return reverberant


def _shaped_noise(
    n: int, rate_hz: int, rng: np.random.Generator, shape: npt.NDArray[np.float64], grid_hz: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return noise [n] of standard deviation 1 with the amplitude spectrum `shape` at the frequencies `grid_hz`."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequencies = np.fft.rfftfreq(n, 1 / rate_hz)
    noise: npt.NDArray[np.float64] = np.fft.irfft(spectrum * np.interp(frequencies, grid_hz, shape), n)
    return noise / np.std(noise)


def _swell(n: int, rate_hz: int, rng: np.random.Generator, *, every_s: float, depth: float) -> npt.NDArray[np.float64]:
    """Return a level [n] that drifts around 1 by up to `depth`, with a new random value each `every_s`."""
    points = 1 + depth * rng.uniform(-1, 1, max(int(n / rate_hz / every_s), 1) + 2)
    return np.interp(np.arange(n) / (every_s * rate_hz), np.arange(len(points)), points)


def _wind(n: int, rate_hz: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return wind gusts [n]: noise whose amplitude falls above 100 Hz."""
    grid = np.array([0.0, 40, 100, 400, 1500, 6000, rate_hz / 2])
    shape = np.array([0.0, 0.6, 1.0, 0.3, 0.09, 0.05, 0.03])
    return _shaped_noise(n, rate_hz, rng, shape, grid) * _swell(n, rate_hz, rng, every_s=4, depth=0.6)


def _insects(n: int, rate_hz: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return insect noise [n] between 6 and 11 kHz."""
    grid = np.array([0.0, 5500, 7000, 9000, 11_500, max(rate_hz / 2, 12_000)])
    shape = np.array([0.0, 0.0, 1.0, 0.8, 0.0, 0.0])
    return _shaped_noise(n, rate_hz, rng, shape, grid) * _swell(n, rate_hz, rng, every_s=2, depth=0.3)
