"""Acoustic indices of each minute of a recording, computed from samples at the file's rate.

Formulas and settings are those of scikit-maad 1.5 (`maad.features`), with spectra of 1024 samples without overlap.
`docs/ANALYSES.md` has the papers, a comparison of values, and the differences to soundecology.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.sample_analyses import Table
from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.levels import Moments, decibels, reduce_frames
from dawnchorus.inference.analyses.minutes import MINUTE_S, MinuteSplitter

Values = npt.NDArray[np.float64]

FRAME = 1024
"""Number of samples in a spectrum, and between the starts of spectra."""

ENVELOPE_FRAME = 512
"""Number of samples per value of the envelope, their maximum."""

MAX_HZ = 20_000
"""Maximum frequency of ADI and AEI."""

THRESHOLD = 10 ** (-50 / 20)
"""Minimum amplitude of a spectrogram cell to be counted by ADI and AEI, relative to the minute's maximum (-50 dB)."""

ADI_STEP_HZ, AEI_STEP_HZ, NDSI_STEP_HZ = 1000, 500, 1000

BI_HZ = (2_000, 15_000)
ANTHROPHONY_HZ, BIOPHONY_HZ = (0, 1_000), (1_000, 10_000)
"""First and last bands of width `NDSI_STEP_HZ`, by their lower edges.

As in scikit-maad, the band at 1 kHz is in both.
"""

MIN_S = 1.0
"""Minimum length in seconds of a recording's last, incomplete minute to get indices."""

_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
_AT_A_TIME = 64
"""Number of spectra processed at a time: they fit in the processor's cache, and a byte can count them."""


