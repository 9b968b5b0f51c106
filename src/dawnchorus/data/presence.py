"""Presence of species in segments of recordings: present, absent or not known.

Training, validation, calibration, evaluation, model promotion and the search for label errors all use this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from dawnchorus.data.recordings import Annotation, RecordingRow

PRESENT, ABSENT, NOT_KNOWN = 1, 0, -1

PresenceArray = npt.NDArray[np.int8]

Secondary = Literal["count", "mask"]
"""Presence of a recording's secondary species: "count" means present, "mask" means not known."""

MIN_OVERLAP_S = 0.25
"""Minimum overlap of an annotation with a segment to be present there, or half of a shorter annotation.

With less overlap, presence is not known.
"""


class Presence:
    """Presence of classes in segments of recordings.

    Args:
        classes: scientific names, in the order of the result of `between`.
        secondary: presence of secondary species where they are listed: "count" means present, "mask" not known.
    """

    def __init__(self, classes: Sequence[str], *, secondary: Secondary = "count") -> None:
        self._number = {name: k for k, name in enumerate(classes)}
        self._secondary = PRESENT if secondary == "count" else NOT_KNOWN

    def between(self, row: RecordingRow, start_s: float, end_s: float) -> PresenceArray:
        """Return the presence [classes] in the segment from `start_s` to `end_s` (seconds) of a recording, int8.

        Values are `PRESENT` (1), `ABSENT` (0) and `NOT_KNOWN` (-1).

        - Annotated recordings (`is_annotated`): species annotated in the segment are present, or not known if each of
          their annotations is in it for less than 0.25 s and less than half of the annotation's length. All others are
          absent, or not known if a sound of unknown species is annotated in the segment. Other labels are not used.
        - Other recordings with a main species: it is present in each segment, all others are absent.
        - Background: all classes are absent; but if the row lists absent species, only these are, and the others are
          not known.
        - Unlabeled recordings: absent species are absent, and the others are not known.

        In recordings that are not annotated, secondary species are present or not known by the rule `secondary`. Of a
        species listed twice, main comes before absent, and absent before secondary.
        """
        if row.is_annotated:
            marked = _mark(row, start_s, end_s)
            return self._fill(NOT_KNOWN if "" in marked else ABSENT, marked)
        is_complete = row.scientific_name is not None or (row.kind == "background" and not row.absent)
        known = dict.fromkeys(row.secondary, self._secondary) | dict.fromkeys(row.absent, ABSENT)
        if row.scientific_name is not None:
            known[row.scientific_name] = PRESENT
        return self._fill(ABSENT if is_complete else NOT_KNOWN, known)

    def _fill(self, value: int, by_name: Mapping[str, int]) -> PresenceArray:
        """Return an array [classes] of `value`, with the values in `by_name` for the classes named there."""
        presence = np.full(len(self._number), value, np.int8)
        for name, own in by_name.items():
            if name in self._number:
                presence[self._number[name]] = own
        return presence


def _mark(row: RecordingRow, start_s: float, end_s: float) -> dict[str, int]:
    """Return the presence of each species annotated in the segment; the name "" is a sound of unknown species."""
    marked: dict[str, int] = {}
    for mark in row.annotations:
        if touches(mark, start_s, end_s):
            inside_s = min(end_s, mark.end_s) - max(start_s, mark.start_s)
            is_inside = inside_s >= min(MIN_OVERLAP_S, (mark.end_s - mark.start_s) / 2)
            name = mark.scientific_name
            marked[name] = max(marked.get(name, NOT_KNOWN), PRESENT if is_inside else NOT_KNOWN)
    return marked


def touches(mark: Annotation, start_s: float, end_s: float) -> bool:
    """Return True if the annotation overlaps the segment from `start_s` to `end_s` (seconds).

    An annotation that only ends at `start_s`, or begins at `end_s`, does not; one without length does at `start_s`.
    """
    return mark.start_s < end_s and (mark.end_s > start_s or mark.start_s == mark.end_s == start_s)


def is_without_birds(row: RecordingRow, start_s: float, end_s: float) -> bool:
    """Return True if the segment from `start_s` to `end_s` of a recording is known to contain no species.

    In an annotated recording, no annotation may overlap the segment, not even slightly or without a species, since a
    sound may exceed its annotation. A recording that is not annotated must be background; if it is only known to lack
    some species (`absent`), the result is True nevertheless.
    """
    if row.is_annotated:
        return not any(touches(mark, start_s, end_s) for mark in row.annotations)
    return row.kind == "background"
