"""Identifiers and paths as spreadsheets change them."""

from __future__ import annotations

from dawnchorus.tables import exact_id, is_day, posix_path


def test_identifiers_keep_all_their_digits_or_none() -> None:
    texts = ("00123", "134874.0", "1.34874E+05", "5.88E+05", "XC12")
    assert [exact_id(text) for text in texts] == ["00123", "134874", "134874", None, "XC12"]
    assert [is_day(text) for text in ("2-Feb", "Mar-01", "01. Mrz", "gretit1", "asbfly")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_paths_of_windows() -> None:
    texts = (".\\a.wav", "..\\x\\a.wav", '"C:\\x\\a.wav"', "./a.wav", "x/a.wav")
    assert [posix_path(text) for text in texts] == ["a.wav", "../x/a.wav", "C:/x/a.wav", "a.wav", "x/a.wav"]
