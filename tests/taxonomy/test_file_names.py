"""Species are read from the names of folders and files, however they are written."""

from __future__ import annotations

import pytest

from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import find_class_of_file, parse_file_label, parse_folder_label
from dawnchorus.taxonomy.labels import Label

GUAN = Label("Penelope montagnii", "Andean Guan")

TIT = Label("Parus major", "Great Tit")

KNOWN = KnownClasses((GUAN, TIT, Label("gretit1", "gretit1")))


@pytest.mark.parametrize(
    ("name", "scientific", "common"),
    [
        ("Andean Guan_sound", "Andean Guan", "Andean Guan"),
        ("Andean_Guan_sound", "Andean Guan", "Andean Guan"),
        ("Andean_Guan_Sounds", "Andean Guan", "Andean Guan"),
        ("Black-capped_Chickadee_sound", "Black-capped Chickadee", "Black-capped Chickadee"),
        ("Parus major_Great Tit", "Parus major", "Great Tit"),
        ("Parus_major", "Parus major", "Parus major"),
        ("site_1", "site 1", "site 1"),
        ("sound", "sound", "sound"),
        ("gretit1", "gretit1", "gretit1"),
        ("Dog_Dog", "Dog", "Dog"),
        ("03111_Animalia_Chordata_Aves_Passeriformes_Turdidae_Turdus_merula", "Turdus merula", "Turdus merula"),
    ],
)
def test_labels_of_folders(name: str, scientific: str, common: str) -> None:
    label = parse_folder_label(name)
    assert (label.scientific_name, label.common_name) == (scientific, common)


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("Andean Guan12", Label("Andean Guan", "Andean Guan")),
        ("Andean_Guan1", Label("Andean Guan", "Andean Guan")),
        ("Andean_Guan_12", Label("Andean Guan", "Andean Guan")),
        ("Andean Guan4 (1)", Label("Andean Guan", "Andean Guan")),
        ("XC580880 - Great Tit - Parus major newtoni", TIT),
        ("1139490", Label("1139490", "1139490")),
    ],
)
def test_labels_of_files(stem: str, label: Label) -> None:
    assert parse_file_label(stem) == label


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("andean guan3", GUAN),
        ("Parus_major_Great_Tit_2", TIT),
        ("Great_Tit", TIT),
        ("gretit1", Label("gretit1", "gretit1")),
        ("soundscape_1446779", None),
        ("DAWN_20260501_034500", None),
        ("", None),
    ],
)
def test_only_names_of_known_classes_are_labels_of_files(stem: str, label: Label | None) -> None:
    assert find_class_of_file(stem, KNOWN) == label
