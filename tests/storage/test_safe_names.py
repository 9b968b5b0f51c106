"""Names out of texts that others wrote."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.storage.safe_names import MAX_NAME_BYTES, safe_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((name, name) for name in ("Parus major", "XC1.wav", "Gelbspötter (Gesang)", "鳥.flac")),
        ("Corvus corone/cornix", "Corvus corone_cornix"),
        ("C:\\night\\x.wav", "C__night_x.wav"),
        ('a:b?c*"<>|\n\0', "a_b_c" + "_" * 7),
        *(("CON", "CON_"), ("con.wav", "con_.wav"), ("LPT1", "LPT1_"), ("..CON", "CON_")),
        *((text, "x") for text in ("...x", "x. ", " x", ".x")),
        *((text, "unnamed") for text in ("", ".", "..", "... ")),
        ("\udcff.wav", "_.wav"),
    ],
)
def test_what_a_name_cannot_have_is_replaced(text: str, expected: str) -> None:
    assert safe_name(text) == expected


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300), st.sampled_from([60, MAX_NAME_BYTES]))
def test_any_text_gives_a_name_of_one_file(text: str, max_bytes: int) -> None:
    name = safe_name(text, max_bytes=max_bytes)
    assert 0 < len(os.fsencode(name)) <= max_bytes + 1, "a reserved name gets a letter more"
    assert Path(name).name == PureWindowsPath(name).name == name
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert safe_name(name, max_bytes=max_bytes + 1) == name
