"""Random crops: training windows at random positions of whole recordings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dawnchorus.arrays import FloatArray
from dawnchorus.training.dataset import DistributedBatchSampler, LabeledClips, rank_share

MAX_DRAWS = 50
"""Maximum number of attempts to draw a crop that contains a class, for recordings of the kind "focal".

If none does, the last one is used.
"""

Draw = tuple[int, int]
"""Index of a recording in `LabeledClips.train`, and the number of the draw in the run, which seeds the position."""


class CropDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Dataset of random crops: (waveform [samples], targets [classes + auxiliary species], index of a clip).

    The index is that of a clip in `LabeledClips.clips`: the only clip of the crop's recording in `LabeledClips.train`.

    An index of the dataset is a `Draw`: (index in `LabeledClips.train`, number of the draw in the run). A crop depends
    only on the seed, the recording and the number of the draw: resumed runs and runs with several processes get the
    same crops. In recordings of the kind "focal", a crop without a target above 0 is replaced by another one, in at
    most `MAX_DRAWS` (50) attempts.

    Args:
        examples: the clips, with `crops`.
        seed: seed of the positions.
    """

    def __init__(self, examples: LabeledClips, *, seed: int) -> None:
        self._examples, self._seed = examples, seed

    def __len__(self) -> int:
        return len(self._examples.train)

    def __getitem__(self, drawn: Draw) -> tuple[Tensor, Tensor, int]:
        index, number = drawn
        clip = int(self._examples.train[index])
        rng = np.random.default_rng([self._seed, int(self._examples.recordings[clip]), number])
        audio, target = self._crop(clip, rng)
        return torch.from_numpy(audio), torch.from_numpy(target), clip

    def _crop(self, clip: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        clips, recording = self._examples.clips, self._examples.crops[clip]
        number = int(self._examples.recordings[clip])
        needs_target = self._examples.rows[number].kind == "focal"
        n_starts = max(recording.n_samples - clips.window_samples, 0) + 1
        for _ in range(MAX_DRAWS):
            start = int(rng.integers(n_starts))
            stop = min(start + clips.window_samples, recording.n_samples)
            target = self._examples.target_between(
                number, recording.recorded_s(start / clips.rate_hz), recording.recorded_s(stop / clips.rate_hz)
            )
            if not needs_target or (target > 0).any():
                break
        return clips.crop(recording, start), target


class CropBatchSampler(Sampler[list[Draw]]):
    """Batch sampler for `CropDataset`: numbers all draws of a run, so that each epoch has a new crop of a recording.

    Iteration yields this process's share of every batch, a list of (index in `LabeledClips.train`, number of the draw
    among those of all processes).

    Args:
        batches: sampler of indices in `LabeledClips.train`.

    Attributes:
        n_per_batch: number of crops in a batch of all processes together.
    """

    def __init__(self, batches: DistributedBatchSampler) -> None:
        self._batches, self.n_per_batch = batches, batches.n_per_batch
        self.sampler = batches  # where Lightning looks for set_epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        number = self._batches.first_draw
        for batch in self._batches.whole():
            yield rank_share([(index, number + k) for k, index in enumerate(batch)])
            number += len(batch)
