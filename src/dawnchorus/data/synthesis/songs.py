"""Synthesis of bird songs: repeated phrases of notes with gliding pitch, overtones and soft edges.

Songs of real species follow published descriptions (pitch, rhythm, number of notes), so that a model trained on real
recordings detects them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray


@dataclass(frozen=True)
class Note:
    """A note whose pitch glides through the frequencies `pitch_hz`, which are equally spaced in time."""

    start_s: float
    """Start in the phrase."""
    duration_s: float
    """Length of the note."""
    pitch_hz: tuple[float, ...]
    """Frequencies of the fundamental, from the start to the end of the note; a single one is a constant pitch."""
    level: float = 1.0
    """Amplitude of the fundamental, relative to notes of level 1 in the song."""
    overtones: tuple[float, ...] = ()
    """Amplitudes of the second, third, ... harmonic, relative to the fundamental."""
    vibrato_hz: float = 0.0
    """Rate of the vibrato; 0 for none."""
    vibrato_depth: float = 0.0
    """Peak deviation of the vibrato, as a fraction of the pitch."""
    attack_s: float = 0.02
    """Time in which the level rises at the start."""
    release_s: float = 0.04
    """Time in which the level falls at the end."""
    pulse_hz: float = 0.0
    """Rate at which the level is cut into pulses, as in a trill or churr; 0 for none."""


@dataclass(frozen=True)
class Song:
    """A song of one species: a phrase of notes that is repeated."""

    scientific_name: str
    common_name: str
    notes: tuple[Note, ...]
    """Notes of one phrase."""
    period_s: float
    """Time from the start of a phrase to the start of the next."""
    repeats: int = 1
    """Number of phrases."""

    @property
    def duration_s(self) -> float:
        """Duration in seconds of all phrases, from the start of the first phrase to the end of the last note."""
        phrase_s = max(note.start_s + note.duration_s for note in self.notes)
        return (self.repeats - 1) * self.period_s + phrase_s

    @property
    def pitch_range_hz(self) -> tuple[float, float]:
        """Minimum and maximum frequency in Hz of the notes' fundamentals, without vibrato."""
        pitches = [pitch for note in self.notes for pitch in note.pitch_hz]
        return min(pitches), max(pitches)


def series(count: int, every_s: float, duration_s: float, pitch_hz: Sequence[float], **more: float) -> tuple[Note, ...]:
    """Return `count` equal notes, which start at 0, `every_s`, 2 * `every_s`, ... seconds.

    `duration_s`, `pitch_hz` and the keyword arguments `more` are fields of each `Note`.
    """
    return tuple(
        Note(k * every_s, duration_s, tuple(pitch_hz), **more)  # type: ignore[arg-type]
        for k in range(count)
    )


def render_song(song: Song, *, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """Render the song as mono samples [n], float32, with peak 1; phrases vary slightly in pitch, level and time.

    The samples are 0.3 s longer than the song. `rng` is the generator for the variations.
    """
    n = int((song.duration_s + 0.3) * rate_hz)
    audio = np.zeros(n)
    for repeat in range(song.repeats):
        pitch = 1 + 0.006 * rng.standard_normal()
        level = 1 + 0.08 * rng.standard_normal()
        shift_s = repeat * song.period_s + 0.01 * abs(rng.standard_normal())
        for note in song.notes:
            wave = level * note.level * _render_note(note, pitch, rate_hz)
            start = int((shift_s + note.start_s) * rate_hz)
            stop = min(start + len(wave), n)
            audio[start:stop] += wave[: stop - start]
    loudest: FloatArray = (audio / np.max(np.abs(audio))).astype(np.float32)
    return loudest


def _render_note(note: Note, pitch: float, rate_hz: int) -> npt.NDArray[np.float64]:
    n = max(int(note.duration_s * rate_hz), 2)
    time = np.arange(n) / rate_hz
    points = np.linspace(0, note.duration_s, len(note.pitch_hz))
    frequency = pitch * np.interp(time, points, note.pitch_hz)
    if note.vibrato_hz:
        frequency = frequency * (1 + note.vibrato_depth * np.sin(2 * np.pi * note.vibrato_hz * time))
    phase = 2 * np.pi * np.cumsum(frequency) / rate_hz
    wave = np.sin(phase)
    for k, level in enumerate(note.overtones, start=2):
        wave += level * np.sin(k * phase) * (k * frequency < rate_hz / 2)
    if note.pulse_hz:
        wave *= np.clip(np.sin(2 * np.pi * note.pulse_hz * time), 0, 1)
    return wave * _edges(time, note)


def _edges(time: npt.NDArray[np.float64], note: Note) -> npt.NDArray[np.float64]:
    rise = np.clip(time / min(note.attack_s, note.duration_s / 2), 0, 1)
    fall = np.clip((note.duration_s - time) / min(note.release_s, note.duration_s / 2), 0, 1)
    smooth: npt.NDArray[np.float64] = np.sin(np.pi / 2 * rise) ** 2 * np.sin(np.pi / 2 * fall) ** 2
    return smooth
