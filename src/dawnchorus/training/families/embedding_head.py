"""A small head on the frozen embeddings of any bundle that has them; one graph in the end.

Where the backbone has a linear classifier of its own and knows some of the classes, the head begins with what the
backbone says of them and learns the rest: a few recordings then do not have to teach what it knows already.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from pydantic import Field
from torch import Tensor, nn

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.parity import largest_difference, noise_windows
from dawnchorus.models.graphs.surgery import cut_graph, join_graphs, opset_version, rename_values
from dawnchorus.models.runner import Session, open_session
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore
from dawnchorus.training.families.base import Context, Family, FamilyConfig, Network, export_onnx

FloatArray = npt.NDArray[np.float32]


LENGTH = 2.0
"""Of embeddings in a cautious head, on the average, so that learning rate and penalty suit every backbone: those of
BirdNET (mean length 20) times the spread of the weights of its last layer (0.1)."""

IMPROBABLE = -4.0
"""The logit of a class of which nothing is known."""

LAST_LAYER_PARITY = 1e-3
"""The largest difference between the backbone's logits and those by its last layer: see `largest_difference`."""

MANY = 50
"""The mean of so many classes says what is common to all of them, and that is: no."""


Units = Annotated[int, Field(ge=1)]


class EmbeddingHeadConfig(FamilyConfig):
    """The backbone, and the layers behind it."""

    backbone: str = DEFAULT_MODEL
    """A built-in model, or a bundle's folder."""
    n_frames: int = Field(default=1, ge=1, le=256)
    """Windows of the backbone in one window of the new model, spread evenly."""
    pool: Literal["mean_max", "mean"] = "mean_max"
    """Of several windows the head sees their embeddings' mean and largest values, or the mean alone."""
    hidden: Units | tuple[Units, ...] | None = 512
    """Units of the layer, or of each of the layers, before the last; None: one layer in all."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    init_from_backbone: bool = True
    """Begin with the backbone's own classifier for the classes that it knows."""
    init_from_backbone_mean: bool = False
    """Classes that the backbone does not know begin at the mean of those that it knows, each of which was learned
    against all the others, so that a sound that nobody taught is none of them. What is learned is one layer of small
    departures from there, of embeddings as they are."""

    @property
    def hidden_units(self) -> tuple[int, ...]:
        """Units of each layer before the last."""
        if self.hidden is None or self.init_from_backbone_mean:
            return ()
        return (self.hidden,) if isinstance(self.hidden, int) else self.hidden


class _Framing(nn.Module):
    """Waveforms [batch, samples] -> the backbone's windows [batch * frames, samples of the backbone]."""

    def __init__(self, *, window_samples: int, n_backbone: int, n_frames: int) -> None:
        super().__init__()
        self.n_missing = max(n_backbone - window_samples, 0)
        self.n_backbone = n_backbone
        last = max(window_samples - n_backbone, 0)
        self.starts = [round(last * k / max(n_frames - 1, 1)) for k in range(n_frames)]
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, waveform: Tensor) -> Tensor:
        if self.n_missing:
            waveform = nn.functional.pad(waveform, (0, self.n_missing))
        frames = torch.stack([waveform[:, start : start + self.n_backbone] for start in self.starts], dim=1)
        return frames.reshape(-1, self.n_backbone)


class _Head(nn.Module):
    """Embeddings [batch * frames, dim] -> logits and pooled embeddings."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: EmbeddingHeadConfig, *, n_dim: int, n_classes: int, own: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.n_frames, self.n_dim = config.n_frames, n_dim
        self.has_max = config.n_frames > 1 and config.pool == "mean_max"
        n_pooled = 2 * n_dim if self.has_max else n_dim
        for name, values in (("mean", torch.zeros(n_pooled)), ("scale", torch.ones(n_pooled))):
            self.register_buffer(name, values)
        self.own_weight = nn.Parameter(own[0], requires_grad=False)
        self.own_bias = nn.Parameter(own[1], requires_grad=False)
        self.trust = nn.Parameter(torch.zeros(1), requires_grad=not config.init_from_backbone_mean)
        sizes = (n_pooled, *config.hidden_units)
        layers: list[nn.Module] = [nn.Dropout(config.dropout)]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(sizes[-1], n_classes)
        if config.init_from_backbone_mean:
            self.last.bias.requires_grad = False
        if config.init_from_backbone_mean or bool(own[0].any()):
            # What it learns is added to what the backbone says, so it begins at nothing.
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        each = embeddings.reshape(-1, self.n_frames, self.n_dim)
        own = (each @ self.own_weight + self.own_bias).amax(1) * self.trust.exp()
        pooled = each[:, 0] if self.n_frames == 1 else each.mean(1)
        if self.has_max:
            pooled = torch.cat([pooled, each.amax(1)], dim=1)
        logits = self.last(self.layers((pooled - self.mean) * self.scale))
        return logits + own, pooled


class EmbeddingHead(Network):
    """The backbone, run by its own runtime, and the head, which alone is trained."""

    has_fixed_features = True

    def __init__(self, config: EmbeddingHeadConfig, bundle: Bundle, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.bundle = bundle
        n_dim = _embedding_dim(bundle)
        self.features_key = f"{bundle.info.sha256} {config.n_frames} {config.window_samples}"
        self.framing = _Framing(
            window_samples=config.window_samples, n_backbone=bundle.window_samples, n_frames=config.n_frames
        )
        own = _own_classifier(
            bundle,
            classes,
            n_dim,
            wanted=config.init_from_backbone,
            init_from_backbone_mean=config.init_from_backbone_mean,
        )
        self.starts_at_backbone_mean = config.init_from_backbone_mean
        self.head = _Head(config, n_dim=n_dim, n_classes=len(classes), own=own)
        self._sessions = threading.local()

    def features(self, waveform: Tensor) -> Tensor:
        """Compute the backbone's embeddings [batch * frames, dim]; each thread has a session of its own."""
        if not hasattr(self._sessions, "own"):
            self._sessions.own = open_session(self.bundle)
        session: Session = self._sessions.own
        embeddings = session.run(self.framing(waveform.cpu()).numpy(), embeddings=True).embeddings
        if embeddings is None:
            raise ModelError(f"{self.bundle.folder}: the model gives no embeddings.")
        return torch.from_numpy(embeddings.reshape(len(waveform), -1, self.head.n_dim)).to(waveform.device)

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits, embeddings = self.head(features)
        return logits, embeddings

    def prepare(self, features: Tensor) -> None:
        head = self.head
        if self.starts_at_backbone_mean:
            head.scale.fill_(LENGTH / float(head(features)[1].norm(dim=1).mean()))
            return
        own = (features @ head.own_weight + head.own_bias).mean((0, 1))
        is_known = head.own_weight.any(0)
        if is_known.any():
            # Classes that the backbone does not know begin at what it says of those that are not there.
            head.own_bias.copy_(torch.where(is_known, head.own_bias, own[is_known].mean()))
        pooled = head(features)[1]
        head.mean.copy_(pooled.mean(0))
        head.scale.copy_(1 / (pooled.std(0) + 1e-3))

    def export(self, *, window_samples: int) -> onnx.ModelProto:
        backbone = cut_graph(load_graph(self.bundle.graph_path), ["waveform"], ["embeddings"])
        opset = opset_version(backbone)
        windows = torch.zeros(2, window_samples)
        embeddings = torch.zeros(2 * self.head.n_frames, self.head.n_dim)
        models = {
            "framing": export_onnx(self.framing, windows, "waveform", outputs=("windows",), opset=opset),
            "backbone": backbone,
            "head": export_onnx(self.head, embeddings, "each", outputs=("logits", "embeddings"), opset=opset),
        }
        links = [("framing.windows", "backbone.waveform"), ("backbone.embeddings", "head.each")]
        whole = join_graphs(models, links)
        names = {"framing.waveform": "waveform", "head.logits": "logits", "head.embeddings": "embeddings"}
        rename_values(whole.graph, names)
        return whole


