"""Presence of species in segments of recordings: present, absent or not known.

Training, validation, calibration, evaluation, the rule of promotion and the search for doubtful labels all ask here.
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
"""Secondary species of a recording are present ("count"), or it is not known whether they are audible ("mask")."""

MIN_OVERLAP_S = 0.25
"""Minimum overlap of annotation and segment, or half of a shorter annotation; with less, presence is unknown."""


class Presence:
    """Presence of classes in segments of recordings."""

    def __init__(self, classes: Sequence[str], *, secondary: Secondary = "count") -> None:
        self._number = {name: k for k, name in enumerate(classes)}
        self._secondary = PRESENT if secondary == "count" else NOT_KNOWN

    def between(self, row: RecordingRow, start_s: float, end_s: float) -> PresenceArray:
        """Return `PRESENT`, `ABSENT` or `NOT_KNOWN` for each class [classes] in a segment.

        - Annotated recordings: what is marked there is present, all else is absent. Where a sound of unknown species
          is marked, nothing else is known.
        - Recordings of a species: it is present from start to end, and secondary species as the rule for them says.
          All others are absent.
        - Background: all classes are absent; or, where it is background of some species only, these.
        - Others are unlabeled: only their secondary species are known of.
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
        """Return `value` for each class [classes], but for those that are named."""
        presence = np.full(len(self._number), value, np.int8)
        for name, own in by_name.items():
            if name in self._number:
                presence[self._number[name]] = own
        return presence


def _mark(row: RecordingRow, start_s: float, end_s: float) -> dict[str, int]:
    """Return the presence of the species that are marked there; an empty name is a sound of unknown species."""
    marked: dict[str, int] = {}
    for mark in row.annotations:
        if touches(mark, start_s, end_s):
            inside_s = min(end_s, mark.end_s) - max(start_s, mark.start_s)
            is_inside = inside_s >= min(MIN_OVERLAP_S, (mark.end_s - mark.start_s) / 2)
            name = mark.scientific_name
            marked[name] = max(marked.get(name, NOT_KNOWN), PRESENT if is_inside else NOT_KNOWN)
    return marked


def touches(mark: Annotation, start_s: float, end_s: float) -> bool:
    """Return True if the annotation overlaps the segment or is a moment in it."""
    return mark.start_s < end_s and (mark.end_s > start_s or mark.start_s == mark.end_s == start_s)


def is_without_birds(row: RecordingRow, start_s: float, end_s: float) -> bool:
    """Return True if the segment is background, or annotated and without annotations.

    A mark that is only touched counts, also one without a species, as the sound may reach beyond it. Background of some
    species only is without birds, as long as no more than these are looked at.
    """
    if row.is_annotated:
        return not any(touches(mark, start_s, end_s) for mark in row.annotations)
    return row.kind == "background"
