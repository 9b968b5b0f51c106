"""Hits above thresholds, and the best of them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from dawnchorus.inference.analyses.hits import HIT, ScoreFilter


def test_best_scores_of_each_window_come_first() -> None:
    scores = np.array([[0.5, 0.25, 0.75], [0.25, 0.25, 0.0], [0.0, 0.0, 0.0]], np.float32)
    kept = ScoreFilter(thresholds=np.array([0.25, 0.25, 0.5], np.float32)).apply(scores, 7)
    assert kept.dtype == HIT
    assert kept.tolist() == [(7, 2, 0.75), (7, 0, 0.5), (7, 1, 0.25), (8, 0, 0.25), (8, 1, 0.25)]


@pytest.mark.parametrize(
    ("top", "classes"),
    [(1, [2, 0]), (2, [2, 0, 0, 1]), (3, [2, 0, 1, 0, 1, 2]), (4, [2, 0, 1, 0, 1, 2])],
)
def test_top_scores_are_the_best_and_then_the_first(top: int, classes: list[int]) -> None:
    scores = np.array([[0.5, 0.25, 0.75], [0.25, 0.25, 0.25]], np.float32)
    kept = ScoreFilter(thresholds=np.zeros(3, np.float32), top=top).apply(scores, 0)
    assert kept["class"].tolist() == classes


@pytest.mark.parametrize("top", [1, 3, 200, 256, 300, 400, 401, 500])
def test_top_scores_are_the_best_of_many_classes(top: int) -> None:
    """Scores are 0/512 to 400/512 in an order of their own; the 273 from 128/512 on reach the threshold."""
    order = np.arange(401) * 177 % 401
    scores = np.stack([order, order[::-1]]).astype(np.float32) / 512
    kept = ScoreFilter(thresholds=np.full(401, 0.25, np.float32), top=top).apply(scores, 0)
    n = min(top, 273)
    assert (kept["score"] * 512).tolist() == list(range(400, 400 - n, -1)) * 2
    assert kept["window"].tolist() == [0] * n + [1] * n
    assert (scores[kept["window"], kept["class"]] == kept["score"]).all()


def test_no_score_is_kept_of_quiet_windows() -> None:
    for top in (None, 1, 3):
        kept = ScoreFilter(thresholds=np.full(3, 0.5, np.float32), top=top).apply(np.zeros((2, 3), np.float32), 0)
        assert kept.tolist() == []


def test_score_filter_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ScoreFilter(thresholds=np.zeros(3, np.float32)).top = 1  # type: ignore[misc]