def _embedding_dim(bundle: Bundle) -> int:
    if bundle.info.embedding_dim is None or bundle.info.graph != "model.onnx":
        raise ModelError(
            f"{bundle.folder}: the model {bundle.info.name} has no embeddings in an ONNX graph, so no head can be "
            f"trained on it. Take birdnet or yamnet, or wrap a graph with --embeddings-output."
        )
    return bundle.info.embedding_dim


def _own_classifier(
    bundle: Bundle, classes: tuple[str, ...], n_dim: int, *, wanted: bool, init_from_backbone_mean: bool
) -> tuple[Tensor, Tensor]:
    """Return weights [dim, classes] and biases [classes] of the backbone's own last layer.

    Classes that it does not know have zeros; with `init_from_backbone_mean`, the average of its classes, or an
    improbable score.
    """
    weight, bias = torch.zeros(n_dim, len(classes)), torch.zeros(len(classes))
    own = last_layer(bundle) if wanted else None
    known = bundle.class_by_scientific_name
    if init_from_backbone_mean and own is not None and own[0].shape[1] >= MANY:
        weight += torch.from_numpy(own[0].mean(1, keepdims=True))
        bias += float(own[1].mean())
    elif init_from_backbone_mean:
        bias += IMPROBABLE
    for k, name in enumerate(classes):
        if own is not None and name in known:
            weight[:, k] = torch.from_numpy(own[0][:, known[name]])
            bias[k] = float(own[1][known[name]])
    return weight, bias


def last_layer(bundle: Bundle) -> tuple[FloatArray, FloatArray] | None:
    """Return weights [dim, classes] and biases [classes] of the layer from embeddings to logits; None without one.

    Every matrix of the graph that has this shape is tried on sound.
    """
    n_dim, n_classes = _embedding_dim(bundle), len(bundle.labels)
    tensors = [numpy_helper.to_array(tensor) for tensor in load_graph(bundle.graph_path).graph.initializer]
    matrices = [t for t in tensors if t.shape == (n_dim, n_classes)]
    matrices += [t.T for t in tensors if t.shape == (n_classes, n_dim)]
    biases = [t for t in tensors if t.shape == (n_classes,)]
    output = open_session(bundle).run(noise_windows(bundle, 1), embeddings=True)
    if output.embeddings is None:
        return None
    for matrix in matrices:
        for bias in biases:
            if largest_difference(output.embeddings @ matrix + bias, output.logits) <= LAST_LAYER_PARITY:
                return matrix.astype(np.float32), bias.astype(np.float32)
    return None


def _complete_config(fields: dict[str, Any], store: ModelStore) -> dict[str, Any]:
    """Fill in the backbone's sample rate, and its window times `n_frames` at half overlap where none is given."""
    info = store.open(fields.get("backbone") or DEFAULT_MODEL).info
    n_frames = fields.get("n_frames") or 1
    window_s = fields.get("window_s") or info.window_s * (1 + (n_frames - 1) / 2)
    return {**fields, "rate_hz": info.sample_rate_hz, "window_s": window_s}


def _build(config: EmbeddingHeadConfig, context: Context) -> Network:
    return EmbeddingHead(config, context.store.open(config.backbone), context.classes)


EMBEDDING_HEAD = Family(
    "embedding_head",
    "two layers on the frozen embeddings of another bundle",
    EmbeddingHeadConfig,
    _build,
    complete=_complete_config,
    base_bundle=lambda config: config.backbone,
)
