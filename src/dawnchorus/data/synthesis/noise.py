"""Synthesis of noise without birds: colored noise, wind, rain and hum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray

Wave = npt.NDArray[np.float64]

LEVEL_DB = (-60.0, -10.0)
"""Minimum and maximum level (root mean square) of synthetic noise, in dB relative to full scale."""

RING_S = 0.05
HIGHEST_HUM_HZ = 4000.0


def make_noise(n_samples: int, *, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """Return synthetic mono noise [n_samples], float32, of random kind and level, clipped at full scale (-1 to 1).

    The kinds are colored noise, wind, rain and hum. Levels (root mean square) are from -60 to -10 dB relative to full
    scale (`LEVEL_DB`).
    """
    make = (_color, _wind, _rain, _hum)[int(rng.integers(4))]
    wave = make(n_samples, rate_hz, rng)
    wave = wave * 10 ** (rng.uniform(*LEVEL_DB) / 20) / max(float(np.sqrt(np.mean(wave**2))), 1e-9)
    return np.clip(wave, -1, 1).astype(np.float32)


def _color(n: int, rate_hz: int, rng: np.random.Generator) -> Wave:
    """Return white to brown noise, whose power falls by 0 to 6 dB per octave."""
    return _sloping_noise(n, rate_hz, rng, corner_hz=20.0, slope=rng.uniform(0, 1))


def _wind(n: int, rate_hz: int, rng: np.random.Generator) -> Wave:
    """Return wind gusts: low-frequency noise that swells and fades within seconds."""
    low = _sloping_noise(n, rate_hz, rng, corner_hz=_log_uniform(rng, 50, 800), slope=rng.uniform(1, 2))
    levels = rng.uniform(0, 1, 3 + 2 * n // rate_hz) ** 2
    return low * np.interp(np.linspace(0, len(levels) - 1, n), np.arange(len(levels)), levels)


def _rain(n: int, rate_hz: int, rng: np.random.Generator) -> Wave:
    """Return rain: drops at random times, each a decaying resonance, over the noise of distant drops."""
    drops = np.zeros(n)
    n_drops = 1 + rng.poisson(_log_uniform(rng, 10, 3000) * n / rate_hz)
    np.add.at(drops, rng.integers(0, n, n_drops), rng.lognormal(0, 1, n_drops) * rng.choice((-1, 1), n_drops))
    seconds = np.arange(min(round(RING_S * rate_hz), n)) / rate_hz
    ring_hz = min(_log_uniform(rng, 300, 8000), 0.4 * rate_hz)
    ring = np.exp(-seconds / _log_uniform(rng, 0.0005, 0.01)) * np.sin(2 * np.pi * ring_hz * seconds)
    near = np.fft.irfft(np.fft.rfft(drops) * np.fft.rfft(ring, n), n)  # the end rings into the start
    far = _sloping_noise(n, rate_hz, rng, corner_hz=_log_uniform(rng, 200, 4000), slope=rng.uniform(0, 1))
    return near / max(float(near.std()), 1e-9) + rng.uniform(0, 1) * far / max(float(far.std()), 1e-9)


def _hum(n: int, rate_hz: int, rng: np.random.Generator) -> Wave:
    """Return hum, as of engines or mains: harmonics of a low tone, over faint noise."""
    base_hz = _log_uniform(rng, 30, 300)
    harmonics = np.arange(1, max(int(min(HIGHEST_HUM_HZ, 0.4 * rate_hz) / base_hz), 1) + 1)
    levels = harmonics ** -rng.uniform(0.5, 2) * rng.uniform(0, 1, len(harmonics))
    spectrum = np.zeros(n // 2 + 1, np.complex128)
    lines = np.minimum(np.round(base_hz * harmonics * n / rate_hz).astype(int), n // 2)
    np.add.at(spectrum, lines, levels * np.exp(2j * np.pi * rng.uniform(0, 1, len(harmonics))))
    return n / 2 * np.fft.irfft(spectrum, n) + 0.1 * rng.normal(size=n)


def _sloping_noise(n: int, rate_hz: int, rng: np.random.Generator, *, corner_hz: float, slope: float) -> Wave:
    """Return noise [n] whose amplitude falls as frequency ** -slope above `corner_hz`."""
    shape = np.maximum(np.fft.rfftfreq(n, 1 / rate_hz) / corner_hz, 1) ** -slope
    return np.fft.irfft(np.fft.rfft(rng.normal(size=n)) * shape, n)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a random number between `low` and `high` whose logarithm is uniformly distributed."""
    return float(low * (high / low) ** rng.uniform())
