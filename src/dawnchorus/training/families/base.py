"""Base classes of model families: networks that contain their front end."""

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
    """Settings that all families share."""

    rate_hz: int = Field(ge=4_000, le=192_000)
    window_s: float = Field(gt=0, le=60)

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return round(self.rate_hz * self.window_s)


class Network(nn.Module, ABC):
    """Module from waveforms [batch, samples] to logits [batch, classes] and embeddings [batch, dim].

    `features` is the front end, `classify` the rest; augmentation of spectrograms goes between the two.
    """

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.n_outputs = context.n_outputs
        """Number of the bundle's classes, which are the first of those that are trained."""
        self.has_fixed_features = False
        """True if training needs the front end's result only once per clip, because nothing in it is learned."""
        self.features_key: str | None = None
        """Key of fixed features that are worth keeping for other runs: what they depend on besides the clips."""
        self.pretrained: tuple[str, ...] = ()
        """Prefixes of the names of weights that are not initialized at random."""
        self.start_note: str | None = None
        """A note for the user on the weights that the network begins with."""

    @abstractmethod
    def features(self, waveform: Tensor) -> Tensor:
        """Compute the front end's features of waveforms [batch, samples]."""

    @abstractmethod
    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [batch, classes] and embeddings [batch, dim]."""

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the bundle's classes, and embeddings."""
        logits, embeddings = self.classify(self.features(waveform))
        return logits[:, : self.n_outputs], embeddings

    def prepare(self, features: Tensor) -> None:
        """Fit normalization statistics on features [clips, ...] before training."""

    def export(self, *, window_samples: int) -> onnx.ModelProto:
        """Export the network as a bundle's graph."""
        return export_onnx(self, torch.zeros(2, window_samples), "waveform", outputs=("logits", "embeddings"))


def export_onnx(
    network: nn.Module, example: Tensor, name: str, *, outputs: tuple[str, ...], opset: int = 17
) -> onnx.ModelProto:
    """Export a network with one input to ONNX, for any batch size."""
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
    """Names of the classes in training; the bundle's classes come first, in the order of its outputs."""
    store: ModelStore
    """The store of built-in models and pretrained weights."""
    n_auxiliary: int = 0
    """Number of auxiliary classes, which come last and are not outputs of the bundle."""

    @property
    def n_classes(self) -> int:
        """Number of classes in training."""
        return len(self.classes)

    @property
    def n_outputs(self) -> int:
        """Number of the bundle's classes."""
        return len(self.classes) - self.n_auxiliary


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights of a network."""

    license: str
    """SPDX identifier, or "unknown"."""
    attribution: str


C = TypeVar("C", bound=FamilyConfig)


@dataclass(frozen=True)
class Family(Generic[C]):
    """A model family by name, with its configuration and network class."""

    name: str
    summary: str
    config: type[C]
    build: Callable[[C, Context], Network]
    complete: Callable[[dict[str, Any], ModelStore], dict[str, Any]] = lambda fields, _store: fields
    """Function that fills in what another model decides, such as a backbone's sample rate."""
    base_bundle: Callable[[C], str | None] = lambda _config: None
    """The bundle that the network is built on, whose license the new one inherits."""
    pretrained: Callable[[C], Pretrained | None] = lambda _config: None
    """Pretrained weights; None without any."""
