"""Model family `efficientnet`: EfficientNet and other timm backbones on mel spectrograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dawnchorus.errors import InputError, ModelNotFoundError
from dawnchorus.models.catalog.weights import EFFICIENTNET_LITE0
from dawnchorus.training.families.base import Context, Family, FamilyConfig, Network, Pretrained
from dawnchorus.training.front_ends import MelConfig, MelFrontEnd
from dawnchorus.training.operators import declare_vision_operators
from dawnchorus.training.pretrained import LITE0_ATTRIBUTION, lite0_weights

MIN_KNOWN = 0.8
"""Minimum share of a backbone's weights that a file of weights must contain."""


class EfficientNetConfig(FamilyConfig):
    """Settings: mel spectrogram, backbone, and pooling of its feature maps."""

    rate_hz: int = 32_000
    """Sample rate of the waveforms in Hz."""
    window_s: float = 5.0
    """Length of a waveform in seconds."""
    mel: MelConfig = MelConfig()
    """Settings of the mel spectrogram."""
    backbone: str = "tf_efficientnet_lite0"
    """Name of the backbone: any model of timm."""
    weights: str | None = "imagenet"
    """Initial weights: "imagenet" (from a package for EfficientNet-Lite0, else from timm's hub) or the path of a file
    with the backbone's state dict (PyTorch or safetensors); None: random weights."""
    pooling: Literal["average", "attention", "bands"] = "average"
    """"average" over time; "attention" weights times by class, as in sound event detection (Kong et al., 2020); "bands"
    keeps the frequency axis, and uses two levels of the backbone."""
    freeze: int = Field(default=0, ge=0)
    """Number of the backbone's first stages to freeze, together with its stem; 0 for none. Random weights are not
    frozen."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Probability of dropout before the classifier."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Rate of stochastic depth in the backbone (timm's `drop_path_rate`)."""


class EfficientNet(Network):
    """EfficientNet from timm on mel spectrograms.

    Args:
        config: the settings.
        context: the classes to train.
        backbone: timm's model with its initial weights, from spectrograms [batch, 1, bands, columns] to feature maps.

    Attributes:
        frozen: modules of the backbone that are not trained: the stem and the first `config.freeze` stages, or [].
    """

    def __init__(self, config: EfficientNetConfig, context: Context, backbone: nn.Module) -> None:
        super().__init__(context)
        self.front_end = MelFrontEnd(config.mel, rate_hz=config.rate_hz, window_samples=config.window_samples)
        self.backbone = backbone
        self.pretrained = ("backbone.",) if config.weights is not None else ()
        self.frozen = _first_stages(backbone, config.freeze if self.pretrained else 0)
        if not self.pretrained:
            self.start_note = "model.weights is null: the backbone begins at random, so all of it is learned."
        n_maps = int(getattr(backbone, "num_features", 1))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(n_maps, context.n_classes)
        self.attention = nn.Linear(n_maps, context.n_classes) if config.pooling == "attention" else None

    def train(self, mode: bool = True) -> EfficientNet:  # noqa: FBT001, FBT002 - torch's own signature
        super().train(mode)
        for stage in self.frozen:
            stage.eval()  # what its layers know of the mean and deviation of images stays, too
        return self

    def features(self, waveform: Tensor) -> Tensor:
        levels: Tensor = self.front_end(waveform)
        return levels

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(features)  # [batch, maps, bands, columns]
        moments = maps.mean(2).transpose(1, 2)  # [batch, columns, maps]
        embeddings = moments.mean(1)
        if self.attention is None:
            return self.head(self.dropout(embeddings)), embeddings
        moments = self.dropout(moments)
        shares = torch.softmax(self.attention(moments).clamp(-10, 10), dim=1)
        return (shares * self.head(moments)).sum(1), embeddings


