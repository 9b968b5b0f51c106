"""Inputs of a network in training: waveforms, or precomputed features of a fixed front end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dawnchorus.arrays import FloatArray
from dawnchorus.cores import usable_cores
from dawnchorus.training.augment import Augment
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.dataset import LabeledClips
from dawnchorus.training.families import Network
from dawnchorus.training.features import birdless_features, fixed_features

FEATURE_BATCH = 16
N_SHOWN, SHOWN_BYTES = 256, 32_000_000
"""Number of clips, or bytes of features, on which normalization statistics are fitted (the larger of both)."""


class Inputs(ABC):
    """Base class of the inputs of a network for the clips of a data set: waveforms, or precomputed features."""

    n_threads: int
    """Number of PyTorch threads for training with these inputs."""

    @abstractmethod
    def clip(self, number: int) -> FloatArray:
        """Return the input, a waveform [samples] or features, for the clip with the index `number` in the clips."""

    @abstractmethod
    def features(self, values: Tensor) -> Tensor:
        """Return the front end's features of a batch of inputs [batch, ...], for `Network.classify`.

        Raises:
            ModelError: as `Network.features`.
        """

    @abstractmethod
    def augment(self, augment: Augment, values: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a batch of inputs [batch, ...] and targets [batch, classes], augmented by `augment` with `rng`."""

    @abstractmethod
    def convert(self, waveforms: Tensor) -> Tensor:
        """Convert waveforms [n, samples] from outside the data set, such as synthetic noise, to inputs [n, ...].

        Precomputed features of a network with a `features_key` are cached in a file next to the clips, whose name has a
        digest of the waveforms.

        Raises:
            ModelError: as `Network.features`.
            OutputError: the features cannot be cached.
        """

    @abstractmethod
    def sample_features(self) -> Tensor:
        """Return the front end's features [clips, ...] of some training clips, evenly spaced, for `Network.prepare`."""


class AudioInputs(Inputs):
    """Waveforms [samples] as inputs: the front end runs in each step.

    Args:
        network: the network, for its front end.
        examples: the clips.
    """

    def __init__(self, network: Network, examples: LabeledClips) -> None:
        self._network, self._examples = network, examples
        self.n_threads = usable_cores()

    def clip(self, number: int) -> FloatArray:
        return self._examples.clips.samples(number)

    def features(self, values: Tensor) -> Tensor:
        # Always in single precision: energies leave the range of half precision.
        with torch.autocast(values.device.type, enabled=False):
            return self._network.features(values.float())

    def augment(self, augment: Augment, values: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return augment.augment_audio(values, targets, rng)

    def convert(self, waveforms: Tensor) -> Tensor:
        return waveforms

    def sample_features(self) -> Tensor:
        audio = torch.from_numpy(np.stack([self.clip(k) for k in _some(self._examples.train, N_SHOWN).tolist()]))
        with torch.no_grad():
            return torch.cat([self._network.features(chunk) for chunk in audio.split(FEATURE_BATCH)])


class FeatureInputs(Inputs):
    """Precomputed features as inputs: only the layers after the front end run in each step.

    Args:
        network: the network, whose front end computes the features of sounds that are no clips.
        examples: the clips.
        features: features of all clips [clips, ...].
    """

    n_threads = 1  # a small head is done before a second thread has woken up

    def __init__(self, network: Network, examples: LabeledClips, features: FloatArray) -> None:
        self._network, self._examples, self._features = network, examples, features

    def clip(self, number: int) -> FloatArray:
        clip: FloatArray = self._features[number]
        return clip

    def features(self, values: Tensor) -> Tensor:
        return values

    def augment(self, augment: Augment, values: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return augment.mix_features(values, targets, rng)

    def convert(self, waveforms: Tensor) -> Tensor:
        return birdless_features(self._network, waveforms, self._examples.clips.folder)

    def sample_features(self) -> Tensor:
        n_shown = max(SHOWN_BYTES // self._features[0].nbytes, N_SHOWN)
        return torch.from_numpy(self._features[_some(self._examples.train, n_shown)])


@contextmanager
def open_inputs(network: Network, config: TrainConfig, examples: LabeledClips, *, scratch: Path) -> Iterator[Inputs]:
    """Yield precomputed features if the front end is fixed, and waveforms are not augmented or cropped; else waveforms.

    Raises:
        ModelError: as `Network.features`.
        OutputError: features cannot be written to the folder `scratch` or next to the clips, or cannot be read there.
    """
    if not _has_fixed_features(network, config):
        yield AudioInputs(network, examples)
        return
    with fixed_features(network, examples, scratch=scratch) as features:
        yield FeatureInputs(network, examples, features)


def _has_fixed_features(network: Network, config: TrainConfig) -> bool:
    augment = config.augment
    augments_waveforms = (
        augment.gain_db,
        augment.time_roll,
        augment.pitch_shift,
        augment.time_stretch,
        augment.tilt_db,
        augment.noise_p,
        augment.background_p,
    )
    return network.has_fixed_features and config.data.crop == "fixed" and not any(augments_waveforms)


def _some(members: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Return at most `n` of the members, evenly spaced."""
    return members[:: -(-len(members) // n)]
