"""Model family `acoustic_mlp`: a multilayer perceptron on 95 acoustic features."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from dawnchorus.training.acoustic import FEATURES, FLOORS, RATE_HZ, AcousticFeatures
from dawnchorus.training.families.base import Context, Family, FamilyConfig, Network


class AcousticMlpConfig(FamilyConfig):
    """Settings: sizes of the hidden layers, and the dropout after each."""

    rate_hz: Literal[22_050] = RATE_HZ  # type: ignore[assignment]
    """Sample rate in Hz, for which the features are defined."""
    window_s: float = 5.0
    """Length of the network's input in seconds."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Number of units of each hidden layer."""
    dropout: tuple[float, ...] = Field(default=(0.5, 0.4, 0.3))
    """Probability of dropout after each hidden layer, one for each."""

    @model_validator(mode="after")
    def _as_many(self) -> AcousticMlpConfig:
        if len(self.hidden) != len(self.dropout):
            raise ValueError(f"expected one dropout for each of the {len(self.hidden)} hidden layers")
        return self


class AcousticMlp(Network):
    """Multilayer perceptron on standardized acoustic features.

    Args:
        config: the settings.
        context: the classes to train.
    """

    mean: Tensor
    """Mean of each feature [95] over the training clips."""
    scale: Tensor
    """Factor of each feature [95]: 1 / standard deviation, or 1 for a constant feature."""

    def __init__(self, config: AcousticMlpConfig, context: Context) -> None:
        super().__init__(context)
        self.has_fixed_features = True
        self.acoustic = AcousticFeatures(window_samples=config.window_samples)
        self.register_buffer("mean", torch.zeros(len(FEATURES)))
        self.register_buffer("scale", torch.ones(len(FEATURES)))
        sizes = (len(FEATURES), *config.hidden)
        layers: list[nn.Module] = []
        for n_in, n_out, dropout in zip(sizes[:-1], sizes[1:], config.dropout, strict=True):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], context.n_classes)

    def features(self, waveform: Tensor) -> Tensor:
        features: Tensor = self.acoustic(waveform)
        return features

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.layers((features - self.mean) * self.scale)
        return self.head(embeddings), embeddings

    def prepare(self, features: Tensor) -> None:
        self.mean.copy_(features.mean(0))
        deviation = features.std(0)
        is_constant = deviation < torch.tensor(FLOORS, device=deviation.device)
        self.scale.copy_(torch.where(is_constant, 1.0, 1 / deviation.clamp(min=min(FLOORS))))


ACOUSTIC_MLP = Family(
    "acoustic_mlp", "95 acoustic features into a multilayer perceptron", AcousticMlpConfig, AcousticMlp
)
