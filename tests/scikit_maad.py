"""Values of scikit-maad for the acoustic indices, on signals that tests make on the spot.

`python -m tests.scikit_maad`, where scikit-maad is installed, prints the values that `test_indices` holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

SIGNALS = {"song": 48_000, "noise": 16_000, "hum": 96_000}
"""Names and sample rates in Hz."""


def signal(name: str) -> FloatArray:
    """Return a signal of 4 s [n], the same on every machine to the last bits: syllables, noise or a hum with clicks."""
    rate_hz = SIGNALS[name]
    seconds = np.arange(4 * rate_hz) / rate_hz
    noise = 0.01 * np.random.default_rng(7).standard_normal(len(seconds))
    if name == "song":
        gate = np.sin(2 * np.pi * 3 * seconds) > 0.3
        noise += 0.3 * gate * np.sin(2 * np.pi * (3500 * seconds + 40 * np.sin(2 * np.pi * 9 * seconds)))
    elif name == "hum":
        noise = 0.1 * noise + 0.05 * np.sin(2 * np.pi * 120 * seconds) + 0.02
        noise[:: rate_hz // 2] += 0.5
    return noise.astype(np.float32)


def maad_indices(samples: FloatArray, rate_hz: int) -> dict[str, float]:
    """Return scikit-maad's indices of samples [n], with the settings that `docs/ANALYSES.md` states."""
    from maad import features, sound, util

    values = samples.astype(float)
    amplitudes, _, hz, _ = sound.spectrogram(values, rate_hz, nperseg=1024, noverlap=0, mode="amplitude")
    max_hz = min(20_000, rate_hz / 2)
    spectral_entropy, _ = features.frequency_entropy(amplitudes**2)
    indices = {
        "level_dbfs": util.amplitude2dB(np.std(values)),
        "aci": features.acoustic_complexity_index(amplitudes)[2],
        "adi": features.acoustic_diversity_index(amplitudes, hz, fmax=max_hz),
        "aei": features.acoustic_eveness_index(amplitudes, hz, fmax=max_hz),
        "bi": features.bioacoustics_index(amplitudes, hz),
        "ndsi": features.soundscape_index(amplitudes**2, hz)[0],
        "h": spectral_entropy * features.temporal_entropy(values),
    }
    return {name: float(value) for name, value in indices.items()}


if __name__ == "__main__":
    for each, rate in SIGNALS.items():
        values = maad_indices(signal(each), rate)
        print(each, {name: round(value, 6) for name, value in values.items()})  # noqa: T201
