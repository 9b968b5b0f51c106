"""The model card of a bundle of one's own."""

from __future__ import annotations

from collections import Counter, defaultdict

from dawnchorus.models.bundle import Bundle, TrainingSummary
from dawnchorus.train.config import TrainConfig
from dawnchorus.train.examples import Examples
from dawnchorus.train.families import FamilyConfig


def card_text(
    config: TrainConfig,
    shape: FamilyConfig,
    examples: Examples,
    *,
    license_name: str,
    training: TrainingSummary,
    backbone: Bundle | None,
) -> str:
    """Markdown, with the front matter that model hubs read."""
    name = config.name or str(config.model["family"])
    base = f", on the frozen embeddings of {backbone.info.name} ({backbone.info.license})" if backbone else ""
    licenses = "\n".join(f"| {license_} | {n} |" for license_, n in training.licenses.items())
    metrics = "\n".join(f"| {metric} | {value:.3f} |" for metric, value in training.metrics.items())
    return f"""---
license: {"other" if license_name == "unknown" else license_name.lower()}
library_name: onnx
pipeline_tag: audio-classification
tags: [bioacoustics, birds, dawnchorus]
---
# {name}

A classifier of the family `{config.model["family"]}`{base}, trained with Dawn Chorus on {training.n_recordings}
recordings ({training.n_clips} clips; data {training.data}).

- **Licence of the weights: {license_name}**, the strictest of those that it is made from.
- {len(examples.classes)} classes.
- Input: {shape.window_s:g} s of mono sound at {shape.rate_hz} Hz.
- A score is a probability only where `bundle.json` has a calibration.

## On validation recordings

| metric | value |
| --- | ---: |
{metrics or "| none: nothing was kept for validation | |"}

## Species

| species | recordings | recordists | clips |
| --- | ---: | ---: | ---: |
{_species(examples)}

## Licences of the recordings

| licence | recordings |
| --- | ---: |
{licenses}

## Recordists

{_recordists(examples)}
"""


def _species(examples: Examples) -> str:
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


def _recordists(examples: Examples) -> str:
    names = sorted({row.recordist for row in examples.rows if row.recordist})
    return ", ".join(names) + "." if names else "Not known."