class BandsEfficientNet(EfficientNet):
    """EfficientNet whose head pools frequency bands separately, on two levels of the backbone.

    Args:
        config: the settings.
        context: the classes to train.
        backbone: timm's model, from spectrograms [batch, 1, bands, columns] to the feature maps of two levels.
    """

    N_BANDS = (4, 2)
    """Number of frequency bands that are pooled separately, for each level of the backbone."""

    def __init__(self, config: EfficientNetConfig, context: Context, backbone: nn.Module) -> None:
        super().__init__(config, context, backbone)
        depths: list[int] = backbone.feature_info.channels()  # type: ignore[union-attr, operator]
        n_embedding = sum(2 * n * bands for n, bands in zip(depths, self.N_BANDS, strict=True))
        self.norm = nn.BatchNorm1d(n_embedding)
        self.head = nn.Linear(n_embedding, context.n_classes)

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        pooled = []
        for maps, n_mels in zip(self.backbone(features), self.N_BANDS, strict=True):
            height = maps.shape[2] // n_mels
            for k in range(n_mels):
                band = maps[:, :, k * height : (k + 1) * height if k + 1 < n_mels else maps.shape[2]].mean(2)
                pooled += [band.mean(2), band.amax(2)]
        embeddings = torch.cat(pooled, dim=1)
        return self.head(self.dropout(self.norm(embeddings))), embeddings


def _first_stages(backbone: nn.Module, n: int) -> list[nn.Module]:
    """Freeze the stem and the first `n` stages of the backbone, and return them."""
    if not n:
        return []
    children = dict(backbone.named_children())
    stages = [children[name] for name in ("conv_stem", "bn1") if name in children]
    stages += list(getattr(backbone, "blocks", ()))[:n]
    for stage in stages:
        for weights in stage.parameters():
            weights.requires_grad = False
    return stages


def _build(config: EfficientNetConfig, context: Context) -> Network:
    declare_vision_operators()
    import timm

    if not timm.is_model(config.backbone):
        near = timm.list_models(f"*{config.backbone.split('_')[-1]}*")[:5]
        raise InputError(
            f"model.backbone: timm knows no '{config.backbone}'. Near: {', '.join(near) or 'nothing'}; "
            f"all are in timm.list_models()."
        )
    from_hub = config.weights == "imagenet" and config.backbone != "tf_efficientnet_lite0"
    options: dict[str, Any] = {"in_chans": 1, "drop_path_rate": config.drop_path}
    if config.pooling == "bands":
        options |= {"features_only": True, "out_indices": (3, 4)}
    else:
        options |= {"num_classes": 0, "global_pool": ""}
    try:
        backbone = timm.create_model(config.backbone, pretrained=from_hub, **options)
    except (OSError, RuntimeError) as error:
        raise ModelNotFoundError(
            f"The weights of {config.backbone} could not be had from timm's hub ({error}). Give a file of them with "
            f"model.weights=FILE, or begin at random with model.weights=null."
        ) from error
    random: set[str] = set()
    if config.weights is not None and not from_hub:
        weights = (
            lite0_weights(context.store.folder, timm.create_model(config.backbone))
            if config.weights == "imagenet"
            else _from_file(Path(config.weights))
        )
        own = {name for name in backbone.state_dict() if not name.endswith("num_batches_tracked")}
        known = {name: value for name, value in _one_channel(weights).items() if name in own}
        if len(known) < MIN_KNOWN * len(own):
            raise InputError(
                f"model.weights: {config.weights} has {len(known)} of the {len(own)} weights of {config.backbone}. "
                f"Give the file of that backbone's state dict."
            )
        backbone.load_state_dict(known, strict=False)
        random = own - known.keys()
    kind = BandsEfficientNet if config.pooling == "bands" else EfficientNet
    network = kind(config, context, backbone)
    for name, weights_of_layer in backbone.named_parameters():
        if name in random:
            weights_of_layer.requires_grad = True
    return network


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"model.weights: {path}: no such file.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("state_dict", "model"):
        state = state.get(name, state)
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def _one_channel(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert ImageNet weights to one input channel (the sum over colors), and drop the classifier."""
    adapted = {}
    for name, value in weights.items():
        is_first = value.ndim == 4 and value.shape[1] == 3
        adapted[name] = value.sum(1, keepdim=True) if is_first else value
    return {name: value for name, value in adapted.items() if not name.startswith(("classifier.", "head.fc."))}


def _describe_pretrained(config: EfficientNetConfig) -> Pretrained | None:
    if config.weights is None:
        return None
    if config.weights == "imagenet" and config.backbone == "tf_efficientnet_lite0":
        return Pretrained(EFFICIENTNET_LITE0.license, LITE0_ATTRIBUTION)
    return Pretrained("unknown", f"{config.backbone} ({config.weights})")


EFFICIENTNET = Family(
    "efficientnet",
    "a backbone of timm on mel spectrograms",
    EfficientNetConfig,
    _build,
    pretrained=_describe_pretrained,
)
