"""Annotations of AviaNZ: one `.data` file next to each recording, a JSON list of metadata and segments.

A segment is `[start, end, lowest, highest, [{"species": ..., "certainty": ...}, ...]]` in seconds and Hz. Certainty 100
means a certain species, a lower one a possible species, and 0 (`Don't Know`) no species.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dawnchorus.errors import FormatError
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.tables.text_files import read_text
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Detection, Mark

SUFFIX = ".data"

_SURE = 100


def read_marks(path: Path, notes: MarkNotes | None = None) -> Iterator[Mark]:
    """Yield a `Mark` (annotation) for each species of each segment, without a name if its certainty is below 100.

    A segment that cannot be read becomes a mark with a problem. `Mark.line` is the number of the segment in the file,
    from 1. `notes` get a sentence on the number of species with a certainty above 0 and below 100.

    Raises:
        FormatError: the file is not text, or not a JSON list.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"expected a list of segments in JSON, as AviaNZ writes it ({error}).", subject=path
        ) from error
    if not isinstance(content, list):
        raise FormatError(
            f"expected a list of segments, as AviaNZ writes it, got {type(content).__name__}.", subject=path
        )
    uncertain: list[str] = []
    for number, segment in enumerate((part for part in content if not isinstance(part, dict)), start=1):
        try:
            marks = [Mark(number, detection) for detection in _detections(segment, uncertain)]
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            marks = [Mark(number, None, problem=f"expected [start, end, low, high, species], got {segment!r:.80}.")]
        yield from marks
    if uncertain and notes is not None:
        notes.add(
            path, f"species of less than full certainty, kept without a name: {len(uncertain)} (as {uncertain[0]})."
        )


def _detections(segment: Any, uncertain: list[str]) -> Iterator[Detection]:
    """Yield the species of a segment; names of less than full certainty are added to `uncertain`."""
    start_s, end_s, low_hz, high_hz = map(float, segment[:4])
    (species,) = segment[4:]
    for each in species:
        name, certainty = str(each["species"]), float(each.get("certainty", _SURE))
        if 0 < certainty < _SURE:
            uncertain.append(name)
        label = parse_label(name if certainty >= _SURE else "?")
        yield Detection(
            start_s=start_s,
            end_s=end_s,
            scientific_name=label.scientific_name,
            common_name=label.common_name,
            kind=label.kind,
            score=1.0,
            low_hz=low_hz if high_hz else None,  # 0 and 0: all frequencies
            high_hz=high_hz or None,
        )
