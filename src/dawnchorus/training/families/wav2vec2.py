"""Model family `wav2vec2`: wav2vec 2.0 on raw audio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from dawnchorus.errors import InputError, ModelNotFoundError
from dawnchorus.training.families.base import Context, Family, FamilyConfig, Network, Pretrained
from dawnchorus.training.operators import declare_vision_operators


class Wav2Vec2Config(FamilyConfig):
    """Settings: pretrained weights, or sizes of a network that is trained from scratch."""

    rate_hz: Literal[16_000] = 16_000
    """Sample rate in Hz, that of the pretrained weights."""
    window_s: float = 5.0
    """Length of a waveform in seconds."""
    source: str | None = None
    """Pretrained weights: a name at Hugging Face (facebook/wav2vec2-base), or a folder with them; None: random."""
    layers: int = Field(default=12, ge=1)
    """Number of transformer layers; `layers`, `units`, `heads` and `channels` are used only if `source` is None."""
    units: int = Field(default=768, ge=16)
    """Number of units of a transformer layer."""
    heads: int = Field(default=12, ge=1)
    """Number of attention heads of a transformer layer."""
    channels: int = Field(default=512, ge=8)
    """Number of channels of each convolution of the feature encoder."""
    freeze_feature_encoder: bool = True
    """True to freeze the feature encoder; this and `freeze_transformer` are used only with pretrained weights."""
    freeze_transformer: bool = False
    """True to freeze the transformer layers, and the projection of the features before them."""
    masked_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of frames that are masked in training."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability of dropout before the classifier."""


class Wav2Vec2(Network):
    """wav2vec 2.0 with a linear classifier; audio is normalized to mean 0 and variance 1, as in pretraining.

    Args:
        config: the settings.
        context: the classes to train.
        body: the model of transformers, from waveforms [batch, samples] to hidden states.
        random: names of weights that the pretrained file lacks, which are initialized at random and trained.
    """

    def __init__(
        self, config: Wav2Vec2Config, context: Context, body: nn.Module, *, random: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(context)
        self.body = body
        n_units: int = body.config.hidden_size  # type: ignore[assignment, union-attr]
        self.projector = nn.Linear(n_units, 256)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(256, context.n_classes)
        if config.source is None:
            self.start_note = (
                "model.source is null: Wav2Vec2 begins at random, so all of it is learned. Published weights need far "
                "fewer recordings: model.source=facebook/wav2vec2-base, or a folder."
            )
            return
        self.pretrained = tuple(f"body.{name}" for name, _ in body.named_parameters() if name not in random)
        frozen = ["feature_extractor."] if config.freeze_feature_encoder else []
        frozen += ["feature_projection.", "encoder."] if config.freeze_transformer else []
        for name, weights in self.body.named_parameters():
            weights.requires_grad = not name.startswith(tuple(frozen)) or name in random
        if random:
            self.start_note = (
                f"model.source: {config.source} lacks {len(random)} weights of Wav2Vec2 ({min(random)}, ...): they "
                f"begin at random, and are learned."
            )

    def features(self, waveform: Tensor) -> Tensor:
        mean = waveform.mean(1, keepdim=True)
        deviation = ((waveform - mean) ** 2).mean(1, keepdim=True).sqrt()
        return (waveform - mean) / (deviation + 1e-5)

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        moments = self.body(features).last_hidden_state
        embeddings = self.projector(moments).mean(1)
        return self.head(self.dropout(embeddings)), embeddings


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Keep the library transformers from printing a table of weights in the block; `start_note` lists missing ones."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _build(config: Wav2Vec2Config, context: Context) -> Network:
    declare_vision_operators()
    from transformers import Wav2Vec2Config as Sizes
    from transformers import Wav2Vec2Model

    options: dict[str, Any] = {"attn_implementation": "eager"}
    changes: dict[str, Any] = {
        "mask_time_prob": config.masked_share,
        "apply_spec_augment": config.masked_share > 0,
        "layerdrop": 0.0,
    }
    if config.source is None:
        sizes = Sizes(
            num_hidden_layers=config.layers,
            hidden_size=config.units,
            intermediate_size=4 * config.units,
            num_attention_heads=config.heads,
            conv_dim=(config.channels,) * 7,
            num_conv_pos_embedding_groups=16,
            **changes,
            **options,
        )
        body: nn.Module = Wav2Vec2Model(sizes)
        random: frozenset[str] = frozenset()
    else:
        if config.source.startswith((".", "/")) and not Path(config.source).is_dir():
            raise InputError(f"model.source: {config.source}: no such folder.")
        load: Any = Wav2Vec2Model.from_pretrained  # its type knows nothing of output_loading_info
        try:
            with _without_load_report():
                body, loading = load(config.source, output_loading_info=True, **changes, **options)
            # The mask is for training alone, and most published files leave it out.
            random = frozenset(loading["missing_keys"]) - {"masked_spec_embed"}
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(
                f"model.source: {config.source!r} is neither a folder with Wav2Vec2's config.json and weights nor to "
                f"be had from the hub ({str(error).splitlines()[0]}). Bring the folder, or check the name and network."
            ) from error
    return Wav2Vec2(config, context, body, random=random)


def _describe_pretrained(config: Wav2Vec2Config) -> Pretrained | None:
    return None if config.source is None else Pretrained("unknown", config.source)


WAV2VEC2 = Family("wav2vec2", "Wav2Vec2 on raw sound", Wav2Vec2Config, _build, pretrained=_describe_pretrained)
