"""A synthetic European dawn chorus of eight species that BirdNET recognizes."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dawnchorus.data.synthesis.scenes import Scene, Singer, compose_scene
from dawnchorus.data.synthesis.songs import Note, Song, series

DAWN_LATITUDE, DAWN_LONGITUDE = 62.0, 15.0
"""Location in degrees for the recording's metadata: central Sweden, where all eight species live."""

DAWN_START_TIME = datetime(2026, 5, 1, 3, 45)  # noqa: DTZ001 - a recorder's local time
"""Start time for the recording's metadata, by the recorder's clock, without time zone."""

DAWN_DURATION_S = 90.0

CUCKOO = Song(
    "Cuculus canorus",
    "Common Cuckoo",
    (
        Note(0.0, 0.16, (700, 690, 660), attack_s=0.03, release_s=0.06),
        Note(0.36, 0.26, (550, 548, 530), attack_s=0.04, release_s=0.1),
    ),
    period_s=1.25,
    repeats=6,
)
GREAT_TIT = Song(
    "Parus major",
    "Great Tit",
    (
        Note(0.0, 0.14, (4200, 4150), attack_s=0.015),
        Note(0.19, 0.15, (3200, 3180), attack_s=0.015),
    ),
    period_s=0.42,
    repeats=7,
)
WILLOW_TIT = Song(
    "Poecile montanus",
    "Willow Tit",
    series(5, 0.4, 0.32, (4300, 3500, 3400)),
    period_s=2.8,
    repeats=2,
)
COLLARED_DOVE = Song(
    "Streptopelia decaocto",
    "Eurasian Collared-Dove",
    (
        Note(0.0, 0.22, (500, 540, 520), overtones=(0.1,), attack_s=0.05, release_s=0.08),
        Note(0.32, 0.55, (510, 560, 530), overtones=(0.1,), attack_s=0.08, release_s=0.15),
        Note(1.0, 0.22, (490, 510, 480), attack_s=0.05, release_s=0.08),
    ),
    period_s=1.5,
    repeats=5,
)
SONG_THRUSH = Song(
    "Turdus philomelos",
    "Song Thrush",
    series(3, 0.3, 0.18, (2200, 3400, 2600)),
    period_s=1.1,
    repeats=5,
)
PYGMY_OWL = Song(
    "Glaucidium passerinum",
    "Eurasian Pygmy-Owl",
    (Note(0.0, 0.3, (1400, 1420, 1390), attack_s=0.06, release_s=0.1),),
    period_s=1.9,
    repeats=5,
)
TAWNY_OWL = Song(
    "Strix aluco",
    "Tawny Owl",
    (
        Note(0.0, 0.7, (760, 850, 830, 800), overtones=(0.05,), attack_s=0.1, release_s=0.2),
        Note(3.2, 0.2, (750, 780, 760), attack_s=0.04),
        Note(
            3.9,
            1.3,
            (780, 860, 840, 760),
            vibrato_hz=14,
            vibrato_depth=0.05,
            attack_s=0.1,
            release_s=0.3,
        ),
    ),
    period_s=7.0,
)
BOREAL_OWL = Song(
    "Aegolius funereus",
    "Boreal Owl",
    series(8, 0.23, 0.14, (780, 820, 810), attack_s=0.04, release_s=0.05),
    period_s=3.2,
    repeats=2,
)

DAWN_SINGERS = (
    Singer(TAWNY_OWL, 3.3, -14),
    Singer(BOREAL_OWL, 12.2, -12),
    Singer(PYGMY_OWL, 21.1, -14),
    Singer(SONG_THRUSH, 33.2, -12),
    Singer(CUCKOO, 42.2, -12),
    Singer(GREAT_TIT, 51.1, -14),
    Singer(COLLARED_DOVE, 57.2, -14),
    Singer(WILLOW_TIT, 66.2, -14),
    Singer(CUCKOO, 72.2, -16),
    Singer(GREAT_TIT, 81.1, -12),
)


def dawn_chorus(*, seed: int, rate_hz: int = 48_000) -> Scene:
    """Return a synthetic dawn chorus of 90 s with eight species; the same seed yields the same samples."""
    rng = np.random.default_rng(seed)
    return compose_scene(DAWN_SINGERS, duration_s=DAWN_DURATION_S, rate_hz=rate_hz, rng=rng)
