"""Encodings of tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.tables import rows, table


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1250", "Łódź, żółw"), ("cp1251", "Синиця велика"), ("cp1253", "είδος αρχείο Καλόγερος"),
     ("cp1250", "Sýkora koňadra, Žluva hajní"), ("cp932", "シジュウカラ"), ("gb18030", "大山雀"), ("big5", "大山雀")],
)  # fmt: skip
def test_code_pages_are_detected_by_their_letters_and_reported(tmp_path: Path, encoding: str, name: str) -> None:
    parsed = table(tmp_path, f"path;name\na.wav;{name}\n".encode(encoding))
    assert rows(parsed) == [["a.wav", name]]
    assert encoding in parsed.notes.sentences()[0]


def test_lines_in_utf8_and_in_a_code_page_in_one_file(tmp_path: Path) -> None:
    parsed = table(tmp_path, "path,rec\na.wav,Jörg\n".encode() + "b.wav,Jörg\n".encode("cp1252"))
    assert rows(parsed) == [["a.wav", "Jörg"], ["b.wav", "Jörg"]]
    assert "1 of 3 lines read as code page cp1252 (as 'Jörg')" in parsed.notes.sentences()[0]
