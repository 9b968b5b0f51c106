"""Words of a review in labels."""

from __future__ import annotations

import pytest
from tests.fixtures.labels import KNOWN, TIT

from dawnchorus.taxonomy.labels import parse_label, read_label


@pytest.mark.parametrize(
    "text",
    [
        *("Parus major_negative", "Parus_major_negative", "Parus major_absent", "Parus major_maybe", "Parus major_FP"),
        *("Great Tit_unsure", "Parus major_noise", "Parus major (none)", "not Parus major", "nicht Parus major"),
        *("Parus major_false positive", "Parus major_Tawny Owl", "Strix aluco (Great Tit)"),
    ],
)
def test_rejected_and_contradictory_labels_name_nothing(text: str) -> None:
    assert read_label(text, KNOWN) is None
    assert KNOWN.find(parse_label(text)) is None


@pytest.mark.parametrize("text", ["Parus major_positive", "Parus major_Great Tit", "Parus major_confirmed"])
def test_confirmed_labels_name_their_species(text: str) -> None:
    assert read_label(text, KNOWN) == TIT
