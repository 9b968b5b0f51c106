"""Removal of prepared clips that are too quiet, too flat, or of too rare species."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.mel import MelImage
from dawnchorus.data.clips import Clips, replace_index
from dawnchorus.errors import InputError

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ClipThresholds:
    """Lower limits for clips, and for the number of clips of a species; 0 disables a limit."""

    min_rms: float = 0.0
    """Minimum root mean square of a clip's samples (full scale is 1)."""
    min_mel_std_db: float = 0.0
    """Minimum standard deviation of a clip's log-mel spectrogram in dB; it is small for steady noise and hum."""
    min_clips: int = 0
    """Minimum number of a species' clips that pass the other two limits; species with fewer lose all their clips."""


@dataclass(frozen=True)
class Excluded:
    """Numbers of clips excluded by the limits of `ClipThresholds`.

    Attributes:
        n_quiet: number of clips below `min_rms`.
        n_flat: number of clips below `min_mel_std_db`, without those in `n_quiet`.
        n_rare: number of clips of `rare_species`, without those in `n_quiet` and `n_flat`.
        n_left: number of clips that stay in the index.
    """

    n_quiet: int
    n_flat: int
    n_rare: int
    rare_species: tuple[str, ...]
    """Scientific names of species with fewer than `min_clips` clips that pass the other two limits, sorted."""
    n_left: int


def apply_thresholds(folder: Path, thresholds: ClipThresholds, *, n_workers: int) -> Excluded:
    """Remove clips below the thresholds from the index of a folder of prepared clips; their samples stay on disk.

    A clip with exactly the minimum stays. Clips without a species are not removed by `min_clips`. `n_workers` is the
    number of threads.

    Raises:
        InputError: no clip would remain, or the folder has no prepared clips.
        FormatError: the clips are damaged; see `Clips`.
        OutputError: no space, or no permission.
    """
    clips = Clips(folder)
    names = clips.index["scientific_name"].to_pylist()
    is_loud = _reaches(clips, _rms, thresholds.min_rms, n_workers)
    is_varied = _reaches(clips, _mel_std_db, thresholds.min_mel_std_db, n_workers)
    counts = Counter(name for name, keep in zip(names, is_loud & is_varied, strict=True) if keep and name)
    rare = {name for name in names if name and counts[name] < thresholds.min_clips}
    is_common = np.array([name not in rare for name in names], np.bool_)
    left = is_loud & is_varied & is_common
    if not left.any():
        raise InputError(
            f"none of {len(clips)} clips stays. Lower --min-rms, --min-mel-std or --min-clips.", subject=folder
        )
    replace_index(folder, clips.index.filter(left))
    return Excluded(
        n_quiet=int((~is_loud).sum()),
        n_flat=int((is_loud & ~is_varied).sum()),
        n_rare=int((is_loud & is_varied & ~is_common).sum()),
        rare_species=tuple(sorted(rare)),
        n_left=int(left.sum()),
    )


def _reaches(clips: Clips, measure: Callable[[FloatArray, int], float], least: float, n_workers: int) -> BoolArray:
    """Return True [clips] for clips whose measure is at least `least`; 0 skips the measurement."""
    if not least:
        return np.ones(len(clips), np.bool_)
    with ThreadPoolExecutor(n_workers) as pool:
        values = pool.map(lambda number: measure(clips.samples(number), clips.rate_hz), range(len(clips)))
        return np.fromiter(values, np.float64, len(clips)) >= least


def _rms(samples: FloatArray, _rate_hz: int) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def _mel_std_db(samples: FloatArray, rate_hz: int) -> float:
    return float(MelImage().levels(samples, rate_hz=rate_hz).std())
