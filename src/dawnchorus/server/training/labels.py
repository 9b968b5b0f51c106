"""Labels of training data: conversion of the names in uploads and reviews to known or new classes."""

from __future__ import annotations

from dawnchorus.data.recordings import MISSING, UNREADABLE, RecordingRow
from dawnchorus.errors import InputError, UnknownClassError
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import parse_folder_label
from dawnchorus.taxonomy.labels import (
    Label,
    is_indeterminate,
    is_scientific,
    is_unnamed,
    label_text,
    name_key,
    parse_label,
    split_labels,
)

MAX_LABEL = 200
"""Maximum length of a label in bytes."""

NO_SPECIES = (
    "neither a folder, a csv nor the field 'species' names its species, and its own name is not that of a known "
    "species and a number, such as 'Great Tit12.mp3'"
)


def parse_species(text: str) -> Label:
    """Parse the label of one class in a form field, such as `Parus major_Great Tit` or `Great Tit`.

    A single name is set as the scientific and the common name; see `taxonomy.file_names.parse_folder_label`.

    Raises:
        InputError: the text is empty, longer than `MAX_LABEL` bytes or no name, or means an absent species (it starts
            with "-").
    """
    name = " ".join(text.split())
    is_too_long = len(name.encode("utf-8", "surrogatepass")) > MAX_LABEL
    if is_too_long or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name) or is_unnamed(name):
        raise InputError(f"species: expected a name such as Parus major_Great Tit, got {name[:80]!r}.")
    if name.startswith("-"):
        raise InputError(
            f"species: expected the species that is there, got {name[:80]!r}. Recordings without a species go into a "
            f"folder of this name."
        )
    return parse_folder_label(name)


def resolve_class(given: Label, known: KnownClasses, *, is_new: bool) -> Label:
    """Return the known class that `given` names (see `KnownClasses.find`), or else `given` as a new class.

    Args:
        given: label from a client.
        known: known classes, to which a new class is added.
        is_new: True if `given` may be a new class; False to accept known classes only.

    Raises:
        UnknownClassError: `given` is no known class and `is_new` is False; the message names similar classes.
        InputError: `given` names several species, or `is_new` is True and `given` leaves open which species it is
            (such as `Strix aluco?`).
    """
    label = known.find(given)
    if label is not None and _is_same(label, given):
        return label
    parts = [parse_label(part) for part in split_labels(given.scientific_name)]
    if len(parts) > 1 and all(is_scientific(each.scientific_name) or known.find(each) for each in parts):
        raise InputError(f"species: expected the name of one species, got several: {given.scientific_name[:80]!r}.")
    if not is_new:
        raise UnknownClassError(
            f"{known.question(given)} Correct the name, or confirm that it is a new class (new_class=yes).",
            suggestions=tuple(map(label_text, known.near(given))),
        )
    if is_indeterminate(given.scientific_name):
        raise InputError(f"species: expected the name of one species, got {given.scientific_name[:80]!r}.")
    known.add(given)
    return given


def _is_same(label: Label, given: Label) -> bool:
    """Return True if `given` names the class `label`, or does not leave open which species it is."""
    names = map(name_key, (label.scientific_name, label.common_name))
    return not is_indeterminate(given.scientific_name) or name_key(given.scientific_name) in names


def resolve_label(row: RecordingRow, known: KnownClasses, *, is_new: bool) -> tuple[Label | None, Label | None]:
    """Return the class of a recording's species, and the class of a species that is absent from the recording.

    The result is (class, None) if the species is known, (None, class) if the label only says that a species is absent,
    and (None, None) for a recording without birds.

    Args:
        row: row of the recording in the recordings table.
        known: known classes, to which a new class is added.
        is_new: True if the present or absent species may be a new class; False to accept known classes only.

    Raises:
        UnknownClassError: the present or the absent species is no known class, and `is_new` is False.
        InputError: the recording cannot be used for training: it cannot be opened, is empty, or has no label, an
            invalid label or labels of several species.
    """
    unopened = [problem for problem in row.problems if problem in (MISSING, UNREADABLE)]
    if unopened:
        raise InputError(f"it is {unopened[0]}: it cannot be opened as audio")
    if row.duration_s == 0:
        raise InputError("it contains no audio")
    if row.secondary:
        raise InputError("it has several species: send a recording of one, or review its detections")
    if row.scientific_name is not None:
        return resolve_class(_check_label(row.scientific_name, row.common_name), known, is_new=is_new), None
    if row.kind != "background":
        raise InputError(NO_SPECIES)
    return None, resolve_class(_check_label(row.absent[0], None), known, is_new=is_new) if row.absent else None


def _check_label(scientific_name: str, common_name: str | None) -> Label:
    """Return the label of the names in a row.

    Raises:
        InputError: a name is empty, too long, or has control characters or surrogates.
    """
    for name in filter(None, (scientific_name, common_name)):
        parse_species(name)
    return Label(scientific_name, common_name or scientific_name)
