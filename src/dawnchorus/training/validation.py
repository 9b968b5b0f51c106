"""Scoring of the validation clips by a trained network."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader

from dawnchorus.evaluation.scoring import Scores
from dawnchorus.models.bundle import Activation
from dawnchorus.models.runner import apply_activation
from dawnchorus.training.dataset import ClipDataset, LabeledClips
from dawnchorus.training.families import Network
from dawnchorus.training.inputs import Inputs


def validation_scores(
    network: Network,
    examples: LabeledClips,
    inputs: Inputs,
    *,
    activation: Activation,
    window_s: float,
    batch: int,
) -> Scores | None:
    """Return the scores of all validation clips; None without validation clips. `Scores.best` is left empty.

    Args:
        network: the trained network, which is set to evaluation mode.
        examples: the clips.
        inputs: form of the batches: waveforms or precomputed features.
        activation: activation from logits to scores: "sigmoid", "softmax" or "identity".
        window_s: length of a clip in seconds.
        batch: batch size.
    """
    members = examples.validation
    if not len(members):
        return None
    network.eval()
    loader = DataLoader(ClipDataset(examples, members, inputs.clip), batch_size=batch)
    with torch.inference_mode():
        logits = [network.classify(inputs.features(x))[0] for x, _, _ in loader]
    n_classes = len(examples.classes)
    numbers, recording = np.unique(examples.recordings[members], return_inverse=True)
    starts = examples.clips.index["start_s"].to_numpy()
    return Scores(
        classes=examples.classes,
        rows=tuple(examples.rows[k] for k in numbers.tolist()),
        recording=recording,
        start_s=starts[members],
        window_s=window_s,
        scores=apply_activation(torch.cat(logits)[:, :n_classes].numpy(), activation).astype(np.float64),
        presence=examples.presence[members],
        failures={},
    )
