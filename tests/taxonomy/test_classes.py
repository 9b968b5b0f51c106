"""Known classes."""

from __future__ import annotations

from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label


def test_a_known_name_is_found_in_another_unicode_form() -> None:
    known = KnownClasses([Label("Colibri", "Émeraude orvert")])
    assert known.find(Label("E\u0301meraude orvert", "")) is not None
    assert known.find(Label("", "")) is None
