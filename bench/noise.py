"""Scores in noise of kinds that no training had, with synthetic noise in its batches and without."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import signal

from bench.results import SHARED_AUDIO
from dawnchorus.audio.decode import open_recording
from dawnchorus.audio.write import write_recording
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.data.synthesis.datasets import CLIPS_FOLDER, SyntheticPlan, synthetic_recordings
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.training.compose import compose_config
from dawnchorus.training.trainer import train

FloatArray = np.ndarray

SEEDS = (1, 2, 3)
SHARES = (0.0, 0.25)
N_CLIPS, N_TRAIN = 20, 14
LEVELS_DB = (-55, -40, -25, -12)
FAMILIES: dict[str, tuple[str, ...]] = {
    "embedding_head": ("model=embedding_head",),
    "mel_cnn": ("model=mel_cnn", "model.channels=[8,16,32]", "model.mel.n_mels=48"),
}


def measure() -> dict[str, Any]:
    """Return highest scores in noise and in test recordings of the species, of models of one and of three species."""
    scores: dict[tuple[int, str, float], list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        for n_species in (1, 3):
            table = _synthetic_set(Path(scratch, str(n_species)), n_species)
            for family, settings in FAMILIES.items():
                for share in SHARES:
                    for seed in SEEDS:
                        overrides = [
                            *settings,
                            f"data={table.folder}",
                            f"data.noise_share={share}",
                            f"seed={seed}",
                            f"paths.runs={scratch}/runs",
                        ]
                        run = train(compose_config(overrides), started=datetime.now().astimezone(), overrides=overrides)
                        each = _measure(read_bundle(run.bundle), table)
                        scores[n_species, family, share].append(each)
                        print(f"  {n_species} species, {family}, noise {share:g}, seed {seed}: {each}", flush=True)
    return {
        "n_seeds": len(SEEDS),
        "n_train": N_TRAIN,
        "rows": [
            {
                "n_species": n_species,
                "family": family,
                "noise_share": share,
                **{name: max(each[name] for each in runs) for name in runs[0] if name not in ("own", "recall")},
                **{name: float(np.mean([each[name] for each in runs])) for name in ("own", "recall")},
            }
            for (n_species, family, share), runs in scores.items()
        ],
    }


def _synthetic_set(folder: Path, n_species: int) -> RecordingsTable:
    """Write a data set of synthetic species and background: the first of each for training, the others for the test."""
    rows = []
    plan = SyntheticPlan(n_species=n_species, n_clips=N_CLIPS, n_soundscapes=0)
    for path, scene in synthetic_recordings(plan, seed=5):
        out_path = folder / path.relative_to(CLIPS_FOLDER)
        out_path.parent.mkdir(parents=True, exist_ok=True)
        write_recording(out_path, scene.samples, rate_hz=scene.rate_hz)
        row = RecordingRow(
            recording_id=path.stem, path=out_path.relative_to(folder).as_posix(), duration_s=scene.duration_s
        )
        name = path.parent.name.partition("_")[0]
        row = replace(row, kind="background") if name == "noise" else replace(row, scientific_name=name)
        rows.append(replace(row, split="train" if int(path.stem[-4:]) < N_TRAIN else "test"))
    table = RecordingsTable(folder, tuple(rows))
    write_table(table)
    return table


def _measure(bundle: Bundle, table: RecordingsTable) -> dict[str, float]:
    """Return the highest score of any species in each kind of noise; of the test recordings, the mean of their own."""
    session = open_session(bundle)
    names = [label.scientific_name for label in bundle.labels]

    def scores(windows: FloatArray) -> FloatArray:
        return apply_activation(session.run(windows).logits, bundle.info.activation)

    measured = {}
    for kind in ("white", "pink", "brown", "wind", "rain"):
        measured[kind] = float(scores(_noise(kind, bundle.window_samples, bundle.info.sample_rate_hz)).max())
    rain = [*_windows(bundle, sorted((SHARED_AUDIO / "general" / "esc10" / "rain").glob("*")))]
    if rain:
        measured["real rain"] = float(max(scores(windows).max() for windows in rain))
    test = [row for row in table.rows if row.split == "test" and row.scientific_name in names]
    own = [
        scores(windows).max(0)[names.index(str(row.scientific_name))]
        for row, windows in zip(test, _windows(bundle, [table.file(row) for row in test]), strict=True)
    ]
    return {**measured, "own": float(np.mean(own)), "recall": float(np.mean(np.array(own) >= 0.5))}


def _windows(bundle: Bundle, paths: list[Path]) -> Iterator[FloatArray]:
    """Yield the whole windows [windows, samples] of each recording."""
    n = bundle.window_samples
    for path in paths:
        with open_recording(path) as recording:
            sound = np.concatenate(list(recording.blocks(rate_hz=bundle.info.sample_rate_hz)))
        sound = np.pad(sound, (0, max(n - len(sound), 0)))
        yield sound[: len(sound) // n * n].reshape(-1, n)


def _noise(kind: str, n: int, rate_hz: int) -> FloatArray:
    """Return noise [windows, samples] by filters, unlike that of `dawnchorus.data.synthesis.noise`, at four levels."""
    rng = np.random.default_rng(77)
    each = []
    for level_db in LEVELS_DB * 4:
        wave = rng.normal(size=n)
        if kind == "pink":  # P. Kellet's filter
            wave = signal.lfilter(
                [0.049922035, -0.095993537, 0.050612699, -0.004408786], [1, -2.494956002, 2.017265875, -0.5221894], wave
            )
        elif kind == "brown":
            wave = signal.sosfilt(signal.butter(2, 20, "hp", fs=rate_hz, output="sos"), np.cumsum(wave))
        elif kind == "wind":
            low = signal.butter(1, rng.uniform(80, 400), "lp", fs=rate_hz, output="sos")
            swell = 1 + 0.9 * np.sin(2 * np.pi * rng.uniform(0.2, 1) * np.arange(n) / rate_hz + rng.uniform(0, 6))
            wave = signal.sosfilt(low, wave) * swell
        elif kind == "rain":
            drops = (rng.uniform(size=n) < rng.choice([30, 200, 1500]) / rate_hz) * rng.exponential(1, n)
            center_hz = rng.uniform(800, 5000)
            band = signal.butter(1, [0.7 * center_hz, 1.3 * center_hz], "bp", fs=rate_hz, output="sos")
            drops = signal.sosfilt(band, drops)
            wave = drops / (drops.std() + 1e-9) + 0.2 * wave
        each.append(np.clip(wave / np.sqrt(np.mean(wave**2)) * 10 ** (level_db / 20), -1, 1))
    return np.array(each, np.float32)
