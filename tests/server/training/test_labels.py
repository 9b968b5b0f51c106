"""Labels of uploads as classes."""

from __future__ import annotations

import pytest

from dawnchorus.errors import InputError, UnknownClassError
from dawnchorus.server.training.labels import parse_species, resolve_class
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label

LABELS = (Label("Parus major", "Great Tit"), Label("Cuculus canorus", "Common Cuckoo"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Parus major", LABELS[0]),
        ("great  tit", LABELS[0]),
        ("Parus major_Kohlmeise", LABELS[0]),
        ("Parus_major", LABELS[0]),
        ("PARUS MAJOR_great tit", LABELS[0]),
        ("Parus ater_Common Cuckoo", LABELS[1]),
        ("great_tit", LABELS[0]),
        ("Nova avis_New Bird", Label("Nova avis", "New Bird")),
        ("mystery", Label("mystery", "mystery")),
    ],
)
def test_names_that_people_write(name: str, expected: Label) -> None:
    assert resolve_class(parse_species(name), KnownClasses(LABELS), is_new=True) == expected


@pytest.mark.parametrize(
    ("name", "suggestions", "hint"),
    [
        ("Parus mjor", ("Parus major_Great Tit",), " Did you mean Parus major (Great Tit)?"),
        ("grate tit", ("Parus major_Great Tit",), " Did you mean Parus major (Great Tit)?"),
        ("Paurs major_Graet Tit", ("Parus major_Great Tit",), " Did you mean Parus major (Great Tit)?"),
        ("Kohlmeise", (), ""),
    ],
)
def test_unknown_species_error_suggests_near_names(name: str, suggestions: tuple[str, ...], hint: str) -> None:
    with pytest.raises(UnknownClassError) as error:
        resolve_class(parse_species(name), KnownClasses(LABELS), is_new=False)
    assert str(error.value).startswith(f"'{name}': no such class.{hint} Correct the name, or confirm that it is a new")
    assert error.value.suggestions == suggestions


@pytest.mark.parametrize("name", ["", "   ", "x" * 300, "a\x00b", "a\nb\x07"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="species: expected a name"):
        parse_species(name)


@pytest.mark.parametrize("name", ["Strix aluco?", "Parus major_negative", "Parus major_maybe", "Parus sp."])
def test_new_class_must_be_one_species(name: str) -> None:
    with pytest.raises(InputError, match="expected the name of one species"):
        resolve_class(parse_species(name), KnownClasses(LABELS), is_new=True)


@pytest.mark.parametrize("name", ["Parus major?", "Parus major_FP", "Parus major_Common Cuckoo"])
def test_uncertain_and_contradictory_species_are_rejected(name: str) -> None:
    with pytest.raises(UnknownClassError):
        resolve_class(parse_species(name), KnownClasses(LABELS), is_new=False)


def test_a_class_whose_name_has_a_slash_is_known_by_it() -> None:
    both = Label("Corvus corone/cornix", "Carrion/Hooded Crow")
    given = parse_species("Corvus corone/cornix")
    assert resolve_class(given, KnownClasses([*LABELS, both]), is_new=False) == both
    subspecies = Label("Corvus corone cornix", "Hooded Crow")
    with pytest.raises(UnknownClassError):
        resolve_class(given, KnownClasses([subspecies]), is_new=False)
