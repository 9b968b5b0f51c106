"""A threshold is given where its promise is kept on windows that did not choose it, and refused elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.evaluation.thresholds import (
    NoThreshold,
    Threshold,
    describe_refusals,
    group_windows,
    thresholds_for_precision,
)

SEPARATION = 4.0
"""Distance of the mean scores of right and wrong windows, in standard deviations."""


def choose(
    scores: np.ndarray, truth: np.ndarray, *, precision: float = 0.9, groups: np.ndarray | None = None
) -> Threshold | NoThreshold:
    thresholds = thresholds_for_precision(("a",), scores[:, None], truth[:, None], precision=precision, groups=groups)
    return {**thresholds.chosen, **thresholds.refused}["a"]


def true_precision(min_score: float, share_right: float) -> float:
    """Return normal scores, those of right windows higher by `SEPARATION`."""
    right, wrong = (0.5 * math.erfc((min_score - mean) / math.sqrt(2)) for mean in (SEPARATION, 0.0))
    return share_right * right / (share_right * right + (1 - share_right) * wrong)


@pytest.mark.parametrize(("n", "n_right"), [(220, 20), (660, 60), (660, 200)])
def test_the_promise_is_kept_on_other_windows_in_95_of_100_draws(n: int, n_right: int) -> None:
    rng = np.random.default_rng(7)
    n_given = n_kept = 0
    for _ in range(1000):
        truth = rng.random(n) < n_right / n
        threshold = choose(rng.normal(0, 1, n) + SEPARATION * truth, truth)
        if isinstance(threshold, Threshold):
            n_given += 1
            n_kept += true_precision(threshold.min_score, n_right / n) >= 0.9
            assert 0.9 <= threshold.low <= threshold.precision
    assert n_kept >= 0.95 * n_given
    assert (n_given > 700) == (n_right >= 60), "with 20 right windows nobody can tell"


def test_a_species_with_too_little_to_tell_is_refused_with_what_is_missing() -> None:
    scores, truth = np.linspace(1, 0, 40), np.arange(40) < 20
    threshold = choose(scores, truth)
    assert threshold == NoThreshold(n_right=20, n_needed=9), "29 of 29 are the fewest that rule out less than 0.9"
    assert list(describe_refusals({"Avis magna": threshold}, 0.9)) == [
        "no threshold for Avis magna, right in 20 recordings: 9 more recordings like these are needed."
    ]
    more = choose(np.linspace(1, 0, 60), np.arange(60) < 29)
    assert isinstance(more, Threshold)
    assert (more.n_windows, more.precision) == (29, 1.0)
    assert more.low == pytest.approx(0.05 ** (1 / 29), abs=1e-6)
    assert choose(scores, ~truth) == NoThreshold(n_right=20, n_needed=None), "wrong ones score higher"
    assert choose(scores, np.zeros(40, bool)) == NoThreshold(n_right=0, n_needed=29)
    assert choose(np.full(40, np.nan), truth) == NoThreshold(n_right=0, n_needed=29), "nothing is known"
    never = describe_refusals({"Avis magna": NoThreshold(20, None)}, 0.9)
    said = "no threshold for Avis magna, right in 20 recordings: its highest scores are not right often enough"
    assert next(never) == f"{said} to show 0.9."
    scattered = np.arange(400) % 12 != 0
    for n in (1, 3):
        many = np.tile(scattered, n)
        refused = choose(np.linspace(1, 0, len(many)), many, precision=0.95)
        assert refused == NoThreshold(n_right=int(many.sum()), n_needed=None), "more of the kind would not help"


def test_windows_of_one_recording_are_one_piece_of_evidence() -> None:
    scores, truth = np.linspace(1, 0, 200), np.arange(200) < 100
    recordings = np.arange(200) // 10
    assert isinstance(choose(scores, truth), Threshold)
    assert choose(scores, truth, groups=recordings) == NoThreshold(n_right=10, n_needed=19)
    names = ("XC1_0.wav", "XC1_1.wav", "XC2.wav")
    own = Scores(
        classes=("a",),
        rows=tuple(RecordingRow(recording_id=name, path=name) for name in names),
        recording=np.array([0, 0, 1, 2]),
        start_s=np.array([0.0, 57.0, 60.0, 0.0]),
        window_s=3.0,
        scores=np.zeros((4, 1)),
        presence=np.zeros((4, 1), np.int8),
        failures={},
    )
    first, second, third, last = group_windows(own).tolist()
    assert first == second == third != last, "clips of one recording count once"


def test_one_wrong_window_among_the_best_does_not_end_it() -> None:
    truth = np.arange(400) < 200
    truth[0] = False
    threshold = choose(np.linspace(1, 0, 400), truth)
    assert isinstance(threshold, Threshold)
    assert threshold.n_windows >= 200
