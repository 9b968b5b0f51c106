"""Heads on frozen embeddings, added to the logits of the backbone's own classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

LENGTH = 2.0
"""Mean length of embeddings in a `BackboneMeanHead`, so that learning rate and penalty suit every backbone: of those of
BirdNET (mean length 20) times the spread of the weights of its last layer (0.1)."""

IMPROBABLE = -4.0
"""The logit of a class of which nothing is known."""

MANY = 50
"""Minimum number of classes whose mean logit represents an unknown class."""


@dataclass(frozen=True)
class LinearLayer:
    """Weights [dim, classes] and biases [classes]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Pooling of the embeddings of a window's frames."""

    n_frames: int
    n_dim: int
    has_max: bool
    """True if their largest values follow their mean."""

    @property
    def n_pooled(self) -> int:
        """Length of the pooled embedding."""
        return 2 * self.n_dim if self.has_max else self.n_dim

    def pool(self, each: Tensor) -> Tensor:
        """Pool embeddings [batch, frames, dim] to [batch, n_pooled]."""
        mean = each[:, 0] if self.n_frames == 1 else each.mean(1)
        return torch.cat([mean, each.amax(1)], dim=1) if self.has_max else mean


class Head(nn.Module, ABC):
    """Module from embeddings [batch * frames, dim] to logits and pooled embeddings.

    `own` is the layer of the backbone's own classifier for the head's classes.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, pooling: Pooling, own: LinearLayer, *, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.pooling = pooling
        for name, values in (("mean", torch.zeros(pooling.n_pooled)), ("scale", torch.ones(pooling.n_pooled))):
            self.register_buffer(name, values)
        self.own_weight = nn.Parameter(own.weight, requires_grad=False)
        self.own_bias = nn.Parameter(own.bias, requires_grad=False)
        self.trust = nn.Parameter(torch.zeros(1))
        sizes = (pooling.n_pooled, *hidden)
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(sizes[-1], len(own.bias))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [batch, classes] and pooled embeddings."""
        each = embeddings.reshape(-1, self.pooling.n_frames, self.pooling.n_dim)
        own = (each @ self.own_weight + self.own_bias).amax(1) * self.trust.exp()
        pooled = self.pooling.pool(each)
        logits = self.last(self.layers((pooled - self.mean) * self.scale))
        return logits + own, pooled

    @abstractmethod
    def prepare(self, features: Tensor) -> None:
        """Fit statistics on features [clips, frames, dim]; see `Network.prepare`."""

    def _zero_last_layer(self) -> None:
        """Set the last layer to zero: what is learned is added to what the backbone says."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class ResidualHead(Head):
    """Layers on normalized embeddings, added to the backbone's own logits of known classes."""

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
        """Fit the embeddings' scale, and the bias of classes that the backbone does not know."""
        own = (features @ self.own_weight + self.own_bias).mean((0, 1))
        is_known = self.own_weight.any(0)
        if is_known.any():
            # Classes that the backbone does not know begin at what it says of those that are not there.
            self.own_bias.copy_(torch.where(is_known, self.own_bias, own[is_known].mean()))
        pooled = self(features)[1]
        self.mean.copy_(pooled.mean(0))
        self.scale.copy_(1 / (pooled.std(0) + 1e-3))


class BackboneMeanHead(Head):
    """Linear layer added to the backbone's own logits, or to the mean logit of all its classes."""

    def __init__(
        self, pooling: Pooling, own: LinearLayer | None, outputs: Sequence[int | None], *, dropout: float
    ) -> None:
        weight, bias = torch.zeros(pooling.n_dim, len(outputs)), torch.zeros(len(outputs))
        if own is not None and len(own.bias) >= MANY:
            weight += own.weight.mean(1, keepdim=True)
            bias += own.bias.mean()
        else:
            bias += IMPROBABLE
        super().__init__(pooling, _copy_known(LinearLayer(weight, bias), own, outputs), hidden=(), dropout=dropout)
        self.trust.requires_grad = self.last.bias.requires_grad = False
        self._zero_last_layer()

    def prepare(self, features: Tensor) -> None:
        """Scale the embeddings to a mean length of `LENGTH`."""
        self.scale.fill_(LENGTH / float(self(features)[1].norm(dim=1).mean()))


def _copy_known(start: LinearLayer, own: LinearLayer | None, outputs: Sequence[int | None]) -> LinearLayer:
    """Return the layer with the backbone's own weights of the classes that it knows, by their outputs."""
    if own is not None:
        for k, output in enumerate(outputs):
            if output is not None:
                start.weight[:, k], start.bias[k] = own.weight[:, output], own.bias[output]
    return start
