"""Two models' detections of the same recordings."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from dawnchorus.errors import InputError
from dawnchorus.evaluation.model_comparison import ModelOutput, compare_models, map_labels
from dawnchorus.taxonomy.labels import Label

TIT, WREN, OWL = Label("Parus major", "Great Tit"), Label("Troglodytes troglodytes", "Wren"), Label("Asio otus", "Owl")
RENAMED, ENGINE = Label("Parus maior", "Great Tit"), Label("Engine", "Engine", "sound")


def output(
    name: str, labels: tuple[Label, ...], rows: list[tuple[str, float, str, float]], *, window_s: float = 3.0
) -> ModelOutput:
    """Return a model's output for the recordings a, b and c, and one of its own."""
    names, starts, species, scores = zip(*rows, strict=True) if rows else ((), (), (), ())
    columns = {
        "recording": pa.array(names, pa.string()),
        "start_s": pa.array(starts, pa.float64()),
        "end_s": pa.array([start + window_s for start in starts], pa.float64()),
        "scientific_name": pa.array(species, pa.string()).dictionary_encode(),
        "score": pa.array(scores, pa.float32()),
    }
    return ModelOutput(name, labels, window_s, 0.05, pa.table(columns), frozenset({"a", "b", "c", name}))


def test_labels_are_mapped_by_any_name_and_the_rest_is_listed() -> None:
    labels = map_labels([TIT, WREN, OWL], [RENAMED, WREN, ENGINE])
    assert labels.pairs == {"Parus maior": "Parus major", "Troglodytes troglodytes": "Troglodytes troglodytes"}
    assert labels.renamed == (("Parus major", "Parus maior"),)
    assert (labels.only_first, labels.only_second) == ((OWL,), (ENGINE,))


def test_a_class_is_mapped_once_first_by_its_scientific_name() -> None:
    labels = map_labels([TIT], [RENAMED, TIT])
    assert labels.pairs == {"Parus major": "Parus major"}
    assert (labels.only_first, labels.only_second) == ((), (RENAMED,))


def test_agreement_and_shift_are_of_segments() -> None:
    first = output(
        "one",
        (TIT, WREN, OWL),
        [
            ("a", 0.0, "Parus major", 0.5),
            ("a", 3.0, "Parus major", 0.25),
            ("b", 0.0, "Parus major", 0.9),
            ("b", 3.0, "Troglodytes troglodytes", 0.1),
            ("c", 0.0, "Asio otus", 0.7),
            ("one", 0.0, "Parus major", 0.9),
        ],
    )
    second = output(
        "two",
        (RENAMED, WREN, ENGINE),
        [
            ("a", 0.0, "Parus maior", 0.75),
            ("a", 3.0, "Parus maior", 0.125),
            ("b", 3.0, "Troglodytes troglodytes", 0.5),
            ("c", 0.0, "Engine", 0.3),
            ("c", 3.0, "Engine", 0.1),
        ],
    )
    comparison = compare_models(first, second, threshold=0.25)
    assert (comparison.n_recordings, comparison.segment_s) == (3, 3.0)
    assert (comparison.missing_first, comparison.missing_second) == (("two",), ("one",))
    assert comparison.agreement.value == 1 / 4
    assert comparison.score_shift.value == pytest.approx((0.25 - 0.125 + 0.4) / 3)
    tit, wren = comparison.species
    assert (tit.scientific_name, tit.n_both, tit.n_only_first, tit.n_only_second) == ("Parus major", 1, 2, 0)
    assert (tit.n_recordings_first, tit.n_recordings_second, tit.n_shifts) == (2, 1, 2)
    assert tit.score_shift == pytest.approx(0.0625)
    assert (wren.n_both, wren.n_only_first, wren.n_only_second) == (0, 0, 1)
    assert [(each.scientific_name, each.n_segments) for each in comparison.only_first] == [("Asio otus", 1)]
    assert [(each.scientific_name, each.n_segments) for each in comparison.only_second] == [("Engine", 1)]


def test_windows_of_other_lengths_share_the_longer_segments() -> None:
    """Detections of 3 s at 0 and 6 s are in the first and second segment of 5 s: their middles are 1.5 and 7.5."""
    first = output("one", (TIT,), [("a", 0.0, "Parus major", 0.5), ("a", 6.0, "Parus major", 0.5)])
    second = output("two", (TIT,), [("a", 0.0, "Parus major", 0.5), ("a", 5.0, "Parus major", 0.5)], window_s=5.0)
    comparison = compare_models(first, second, threshold=0.25)
    assert comparison.segment_s == 5.0
    assert comparison.agreement.value == 1.0


def test_models_that_detect_nothing_agree_on_nothing() -> None:
    comparison = compare_models(output("one", (TIT,), []), output("two", (TIT,), []), threshold=0.25)
    assert math.isnan(comparison.agreement.value)
    assert comparison.species == ()


def test_what_cannot_be_compared_is_refused() -> None:
    first, second = output("one", (TIT,), []), output("two", (TIT,), [])
    with pytest.raises(InputError, match="min_score: expected 0.05 or more, which is kept of one, got 0.01"):
        compare_models(first, second, threshold=0.01)
    other = ModelOutput("two", (TIT,), 3.0, 0.05, second.detections, frozenset({"x"}))
    with pytest.raises(InputError, match="one and two have scored no recording in common"):
        compare_models(first, other, threshold=0.25)
