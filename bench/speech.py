"""Share of speech that is cut, and of birds that is lost, where both are known to the second."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import SHARED_AUDIO
from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.write import write_recording
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus
from dawnchorus.inference.speech import RATE_HZ, VoiceActivityDetector
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.store import default_folder

LEVELS_DB = (0.0, -6.0, -12.0)
"""Level of the speech, relative to the birds around it."""

WORDS = (
    "Good morning. We walked along the river at dawn and counted everything that sang. There were warblers in the "
    "reeds, two cuckoos on the far bank, and a bittern somewhere behind the willows. Write that down, please."
)

N_BIRDS, BIRD_S, SPEECH_S = 60, 10.0, 5.0


def _loudness(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(samples**2))) or 1e-9


def _pieces(paths: list[Path], length_s: float) -> list[FloatArray]:
    """Return pieces of one length of all recordings, each with the same loudness."""
    pieces = []
    for path in paths:
        samples, _ = read_mono(path, rate_hz=RATE_HZ)
        n = round(length_s * RATE_HZ)
        pieces += [samples[k : k + n] for k in range(0, len(samples) - n + 1, n)]
    return [piece * (0.05 / _loudness(piece)) for piece in pieces]


def _speech_pieces(scratch: Path) -> tuple[str, list[FloatArray]]:
    """Return real speech where there is some, else several voices of espeak-ng."""
    real = SHARED_AUDIO / "general" / "speech"
    if real.is_dir():
        return "real speech", _pieces(sorted(real.iterdir()), SPEECH_S)
    if not shutil.which("espeak-ng"):
        return "", []
    paths = []
    for voice in ("en+m1", "en+f2", "en+m7", "en+f4", "de", "fr"):
        paths.append(scratch / f"{voice}.wav")
        subprocess.run(["espeak-ng", "-v", voice, "-w", str(paths[-1]), WORDS], check=True)
    return "espeak-ng's speech", _pieces(paths, SPEECH_S)


def _bird_pieces(scratch: Path) -> tuple[str, list[FloatArray]]:
    """Return pieces of real recordings where there are some, else of synthetic dawn choruses."""
    paths = sorted(path for path in (SHARED_AUDIO / "focal").rglob("*") if path.suffix in (".mp3", ".ogg", ".wav"))
    if paths:
        return "real bird recordings", _pieces(paths[:: max(len(paths) // (2 * N_BIRDS), 1)], BIRD_S)[:N_BIRDS]
    for seed in range(10):
        scene = dawn_chorus(seed=seed)
        write_recording(scratch / f"dawn-{seed}.wav", scene.samples, rate_hz=scene.rate_hz)
    return "synthetic dawn choruses", _pieces(sorted(scratch.glob("dawn-*.wav")), BIRD_S)[:N_BIRDS]


def measure() -> dict[str, Any] | None:
    """Return shares of speech seconds cut and of bird seconds lost, by the speech's level; None without any speech."""
    with tempfile.TemporaryDirectory() as temporary:
        what_speech, speech = _speech_pieces(Path(temporary))
        what_birds, birds = _bird_pieces(Path(temporary))
    if not speech:
        print(f"  neither recordings at {SHARED_AUDIO} nor espeak-ng: left out")
        return None
    detector = VoiceActivityDetector(speech_graph(default_folder()))
    begin = time.perf_counter()
    detector.find(np.concatenate(birds))
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
            signal = np.concatenate([birds[(k + 1) % len(birds)], with_voice, birds[(k + 2) % len(birds)]])
            first = len(bird) + start
            cut = np.zeros(len(signal), bool)
            for segment in detector.find(signal):
                cut[round(segment.start_s * RATE_HZ) : round(segment.end_s * RATE_HZ)] = True
            is_speech = np.zeros(len(signal), bool)
            is_speech[first : first + len(voice)] = True
            n_speech, n_cut = n_speech + is_speech.sum(), n_cut + (cut & is_speech).sum()
            n_bird, n_lost = n_bird + (~is_speech).sum(), n_lost + (cut & ~is_speech).sum()
        results.append({"level_db": level_db, "cut": float(n_cut / n_speech), "lost": float(n_lost / n_bird)})
    metadata = {"speech": what_speech, "birds": what_birds}
    return {**metadata, "n_mixtures": len(birds), "n_voices": len(speech), "speed_x": speed, "levels": results}
