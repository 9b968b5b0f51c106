"""Lists of classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.logs import logged

from dawnchorus.errors import (
    FormatError,
    InputError,
)
from dawnchorus.models.class_lists import read_classes

CLASSES = ["Avis a", "Avis b", "Avis c"]
LISTS: dict[str, tuple[str, list[str] | str]] = {
    "x.txt": ("Avis a\nAvis b\nAvis c\n\n", CLASSES),
    "numbered.txt": ("2 Avis c\n0 Avis a\n1 Avis b\n", CLASSES),
    "from one.txt": ("1: Avis a\n2: Avis b\n3: Avis c\n", CLASSES),
    "semicolons.csv": ("idx;sci_name;com_name\n1;Avis b;B\n0;Avis a;A\n2;Avis c;C\n", CLASSES),
    "tabs.tsv": ("label\tid\nAvis b\t2\nAvis a\t1\nAvis c\t3\n", CLASSES),
    "blank.txt": ("Avis a\n\nAvis c\n", "line 2: expected a name for each class, found none"),
    "blank.csv": ("index,name\n0,Avis a\n1,\n", "line 3: expected a name for each class, found none"),
    "doubled.txt": ("Avis a\nAvis b\navis  A_Same\n", "lines 1 and 3: expected each class once, found 'Avis a' and"),
    "by both names.txt": ("Great Tit\nAvis b\nParus major_Great Tit\n", "lines 1 and 3: expected each class once"),
    "twice.csv": ("index,name\n1,Avis a\n0,Avis a\n", "lines 2 and 3: expected each class once"),
    "gap.txt": ("0 Avis a\n2 Avis c\n", "expected the numbers 0 to 1"),
    "behind.txt": ("Avis c 2\nAvis a 0\nAvis b\t1\n", CLASSES),
    "behind from one.txt": ("Avis c: 3\nAvis a: 1\nAvis b: 2\n", CLASSES),
    "behind doubled.txt": ("Great Tit 0\nBlue Tit 0\nRobin 2\n", "expected the numbers 0 to 2"),
    "some behind.txt": ("Great Tit 0\nBlue Tit\nRobin 2\n", "on 2 of 3 lines, as 'Great Tit 0' .* 'Blue Tit' .line 2"),
    "some.txt": ("2 Robin\nBlue Tit\n0 Great Tit\n", "on 2 of 3 lines, as '2 Robin' .line 1., and none in 'Blue Tit'"),
    "one of many.txt": ("Avis a\nAvis b\n9 Parus major\nAvis d\n", "on 1 of 4 lines, as '9 Parus major'"),
    "bars.txt": ("2|Avis c\n0|Avis a\n1|Avis b\n", CLASSES),
    "brackets.txt": ("[2] Avis c\n[0] Avis a\n[1] Avis b\n", CLASSES),
    "brackets behind.txt": ("Avis c (2)\nAvis a (0)\nAvis b (1)\n", CLASSES),
    "dictionary.txt": ("2: 'Avis c',\n0: 'Avis a',\n1: 'Avis b'\n", CLASSES),
    "quotes.txt": ('"Avis a",\n"Avis b",\n"Avis c"\n', CLASSES),
    "json.txt": ('[\n"Avis a",\n"Avis b"\n]\n', "line 1: expected one class in a line, and nothing else; found '\\['"),
    "python.txt": ("['Avis a', 'Avis b']\n", "line 1: expected one class in a line, and nothing else"),
    "map.pbtxt": ('item {\n id: 1\n name: "Avis a"\n}\n', "line 1: .* found 'item {'"),
    "yolo.txt": ("names:\n  0: Avis a\n  1: Avis b\n", "none in 'names:' .line 1"),
    "tabs.txt": ("Avis a\tA Bird\nAvis b\tB Bird\n", "found '.{1,2}t' in each, as in .* A table needs a header"),
    "header.txt": ("index,name\n1,Avis b\n0,Avis a\n", "none in 'index,name' .line 1.* ends in .csv"),
    "own numbers.txt": (
        "song 1\nsong 2\n2 stroke engine\nwind\nrain\n",
        ["song 1", "song 2", "2 stroke engine", "wind", "rain"],
    ),
    "points.txt": ("2. Avis c\n0. Avis a\n1. Avis b\n", CLASSES),
    "floats.csv": ("index,name\n1.0,Avis b\n0.0,Avis a\n2.0,Avis c\n", CLASSES),
    "other.csv": (
        "class_id,name\n1,Avis b\n0,Avis a\n",
        "'class_id' counts the classes in another order than the rows",
    ),
    "pandas.csv": (",name\n1,Avis b\n0,Avis a\n", "column '' counts the classes in another order than the rows"),
    "contradicting.csv": (
        "index,id,name\n0,1,Avis a\n1,0,Avis b\n",
        "'id' counts the classes in another order than the index",
    ),
    "x.json": ("{}", "expected a text file or a csv of labels, found .json"),
}


def test_classes_that_are_no_species_are_named_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "Avis a\nunknown bird\nAvis b, Avis c\nParus sp.\nnoise\nAvis d (Linnaeus, 1758)\nA a_One\nB b_One\n"
    )
    with logged() as notes:
        kinds = [label.kind for label in read_classes(path)]
    assert kinds == ["species", *["sound"] * 4, *["species"] * 3]
    (note,) = notes
    assert note.endswith(
        "4 of 8 classes are not one species, and are never counted as species: unknown bird, "
        "Avis b, Avis c, Parus sp., noise."
    )


@pytest.mark.parametrize("name", list(LISTS))
def test_lists_of_classes_are_read_in_order_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    text, expected = LISTS[name]
    path.write_text(text)
    if isinstance(expected, str):
        with pytest.raises((FormatError, InputError), match=expected):
            read_classes(path)
    else:
        with logged() as notes:
            assert [label.scientific_name for label in read_classes(path)] == expected
        assert len(notes) == (name in ("from one.txt", "behind from one.txt", "tabs.tsv"))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("species", "line 1: .* a header, 'species'. Leave the line out, or"),
        ("# BirdNET 2.4", "line 1: .* a remark, '# B"),
    ],
)
def test_headers_and_remarks_of_label_lists_are_refused(first: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"{first}\nParus major\nTurdus merula\n", encoding="utf-8")
    with pytest.raises(FormatError, match=words):
        read_classes(path)


def test_labels_of_csv_files(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("index,display_name\n0,Speech\n1,Bird\n")
    assert [label.scientific_name for label in read_classes(tmp_path / "x.csv", kind="sound")] == ["Speech", "Bird"]
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected one of the columns"):
        read_classes(tmp_path / "x.csv")


@pytest.mark.parametrize("column", ["index", "idx", "ID"])
def test_labels_of_a_csv_are_in_the_order_of_its_indices(tmp_path: Path, column: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"{column},scientific_name\n2,Parus major_Great Tit\n0,unknown\n1,Strix aluco_male\n")
    assert [label.scientific_name for label in read_classes(table)] == ["unknown", "Strix aluco (male)", "Parus major"]


@pytest.mark.parametrize("values", ["2 3 4", "0 1 1", "0 1 3", "0 x 2"])
def test_indices_that_are_not_0_1_2_are_refused(tmp_path: Path, values: str) -> None:
    table = tmp_path / "labels.csv"
    rows = zip(values.split(), ("Avis a", "Avis b", "Avis c"), strict=True)
    table.write_text("index,scientific_name\n" + "".join(f"{index},{name}\n" for index, name in rows))
    with pytest.raises(
        FormatError, match=r"expected the numbers 0 to 2 \(or 1 to 3\) in 'index', each once, .* Correct"
    ):
        read_classes(table)


def test_ids_that_are_no_numbers_are_no_order_and_each_class_needs_a_name(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,scientific_name\n/m/b,Avis b\n/m/a,Avis a\n")
    assert [label.scientific_name for label in read_classes(table)] == ["Avis b", "Avis a"]
    table.write_text("id,scientific_name\n/m/b,Avis b\n/m/a,\n")
    with pytest.raises(FormatError, match="line 3: expected a name for each class, found none"):
        read_classes(table)
