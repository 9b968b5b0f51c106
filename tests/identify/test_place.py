"""The range filter, with a range model whose probabilities are the place itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dawnchorus.errors import ModelNotFound
from dawnchorus.identify.place import RangeFilter
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.labels import Label

KNOWN = (
    Label("Avis borealis", "Northern Bird"),
    Label("Avis orientalis", "Eastern Bird"),
    Label("Avis annua", "All Year Bird"),
    Label("Engine", "Engine", "sound"),
)
"""Their probabilities are latitude / 64, longitude / 64, minus the week, and 1."""


def range_bundle(folder: Path, bundle: Bundle) -> Bundle:
    """A bundle with a range model that knows `KNOWN`."""
    weights = np.zeros((3, 4), np.float32)
    weights[0, 0] = weights[1, 1] = 1 / 64
    weights[2, 2] = -1
    bias = np.array([0, 0, 0, 1], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["place", "w", "b"], ["probabilities"])],
        "range",
        [helper.make_tensor_value_info("place", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    made = replace(bundle, folder=folder, labels=KNOWN)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), made.range_path)
    return made


@pytest.fixture
def source(tmp_path: Path, level_bundle: Bundle) -> Bundle:
    return range_bundle(tmp_path, level_bundle)


def test_species_are_expected_from_the_threshold_on(source: Bundle) -> None:
    ask = RangeFilter(source, bundle=source, threshold=0.5).expected
    assert ask(latitude=32, longitude=0, week=1) == [True, False, False, None]
    assert ask(latitude=31.99, longitude=32.01, week=1) == [False, True, False, None]
    assert ask(latitude=33, longitude=33, week=1) == [True, True, False, None]


def test_places_are_rounded_to_a_hundredth_of_a_degree(source: Bundle) -> None:
    ask = RangeFilter(source, bundle=source, threshold=0.5).expected
    assert ask(latitude=31.996, longitude=31.996, week=1) == [True, True, False, None]
    assert ask(latitude=31.994, longitude=31.994, week=1) == [False, False, False, None]


@pytest.mark.parametrize(("threshold", "is_expected"), [(0.5, True), (1.0, True), (1.5, False)])
def test_no_week_is_asked_for_as_minus_one(source: Bundle, threshold: float, is_expected: bool) -> None:
    found = RangeFilter(source, bundle=source, threshold=threshold).expected(latitude=0, longitude=0, week=None)
    assert found[2] is is_expected


def test_classes_are_matched_by_the_name_of_a_species(source: Bundle, level_bundle: Bundle) -> None:
    labels = (
        Label("Avis nova", "New Bird"),
        Label("Avis orientalis", "Eastern Bird"),
        Label("Engine", "Engine", "sound"),
        Label("Engine", "Engine Bird"),
        Label("Avis borealis", "Northern Bird"),
    )
    bundle = replace(level_bundle, labels=labels)
    found = RangeFilter(source, bundle=bundle, threshold=0.5).expected(latitude=60, longitude=0, week=1)
    assert found == [None, False, None, True, True]


def test_bundle_without_range_model_says_what_to_do(level_bundle: Bundle) -> None:
    with pytest.raises(ModelNotFound, match=r"no range model.*Leave latitude and longitude out, or run.*pull birdnet"):
        RangeFilter(level_bundle, bundle=level_bundle, threshold=0.5)
