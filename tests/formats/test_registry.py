"""Formats by name and by suffix."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import FormatError
from dawnchorus.formats.registry import read_annotations


def test_a_selection_table_without_a_column_of_names_is_refused_with_its_columns(tmp_path: Path) -> None:
    table = tmp_path / "a.txt"
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tCall Type\n"
    table.write_text(header + "1\t0\t1\tsong\n")
    with pytest.raises(FormatError, match=r"expected names of species in one of the columns .*'Call Type'"):
        read_annotations(table)
    table.write_text(header)
    assert read_annotations(table) == []
