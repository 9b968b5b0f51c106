"""Heads: trainable layers on a backbone's frozen embeddings, whose output is added to the backbone's logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

LENGTH = 2.0
"""Mean length that a `BackboneMeanHead` scales embeddings to, so that one learning rate suits every backbone. It is the
mean length of BirdNET's embeddings (20) times the standard deviation of the weights of its last layer (0.1)."""

UNKNOWN_CLASS_LOGIT = -4.0
"""Initial logit of classes unknown to the backbone, if it has fewer than `MIN_CLASSES_FOR_MEAN` classes."""

MIN_CLASSES_FOR_MEAN = 50
"""Minimum number of classes of a backbone for their mean logit to represent an unknown class."""


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer from embeddings to logits."""

    weight: Tensor
    """Weights [dim, classes] by which embeddings [..., dim] are multiplied."""
    bias: Tensor
    """Biases [classes]."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Pooling of the embeddings of a window's frames (windows of the backbone).

    Attributes:
        n_frames: number of frames in a window.
        n_dim: length of an embedding.
    """

    n_frames: int
    n_dim: int
    has_max: bool
    """True if the result is mean and maximum over the frames, joined; False for the mean alone."""

    @property
    def n_pooled(self) -> int:
        """Length of the pooled embedding."""
        return 2 * self.n_dim if self.has_max else self.n_dim

    def pool(self, each: Tensor) -> Tensor:
        """Pool embeddings [batch, n_frames, n_dim] to [batch, n_pooled]."""
        mean = each[:, 0] if self.n_frames == 1 else each.mean(1)
        return torch.cat([mean, each.amax(1)], dim=1) if self.has_max else mean


class Head(nn.Module, ABC):
    """Module from embeddings [batch * frames, dim] to logits [batch, classes] and pooled embeddings.

    Args:
        pooling: pooling of a window's embeddings.
        own: fixed layer, with one output per trained class, whose logits (their maximum over a window's frames) the
            head's output is added to: the backbone's classifier for classes that the backbone knows.
        hidden: units of each hidden layer; empty for none.
        dropout: probability of dropout before each layer.
    """

    mean: Tensor
    """Values [n_pooled] that are subtracted from pooled embeddings."""
    scale: Tensor
    """Factors [n_pooled] of pooled embeddings after the subtraction."""

    def __init__(self, pooling: Pooling, own: LinearLayer, *, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.pooling = pooling
        for name, values in (("mean", torch.zeros(pooling.n_pooled)), ("scale", torch.ones(pooling.n_pooled))):
            self.register_buffer(name, values)
        self.own_weight = nn.Parameter(own.weight, requires_grad=False)
        self.own_bias = nn.Parameter(own.bias, requires_grad=False)
        self.trust = nn.Parameter(torch.zeros(1))
        """Logarithm of the factor of the fixed layer's logits; the name is in checkpoints."""
        sizes = (pooling.n_pooled, *hidden)
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(sizes[-1], len(own.bias))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [batch, classes] and pooled embeddings [batch, n_pooled] for embeddings of all frames.

        The embeddings have the shape [batch * frames, dim] or [batch, frames, dim].
        """
        each = embeddings.reshape(-1, self.pooling.n_frames, self.pooling.n_dim)
        own = (each @ self.own_weight + self.own_bias).amax(1) * self.trust.exp()
        pooled = self.pooling.pool(each)
        logits = self.last(self.layers((pooled - self.mean) * self.scale))
        return logits + own, pooled

    @abstractmethod
    def prepare(self, features: Tensor) -> None:
        """Fit normalization statistics on features [clips, frames, dim] before training; see `Network.prepare`."""

    def _zero_last_layer(self) -> None:
        """Set the last layer to zero, so that training starts from the backbone's logits."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class ResidualHead(Head):
    """Layers on standardized embeddings; their output is added to the backbone's logits of known classes.

    Args:
        pooling: pooling of a window's embeddings.
        own: the backbone's classifier; None if the backbone has none, or it is not to be used.
        outputs: index in `own` of each trained class; None for classes that the backbone does not know.
        hidden: units of each hidden layer; empty for none.
        dropout: probability of dropout before each layer.
    """

    def __init__(
        self,
        pooling: Pooling,
        own: LinearLayer | None,
        outputs: Sequence[int | None],
        *,
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        start = LinearLayer(torch.zeros(pooling.n_dim, len(outputs)), torch.zeros(len(outputs)))
        super().__init__(pooling, _copy_known(start, own, outputs), hidden=hidden, dropout=dropout)
        if bool(self.own_weight.any()):
            self._zero_last_layer()

    def prepare(self, features: Tensor) -> None:
        """Fit mean and scale of pooled embeddings, and the bias of classes unknown to the backbone, before training.

        `features` are embeddings [clips, frames, dim].
        """
        own = (features @ self.own_weight + self.own_bias).mean((0, 1))
        is_known = self.own_weight.any(0)
        if is_known.any():
            # Classes that the backbone does not know begin at what it says of those that are not there.
            self.own_bias.copy_(torch.where(is_known, self.own_bias, own[is_known].mean()))
        pooled = self(features)[1]
        self.mean.copy_(pooled.mean(0))
        self.scale.copy_(1 / (pooled.std(0) + 1e-3))


class BackboneMeanHead(Head):
    """Linear layer whose output is added to the backbone's logit of each class.

    For classes that the backbone does not know, this is the mean logit of the backbone's classes or, if the backbone
    has fewer than `MIN_CLASSES_FOR_MEAN` (50) classes or no classifier, `UNKNOWN_CLASS_LOGIT` (-4).

    Args:
        pooling: pooling of a window's embeddings.
        own: the backbone's classifier; None if the backbone has none, or it is not to be used.
        outputs: index in `own` of each trained class; None for classes that the backbone does not know.
        dropout: probability of dropout before the layer.
    """

    def __init__(
        self, pooling: Pooling, own: LinearLayer | None, outputs: Sequence[int | None], *, dropout: float
    ) -> None:
        weight, bias = torch.zeros(pooling.n_dim, len(outputs)), torch.zeros(len(outputs))
        if own is not None and len(own.bias) >= MIN_CLASSES_FOR_MEAN:
            weight += own.weight.mean(1, keepdim=True)
            bias += own.bias.mean()
        else:
            bias += UNKNOWN_CLASS_LOGIT
        super().__init__(pooling, _copy_known(LinearLayer(weight, bias), own, outputs), hidden=(), dropout=dropout)
        self.trust.requires_grad = self.last.bias.requires_grad = False
        self._zero_last_layer()

    def prepare(self, features: Tensor) -> None:
        """Set the factor at which pooled embeddings have the mean Euclidean length `LENGTH` (2), before training.

        `features` are embeddings [clips, frames, dim].
        """
        self.scale.fill_(LENGTH / float(self(features)[1].norm(dim=1).mean()))


def _copy_known(start: LinearLayer, own: LinearLayer | None, outputs: Sequence[int | None]) -> LinearLayer:
    """Copy weights of known classes from `own`, by their indices there (`outputs`), into `start`, and return it."""
    if own is not None:
        for k, output in enumerate(outputs):
            if output is not None:
                start.weight[:, k], start.bias[k] = own.weight[:, output], own.bias[output]
    return start
