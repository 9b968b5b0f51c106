"""Audio fingerprints from pairs of spectral peaks, robust to changes of codec, level and sample rate, and to cutting.

The method is that of A. Wang, "An industrial-strength audio search algorithm", ISMIR 2003: the strongest peaks of a
spectrogram are joined in pairs; a pair's two frequencies and the time between them are a hash. Two recordings of the
same audio share many hashes with one constant time offset; two recordings of the same species do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray

IntArray = npt.NDArray[np.int64]

RATE_HZ = 16_000
"""Sample rate of the audio for fingerprints."""

N_FFT, N_HOP = 1024, 256
MAX_S = 120.0
"""Maximum length of audio for fingerprints, from the start of a recording."""

_BOX_BINS, _BOX_FRAMES = 15, 15
"""Distance in bins and frames on each side within which a peak must be the maximum."""

_PEAKS_PER_S = 12
_PAIRS_PER_PEAK = 4
_MAX_STEP, _MAX_JUMP = 63, 127
"""Maximum distance between the peaks of a pair in frames and bins."""

_MAX_SHARED = 200
"""Maximum number of occurrences of a hash; more frequent hashes are ignored as evidence."""

MIN_COMMON, MIN_PART = 5, 0.04
"""Minimum number of agreeing hashes for two recordings to have the same audio, also as a share of the shorter one's.

A test checks both with copies of real recordings in other codecs, at other levels and cut, and with other recordings of
their species.
"""

HASH = np.dtype([("hash", "<u4"), ("frame", "<i4")])


def fingerprint(samples: FloatArray) -> npt.NDArray[np.void]:
    """Return the hashes [hashes] of mono samples [n] at the rate `RATE_HZ`.

    The dtype `HASH` has the fields `hash` and `frame`, the index of the spectrogram's frame with the first peak of the
    pair. Only the first `MAX_S` seconds are used. Silence, and less than `N_FFT` samples, have no hashes.
    """
    samples = samples[: int(MAX_S * RATE_HZ)]
    if len(samples) < N_FFT:
        return np.empty(0, HASH)
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::N_HOP]
    window = np.hanning(N_FFT).astype(np.float32)
    levels = np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32)
    return _pairs(_peaks(levels))


def _largest_around(values: FloatArray, reach: int, axis: int) -> FloatArray:
    """Return the maximum within `reach` steps on each side along `axis`."""
    widths = [(0, 0), (0, 0)]
    widths[axis] = (reach, reach)
    padded = np.pad(values, widths)
    largest: FloatArray = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis).max(axis=-1)
    return largest


def _peaks(levels: FloatArray) -> IntArray:
    """Return frame and bin of the strongest local maxima [peaks, 2], in order of time."""
    around = _largest_around(_largest_around(levels, _BOX_BINS, 1), _BOX_FRAMES, 0)
    frame, bin_ = np.nonzero((levels == around) & (levels > 0))
    strength = levels[frame, bin_] / (1e-9 + np.median(levels, axis=0)[bin_])
    n = int(_PEAKS_PER_S * len(levels) * N_HOP / RATE_HZ) + 1
    best = np.sort(np.argsort(-strength, kind="stable")[:n])
    return np.stack([frame[best], bin_[best]], axis=1)


def _pairs(peaks: IntArray) -> npt.NDArray[np.void]:
    pairs = []
    for step in range(1, _PAIRS_PER_PEAK + 1):
        first, second = peaks[:-step], peaks[step:]
        apart, jump = second[:, 0] - first[:, 0], second[:, 1] - first[:, 1]
        fits = (apart >= 1) & (apart <= _MAX_STEP) & (np.abs(jump) <= _MAX_JUMP)
        hashes = np.empty(int(fits.sum()), HASH)
        hashes["hash"] = (first[fits, 1] << 14) | ((jump[fits] + _MAX_JUMP) << 6) | apart[fits]
        hashes["frame"] = first[fits, 0]
        pairs.append(hashes)
    return np.concatenate(pairs)


def near_pairs(prints: Iterable[npt.NDArray[np.void]]) -> list[tuple[int, int, float]]:
    """Return pairs of recordings with the same audio; `prints` has the `fingerprint` of each recording.

    A pair has the indices of both recordings in `prints`, the smaller one first, and the share (0 to 1) of agreeing
    hashes among those of the recording with fewer hashes. Hashes agree if they are equal with the same time offset;
    `MIN_COMMON` and `MIN_PART` say how many have to. Hashes that occur more than 200 times in all recordings together
    are ignored.
    """
    each = list(prints)
    sizes = np.array([len(p) for p in each], np.int64)
    hashes = np.concatenate(each) if each else np.empty(0, HASH)
    order = np.argsort(hashes["hash"], kind="stable")
    index = _Index(hashes["hash"][order], np.repeat(np.arange(len(each)), sizes)[order], hashes["frame"][order])
    pairs = []
    for a, own in enumerate(each):
        others, counts = index.common(a, own)
        for b, count in zip(others.tolist(), counts.tolist(), strict=True):
            shorter = min(sizes[a], sizes[b])
            if count >= MIN_COMMON and count >= MIN_PART * shorter:
                pairs.append((a, b, min(float(count / shorter), 1.0)))
    return pairs


@dataclass(frozen=True)
class _Index:
    """The hashes of all recordings in ascending order, with the index of their recording and their frame."""

    hashes: npt.NDArray[np.uint32]
    owners: IntArray
    frames: npt.NDArray[np.int32]

    def common(self, a: int, own: npt.NDArray[np.void]) -> tuple[IntArray, IntArray]:
        """Return later recordings that share hashes with recording `a`, and the number that agree on a time offset."""
        first = np.searchsorted(self.hashes, own["hash"], side="left")
        n = np.searchsorted(self.hashes, own["hash"], side="right") - first
        n[n > _MAX_SHARED] = 0
        mine = np.repeat(np.arange(len(own)), n)
        theirs = np.arange(len(mine)) + np.repeat(first - np.cumsum(n) + n, n)
        later = self.owners[theirs] > a
        mine, theirs = mine[later], theirs[later]
        shift = self.frames[theirs].astype(np.int64) - own["frame"][mine]
        keys, counts = np.unique((self.owners[theirs] << 32) + shift + (1 << 31), return_counts=True)
        # Framing differs by up to half a hop between copies: neighboring shifts count together.
        together = counts.copy()
        together[1:] += np.where(np.diff(keys) == 1, counts[:-1], 0)
        others, begins = np.unique(keys >> 32, return_index=True)
        return others, np.maximum.reduceat(together, begins) if len(begins) else together
