"""Sample analyses for the checks of a data set: level, a hash of the samples, and fingerprints of the start."""

from __future__ import annotations

import hashlib

import numpy as np
import soxr

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.channels import mix_to_mono
from dawnchorus.audio.decode import resampler
from dawnchorus.audio.fingerprint import MAX_S, RATE_HZ, fingerprint
from dawnchorus.audio.sample_analyses import Table, build_table

CLIPPED_LEVEL = 0.999
"""Absolute value from which a sample counts as clipped."""


class SignalLevel:
    """Level and clipping of the mono mix, and the sha256 of its samples in 16 bits; implements `SampleAnalysis`."""

    def __init__(self) -> None:
        self._n = self._n_clipped = 0
        self._energy = self._sum = 0.0
        self._digest: hashlib._Hash | None = None

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Process a block of samples; see `SampleAnalysis.on_samples`."""
        del sample_rate_hz
        samples = mix_to_mono(block)
        exact = samples.astype(np.float64)
        self._n += len(samples)
        self._n_clipped += int(np.count_nonzero(np.abs(samples) >= CLIPPED_LEVEL))
        self._energy += float(np.dot(exact, exact))
        self._sum += float(exact.sum())
        self._digest = self._digest or hashlib.sha256()  # it cannot be pickled
        self._digest.update(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())

    def finish(self) -> Table:
        """Return one row with the columns n, n_clipped, energy, sum and audio_hash.

        They are the number of samples, the number of clipped ones (from `CLIPPED_LEVEL` on), the sum of the samples'
        squares, their sum, and the sha256 in hexadecimal digits.
        """
        return build_table(
            {
                "n": [self._n],
                "n_clipped": [self._n_clipped],
                "energy": [self._energy],
                "sum": [self._sum],
                "audio_hash": [(self._digest or hashlib.sha256()).hexdigest()],
            }
        )


class StartFingerprint:
    """Fingerprints of the first `MAX_S` seconds of the mono mix, an array of the dtype `fingerprint.HASH`.

    It implements `SampleAnalysis`.
    """

    def __init__(self) -> None:
        self._stream: soxr.ResampleStream | None = None
        self._parts: list[FloatArray] = []
        self._n_missing = round(MAX_S * RATE_HZ)

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Process a block of samples; see `SampleAnalysis.on_samples`."""
        if self._n_missing > 0:
            stream = self._stream or resampler(sample_rate_hz, RATE_HZ)  # it cannot be pickled
            part = stream.resample_chunk(mix_to_mono(block))
            self._stream = stream
            self._parts.append(part)
            self._n_missing -= len(part)

    def finish(self) -> Table:
        """Return one row per hash, with the columns of `fingerprint.HASH`."""
        return fingerprint(np.concatenate([np.zeros(0, np.float32), *self._parts]))
