"""The model card of a trained bundle."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from dawnchorus.evaluation.background import describe_background, measure_background
from dawnchorus.evaluation.evaluation import METRICS, count_confusions
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.metrics.bootstrap import describe_no_width, interval
from dawnchorus.metrics.classification import expected_calibration_error
from dawnchorus.models.bundle import Bundle, TrainingSummary
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.runner import apply_calibration, milliseconds
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.dataset import LabeledClips

MAX_CONFUSIONS = 12


def card_text(
    bundle: Bundle,
    config: TrainConfig,
    examples: LabeledClips,
    *,
    held_out: Scores | None,
    backbone: Bundle | None,
    training_summary: str,
) -> str:
    """Return a trained bundle's model card as Markdown, with the YAML front matter that Hugging Face reads.

    Args:
        bundle: the bundle.
        config: settings of the training.
        examples: the training and validation clips.
        held_out: scores of the validation recordings; None without any.
        backbone: bundle whose embeddings the network uses; None without one.
        training_summary: phrase such as "30 epochs in 100 s on 1 x CPU".

    Raises:
        InvalidBundleError, MissingExtraError, ModelError: the bundle cannot be run to measure its time.
    """
    info = bundle.info
    training = info.training or TrainingSummary(data="", n_recordings=0, n_clips=0, licenses={})
    base = f", on the frozen embeddings of {backbone.info.name} ({backbone.info.license})" if backbone else ""
    licenses = "\n".join(f"| {license_} | {n} |" for license_, n in training.licenses.items())
    return f"""---
license: {"other" if info.license == "unknown" else info.license.lower()}
library_name: onnx
pipeline_tag: audio-classification
tags: [bioacoustics, birds, dawnchorus]
---
# {info.name}

A classifier of the family `{config.model["family"]}`{base}, trained with Dawn Chorus on {training.n_recordings}
recordings ({training.n_clips} clips; data {training.data}).

- **License of the weights: {info.license}**, the strictest of those that it is made from.
- {len(bundle.labels)} classes.
- Input: {info.window_s:g} s of mono sound at {info.sample_rate_hz} Hz.
- Cost: {bundle.graph_path.stat().st_size / 1e6:.1f} MB; {milliseconds(bundle):.1f} ms for 5 s of sound on one core of
  the machine that made it; trained for {training_summary}.
{_before_the_model(bundle, config)}{_scores(bundle)}
{_validation(bundle, held_out, random_clip_split=config.data.random_clip_split)}
## Species

| species | recordings | recordists | clips |
| --- | ---: | ---: | ---: |
{_species(examples)}

## Licenses of the recordings

| license | recordings |
| --- | ---: |
{licenses}

## Recordists

{_recordists(examples)}
"""


def _before_the_model(bundle: Bundle, config: TrainConfig) -> str:
    """Return the card's lines on the cleaning of recordings, and on features that differ from librosa's."""
    cleaning = bundle.info.cleaning or Cleaning()
    steps = [
        f"start and end removed while {cleaning.trim_db:g} dB below the loudest frame" if cleaning.trim_db else "",
        f"noise reduced ({cleaning.denoise})" if cleaning.denoise else "",
        "human speech removed" if cleaning.cut_speech else "",
    ]
    lines = []
    if any(steps):
        lines.append(f"- Before the model, each recording is cleaned: {'; '.join(filter(None, steps))}.\n")
    if config.model["family"] == "acoustic_mlp":
        lines.append("- Of its 95 features, chroma's are taken at concert pitch, where librosa estimates the tuning.\n")
    return "".join(lines)


def _scores(bundle: Bundle) -> str:
    """Return the card's line on the meaning of a window's scores."""
    if bundle.info.activation == "softmax":
        return (
            "- **It always predicts a species**: the scores of a window sum to 1, so that some species is detected\n"
            "  in noise, and of two birds at once one is missed.\n"
        )
    return "- Each species is scored by itself: several can be detected at once, or none.\n"


def _validation(bundle: Bundle, held_out: Scores | None, *, random_clip_split: bool) -> str:
    heading = "## On recordings held out for validation\n\n"
    if held_out is None:
        return heading + "None were held out: the quality is not known, and its scores are no probabilities.\n"
    if random_clip_split:
        heading = "## On clips held out for validation\n\n**Of recordings whose other clips were trained on.** "
    scores, truth = held_out.by_recording("mean")
    intervals = {name: interval(metric, truth, scores) for name, metric in METRICS.items()}
    rows = "\n".join(f"| {name.replace('_', ' ')} | {each} |" for name, each in intervals.items())
    no_width = describe_no_width(intervals, len(scores))
    note = "" if no_width is None else f"\n{no_width}\n"
    return f"""{heading}{len(scores)} recordings; in brackets 95 % intervals over recordings.
The best epoch was chosen on them, so they flatter: measure with `dawnchorus evaluate` on recordings that had no
part in it.

| metric | value |
| --- | ---: |
{rows}
{note}
{_calibration(bundle, held_out)}

### Scores in background

{_background(bundle, held_out)}

### Known confusions

{_confusions(held_out.classes, count_confusions(truth, scores))}
"""


def _background(bundle: Bundle, held_out: Scores) -> str:
    test = measure_background(held_out)
    return "\n".join(describe_background(test, model=bundle.info.name, activation=bundle.info.activation))


def _calibration(bundle: Bundle, held_out: Scores) -> str:
    known = held_out.known_scores
    before = expected_calibration_error(held_out.truth, known)
    calibration = bundle.info.calibration
    if calibration is None:
        return f"Expected calibration error of the scores: {before:.3f}. There is no calibration."
    after = expected_calibration_error(held_out.truth, apply_calibration(known, calibration))
    return (
        f"Expected calibration error: {before:.3f} of the scores, {after:.3f} of the probabilities that the\n"
        f"calibration in `bundle.json` makes of them (scale {calibration.scale:.3g}, offset {calibration.offset:.3g})."
    )


def _confusions(classes: tuple[str, ...], confusion: np.ndarray) -> str:
    off = confusion * ~np.eye(len(classes), dtype=bool)
    worst = [divmod(k, len(classes)) for k in np.argsort(-off, axis=None, kind="stable")[:MAX_CONFUSIONS].tolist()]
    lines = [
        f"| {classes[a]} | {classes[b]} | {off[a, b]} of {confusion[a].sum()} |" for a, b in worst if off[a, b] > 0
    ]
    if not lines:
        return "None in these recordings."
    return "\n".join(["| species | taken for | recordings |", "| --- | --- | ---: |", *lines])


def _species(examples: LabeledClips) -> str:
    recordings: Counter[str | None] = Counter()
    recordists: dict[str | None, set[str]] = defaultdict(set)
    for row in examples.rows:
        if row.split == "train":
            recordings[row.scientific_name] += 1
            recordists[row.scientific_name].add(row.recordist or row.recording_id)
    counts = examples.class_counts.tolist()
    return "\n".join(
        f"| {name} | {recordings[name]} | {len(recordists[name])} | {counts[k]:.0f} |"
        for k, name in enumerate(examples.classes)
    )


def _recordists(examples: LabeledClips) -> str:
    names = sorted({row.recordist for row in examples.rows if row.recordist})
    return ", ".join(names) + "." if names else "Not known."