class Indices:
    """Acoustic indices of one recording, updated block by block; implements `SampleAnalysis`."""

    def __init__(self) -> None:
        self._splitter = MinuteSplitter()
        self._sample_rate_hz = 1
        self._n_minutes = 0
        self._channels: list[_Minute] = []
        self._rows: list[dict[str, float]] = []

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Process a block of samples; see `SampleAnalysis.on_samples`."""
        self._sample_rate_hz = sample_rate_hz
        for part, ends_minute in self._splitter.split(block, sample_rate_hz):
            if not self._channels:
                self._channels = [_Minute(sample_rate_hz) for _ in range(part.shape[1])]
            for minute, samples in zip(self._channels, part.T, strict=True):
                minute.add(np.ascontiguousarray(samples))
            if ends_minute:
                self._end_minute(MINUTE_S)

    def finish(self) -> Table:
        """Return one row per minute and channel, ordered by minute; the last minute may be incomplete.

        docs/ANALYSES.md lists the columns. A last minute shorter than `MIN_S` (1 s) has no row.
        """
        rest_s = self._splitter.n_frames / self._sample_rate_hz
        if rest_s >= MIN_S:
            self._end_minute(rest_s)
        return np.array([tuple(row.values()) for row in self._rows], _ROW)

    def _end_minute(self, length_s: float) -> None:
        start_s = self._n_minutes * MINUTE_S
        for number, minute in enumerate(self._channels, 1):
            row = {"start_s": start_s, "end_s": start_s + length_s, "channel": number}
            self._rows.append(row | minute.compute_indices())
        self._n_minutes += 1
        self._channels = []


_VALUES = ("level_dbfs", "aci", "adi", "aei", "bi", "ndsi", "h")
_ROW = np.dtype([("start_s", "<f8"), ("end_s", "<f8"), ("channel", "<i2"), *((name, "<f8") for name in _VALUES)])


class _Minute:
    """Indices of one minute of one channel: sums over its spectra, and the spectra up to `MAX_HZ`."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._hz = np.arange(FRAME // 2) * sample_rate_hz / FRAME
        self._max_hz = min(MAX_HZ, sample_rate_hz / 2)
        self._n_kept = _nearest(self._hz, self._max_hz) + 1
        self._waiting = np.empty(0, np.float32)
        self._moments = Moments()
        self._envelope: list[FloatArray] = []
        self._kept: list[FloatArray] = []
        self._previous: FloatArray | None = None
        self._largest = 0.0
        self._amplitudes, self._powers, self._changes = (np.zeros(FRAME // 2) for _ in range(3))

    def add(self, samples: FloatArray) -> None:
        """Process samples [n]; as in scikit-maad, the last frame of a minute is not used for spectra."""
        samples = np.concatenate([self._waiting, samples])
        n_frames = max(len(samples) // FRAME - 1, 0)
        self._waiting = samples[n_frames * FRAME :]
        for start in range(0, n_frames, _AT_A_TIME):
            last = min(start + _AT_A_TIME, n_frames)
            frames = samples[start * FRAME : last * FRAME].reshape(-1, FRAME)
            sums = self._add_waveform(frames.reshape(-1, ENVELOPE_FRAME))
            self._add_spectra(_amplitude_spectra(frames, sums.reshape(len(frames), -1).sum(axis=1)))

    def _add_waveform(self, frames: FloatArray) -> FloatArray:
        """Add frames [n, ENVELOPE_FRAME] to the envelope and the level, and return the sum of each frame."""
        self._envelope.append(reduce_frames(np.maximum, np.abs(frames)))
        return self._moments.add(frames)

    def _add_spectra(self, amplitudes: FloatArray) -> None:
        """Add amplitude spectra [frames, bins] to the sums."""
        if self._previous is not None:
            self._changes += np.abs(amplitudes[0] - self._previous)
        changes = amplitudes[1:] - amplitudes[:-1]
        ones = np.ones(len(amplitudes), np.float32)
        self._changes += ones[1:] @ np.abs(changes, out=changes)
        self._amplitudes += ones @ amplitudes
        self._previous = amplitudes[-1]
        self._powers += np.einsum("ij,ij->j", amplitudes, amplitudes)
        self._largest = max(self._largest, float(amplitudes.max()))
        self._kept.append(amplitudes[:, : self._n_kept].copy())

    def compute_indices(self) -> dict[str, float]:
        """Return the indices by name; NaN, except the level, for silence."""
        n_whole = len(self._waiting) // ENVELOPE_FRAME * ENVELOPE_FRAME
        self._add_waveform(self._waiting[:n_whole].reshape(-1, ENVELOPE_FRAME))
        self._moments.add(self._waiting[np.newaxis, n_whole:])
        level_dbfs = decibels(self._moments.variance)
        if not self._largest or level_dbfs == -np.inf:
            return {"level_dbfs": level_dbfs, **dict.fromkeys(_VALUES[1:], np.nan)}
        envelope = np.concatenate(self._envelope).astype(np.float64)
        loud = self._share_loud()
        return {
            "level_dbfs": level_dbfs,
            "aci": _complexity(self._changes, self._amplitudes),
            "adi": _diversity(self._band_shares(loud, ADI_STEP_HZ)),
            "aei": _evenness(self._band_shares(loud, AEI_STEP_HZ)),
            "bi": _bioacoustic_index(self._amplitudes, self._hz),
            "ndsi": _soundscape_index(self._powers, self._hz),
            "h": _entropy(self._powers) * _entropy(np.square(envelope)),
        }

    def _share_loud(self) -> Values:
        """Return for each bin the share of spectra in which it is at or above the threshold."""
        threshold = np.float32(self._largest * THRESHOLD)
        n_loud: Values = np.zeros(self._n_kept)
        for amplitudes in self._kept:
            n_loud += (amplitudes >= threshold).view(np.uint8).sum(axis=0, dtype=np.uint8)
        return n_loud / sum(map(len, self._kept))

    def _band_shares(self, loud: Values, step_hz: int) -> Values:
        """Return for each band of width `step_hz` the mean of its bins' shares."""
        edges_hz = np.arange(int(self._max_hz // step_hz) + 1) * step_hz
        edges = np.abs(self._hz - edges_hz[:, np.newaxis]).argmin(axis=1)
        sums = np.concatenate([[0], loud.cumsum()])
        means: Values = (sums[edges[1:] + 1] - sums[edges[:-1]]) / (np.diff(edges) + 1)
        return means


def _amplitude_spectra(frames: FloatArray, sums: FloatArray) -> FloatArray:
    """Return amplitude spectra [frames, FRAME / 2] of frames [frames, FRAME] without their means, in arbitrary units.

    The means are subtracted from the spectra, where the Hann window leaves them in two bins. `sums` are sums of the
    frames.
    """
    spectra = np.fft.rfft(frames * _WINDOW)
    spectra[:, 0] -= sums / 2
    spectra[:, 1] += sums / 4
    return np.abs(spectra).astype(np.float32, copy=False)[:, :-1]


def _nearest(hz: Values, wanted_hz: float) -> int:
    return int(np.abs(hz - wanted_hz).argmin())


def _band(hz: Values, low_hz: float, high_hz: float) -> slice:
    """Return the bins from the one nearest to `low_hz` to the one nearest to `high_hz`, both included."""
    return slice(_nearest(hz, low_hz), _nearest(hz, high_hz) + 1)


def _complexity(changes: Values, amplitudes: Values) -> float:
    """Return ACI: changes between spectra divided by amplitudes, summed over the bins (Pieretti et al. 2011)."""
    return float(np.divide(changes, amplitudes, out=np.zeros_like(changes), where=amplitudes > 0).sum())


def _diversity(shares: Values) -> float:
    """Return ADI: Shannon entropy of the bands' shares, in nats (Villanueva-Rivera et al. 2011)."""
    return _entropy(shares) * float(np.log(max(len(shares), 1)))


def _evenness(shares: Values) -> float:
    """Return AEI: the Gini coefficient of the bands' shares (Villanueva-Rivera et al. 2011)."""
    n, total = len(shares), shares.sum()
    ranks = np.arange(1, n + 1)
    return float((2 * (np.sort(shares) * ranks).sum() / total - (n + 1)) / n) if total else 0.0


def _bioacoustic_index(amplitudes: Values, hz: Values) -> float:
    """Return BI: dB of the mean spectrum above its minimum, summed over the bins and divided by their width in Hz."""
    levels_db = 20 * np.log10(np.maximum(amplitudes[_band(hz, *BI_HZ)], np.finfo(float).tiny))
    return float((levels_db - levels_db.min()).sum() / (hz[1] - hz[0]))


def _soundscape_index(powers: Values, hz: Values) -> float:
    """Return NDSI: (biophony - anthrophony) / (biophony + anthrophony) (Kasten et al. 2012)."""
    edges_hz = np.arange(0, hz[-1] + NDSI_STEP_HZ, NDSI_STEP_HZ)
    starts_hz = edges_hz[:-1]
    firsts = np.searchsorted(hz, edges_hz)
    means = np.array([powers[first:last].mean() for first, last in pairwise(firsts)])
    biophony = means[_band(starts_hz, *BIOPHONY_HZ)].sum()
    anthrophony = means[_band(starts_hz, *ANTHROPHONY_HZ)].sum()
    return float((biophony - anthrophony) / (biophony + anthrophony))


def _entropy(values: Values) -> float:
    """Return the normalized Shannon entropy of values, 0 to 1; NaN for fewer than two values."""
    if len(values) < 2:
        return np.nan
    shares = values[values > 0] / values.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(values)))


INDICES = Analysis("indices", "acoustic indices of each minute: ACI, ADI, AEI, BI, NDSI, H, level", Indices)
