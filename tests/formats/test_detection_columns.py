"""Columns of detections: a sequence of the same objects, with the same unknown values, whatever is done to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dawnchorus.formats.columns import DETECTION_COLUMNS
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.types import Detection

BIRD = Detection(0.5, 3.5, "Parus major", "Great Tit", "species", 0.9, in_range=True, probability=0.1, low_hz=2e3)
NOISE = Detection(1.0, 4.0, "Engine", "Engine", "sound", 0.25, in_range=False, human_voice=False, channel=2)
PLAIN = Detection(2.0, 5.0, "Strix aluco", "Tawny Owl", "species", 1.0)
ALL = (BIRD, NOISE, PLAIN)


def test_columns_are_a_sequence_of_the_detections() -> None:
    columns = DetectionColumns.from_detections(ALL)
    assert list(columns) == list(ALL)
    assert (columns[0], columns[-1], columns[1:], len(columns)) == (BIRD, PLAIN, ALL[1:], 3)
    assert columns == ALL
    assert columns == ALL
    assert columns != ALL[:2]
    assert NOISE in columns
    with pytest.raises(IndexError):
        columns[3]
    assert DetectionColumns.from_detections(columns) is columns


def test_values_are_those_of_python() -> None:
    """No NumPy numbers, which JSON refuses, and None where nothing is known."""
    lists = DetectionColumns.from_detections(ALL).to_lists()
    assert lists.keys() == {column.name for column in DETECTION_COLUMNS}
    assert lists["in_range"] == [True, False, None]
    assert lists["channel"] == [None, 2, None]
    assert lists["probability"] == [0.1, None, None]
    assert {type(value) for values in lists.values() for value in values} == {str, float, bool, int, type(None)}


def test_rows_are_selected_and_put_together() -> None:
    columns = DetectionColumns.from_detections(ALL)
    assert columns.select(np.array([2, 0])) == (PLAIN, BIRD)
    assert columns.select(columns.is_null("in_range")) == (PLAIN,)
    assert DetectionColumns.concatenate([columns[:1], columns]) == (BIRD, *ALL)
    assert DetectionColumns.from_detections(()) == DetectionColumns.concatenate([]) == ()


def test_columns_that_are_left_out_are_unknown() -> None:
    names = {"scientific_name": "Strix aluco", "common_name": "Tawny Owl", "kind": "species"}
    texts = {name: np.array([text], object) for name, text in names.items()}
    numbers = {"start_s": np.array([2]), "end_s": np.array([5]), "score": np.array([1], np.float32)}
    assert DetectionColumns(texts | numbers) == (replace(PLAIN),)
