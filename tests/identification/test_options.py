"""Options are checked when they are made, at both ends of every limit."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

import numpy as np
import pytest

from dawnchorus.errors import InputError
from dawnchorus.identification import Options

AT_THE_LIMITS: list[dict[str, Any]] = [
    {"min_score": 0},
    {"min_score": 1},
    {"min_score": 0.5},
    {"overlap_s": 0},
    {"overlap_s": 0.5},
    {"tta_shifts": 1},
    {"tta_shifts": 2},
    {"tta_shifts": 16},
    {"top": None},
    {"top": 1},
    {"thresholds": {"a": 0, "b": 0.5, "c": 1}},
    {"latitude": -90, "longitude": -180},
    {"latitude": 0, "longitude": 0},
    {"latitude": 90, "longitude": 180},
    {"week": 0},
    {"week": 24},
    {"week": 48},
    {"range_threshold": 0},
    {"range_threshold": 0.5},
    {"range_threshold": 1},
    {"speech": None},
    {"speech": "flag"},
    {"speech": "blank"},
    {"speech": "drop"},
]

BEYOND_THE_LIMITS: list[tuple[dict[str, Any], str]] = [
    ({"min_score": "0.5"}, "min_score: expected 0 to 1, got '0.5'"),
    ({"min_score": float("nan")}, "min_score: expected 0 to 1, got nan"),
    ({"min_score": -0.01}, "min_score: expected 0 to 1, got -0.01"),
    ({"min_score": 1.01}, "min_score: expected 0 to 1, got 1.01"),
    ({"overlap_s": -0.01}, "overlap_s: expected 0 or more, got -0.01"),
    ({"tta_shifts": 0}, "tta_shifts: expected a whole number, 1 to 16, got 0"),
    ({"tta_shifts": 17}, "tta_shifts: expected a whole number, 1 to 16, got 17"),
    ({"top": 0}, "top: expected a whole number, 1 or more, got 0"),
    ({"thresholds": {"a": 0.5, "b": -0.01}}, "thresholds: expected 0 to 1"),
    ({"thresholds": {"a": 1.01}}, "thresholds: expected 0 to 1"),
    ({"latitude": 50.0}, "latitude and longitude: expected both or none"),
    ({"longitude": 50.0}, "latitude and longitude: expected both or none"),
    ({"latitude": -90.1, "longitude": 0}, "latitude: expected -90 to 90, got -90.1"),
    ({"latitude": 90.1, "longitude": 0}, "latitude: expected -90 to 90, got 90.1"),
    ({"latitude": 0, "longitude": -180.1}, "longitude: expected -180 to 180, got -180.1"),
    ({"latitude": 0, "longitude": 180.1}, "longitude: expected -180 to 180, got 180.1"),
    ({"top": 1.5}, "top: expected a whole number, 1 or more, got 1.5"),
    ({"top": True}, "top: expected a whole number, 1 or more, got True"),
    ({"min_score": True}, "min_score: expected 0 to 1, got True"),
    ({"min_score": np.True_}, "min_score: expected 0 to 1, got "),
    ({"thresholds": {"a": True}}, "thresholds: expected 0 to 1, got "),
    ({"thresholds": 0.5}, "thresholds: expected 0 to 1, got 0.5"),
    ({"merge": 1}, "merge: expected true or false, got 1"),
    ({"species": "Parus major"}, "species: expected a tuple or list of names, got 'Parus major'"),
    ({"week": -1}, "week: expected a whole number, 0 to 48, got -1"),
    ({"week": 49}, "week: expected a whole number, 0 to 48, got 49"),
    ({"range_threshold": -0.01}, "range_threshold: expected 0 to 1, got -0.01"),
    ({"range_threshold": 1.01}, "range_threshold: expected 0 to 1, got 1.01"),
    ({"speech": "mute"}, "speech: expected one of flag, blank, drop, got 'mute'"),
]


@pytest.mark.parametrize("given", AT_THE_LIMITS, ids=str)
def test_options_at_their_limits_are_accepted(given: dict[str, Any]) -> None:
    options = Options(**given)
    assert {name: getattr(options, name) for name in given} == given


def test_numpy_scalars_and_lists_become_values_of_python() -> None:
    options = Options(
        top=np.int64(1),  # type: ignore[arg-type]
        min_score=np.float32(0.5),  # type: ignore[arg-type]
        merge=np.True_,  # type: ignore[arg-type]
        thresholds={"a": np.float32(0.5)},  # type: ignore[dict-item]
        species=["a", np.str_("b")],  # type: ignore[arg-type]
        channel=np.str_("each"),  # type: ignore[arg-type]
    )
    expected = Options(top=1, min_score=0.5, merge=True, thresholds={"a": 0.5}, species=("a", "b"), channel="each")
    assert repr(options) == repr(expected)
    assert json.dumps(asdict(options)) == json.dumps(asdict(expected))


@pytest.mark.parametrize(("given", "message"), BEYOND_THE_LIMITS, ids=str)
def test_options_beyond_their_limits_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        Options(**given)
    assert str(refused.value).startswith(message)


def test_options_come_back_from_where_they_were_stored() -> None:
    options = Options(
        species=("Parus major",), thresholds={"Parus major": 0.5}, channel="each", latitude=1, longitude=2
    )
    stored = json.loads(json.dumps(asdict(options)))
    assert stored.keys() == {field.name for field in fields(Options)}, "whole, so a new default changes nothing"
    assert Options.from_fields(stored) == options
    assert Options.from_fields({"channel": "each"}) == Options(channel="each"), "a job of an older version"
    with pytest.raises(InputError, match=r"options: unknown 'min_scores'\. Did you mean 'min_score'\?.*Update"):
        Options.from_fields({"min_scores": 0.5})
    with pytest.raises(InputError, match="min_score: expected 0 to 1, got None"):
        Options.from_fields({"min_score": None})


def test_options_are_named_and_cannot_be_changed_later() -> None:
    with pytest.raises(TypeError):
        Options(0.5)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Options().min_score = 7  # type: ignore[misc]


def test_options_that_are_off_by_default() -> None:
    options = Options()
    off = {name for name in (field.name for field in fields(options)) if not getattr(options, name)}
    assert off == {
        "overlap_s", "top", "species", "thresholds", "merge", "latitude", "longitude", "week", "drop_out_of_range",
        "speech",
    }  # fmt: skip


def test_scoring_options_are_those_of_older_journals() -> None:
    """An option that came later is written only where it is on: a run begun before it can be gone on with."""
    older = {"min_score": 0.25, "overlap_s": 0.0, "top": None, "species": None, "thresholds": {}}
    assert Options().scoring() == older
    assert Options(merge=True, latitude=1, longitude=2, week=3, drop_out_of_range=True).scoring() == older
    assert Options(tta_shifts=2).scoring() == {**older, "tta_shifts": 2}
    assert Options(speech="drop").scoring() == {**older, "find_speech": True}
    changed = {"min_score": 0.5, "overlap_s": 1.0, "top": 3, "species": ("a",), "thresholds": {"a": 0.1}}
    assert Options(**changed).scoring() == changed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_score": 1.5}, "min_score"),
        ({"overlap_s": -1.0}, "overlap"),
        ({"top": 0}, "top"),
        ({"latitude": 50.0}, "latitude and longitude"),
        ({"latitude": 95.0, "longitude": 0.0}, "latitude"),
        ({"week": 49}, "week"),
    ],
)
def test_options_out_of_range_are_refused_at_once(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)  # type: ignore[arg-type]
