"""Synthetic birds: the same for the same seed, and where the truth says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command

from dawnchorus.data.synthesis.datasets import SyntheticPlan, synthetic_recordings
from dawnchorus.data.synthesis.dawn_chorus import DAWN_LATITUDE, DAWN_LONGITUDE, dawn_chorus
from dawnchorus.data.synthesis.noise import make_noise
from dawnchorus.data.synthesis.scenes import Scene
from dawnchorus.errors import InputError
from dawnchorus.formats import raven
from dawnchorus.identification import Options, identify

PLAN = SyntheticPlan(n_species=2, n_clips=2, n_soundscapes=1, soundscape_s=6)


def test_same_seed_makes_the_same_audio() -> None:
    first, again = (list(synthetic_recordings(PLAN, seed=4)) for _ in range(2))
    other = list(synthetic_recordings(PLAN, seed=5))
    assert [path for path, _ in first] == [path for path, _ in again]
    for (_, a), (_, b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
        assert a.events == b.events
    assert any(not np.array_equal(a.samples, b.samples) for (_, a), (_, b) in zip(first, other, strict=True))


def test_noise_of_every_kind_is_within_full_scale_and_of_drawn_level() -> None:
    rng = np.random.default_rng(1)
    for n_samples, rate_hz in ((4_001, 4_000), (1_000, 96_000)):
        noises = np.stack([make_noise(n_samples, rate_hz=rate_hz, rng=rng) for _ in range(40)])
        assert np.isfinite(noises).all()
        assert np.abs(noises).max() <= 1
        levels_db = 20 * np.log10(np.sqrt((noises.astype(float) ** 2).mean(1)))
        assert levels_db.min() < -50
        assert levels_db.max() > -25
    first, again = (make_noise(100, rate_hz=8_000, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def band_level(scene: Scene, start_s: float, end_s: float, low_hz: float, high_hz: float) -> float:
    part = scene.samples[round(start_s * scene.rate_hz) : round(end_s * scene.rate_hz)]
    power = np.abs(np.fft.rfft(part)) ** 2
    frequency = np.fft.rfftfreq(len(part), 1 / scene.rate_hz)
    return float(power[(frequency >= low_hz) & (frequency <= high_hz)].sum() / len(part))


def test_birds_sing_where_the_truth_says() -> None:
    """In the band and time of every event there is far more sound than in that band just before the first one."""
    scene = dawn_chorus(seed=3)
    for event in scene.events:
        before = band_level(scene, 0.2, 2.2, event.low_hz, event.high_hz)
        during = band_level(scene, event.start_s, event.end_s, event.low_hz, event.high_hz)
        assert during > 10 * before, event
    assert len({event.scientific_name for event in scene.events}) == 8
    assert np.abs(scene.samples).max() <= 0.95


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


def test_the_synth_command_writes_folders_and_truth(tmp_path: Path, command: Command) -> None:
    arguments = ["synth", "birds", "--species", "2", "--clips", "3", "--soundscapes", "1", "--seed", "9"]
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in (tmp_path / "birds" / "clips").iterdir())
    assert folders == [
        "Avis ficta001_Synthetic Bird 001", "Avis ficta002_Synthetic Bird 002", "noise"
    ]  # fmt: skip
    assert len(list((tmp_path / "birds" / "clips").rglob("*.wav"))) == 9
    truth = list(raven.read(tmp_path / "birds" / "soundscapes" / "soundscape_0000.selections.txt"))
    assert truth
    assert all(0 <= event.start_s < event.end_s <= 60 and event.high_hz for _, event in truth)
    again = command(*arguments, cwd=tmp_path)
    assert again.returncode == 4
    assert b"birds is not empty" in again.stderr


def test_a_plan_out_of_bounds_is_refused() -> None:
    with pytest.raises(InputError, match="n_species: expected 1 to 500, got 0"):
        SyntheticPlan(n_species=0)
