"""Words that stand for no value."""

from __future__ import annotations

from dawnchorus.tables import is_blank


def test_words_for_no_value() -> None:
    assert all(map(is_blank, ("", " ", "-", "?", "??:??", "n/a", "NaN", "unknown", "xx:xx")))
    assert not any(map(is_blank, ("0", "a", "00:00", "no", "#####")))
