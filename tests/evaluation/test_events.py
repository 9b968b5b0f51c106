"""Events of windows, counted against marks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dawnchorus.data.presence import ABSENT, NOT_KNOWN, PRESENT, Presence
from dawnchorus.data.recordings import Annotation, RecordingRow
from dawnchorus.evaluation.events import count_events
from dawnchorus.evaluation.scoring import Scores

DEEP, HUMMING = "Avis gravis", "Avis murmurans"


def test_events_in_a_recording_that_is_annotated_as_empty_are_wrong() -> None:
    mark = Annotation(start_s=0, end_s=1, scientific_name=DEEP)
    names = ("marked", "empty", "unlabeled")
    rows = [RecordingRow(recording_id=name, path=name, kind="soundscape") for name in names]
    rows[:2] = replace(rows[0], annotations=(mark,)), replace(rows[1], is_annotated=True)
    scores = Scores(
        classes=(DEEP,),
        rows=tuple(rows),
        recording=np.arange(3),
        start_s=np.zeros(3),
        window_s=3.0,
        scores=np.full((3, 1), 0.8),
        presence=np.array([[PRESENT], [ABSENT], [NOT_KNOWN]]),
        failures={},
    )
    counts = count_events(scores)["0.5"]
    assert (counts.precision, counts.n_predicted, counts.recall, counts.n_recordings) == (0.5, 2, 1.0, 2)


def test_a_short_mark_on_a_boundary_is_found_and_an_unnamed_one_decides_nothing() -> None:
    short = Annotation(start_s=2.9, end_s=3.1, scientific_name=DEEP)
    unnamed = Annotation(start_s=9, end_s=10, scientific_name="")
    row = RecordingRow(recording_id="r", path="r.wav", kind="soundscape", annotations=(short, unnamed))
    starts = np.arange(0, 18, 3.0)
    scores = Scores(
        classes=(DEEP,),
        rows=(row,),
        recording=np.zeros(6, int),
        start_s=starts,
        window_s=3.0,
        scores=np.array([[0.8], [0.8], [0.0], [0.8], [0.0], [0.8]]),
        presence=np.stack([Presence((DEEP,)).between(row, start, start + 3) for start in starts]),
        failures={},
    )
    assert scores.presence[:, 0].tolist() == [PRESENT, PRESENT, ABSENT, NOT_KNOWN, ABSENT, ABSENT]
    counts = count_events(scores)["0.5"]
    assert (counts.n_predicted, counts.n_correct, counts.recall) == (2, 1, 1.0)


def test_events_join_windows_and_count_both_ways() -> None:
    row = RecordingRow(
        recording_id="r",
        path="r.wav",
        kind="soundscape",
        annotations=(
            Annotation(start_s=1, end_s=5, scientific_name="A a"),
            Annotation(start_s=20, end_s=21, scientific_name="A a"),
        ),
    )
    values = np.array([0.9, 0.8, 0.0, 0.7, 0.0, 0.0, 0.0, 0.0])[:, None]
    scores = Scores(
        classes=("A a",),
        rows=(row,),
        recording=np.zeros(8, int),
        start_s=np.arange(8) * 3.0,
        window_s=3.0,
        scores=values,
        presence=np.zeros((8, 1), np.int8),
        failures={},
    )
    counts = count_events(scores)["0.5"]
    assert (counts.n_predicted, counts.n_correct, counts.n_annotated, counts.n_recalled) == (2, 1, 2, 1)
    assert (counts.precision, counts.recall) == (0.5, 0.5)
    assert np.isnan(count_events(scores)["0.9"].precision) or counts.n_predicted
