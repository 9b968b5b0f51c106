"""Base classes of model families: settings, and networks that contain their front end."""

from __future__ import annotations

import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import onnx
import torch
from pydantic import Field
from torch import Tensor, nn

from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.store import ModelStore
from dawnchorus.training.config import Config


class FamilyConfig(Config):
    """Settings that all families have: sample rate and window of the network's input."""

    rate_hz: int = Field(ge=4_000, le=192_000)
    """Sample rate of the waveforms in Hz."""
    window_s: float = Field(gt=0, le=60)
    """Length of a waveform in seconds."""

    @property
    def window_samples(self) -> int:
        """Number of samples in a window."""
        return round(self.rate_hz * self.window_s)


class Network(nn.Module, ABC):
    """Module from waveforms [batch, samples] to logits [batch, classes] and embeddings [batch, dim].

    `features` is the front end, `classify` the rest; spectrograms are augmented between the two. Auxiliary classes are
    trained for more variety, and are no outputs of the exported model.

    Args:
        context: the classes to train.
    """

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.n_outputs = context.n_outputs
        """Number of the bundle's classes, which come first among the trained classes; auxiliary classes follow."""
        self.has_fixed_features = False
        """True if the front end has no trainable weights, so that its features can be computed once per clip."""
        self.features_key: str | None = None
        """Text that changes if the fixed features of a clip change, to cache them for other runs; None: no cache."""
        self.pretrained: tuple[str, ...] = ()
        """Prefixes of the names of pretrained weights."""
        self.start_note: str | None = None
        """Sentence for the user on the initial weights, logged when training starts; None for none."""

    @abstractmethod
    def features(self, waveform: Tensor) -> Tensor:
        """Compute the front end's features [batch, ...] of waveforms [batch, samples] at `FamilyConfig.rate_hz`.

        Raises:
            ModelError: the model that serves as a frozen backbone has no embeddings, or an embedding is not finite.
        """

    @abstractmethod
    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [batch, classes + auxiliary classes] and embeddings [batch, dim] for features [batch, ...]."""

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [batch, classes of the bundle] and embeddings [batch, dim] for waveforms [batch, samples]."""
        logits, embeddings = self.classify(self.features(waveform))
        return logits[:, : self.n_outputs], embeddings

    def prepare(self, features: Tensor) -> None:
        """Fit normalization statistics on features [clips, ...] before training; does nothing unless overridden."""

    def export(self, *, window_samples: int) -> onnx.ModelProto:
        """Export the network as an ONNX graph from `waveform` to `logits` and `embeddings`; see `forward`.

        The waveforms have `window_samples` samples; the batch size is not fixed. The network is set to evaluation mode.
        """
        return export_onnx(self, torch.zeros(2, window_samples), "waveform", outputs=("logits", "embeddings"))


def export_onnx(
    network: nn.Module, example: Tensor, name: str, *, outputs: tuple[str, ...], opset: int = 17
) -> onnx.ModelProto:
    """Export a network with one input to ONNX, for any batch size; the network is set to evaluation mode.

    Args:
        network: the network.
        example: an input, whose shape (except the batch size) is fixed in the graph.
        name: name of the graph's input.
        outputs: names of the graph's outputs.
        opset: version of ONNX's operator set.
    """
    axes = {each: {0: "batch"} for each in (name, *outputs)}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # It still is the exporter that keeps shapes free of guards; torch announces its successor on every call.
        warnings.simplefilter("ignore")
        path = Path(scratch, "network.onnx")
        torch.onnx.export(
            network.eval(),
            (example.to(next(network.parameters()).device),),
            path,
            input_names=[name],
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=opset,
            dynamo=False,
        )
        return load_graph(path)


@dataclass(frozen=True)
class Context:
    """Inputs for building a network, in addition to its configuration."""

    classes: tuple[str, ...]
    """Names of the trained classes: scientific names of the bundle's classes in the order of its outputs, then
    "auxiliary 0", ... for auxiliary classes."""
    store: ModelStore
    """The store of built-in models and pretrained weights."""
    n_auxiliary: int = 0
    """Number of auxiliary classes, which are no outputs of the bundle."""

    @property
    def n_classes(self) -> int:
        """Number of trained classes."""
        return len(self.classes)

    @property
    def n_outputs(self) -> int:
        """Number of the bundle's classes, without auxiliary classes."""
        return len(self.classes) - self.n_auxiliary


@dataclass(frozen=True)
class Pretrained:
    """License and attribution of pretrained weights."""

    license: str
    """SPDX identifier, or "unknown"."""
    attribution: str
    """Phrase that credits the authors or names the source of the weights."""


C = TypeVar("C", bound=FamilyConfig)


@dataclass(frozen=True)
class Family(Generic[C]):
    """A model family: a kind of network that can be trained.

    Attributes:
        name: name, as in `model=NAME`.
        summary: phrase on the network, for lists of families.
        config: class of the settings.
        build: function of settings and context that builds the network.
    """

    name: str
    summary: str
    config: type[C]
    build: Callable[[C, Context], Network]
    complete: Callable[[dict[str, Any], ModelStore], dict[str, Any]] = lambda fields, _store: fields
    """Function of the given settings by name and the model store that returns the settings by name, completed by those
    that a backbone decides, such as the sample rate."""
    base_bundle: Callable[[C], str | None] = lambda _config: None
    """Function of the settings that returns the bundle (name or folder) that the network extends; None without one."""
    pretrained: Callable[[C], Pretrained | None] = lambda _config: None
    """Function of the settings that returns license and attribution of pretrained weights; None without any."""
