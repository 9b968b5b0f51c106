"""A model that hears birds in noise is said to, with figures."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.data.presence import Presence
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.evaluate.background import describe_background, measure_background
from dawnchorus.evaluate.scoring import Scores

CLASSES = ("Avis magna", "Avis parva")
PRESENCE = Presence(CLASSES)


def scores(rows: list[RecordingRow], each: list[list[list[float]]]) -> Scores:
    """Of windows [recordings, windows, classes]."""
    windows = [(k, window) for k, recording in enumerate(each) for window in recording]
    return Scores(
        classes=CLASSES,
        rows=tuple(rows),
        recording=np.array([k for k, _ in windows]),
        start_s=np.zeros(len(windows)),
        window_s=1.0,
        scores=np.array([window for _, window in windows]),
        presence=np.array([PRESENCE.between(rows[k], 0, 1) for k, _ in windows]),
        failures={},
    )


def background(name: str, *absent: str) -> RecordingRow:
    return RecordingRow(recording_id=name, path=name, kind="background", absent=absent)


BIRD = RecordingRow(recording_id="bird", path="bird", scientific_name="Avis magna")


def test_the_highest_score_of_each_background_recording_counts() -> None:
    found = measure_background(
        scores([BIRD, background("rain"), background("wind")], [[[0.9, 0.9]], [[0.1, 0.2], [0.3, 0.1]], [[0.0, 0.1]]])
    )
    assert found is not None
    assert (found.n_recordings, found.n_heard, found.highest) == (2, 1, 0.3)
    assert found.percentile_95 == pytest.approx(0.29)
    rain, wind = found.recordings
    assert (rain.recording_id, rain.scientific_name, rain.highest) == ("rain", "Avis magna", 0.3)
    assert rain.percentile_95 == pytest.approx(0.295)
    assert (wind.scientific_name, wind.highest) == ("Avis parva", 0.1)


def test_of_negatives_only_the_species_that_they_are_without_counts() -> None:
    found = measure_background(scores([background("not magna", "Avis magna")], [[[0.1, 0.9]]]))
    assert found is not None
    assert (found.highest, found.n_heard) == (0.1, 0)
    assert measure_background(scores([background("not a class", "Avis alia")], [[[0.9, 0.9]]])) is None


def test_high_scores_are_a_warning_with_what_to_do_and_no_background_is_said() -> None:
    heard = measure_background(scores([background("rain")], [[[0.9, 0.1]]]))
    (softmax,) = describe_background(heard, model="mine", activation="softmax")
    assert softmax.startswith("warning: mine hears species in background: highest score 0.900 (Avis magna in rain)")
    assert "in 1 of 1 background recordings" in softmax
    assert "train with loss=bce" in softmax
    (sigmoid,) = describe_background(heard, model="mine", activation="sigmoid")
    assert "Add recordings like these" in sigmoid
    quiet = measure_background(scores([background("rain")], [[[0.1, 0.1]]]))
    assert next(describe_background(quiet, model="mine", activation="sigmoid")).startswith("background: mine: highest")
    (none,) = describe_background(None, model="mine", activation="sigmoid")
    assert none.startswith("warning: none of these recordings is without birds")
