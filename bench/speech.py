"""How much speech is cut, and how much of birds is lost, where both are known to the second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.results import SHARED_AUDIO
from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.speech import RATE_HZ, SpeechFinder
from dawnchorus.models.silero import speech_graph
from dawnchorus.models.store import default_folder

FloatArray = npt.NDArray[np.float32]

LEVELS_DB = (0.0, -6.0, -12.0)
"""Level of the speech, relative to the birds around it."""

N_BIRDS, BIRD_S, SPEECH_S = 60, 10.0, 5.0


def _loudness(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(samples**2))) or 1e-9


def _pieces(paths: list[Path], length_s: float) -> list[FloatArray]:
    """Pieces of one length of all recordings, each with the same loudness."""
    pieces = []
    for path in paths:
        samples, _ = read_mono(path, rate_hz=RATE_HZ)
        n = round(length_s * RATE_HZ)
        pieces += [samples[k : k + n] for k in range(0, len(samples) - n + 1, n)]
    return [piece * (0.05 / _loudness(piece)) for piece in pieces]


def measure() -> dict[str, Any] | None:
    """Shares of speech seconds cut and of bird seconds lost, by the level of the speech; None without recordings."""
    if not SHARED_AUDIO.is_dir():
        print(f"  no recordings at {SHARED_AUDIO}: left out")
        return None
    finder = SpeechFinder(speech_graph(default_folder()))
    speech = _pieces(sorted((SHARED_AUDIO / "general" / "speech").iterdir()), SPEECH_S)
    focal = sorted(path for path in (SHARED_AUDIO / "focal").rglob("*") if path.suffix in (".mp3", ".ogg", ".wav"))
    birds = _pieces(focal[:: max(len(focal) // (2 * N_BIRDS), 1)], BIRD_S)[:N_BIRDS]
    begin = time.perf_counter()
    finder.find(np.concatenate(birds))
    speed = len(birds) * BIRD_S / (time.perf_counter() - begin)
    results = []
    for level_db in LEVELS_DB:
        n_speech = n_cut = n_bird = n_lost = 0
        for k, bird in enumerate(birds):
            voice = speech[k % len(speech)]
            with_voice = bird.copy()
            start = (len(bird) - len(voice)) // 2
            with_voice[start : start + len(voice)] += voice * 10 ** (level_db / 20)
            # Pure bird before and behind, so that what is lost there can be told.
            sound = np.concatenate([birds[(k + 1) % len(birds)], with_voice, birds[(k + 2) % len(birds)]])
            first = len(bird) + start
            cut = np.zeros(len(sound), bool)
            for span in finder.find(sound):
                cut[round(span.start_s * RATE_HZ) : round(span.end_s * RATE_HZ)] = True
            is_speech = np.zeros(len(sound), bool)
            is_speech[first : first + len(voice)] = True
            n_speech, n_cut = n_speech + is_speech.sum(), n_cut + (cut & is_speech).sum()
            n_bird, n_lost = n_bird + (~is_speech).sum(), n_lost + (cut & ~is_speech).sum()
        results.append({"level_db": level_db, "cut": float(n_cut / n_speech), "lost": float(n_lost / n_bird)})
    return {"n_mixtures": len(birds), "n_voices": len(speech), "speed_x": speed, "levels": results}
