"""The synthetic dawn chorus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawnchorus.data.synthesis.dawn_chorus import DAWN_LATITUDE, DAWN_LONGITUDE, dawn_chorus
from dawnchorus.data.synthesis.scenes import Scene
from dawnchorus.identification import Options, identify


def band_level(scene: Scene, start_s: float, end_s: float, low_hz: float, high_hz: float) -> float:
    part = scene.samples[round(start_s * scene.rate_hz) : round(end_s * scene.rate_hz)]
    power = np.abs(np.fft.rfft(part)) ** 2
    frequency = np.fft.rfftfreq(len(part), 1 / scene.rate_hz)
    return float(power[(frequency >= low_hz) & (frequency <= high_hz)].sum() / len(part))


def test_birds_sing_where_the_truth_says(dawn_scene: Scene) -> None:
    """In the band and time of every event there is far more sound than in that band just before the first one."""
    for event in dawn_scene.events:
        before = band_level(dawn_scene, 0.2, 2.2, event.low_hz, event.high_hz)
        during = band_level(dawn_scene, event.start_s, event.end_s, event.low_hz, event.high_hz)
        assert during > 10 * before, event
    assert len({event.scientific_name for event in dawn_scene.events}) == 8
    assert np.abs(dawn_scene.samples).max() <= 0.95


@pytest.mark.ops
@pytest.mark.parametrize("seed", [2, 3])
def test_birdnet_finds_the_birds_of_other_seeds_too(tmp_path: Path, seed: int) -> None:
    scene = dawn_chorus(seed=seed)
    soundfile.write(tmp_path / "x.wav", scene.samples, scene.rate_hz)
    options = Options(latitude=DAWN_LATITUDE, longitude=DAWN_LONGITUDE, week=17)
    (table,) = identify(tmp_path / "x.wav", options).tables()
    right, false = set(), set()
    for detection in table.detections:
        if detection.kind != "species":
            continue
        hit = any(
            e.scientific_name == detection.scientific_name
            and e.start_s < detection.end_s
            and detection.start_s < e.end_s
            for e in scene.events
        )
        (right if hit else false).add(detection.scientific_name)
    assert len(right) >= 5
    assert len(false) <= 2
