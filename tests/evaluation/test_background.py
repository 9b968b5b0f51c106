"""A model that hears birds in noise is said to, with figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dawnchorus.data.presence import Presence
from dawnchorus.data.recordings import Annotation, RecordingRow
from dawnchorus.evaluation.background import describe_background, measure_background
from dawnchorus.evaluation.scoring import Scores

CLASSES = ("Avis magna", "Avis parva")
PRESENCE = Presence(CLASSES)


def scores(rows: list[RecordingRow], each: list[list[list[float]]]) -> Scores:
    """Return the scores of windows [recordings, windows, classes]."""
    windows = [(k, window) for k, recording in enumerate(each) for window in recording]
    return Scores(
        classes=CLASSES,
        rows=tuple(rows),
        recording=np.array([k for k, _ in windows]),
        start_s=np.concatenate([np.arange(len(recording), dtype=float) for recording in each]),
        window_s=1.0,
        scores=np.array([window for _, window in windows]),
        presence=np.array(
            [
                PRESENCE.between(rows[k], start_s, start_s + 1.0)
                for k, recording in enumerate(each)
                for start_s in range(len(recording))
            ]
        ),
        failures={},
    )


def background(name: str, *absent: str) -> RecordingRow:
    return RecordingRow(recording_id=name, path=name, kind="background", absent=absent)


BIRD = RecordingRow(recording_id="bird", path="bird", scientific_name="Avis magna")


def test_the_highest_score_of_each_background_recording_counts() -> None:
    background_scores = measure_background(
        scores([BIRD, background("rain"), background("wind")], [[[0.9, 0.9]], [[0.1, 0.2], [0.3, 0.1]], [[0.0, 0.1]]])
    )
    assert background_scores is not None
    assert (background_scores.n_recordings, background_scores.n_with_detections, background_scores.highest) == (
        2,
        1,
        0.3,
    )
    assert background_scores.percentile_95 == pytest.approx(0.29)
    rain, wind = background_scores.recordings
    assert (rain.recording_id, rain.scientific_name, rain.highest) == ("rain", "Avis magna", 0.3)
    assert rain.percentile_95 == pytest.approx(0.295)
    assert (wind.scientific_name, wind.highest) == ("Avis parva", 0.1)


def test_of_negatives_only_the_species_that_they_are_without_counts() -> None:
    background_scores = measure_background(scores([background("not magna", "Avis magna")], [[[0.1, 0.9]]]))
    assert background_scores is not None
    assert (background_scores.highest, background_scores.n_with_detections) == (0.1, 0)
    assert measure_background(scores([background("not a class", "Avis alia")], [[[0.9, 0.9]]])) is None


def test_windows_between_the_marks_of_an_annotated_recording_count_and_no_others() -> None:
    marks = (
        Annotation(start_s=1.0, end_s=2.0, scientific_name="Avis magna"),
        Annotation(start_s=2.9, end_s=3.05, scientific_name="Avis aliena"),
    )
    marked = RecordingRow(recording_id="marsh", path="marsh", kind="soundscape", annotations=marks)
    windows = [[0.1, 0.3], [0.9, 0.9], [0.9, 0.9], [0.9, 0.9], [0.0, 0.2]]
    background_scores = measure_background(scores([marked], [windows]))
    assert background_scores is not None
    assert (background_scores.n_recordings, background_scores.n_partial, background_scores.highest) == (1, 1, 0.3)
    assert background_scores.scored_h * 3600 == pytest.approx(2), "the seconds 0 to 1 and 4 to 5"
    assert background_scores.false_alarms[0].n_alarms == 1
    line = next(describe_background(background_scores, model="mine", activation="sigmoid"))
    assert "in 1 of 1 background recording (of 1 the time between marks)" in line
    full = replace(marked, annotations=(replace(marks[0], start_s=0.5, end_s=4.5),))
    silent = RecordingRow(recording_id="calm", path="calm", kind="soundscape", is_annotated=True)
    both = measure_background(scores([full, silent], [windows, windows]))
    assert both is not None
    assert (both.n_recordings, both.n_partial) == (1, 0), "nothing of the first is between its marks"


def test_high_scores_are_a_warning_with_what_to_do_and_no_background_is_said() -> None:
    detected = measure_background(scores([background("rain")], [[[0.9, 0.1]]]))
    (softmax,) = describe_background(detected, model="mine", activation="softmax")
    assert softmax.startswith("warning: mine detects species in background: highest score 0.900 (Avis magna in rain)")
    assert "in 1 of 1 background recording" in softmax
    assert "train with loss=bce" in softmax
    (sigmoid,) = describe_background(detected, model="mine", activation="sigmoid")
    assert "Add recordings like these" in sigmoid
    quiet = measure_background(scores([background("rain")], [[[0.1, 0.1]]]))
    assert next(describe_background(quiet, model="mine", activation="sigmoid")).startswith("background: mine: highest")
    (none,) = describe_background(None, model="mine", activation="sigmoid")
    assert none.startswith("warning: none of these recordings is without birds")


def test_false_alarms_are_windows_by_the_hours_in_which_a_species_is_judged() -> None:
    hour = [[0.9, 0.0]] * 3600
    background_scores = measure_background(scores([background("hum")], [hour]))
    assert background_scores is not None
    low_score, _, high_score = background_scores.false_alarms
    assert (low_score.n_alarms, low_score.per_hour, background_scores.scored_h) == (3600, 3600, 1)
    assert high_score.per_hour == 3600
    assert low_score.low == pytest.approx(3600 * 0.763, rel=0.01), "60 minutes are 60 pieces of evidence"
    assert low_score.high == pytest.approx(3600 * 1.287, rel=0.01)
    negatives = [background(f"not magna {k}", "Avis magna") for k in range(9)]
    noise = [[0.0, 0.9]] * 4 + [[0.0, 0.1]] * 6
    both = measure_background(scores([background("noise"), *negatives], [noise, *[[[0.1, 0.9]] * 400] * 9]))
    assert both is not None
    assert both.false_alarms[0].per_hour == pytest.approx(4 / (10 / 3600)), "in the hours of others nobody knows"
    assert (both.n_species, both.n_species_unmeasured) == (2, 0)


def test_no_alarm_in_a_minute_is_not_none_at_all() -> None:
    background_scores = measure_background(scores([background("rain")], [[[0.1, 0.1]] * 60]))
    assert background_scores is not None
    alarms = background_scores.false_alarms[0]
    assert (alarms.n_alarms, alarms.per_hour, alarms.low) == (0, 0, 0)
    assert alarms.high == pytest.approx(60 * 3.69, rel=0.01), "the exact bound of a Poisson process"


def test_species_that_no_background_is_without_are_not_passed_for_judged() -> None:
    background_scores = measure_background(scores([background("not magna", "Avis magna")], [[[0.1, 0.9]] * 60]))
    warning, line = describe_background(background_scores, model="mine", activation="sigmoid")
    assert warning.startswith("warning: no recording is without the other 1 of 2 species")
    assert line.endswith("in 1 minutes, of 1 species")
