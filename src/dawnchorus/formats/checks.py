"""Checks of the times, scores and names of detections that come from other programs and people."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np

from dawnchorus.formats.columns import DETECTION_COLUMNS
from dawnchorus.types import Detection

ROUNDING = 1e-3
"""Tolerated distance of a score below 0 or above 1, for rounding errors, as in half precision."""


def find_problem(detection: Detection) -> tuple[str, str] | None:
    """Return the name of the first field with an impossible value, and a sentence on it; None if all are possible.

    The fields that are checked are "start_s" (0 or more, finite), "end_s" (not before the start, finite), "score"
    (see `find_score_problem`), and "scientific_name" (impossible only if both names are empty).
    """
    if not 0 <= detection.start_s < math.inf:
        return "start_s", f"expected a start in seconds, 0 or more, got {detection.start_s:g}."
    if not detection.start_s <= detection.end_s < math.inf:
        return (
            "end_s",
            f"expected an end in seconds, {detection.start_s:g} (the start) or more, got {detection.end_s:g}.",
        )
    if (problem := find_score_problem(detection.score)) is not None:
        return "score", problem
    if not has_name(detection):
        return "scientific_name", "expected the name of a species or sound, found none. Fill it in, or drop the row."
    return None


def has_name(detection: Detection) -> bool:
    """Return True if the detection has a scientific or a common name that is not blank."""
    return bool(detection.scientific_name.strip() or detection.common_name.strip())


def find_score_problem(score: float) -> str | None:
    """Return a sentence on a score that is NaN, below -`ROUNDING` (-0.001) or above 1 + `ROUNDING`; None for others."""
    if -ROUNDING <= score <= 1 + ROUNDING:
        return None
    if math.isnan(score):
        return "expected a score from 0 to 1, found none. Fill it in; without a column of scores, all are 1."
    return (
        f"expected a score from 0 to 1, got {score:g}. Convert logits by a sigmoid or softmax, and divide percentages "
        f"by 100."
    )


_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "category": ("text", (str,)),
    "string": ("text", (str,)),
    "float64": ("a number", (Real,)),
    "float32": ("a number", (Real,)),
    "int16": ("a whole number", (Integral,)),
    "int8": ("a whole number", (Integral,)),
    "bool": ("True or False", (bool, np.bool_)),
}
"""Allowed Python types of the values of a column, by the column's type, with their name in messages."""


def check_types(recording: object, detection: Detection) -> None:
    """Check the types of a recording's name and a detection that a plug-in's reader returned.

    Raises:
        TypeError: `recording` is neither text nor None, or a value of the detection has a wrong type.
    """
    if not isinstance(recording, str | None):
        raise TypeError(f"expected the recording's name as text, or None, got {recording!r}")
    for column in DETECTION_COLUMNS:
        value, (expected, types) = getattr(detection, column.name), _TYPES[column.type]
        is_flag = column.type != "bool" and isinstance(value, bool)  # which is an integer to Python
        if (value is not None or column.is_required) and (is_flag or not isinstance(value, types)):
            raise TypeError(f"{column.name}: expected {expected}, got {value!r}")
