"""Species' names in the names of folders and sound files, such as `Andean_Guan_sound` and `Andean Guan12`."""

from __future__ import annotations

import re

from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import OTHER_SOUNDS, Label, parse_label

_SOUND_SUFFIX = re.compile(r"(?<=.)_+sounds?$", re.IGNORECASE)
_NUMBERS_AT_END = re.compile(r"(?<=[^\W\d_])[ _()\d-]*\d\)?$")
_XENO_CANTO_DOWNLOAD = re.compile(r"XC\d+ - (?P<common>.+) - (?P<scientific>[A-Z][a-z-]+ [a-z-]+)(?: [a-z-]+)?")
_BINOMIAL = re.compile(r"[A-Z][a-z-]+ [a-z-]+( [a-z-]+)?")


def is_binomial(name: str) -> bool:
    """Return True if the name has the form of a scientific one: a genus and a species, with or without a subspecies."""
    return _BINOMIAL.fullmatch(name) is not None


def label_of_folder(name: str) -> Label:
    """Return the label in the name of a folder.

    `Parus major_Great Tit` has two names. Where there are no blanks, underscores stand for them: `Parus_major`,
    `Andean_Guan`. A `_sound` at the end is no part of the name.
    """
    text = _SOUND_SUFFIX.sub("", name).strip()
    is_other_sound = text.lower() in OTHER_SOUNDS or text.partition("_")[0].lower() in OTHER_SOUNDS
    if " " in text or is_other_sound:
        return parse_label(text)
    words = " ".join(text.replace("_", " ").split()) or text
    return Label(words, words)


def label_of_file(stem: str) -> Label:
    """Return the label in the name of a sound file without its suffix: as a folder's, with numbers at the end.

    Names as xeno-canto gives them to downloads, `XC123 - Great Tit - Parus major`, have two names.
    """
    download = _XENO_CANTO_DOWNLOAD.fullmatch(stem)
    if download:
        return Label(download["scientific"], download["common"])
    return label_of_folder(_NUMBERS_AT_END.sub("", stem))


def find_class_of_file(stem: str, known: KnownClasses) -> Label | None:
    """Return the known class that the name of a sound file, without its suffix, has in it; None if there is none."""
    return known.find(label_of_folder(stem)) or known.find(label_of_file(stem))
