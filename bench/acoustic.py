"""The 95 features inside a bundle's graph against librosa's chain, on the same clips: how different, how fast."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import resampler
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus
from dawnchorus.training.acoustic import FEATURES, RATE_HZ, AcousticFeatures
from dawnchorus.training.families.base import export_onnx

N_CLIPS, CLIP_S, N_ROUNDS = 24, 5.0, 3


class _Graph(torch.nn.Module):
    def __init__(self, window_samples: int) -> None:
        super().__init__()
        self.acoustic = AcousticFeatures(window_samples=window_samples)
        self.unused = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.acoustic(waveform)
        return features


def _librosas(librosa: Any, y: FloatArray, **chroma: float) -> npt.NDArray[np.float64]:
    """Compute the features with one call of librosa for each kind; `chroma` are options of its chroma."""
    f = librosa.feature
    m = f.mfcc(y=y, sr=RATE_HZ, n_mfcc=20)
    c, r = f.spectral_centroid(y=y, sr=RATE_HZ), f.spectral_rolloff(y=y, sr=RATE_HZ)
    z, ch = f.zero_crossing_rate(y), f.chroma_stft(y=y, sr=RATE_HZ, **chroma)
    s = librosa.power_to_db(f.melspectrogram(y=y, sr=RATE_HZ), ref=np.max)
    b, rms = f.spectral_bandwidth(y=y, sr=RATE_HZ), f.rms(y=y)
    several = [c.mean(), c.std(), c.max(), r.mean(), r.std(), z.mean(), z.std(), ch.mean(), ch.std()]
    several += [s.mean(), s.std(), s.max(), b.mean(), b.std(), rms.mean()]
    return np.concatenate([m.mean(1), m.std(1), m.max(1), m.min(1), several])


def _clips() -> list[FloatArray]:
    n = round(CLIP_S * RATE_HZ)
    sound = np.concatenate(
        [resampler(48_000, RATE_HZ).resample_chunk(dawn_chorus(seed=k).samples, last=True)[: 4 * n] for k in range(6)]
    )
    return [sound[k * n : (k + 1) * n] for k in range(N_CLIPS)]


def measure() -> dict[str, Any]:
    """Return largest difference of each feature, relative to its size, and the ratio of times in one run, in turn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import librosa

    clips = _clips()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "features.onnx")
        example = torch.zeros(1, len(clips[0]))
        onnx.save(export_onnx(_Graph(len(clips[0])), example, "waveform", outputs=("features",)), path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options)
    _librosas(librosa, clips[0])  # compiles
    ours_s: list[float] = []
    theirs_s: list[float] = []
    theirs_at_pitch_s: list[float] = []
    off = np.zeros(len(FEATURES))
    for _ in range(N_ROUNDS):
        for clip in clips:
            begin = time.perf_counter()
            own = session.run(None, {"waveform": clip[np.newaxis]})[0][0]
            between = time.perf_counter()
            _librosas(librosa, clip)
            end = time.perf_counter()
            expected = _librosas(librosa, clip, tuning=0.0)
            after = time.perf_counter()
            ours_s.append(between - begin)
            theirs_s.append(end - between)
            theirs_at_pitch_s.append(after - end)
            off = np.maximum(off, np.abs(own - expected) / np.maximum(np.abs(expected), 1))
    ours, theirs = statistics.median(ours_s), statistics.median(theirs_s)
    return {
        "n_clips": N_CLIPS,
        "ratio": theirs / ours,
        "ratio_at_pitch": statistics.median(theirs_at_pitch_s) / ours,
        "ours_ms": 1000 * ours,
        "librosa": metadata.version("librosa"),
        "differences": {name: float(value) for name, value in zip(FEATURES, off, strict=True)},
    }
