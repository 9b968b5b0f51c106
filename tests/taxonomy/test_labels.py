"""Labels as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from tests.fixtures.labels import ALBATROSS, KNOWN, TIT, WIDOW, texts

from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, is_indeterminate, label_text, read_label, split_labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Parus major", "Parus major"),
        ("Parus_major", "Parus major"),
        ("Parus\u00a0 major ", "Parus major"),
        ("\ufeffParus major_Great Tit", "Parus major_Great Tit"),
        ("Parus major_Great_Tit", "Parus major_Great Tit"),
        ("Parus major - Great Tit", "Parus major_Great Tit"),
        ("Great Tit (Parus major)", "Parus major_Great Tit"),
        ("Tawny Owl_Strix aluco", "Strix aluco_Tawny Owl"),
        ("Parus major (Linnaeus, 1758)", "Parus major"),
        ("Parus major Linnaeus, 1758", "Parus major"),
        ("Parus_major_(Linnaeus,_1758)", "Parus major"),
        ("Parus major (Linnaeus 1758)_Great Tit", "Parus major_Great Tit"),
        ("Ficedula albicilla (de Filippi, 1870)", "Ficedula albicilla"),
        ("Parus major (Linnaeus, 1758) song", "Parus major (song)"),
        ("Sitta europaea L.", "Sitta europaea"),
        ("Motacilla alba yarrellii Gould, 1837", "Motacilla alba yarrellii"),
        ("Parus sp. 2", "Parus sp. 2"),
        ("wind/rain", "wind/rain"),
        ("American_Robin", "American Robin"),
        ("great_tit", "great tit"),
        ("great_tit 2", "great tit 2"),
        ("01_Parus_major", "Parus major"),
        ("12 - Parus major", "Parus major"),
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("2_whistles", "2 whistles"),
        ("1.5 kHz", "1.5 kHz"),
        ("Strix aluco_Tawny Owl_male", "Strix aluco (male)_Tawny Owl (male)"),
        ("Strix aluco_Tawny Owl_Otto", "Strix aluco (Otto)_Tawny Owl (Otto)"),
        ("Strix aluco_male", "Strix aluco (male)"),
        ("Strix_aluco_flight_call", "Strix aluco (flight call)"),
        ("Strix aluco (male)_Tawny Owl (male)", "Strix aluco (male)_Tawny Owl (male)"),
        ("Dog_Dog", "Dog"),
        ("dog_bark", "dog (bark)"),
        ("E\u0301meraude", "\u00c9meraude"),
    ],
)
def test_labels_as_people_write_them(text: str, expected: str) -> None:
    label = read_label(text)
    assert label is not None
    assert label_text(label) == expected
    assert read_label(expected) == label


@pytest.mark.parametrize("text", ["", " ", "?", "??", "_", "-", "unknown", "Unidentified", "sp.", "NaN", "\u200b"])
def test_texts_that_name_nothing(text: str) -> None:
    assert read_label(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Parus major (Linnaeus, 1758)", ["Parus major (Linnaeus, 1758)"]),
        ("Parus major Linnaeus, 1758, Sitta europaea", ["Parus major Linnaeus, 1758", "Sitta europaea"]),
        ("A_a,B_b", ["A_a", "B_b"]),
        ("Avis una; Avis altera |Avis tertia", ["Avis una", "Avis altera", "Avis tertia"]),
        ("Strix aluco (male, adult), ", ["Strix aluco (male, adult)"]),
        (", ;", []),
    ],
)
def test_lists_of_labels(text: str, expected: list[str]) -> None:
    assert split_labels(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Great_Tit", TIT),
        ("PARUS MAJOR", TIT),
        ("Parus_Major", TIT),
        ("Parus_major_Great_Tit", TIT),
        ("gretit1", TIT),
        ("3 great tit", TIT),
        ("Black_footed_Albatross", ALBATROSS),
        ("Brewer_Blackbird", WIDOW),
        ("Brewer\u2019s blackbird", WIDOW),
        ("Parus major_Kohlmeise", Label("Parus major", "Kohlmeise")),
        ("Tawny_Owl_male", Label("Strix aluco (male)", "Tawny Owl (male)")),
        ("Tawny Owl (male)", Label("Strix aluco (male)", "Tawny Owl (male)")),
        ("Strix_aluco_Tawny_Owl_male", Label("Strix aluco (male)", "Tawny Owl (male)")),
        ("great tit song 2", Label("Parus major (song 2)", "Great Tit (song 2)")),
        ("mystery", Label("mystery", "mystery")),
    ],
)
def test_known_names_get_the_scientific_one(text: str, expected: Label) -> None:
    assert read_label(text, KNOWN) == expected


def test_a_spelling_that_two_classes_share_is_not_guessed() -> None:
    known = KnownClasses((Label("Avis a", "Grey-owl"), Label("Avis b", "Gray Owl")))
    assert read_label("gray-owl", known) == Label("gray-owl", "gray-owl")


@given(texts)
def test_any_text_is_a_class_with_names_or_none(text: str) -> None:
    label = read_label(text)
    assert label is None or (label.scientific_name.strip() and label.common_name.strip())


@pytest.mark.parametrize("name", ["Noise_Noise", "Human non-vocal_Human non-vocal", "Strix aluco (male)", "No bird"])
def test_other_labels_are_no_review(name: str) -> None:
    assert is_indeterminate(name) is False


def test_question_mark_is_part_of_a_name() -> None:
    assert KNOWN.find(Label("Strix aluco?", "Strix aluco?")) is None
