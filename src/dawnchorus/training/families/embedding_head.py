"""Model family `embedding_head`: a small classifier (head) on the frozen embeddings of another bundle (backbone).

Both are exported as one graph. If the backbone has a linear classifier that knows some of the classes, the head starts
from the backbone's logits of these classes, so they need not be learned from few recordings.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any, Literal

import numpy as np
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
from dawnchorus.training.families.heads import BackboneMeanHead, Head, LinearLayer, Pooling, ResidualHead

LAST_LAYER_PARITY = 1e-3
"""Maximum difference between the backbone's logits and those computed by `last_layer`: see `largest_difference`."""

Units = Annotated[int, Field(ge=1)]


class EmbeddingHeadConfig(FamilyConfig):
    """Settings: backbone, windows and layers of the head."""

    backbone: str = DEFAULT_MODEL
    """Name of a built-in model, or folder of a bundle."""
    n_frames: int = Field(default=1, ge=1, le=256)
    """Number of the backbone's windows in one window of the new model, evenly spaced."""
    pool: Literal["mean_max", "mean"] = "mean_max"
    """Pooling of the embeddings of several windows: mean and maximum, or the mean alone."""
    hidden: Units | tuple[Units, ...] | None = 512
    """Units of the hidden layer, or of each hidden layer; None: no hidden layer, as with `init_from_backbone_mean`."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Probability of dropout before each layer of the head."""
    init_from_backbone: bool = True
    """True to start classes that the backbone knows from the backbone's classifier; False to ignore its classifier."""
    init_from_backbone_mean: bool = False
    """True to start classes that the backbone does not know from the mean of the backbone's classes, and to train only
    a linear layer of differences (`BackboneMeanHead`). Sounds of no class then get low scores, because the backbone's
    classes were trained against each other."""


class _Framing(nn.Module):
    """Module from waveforms [batch, samples] to the backbone's windows [batch * frames, samples of the backbone]."""

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


class EmbeddingHead(Network):
    """Network of a frozen backbone, which an inference runtime (not PyTorch) runs, and a trainable head.

    Args:
        config: the settings, with the name of the backbone.
        context: the classes to train, and the store that has the backbone.

    Attributes:
        bundle: the backbone.

    Raises:
        ModelError: the backbone cannot be opened, or has no embeddings in an ONNX graph.
    """

    def __init__(self, config: EmbeddingHeadConfig, context: Context) -> None:
        super().__init__(context)
        self.bundle = bundle = context.store.open(config.backbone)
        self.has_fixed_features = True
        self.features_key = f"{bundle.info.sha256} {config.n_frames} {config.window_samples}"
        self.framing = _Framing(
            window_samples=config.window_samples, n_backbone=bundle.window_samples, n_frames=config.n_frames
        )
        self.head = _build_head(config, bundle, context.classes)
        self._sessions = threading.local()

    def features(self, waveform: Tensor) -> Tensor:
        """Compute the backbone's embeddings [batch, frames, dim] of waveforms [batch, samples].

        The waveforms have the sample rate of the settings (`FamilyConfig.rate_hz`). Frames are the backbone's
        windows in a waveform (`n_frames`). Each thread has an inference session of its own.

        Raises:
            ModelError: the backbone has no embeddings, or an embedding is not finite.
        """
        if not hasattr(self._sessions, "own"):
            self._sessions.own = open_session(self.bundle)
        session: Session = self._sessions.own
        embeddings = session.run(self.framing(waveform.cpu()).numpy(), embeddings=True).embeddings
        if embeddings is None:
            raise ModelError("the model gives no embeddings.", subject=self.bundle.folder)
        if not np.isfinite(embeddings).all():
            raise ModelError(
                "expected finite embeddings of the clips, got NaN or infinity. Export the model again, as in 32 bits, "
                "or take another backbone.",
                subject=self.bundle.folder,
            )
        return torch.from_numpy(embeddings.reshape(len(waveform), -1, self.head.pooling.n_dim)).to(waveform.device)

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits, embeddings = self.head(features)
        return logits, embeddings

    def prepare(self, features: Tensor) -> None:
        self.head.prepare(features)

    def export(self, *, window_samples: int) -> onnx.ModelProto:
        backbone = cut_graph(load_graph(self.bundle.graph_path), ["waveform"], ["embeddings"])
        opset = opset_version(backbone)
        windows = torch.zeros(2, window_samples)
        pooling = self.head.pooling
        embeddings = torch.zeros(2 * pooling.n_frames, pooling.n_dim)
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
            f"the model {bundle.info.name} has no embeddings in an ONNX graph, so no head can be trained on it. Take "
            f"birdnet or yamnet, or wrap a graph with `dawnchorus models wrap --embeddings-output`.",
            subject=bundle.folder,
        )
    return bundle.info.embedding_dim


def _build_head(config: EmbeddingHeadConfig, bundle: Bundle, classes: tuple[str, ...]) -> Head:
    """Build the kind of head that the settings choose."""
    n_dim = _embedding_dim(bundle)
    known = bundle.class_by_scientific_name
    outputs = [known.get(name) for name in classes]
    own = last_layer(bundle) if config.init_from_backbone else None
    pooling = Pooling(n_frames=config.n_frames, n_dim=n_dim, has_max=config.n_frames > 1 and config.pool == "mean_max")
    if config.init_from_backbone_mean:
        return BackboneMeanHead(pooling, own, outputs, dropout=config.dropout)
    hidden = (config.hidden,) if isinstance(config.hidden, int) else config.hidden or ()
    return ResidualHead(pooling, own, outputs, hidden=hidden, dropout=config.dropout)


def last_layer(bundle: Bundle) -> LinearLayer | None:
    """Return the linear layer from embeddings to logits in the graph of a bundle; None if there is no such layer.

    All matrices and biases of the right shapes in the graph are tried on noise, until one reproduces the logits.

    Raises:
        ModelError: the bundle has no embeddings in an ONNX graph.
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
                return LinearLayer(*(torch.from_numpy(each.astype(np.float32)) for each in (matrix, bias)))
    return None


def _complete_config(fields: dict[str, Any], store: ModelStore) -> dict[str, Any]:
    """Add the backbone's sample rate, and by default a window of `n_frames` of its windows with half overlap."""
    info = store.open(fields.get("backbone") or DEFAULT_MODEL).info
    n_frames = fields.get("n_frames") or 1
    window_s = fields.get("window_s") or info.window_s * (1 + (n_frames - 1) / 2)
    return {**fields, "rate_hz": info.sample_rate_hz, "window_s": window_s}


EMBEDDING_HEAD = Family(
    "embedding_head",
    "two layers on the frozen embeddings of another bundle",
    EmbeddingHeadConfig,
    EmbeddingHead,
    complete=_complete_config,
    base_bundle=lambda config: config.backbone,
)
