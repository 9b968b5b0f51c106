"""The range filter, asked about locations at the threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures.ranges import range_bundle

from dawnchorus.errors import ModelNotFoundError
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.labels import Label


@pytest.fixture
def source(tmp_path: Path, level_bundle: Bundle) -> Bundle:
    return range_bundle(tmp_path, level_bundle)


def test_species_are_expected_from_the_threshold_on(source: Bundle) -> None:
    expected_at = RangeFilter(source, bundle=source, threshold=0.5).expected
    assert expected_at(latitude=32, longitude=0, week=1) == [True, False, False, None]
    assert expected_at(latitude=31.99, longitude=32.01, week=1) == [False, True, False, None]
    assert expected_at(latitude=33, longitude=33, week=1) == [True, True, False, None]


def test_range_model_of_an_older_bundle_is_read(tmp_path: Path, level_bundle: Bundle) -> None:
    older = range_bundle(tmp_path, level_bundle, input_name="place")
    assert RangeFilter(older, bundle=older, threshold=0.5).expected(latitude=33, longitude=33, week=1)[0]


def test_locations_are_rounded_to_a_hundredth_of_a_degree(source: Bundle) -> None:
    expected_at = RangeFilter(source, bundle=source, threshold=0.5).expected
    assert expected_at(latitude=31.996, longitude=31.996, week=1) == [True, True, False, None]
    assert expected_at(latitude=31.994, longitude=31.994, week=1) == [False, False, False, None]


@pytest.mark.parametrize(("threshold", "is_expected"), [(0.5, True), (1.0, True), (1.5, False)])
def test_missing_week_is_passed_as_minus_one(source: Bundle, threshold: float, is_expected: bool) -> None:
    expected = RangeFilter(source, bundle=source, threshold=threshold).expected(latitude=0, longitude=0, week=None)
    assert expected[2] is is_expected


def test_classes_are_matched_by_the_name_of_a_species(source: Bundle, level_bundle: Bundle) -> None:
    labels = (
        Label("Avis nova", "New Bird"),
        Label("Avis orientalis", "Eastern Bird"),
        Label("Engine", "Engine", "sound"),
        Label("Engine", "Engine Bird"),
        Label("Avis borealis", "Northern Bird"),
    )
    bundle = replace(level_bundle, labels=labels)
    expected = RangeFilter(source, bundle=bundle, threshold=0.5).expected(latitude=60, longitude=0, week=1)
    assert expected == [None, False, None, True, True]


def test_bundle_without_range_model_says_what_to_do(level_bundle: Bundle) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"no range model.*Leave latitude and longitude out, or run.*pull birdnet"
    ):
        RangeFilter(level_bundle, bundle=level_bundle, threshold=0.5)
