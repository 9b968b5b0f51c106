"""Doubts about labels."""

from __future__ import annotations

from tests.fixtures.labels import KNOWN, row

from dawnchorus.data.label_check import find_label_doubts, near_names


def test_doubts_about_labels_are_named() -> None:
    rows = [
        row("a", "Parus major"), row("b", "parus major"), row("c", "Parus majr"), row("d", "site call 1"),
        row("e", "site call 2"), row("f", None, ""),
    ]  # fmt: skip
    doubts = list(find_label_doubts(rows, KNOWN, sources=["a list"]))
    assert doubts == [
        "recordings or marks without a name: 1. They are not trained on: name them, or drop them.",
        "several classes whose names differ only in case, spaces or Unicode form: 'Parus major' (1) and "
        "'parus major' (1). Import them again: `dawnchorus data import` makes them one.",
        "names that differ in one letter: 'Parus major' (1) and 'Parus majr' (1). Correct them if they are one "
        "species.",
        "not in a list: 'Parus majr' (did you mean Parus major?); 'site call 1'; 'site call 2'. They are trained as "
        "classes of your own.",
    ]
    assert not list(find_label_doubts([row("a", "Parus major")], KNOWN, sources=["a list"]))


def test_near_names_are_found_among_thousands() -> None:
    names = [f"genus{k:05d} species{k * 7919 % 9973:05d}" for k in range(5000)]
    assert near_names([*names, "turdus merula", "turdus meurla", "turdus merulla"]) == [
        ("turdus merula", "turdus merulla"),
        ("turdus merula", "turdus meurla"),
    ]
