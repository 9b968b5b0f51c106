"""Checklists of species."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import FormatError
from dawnchorus.taxonomy.checklists import read_checklist
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, read_label


def test_codes_and_english_names_of_a_checklist(tmp_path: Path) -> None:
    path = tmp_path / "ebird_taxonomy_v2024.csv"
    path.write_text(
        "\ufeffTAXON_ORDER,CATEGORY,SPECIES_CODE,PRIMARY_COM_NAME,SCI_NAME\n"
        "1,species,amerob,American Robin,Turdus migratorius\n2,spuh,thrush1,thrush sp.,Turdus sp.\n",
        encoding="utf-8",
    )
    checklist = read_checklist(path)
    assert (checklist.edition, checklist.labels) == (path.name, (Label("Turdus migratorius", "American Robin"),))
    known = KnownClasses(checklist.labels, checklist.codes)
    for text in ("amerob", "american_robin"):
        assert read_label(text, known) == checklist.labels[0]
    assert read_label("thrush1", known) == Label("Turdus sp.", "thrush sp.")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="expected a column scientific_name or"):
        read_checklist(path)
