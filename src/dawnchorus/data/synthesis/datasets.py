"""Synthetic data sets: random songs in a folder per species, and annotated soundscapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dawnchorus.data.synthesis.scenes import Scene, Singer, compose_scene
from dawnchorus.data.synthesis.songs import Note, Song
from dawnchorus.errors import InputError

SOUNDSCAPES_FOLDER = "soundscapes"
CLIPS_FOLDER = "clips"
BACKGROUND_CLASS = "noise"
"""Folder name for recordings without birds, as BirdNET-Analyzer expects it."""


@dataclass(frozen=True, kw_only=True)
class SyntheticPlan:
    """Size of a synthetic data set.

    Raises:
        InputError: `n_species` is not from 1 to 500, `n_clips` or `n_soundscapes` from 0 to 100,000, `clip_s` from 1 to
            600, `soundscape_s` from 5 to 7,200, or `rate_hz` from 16,000 to 96,000.
    """

    n_species: int = 5
    """Number of invented species."""
    n_clips: int = 20
    """Number of clips of each species; there are as many clips of background."""
    clip_s: float = 5.0
    """Length of a clip."""
    n_soundscapes: int = 3
    """Number of soundscapes, longer recordings with songs of several species."""
    soundscape_s: float = 60.0
    """Length of a soundscape."""
    rate_hz: int = 32_000
    """Sample rate of all recordings."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("n_species", 1, 500),
            ("n_clips", 0, 100_000),
            ("clip_s", 1, 600),
            ("n_soundscapes", 0, 100_000),
            ("soundscape_s", 5, 7200),
            ("rate_hz", 16_000, 96_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name}: expected {low} to {high}, got {value}.")


def invented_song(number: int, *, rng: np.random.Generator) -> Song:
    """Return a random song of an invented species with `number` in its names: `Avis ficta007`, `Synthetic Bird 007`.

    The song itself depends on `rng` only.
    """
    center_hz = 700 * 2 ** rng.uniform(0, 3.2)
    n_notes = int(rng.integers(1, 6))
    every_s = rng.uniform(0.12, 0.4)
    shape = rng.choice(["flat", "up", "down", "arch"])
    bend = {"flat": (1, 1, 1), "up": (0.85, 1, 1.2), "down": (1.2, 1, 0.85), "arch": (0.9, 1.15, 0.9)}[shape]
    step = rng.uniform(0.85, 1.18)
    trill_hz = float(rng.choice([0, 0, 0, rng.uniform(18, 45)]))
    notes = tuple(
        Note(
            start_s=k * every_s,
            duration_s=every_s * 0.75,
            pitch_hz=tuple(center_hz * step ** (k - n_notes / 2) * b for b in bend),
            pulse_hz=trill_hz,
        )
        for k in range(n_notes)
    )
    return Song(
        scientific_name=f"Avis ficta{number:03d}",
        common_name=f"Synthetic Bird {number:03d}",
        notes=notes,
        period_s=n_notes * every_s + rng.uniform(0.2, 0.8),
        repeats=int(rng.integers(1, 4)),
    )


def synthetic_recordings(plan: SyntheticPlan, *, seed: int) -> Iterator[tuple[Path, Scene]]:
    """Yield (path relative to the data set, scene) of each recording; the same plan and seed yield the same recordings.

    `clips/<scientific name>_<common name>/*.wav` have one song each, `clips/noise/*.wav` none, and
    `soundscapes/*.wav` several songs at known times; they come in this order, and are computed one by one. No file is
    written.
    """
    root = np.random.SeedSequence(seed)
    song_seed, clip_seed, scene_seed = root.spawn(3)
    song_rng = np.random.default_rng(song_seed)
    songs = [invented_song(number, rng=song_rng) for number in range(1, plan.n_species + 1)]
    clip_rng = np.random.default_rng(clip_seed)
    for song in songs:
        folder = Path(CLIPS_FOLDER, f"{song.scientific_name}_{song.common_name}")
        for k in range(plan.n_clips):
            yield folder / f"{song.scientific_name.replace(' ', '_')}_{k:04d}.wav", _clip(song, plan, clip_rng)
    for k in range(plan.n_clips):
        yield Path(CLIPS_FOLDER, BACKGROUND_CLASS, f"{BACKGROUND_CLASS}_{k:04d}.wav"), _clip(None, plan, clip_rng)
    scene_rng = np.random.default_rng(scene_seed)
    for k in range(plan.n_soundscapes):
        yield Path(SOUNDSCAPES_FOLDER, f"soundscape_{k:04d}.wav"), _soundscape(songs, plan, scene_rng)


def _clip(song: Song | None, plan: SyntheticPlan, rng: np.random.Generator) -> Scene:
    singers = []
    if song is not None:
        latest_s = max(plan.clip_s - song.duration_s, 0.0)
        singers.append(Singer(song, rng.uniform(0, latest_s), rng.uniform(-26, -8)))
    return compose_scene(
        singers, duration_s=plan.clip_s, rate_hz=plan.rate_hz, rng=rng, background_db=rng.uniform(-56, -40)
    )


def _soundscape(songs: list[Song], plan: SyntheticPlan, rng: np.random.Generator) -> Scene:
    singers, at_s = [], rng.uniform(0.5, 4.0)
    while at_s < plan.soundscape_s - 1:
        song = songs[int(rng.integers(len(songs)))]
        singers.append(Singer(song, at_s, rng.uniform(-28, -10)))
        at_s += rng.exponential(4.0) + 0.5
    return compose_scene(
        singers, duration_s=plan.soundscape_s, rate_hz=plan.rate_hz, rng=rng, background_db=rng.uniform(-56, -44)
    )
