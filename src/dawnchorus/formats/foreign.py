"""Conversion of crowsetta annotations and data frames to detections."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dawnchorus.errors import FormatError, InputError
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Detection

if TYPE_CHECKING:
    import pandas as pd


def read_crowsetta(annotations: Iterable[Any]) -> Iterator[tuple[str, Detection]]:
    """Yield (recording, detection) for the segments or boxes of crowsetta's `Annotation` objects.

    Raises:
        InputError: an annotation does not name its recording.
    """
    for annotation in annotations:
        if annotation.notated_path is None:
            raise InputError("expected annotations with a `notated_path`, got None.", subject=annotation.annot_path)
        recording = str(annotation.notated_path)
        for box in getattr(annotation, "bboxes", ()):
            yield recording, _annotation(box.label, box.onset, box.offset, box.low_freq, box.high_freq)
        sequences = getattr(annotation, "seq", ())
        for sequence in sequences if isinstance(sequences, list | tuple) else (sequences,):
            for each in sequence.segments:
                yield recording, _annotation(each.label, each.onset_s, each.offset_s)


def _annotation(
    name: str, start_s: float, end_s: float, low_hz: float | None = None, high_hz: float | None = None
) -> Detection:
    label = parse_label(str(name))
    return Detection(
        start_s=float(start_s),
        end_s=float(end_s),
        scientific_name=label.scientific_name,
        common_name=label.common_name,
        kind=label.kind,
        score=1.0,
        low_hz=_number_or_none(low_hz),
        high_hz=_number_or_none(high_hz),
    )


def _number_or_none(value: float | None) -> float | None:
    """Return the number; None for nothing, also as a data frame has it."""
    return None if value is None or math.isnan(value) else float(value)


_FRAME_COLUMNS = {
    "recording": ("recording", "file", "input", "audio_file", "filename", "notated_path"),
    "start": ("start_s", "start_time", "min_t", "onset_s", "Start (s)"),
    "end": ("end_s", "end_time", "max_t", "offset_s", "End (s)"),
    "label": ("scientific_name", "species_name", "label", "annotation", "Scientific name"),
    "common": ("common_name", "Common name"),
    "score": ("score", "confidence", "Confidence"),
    "low": ("low_hz", "min_f", "low_f"),
    "high": ("high_hz", "max_f", "high_f"),
}
"""Columns of data frames: ours, and those of birdnet, OpenSoundscape, scikit-maad and crowsetta's generic sequences."""


def read_pandas(frame: pd.DataFrame, *, recording: str | None = None) -> Iterator[tuple[str, Detection]]:
    """Yield (recording, detection) for the rows of a data frame; see `Detections.from_pandas` for its layouts.

    Raises:
        FormatError: there are no columns for recording, start, end and label.
    """
    if frame.index.names[0] is not None:
        frame = frame.reset_index()
    named = {
        field: next((name for name in names if name in frame.columns), None) for field, names in _FRAME_COLUMNS.items()
    }
    if named["label"] is None and named["start"] is not None:
        index = [name for field in ("recording", "start", "end") if (name := named[field]) is not None]
        frame = frame.melt(id_vars=index, var_name="label", value_name="score").dropna(subset=["score"])
        named |= {"label": "label", "score": "score"}
    missing = [field for field in ("start", "end", "label") if named[field] is None]
    if missing or (named["recording"] is None and recording is None):
        raise FormatError(
            f"data frame: expected columns for recording, start, end and label, such as file, start_time, end_time and "
            f"label; got {', '.join(map(str, frame.columns))}."
        )
    columns = {field: frame[name].tolist() for field, name in named.items() if name is not None}
    nothing: list[Any] = [None] * len(frame)
    for name, start_s, end_s, label, common_name, score, low_hz, high_hz in zip(
        *(columns.get(field, nothing) for field in _FRAME_COLUMNS), strict=True
    ):
        detection = _annotation(label, start_s, end_s, low_hz, high_hz)
        if score is not None:
            detection = replace(detection, score=float(score))
        if common_name is not None:
            detection = replace(detection, common_name=str(common_name))
        yield recording or str(name), detection
