"""Model family `mel_cnn`: a compact convolutional network on configurable mel spectrograms."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from dawnchorus.training.families.base import Context, Family, FamilyConfig, Network
from dawnchorus.training.front_ends import MelConfig, MelFrontEnd


class MelCnnConfig(FamilyConfig):
    """Settings: mel spectrogram, and channels of the blocks (two 3 x 3 convolutions, then max-pooling by 2)."""

    rate_hz: int = 22_050
    """Sample rate of the waveforms in Hz."""
    window_s: float = 1.0
    """Length of a waveform in seconds."""
    mel: MelConfig = MelConfig(n_fft=1024, hop_length=256, n_mels=96)
    """Settings of the mel spectrogram."""
    channels: tuple[int, ...] = Field(default=(24, 48, 96, 128), min_length=1)
    """Number of channels of each block."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Probability of dropout before the classifier."""


class MelCnn(Network):
    """Convolutional network on mel spectrograms.

    Args:
        config: the settings.
        context: the classes to train.
    """

    def __init__(self, config: MelCnnConfig, context: Context) -> None:
        super().__init__(context)
        self.front_end = MelFrontEnd(config.mel, rate_hz=config.rate_hz, window_samples=config.window_samples)
        self.has_fixed_features = not config.mel.learn
        blocks = [_block(n_in, n_out) for n_in, n_out in zip((1, *config.channels[:-1]), config.channels, strict=True)]
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.channels[-1], context.n_classes)

    def features(self, waveform: Tensor) -> Tensor:
        levels: Tensor = self.front_end(waveform)
        return levels

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.blocks(features)
        pooled = maps.mean(2)  # over bands
        embeddings = pooled.mean(2) + pooled.amax(2)
        return self.head(self.dropout(embeddings)), embeddings


def _block(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(*_convolution(n_in, n_out), *_convolution(n_out, n_out), nn.MaxPool2d(2, ceil_mode=True))


def _convolution(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]


MEL_CNN = Family("mel_cnn", "a compact CNN over a mel front end that can be learned", MelCnnConfig, MelCnn)
