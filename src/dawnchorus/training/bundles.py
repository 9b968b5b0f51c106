"""Export of a trained network to a bundle: ONNX graph, parity check, calibration, model card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from dawnchorus.arrays import FloatArray
from dawnchorus.data.licenses import strictest
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.evaluation.calibration import fit_calibration
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.models.bundle import (
    Activation,
    Bundle,
    BundleDescription,
    TrainingSummary,
    new_bundle,
)
from dawnchorus.models.graphs.parity import check_parity
from dawnchorus.training.cards import card_text
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.dataset import LabeledClips, class_labels
from dawnchorus.training.families import FamilyConfig, Network
from dawnchorus.training.families.base import Pretrained
from dawnchorus.version import __version__

PARITY = 1e-4
"""Maximum difference between the logits of PyTorch and of the exported graph: see `largest_difference`."""

N_PARITY = 8


def write_trained_bundle(
    folder: Path,
    network: Network,
    config: TrainConfig,
    shape: FamilyConfig,
    examples: LabeledClips,
    *,
    recipe: dict[str, Any],
    backbone: Bundle | None,
    pretrained: Pretrained | None,
    metrics: dict[str, float],
    held_out: Scores | None,
    training_summary: str,
) -> Bundle:
    """Write a trained network as a bundle, calibrated on held-out recordings, and check it against PyTorch.

    Args:
        folder: folder of the new bundle; a bundle there is replaced.
        network: the trained network.
        config: the settings of the training, with the loss that was chosen.
        shape: sample rate and window of the network's input.
        examples: the training and validation clips.
        recipe: `TrainConfig.recipe` of the settings as given by the user; later retrainings start from it.
        backbone: bundle whose embeddings the network uses; None without one.
        pretrained: license and attribution of pretrained weights; None without any.
        metrics: metrics of the best epoch by name, see `FitResult`.
        held_out: scores of the validation recordings; None without any. Without them, with `data.random_clip_split`, or
            if `fit_calibration` returns None, there is no calibration.
        training_summary: phrase for the model card, such as "30 epochs in 100 s on 1 x CPU".

    Raises:
        ModelError: the logits of the exported graph differ from the network's by more than `PARITY` (1e-4).
        OutputExistsError: there is something else than a bundle at `folder`.
        OutputError: no space, or no permission.
    """
    network = network.eval().cpu()
    licenses = [row.license for row in examples.rows]
    made_from = (backbone.info if backbone else None, pretrained)
    sources = [source for source in made_from if source is not None]
    license_name = config.license or strictest([*licenses, *(source.license for source in sources)])
    training = TrainingSummary(
        data=examples.fingerprint,
        n_recordings=sum(row.split == "train" for row in examples.rows),
        n_clips=len(examples.train),
        licenses=dict(Counter(name or "unknown" for name in licenses).most_common()),
        backbone=f"{backbone.info.name} {backbone.id}" if backbone else None,
        metrics={name: round(value, 6) for name, value in metrics.items()},
        recipe=_with_clips(recipe, examples),
    )

    calibration = None
    if held_out is not None and not config.data.random_clip_split:
        calibration = fit_calibration(held_out.known_scores, held_out.truth, n_recordings=len(held_out.rows))

    description = BundleDescription(
        name=config.name or str(config.model["family"]),
        version="1",
        family=str(config.model["family"]),
        sample_rate_hz=shape.rate_hz,
        window_s=shape.window_s,
        activation=choose_activation(config),
        embedding_dim=_embedding_dim(network, shape),
        license=license_name,
        attribution="; ".join(["Recordists: see the model card", *(source.attribution for source in sources)]),
        source=f"trained with dawnchorus {__version__}",
        made_by=f"dawnchorus {__version__}",
        cleaning=examples.clips.cleaning or None,
        calibration=calibration,
        training=training,
    )
    with new_bundle(folder) as draft:
        onnx.save(network.export(window_samples=shape.window_samples), draft.folder / "model.onnx")
        write_table(RecordingsTable(draft.folder, tuple(map(_published_fields, examples.rows))))
        bundle = draft.describe(description, class_labels(examples.rows, examples.classes))
        windows = sample_windows(examples)
        check_parity(bundle, windows, network_logits(network, windows), tolerance=PARITY, source="torch")
        return draft.finish(
            card_text(bundle, config, examples, held_out=held_out, backbone=backbone, training_summary=training_summary)
        )


def _with_clips(recipe: dict[str, Any], examples: LabeledClips) -> dict[str, Any]:
    """Return the recipe with the settings that the clips were prepared with in place of the configured ones."""
    made = {name: value for name, value in examples.clips.recipe.items() if name in recipe["data"]}
    if made["clip_selection"] == "scored":  # by a model's scores, which training does not ask for
        made["clip_selection"] = "loudest"
    return {**recipe, "data": {**recipe["data"], **made}}


def choose_activation(config: TrainConfig) -> Activation:
    """Return the activation that matches the training loss: "softmax" for "cross_entropy", else "sigmoid".

    The loss must have been chosen: "auto" would be "sigmoid".
    """
    return "softmax" if config.loss.name == "cross_entropy" else "sigmoid"


def sample_windows(examples: LabeledClips) -> FloatArray:
    """Return waveforms [n, samples] for the parity check: at most 8 (`N_PARITY`) training clips, then a silent one."""
    chosen = examples.train[:: max(len(examples.train) // N_PARITY, 1)][:N_PARITY].tolist()
    clips = [examples.clips.samples(k) for k in chosen]
    return np.stack([*clips, np.zeros_like(clips[0])])


def network_logits(network: Network, windows: FloatArray) -> FloatArray:
    """Return the network's logits [n, classes of the bundle] for waveforms [n, samples]."""
    with torch.inference_mode():
        logits: FloatArray = network(torch.from_numpy(windows))[0].numpy()
    return logits


def _embedding_dim(network: Network, shape: FamilyConfig) -> int:
    with torch.inference_mode():
        return int(network(torch.zeros(1, shape.window_samples))[1].shape[1])


def _published_fields(row: RecordingRow) -> RecordingRow:
    """Return a row with the fields that a bundle publishes: identity and recordist, but no path, location or date."""
    return RecordingRow(
        recording_id=row.recording_id,
        path="",
        scientific_name=row.scientific_name,
        common_name=row.common_name,
        ebird_code=row.ebird_code,
        kind=row.kind,
        url=row.url,
        recordist=row.recordist,
        license=row.license,
        duration_s=row.duration_s,
        content_hash=row.content_hash,
        audio_hash=row.audio_hash,
        duplicate_of=row.duplicate_of,
        split=row.split,
    )
