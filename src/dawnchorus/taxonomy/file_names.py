"""Parsing of labels in names of folders and audio files, such as `Andean_Guan_sound` and `Andean Guan12`."""

from __future__ import annotations

import re

from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, parse_label

_SOUND_SUFFIX = re.compile(r"(?<=.)_+sounds?$", re.IGNORECASE)
_RANKS = re.compile(r"(?:\d+_)?(?:Animalia|Plantae|Fungi|Chromista)(?:_[A-Z][a-z]+)+_(?P<species>[A-Z][a-z]+_[a-z-]+)")
"""Folder names of iNaturalist's data sets: a number, and all ranks from kingdom to species."""
_NUMBERS_AT_END = re.compile(r"(?<=[^\W\d_])[ _()\d-]*\d\)?$")
_XENO_CANTO_DOWNLOAD = re.compile(r"XC\d+ - (?P<common>.+) - (?P<scientific>[A-Z][a-z-]+ [a-z-]+)(?: [a-z-]+)?")


def parse_folder_label(name: str) -> Label:
    """Parse the label in a folder's name; a final `_sound`, and iNaturalist's ranks above the genus, are dropped.

    `Andean_Guan_sound` becomes "Andean Guan", and `04853_Animalia_Chordata_Aves_Passeriformes_Paridae_Parus_major`
    "Parus major". See `labels.parse_label` for the notations of labels.
    """
    if ranks := _RANKS.fullmatch(name):
        return parse_label(ranks["species"])
    return parse_label(_SOUND_SUFFIX.sub("", name))


def parse_file_label(stem: str) -> Label:
    """Parse the label in an audio file's name without suffix; final numbers, and then `_sound`, are dropped.

    `Andean Guan12` and `Andean_Guan_sound (3)` become "Andean Guan".

    From the name of a xeno-canto download, `XC123 - Great Tit - Parus major`, both names are read.
    """
    download = _XENO_CANTO_DOWNLOAD.fullmatch(stem)
    if download:
        return Label(download["scientific"], download["common"])
    return parse_folder_label(_NUMBERS_AT_END.sub("", stem))


def find_class_of_file(stem: str, known: KnownClasses) -> Label | None:
    """Return the class of `known` that an audio file's name (without suffix) has; None if there is no such class.

    The name is looked up with its final numbers first, then without them.
    """
    return known.find(parse_folder_label(stem)) or known.find(parse_file_label(stem))
