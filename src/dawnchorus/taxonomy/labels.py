"""Labels (the classes of a model): parsing of texts, and reading and writing of label files."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from dawnchorus.errors import FormatError
from dawnchorus.tables.text_files import csv_records
from dawnchorus.taxonomy.reviews import split_review

Kind = Literal["species", "sound"]
"""A class is a species, or another sound (an engine, a human voice, rain)."""

OTHER_SOUNDS = frozenset(
    name.lower()
    for name in (
        *("Dog", "Engine", "Environmental", "Fireworks", "Gun", "Human non-vocal", "Human vocal", "Human whistle"),
        *("Noise", "Power tools", "Siren", "Other", "Background", "Silence", "nocall", "no_call", "no-call"),
        *("No bird", "No birds", "No birds heard", "No detection", "No detections", "Nothing"),
    )
)
"""Class names that are no species, in lower case: BirdNET's, and usual folders of background recordings."""

KINDS: dict[str, Kind] = {"species": "species", "sound": "sound"}
"""Valid values of the column `kind` in label files."""

_COLUMNS = ("scientific_name", "common_name", "kind")

_UNNAMED = frozenset(
    (
        *("unknown", "unknown bird", "unknown species", "unidentified", "unidentified bird", "unid", "unk", "unsure"),
        *("not identified", "to be identified", "tbd", "indet", "indet.", "sp", "sp.", "spp", "spp.", "bird sp."),
        *("mystery mystery", "identity unknown", "species unknown", "soundscape", "sonus naturalis"),
        *("nan", "n/a", "na", "none", "null", "unbekannt", "inconnu", "desconocido", "onbekend"),
    )
)
"""Texts that stand for an unknown name, normalized by `name_key`."""

_BELOW_SPECIES = frozenset(
    (
        *("male", "female", "males", "females", "adult", "adults", "juvenile", "juveniles", "immature", "subadult"),
        *("ad", "juv", "imm", "nestling", "nestlings", "chick", "chicks", "fledgling", "individual", "ind", "pair"),
        *("song", "songs", "subsong", "call", "calls", "alarm", "flight", "contact", "begging", "drumming", "duet"),
        *("dawn", "day", "night", "nocturnal", "nfc", "territorial", "mating", "courtship", "distress", "type"),
    )
)
"""Words for sexes, ages and call types at the end of a label, `Strix aluco male`: a class below the species."""

_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))

_BINOMIAL = re.compile(r"[A-Z][a-z-]+ [a-z-]+( [a-z-]+)?")
_IN_BRACKETS = re.compile(r"(?P<before>.+?) ?\((?P<inside>[^()]+)\)")
_AUTHOR = r"(?:(?:d[aeiou]s?|d[eu]l|del?la|la|le|v[ao]n|de[nr]|zu|d') ?)*[A-Z\u00c0-\u00de\u0100-\u017f][^\d()_]*"
_AUTHORITY = re.compile(
    rf"(?P<name>[A-Z][a-z-]+ [a-z-]+(?: [a-z-]+)?),? (?:\({_AUTHOR}[, ] ?\d{{4}}\)|{_AUTHOR}, ?\d{{4}}|\(?L\.\)?)"
    r"(?P<rest>(?: .*)?)"
)
"""A scientific name (`name`) with its author and year, and the text after these (`rest`)."""
_LIST_SEPARATOR = re.compile(r"[,;|](?![^(]*\))(?!\s*\d{4}\b)")
"""Separators in a list of labels: not in brackets, and not before the year of an author's name."""
_JOINED = re.compile(r"\s*[+&]\s*|\s+(?:and|und|et|y|en|og|och)\s+")
"""Words and signs that may separate two species, but also occur in the name of one species."""
_INDETERMINATE = re.compile(
    r"""
    (?<=\w\ )spp?(?!\w|\.?\ ?\d)                    # Parus sp.; but Parus sp. 2 is a class of somebody's own
    | (?:^|(?<=\ ))(?:cf|aff)\b\.?(?=\ )             # Parus cf. major
    | (?<=\w\ )(?:(?:indet|unid)\b|spec\.|agg\b)
    | ^[A-Z](?=.*\ ).*[^\W\d_]{3}\ ?/\ ?[^\W\d_]{3}    # Parus major/minor, Greater/Lesser Scaup
    | ^[A-Z].*[a-z.]\ [x\u00d7]\ [A-Za-z]            # Anas platyrhynchos x acuta
    | \?                                            # Parus major?, Great Tit (?)
    | ^(?i:poss(?:ibl[ey])?|prob(?:abl[ey])?|maybe|unidentified|unid)\b\.?\ (?=\w)    # probable Great Tit
    | ^[A-Z].*\w\ or\ [A-Z]                         # Great Tit or Blue Tit
    """,
    re.VERBOSE,
)
"""Names that may be of more than one species."""
_NUMBER_BEFORE = re.compile(r"(?P<number>\d+)(?P<separator>[.)]?[\s_-]*)(?P<name>[^\W\d_].*)", re.DOTALL)
_LISTED_NAME = re.compile(r"[^\W\d_]{2,}(?:[\s_'\u2019-]+[^\W\d_]{2,})+")


@dataclass(frozen=True)
class Label:
    """One class of a model.

    Attributes:
        scientific_name: for example "Parus major".
        common_name: for example "Great Tit"; a class with a single name has it in both fields.
        kind: "species", or "sound" (an engine, a human voice).
    """

    scientific_name: str
    common_name: str
    kind: Kind = "species"


class Names(Protocol):
    """Protocol of a lookup of classes by name, such as `classes.KnownClasses`."""

    def find(self, query: Label, /) -> Label | None:
        """Return the class that `query` names; None if there is none, or its two names are of different classes.

        A query with a single name has this name in both fields.
        """


def name_key(name: str) -> str:
    """Normalize a name for comparison: case-folded, underscores as spaces, single spaces, Unicode NFKC.

    Invisible characters (soft hyphens, zero-width spaces and joiners, byte order marks) are removed.
    """
    if not name.isascii():  # else both steps change nothing, and take most of the time
        name = unicodedata.normalize("NFKC", name).translate(_INVISIBLE).translate(_JOINERS)
    return " ".join(name.replace("_", " ").casefold().split())


_SOUND_KEYS = frozenset(map(name_key, OTHER_SOUNDS))


def kind_of(name: str) -> Kind:
    """Return the kind of a class by its name: "sound" for names such as `Dog`, `Dog (bark)` or `Noise`, else "species".

    `OTHER_SOUNDS` lists the names of sounds. Case, and an addition in brackets at the end, do not matter.
    """
    below = _IN_BRACKETS.fullmatch(name)
    names = (name, name if below is None else below["before"])
    return "sound" if any(name_key(each) in _SOUND_KEYS for each in names) else "species"


def is_binomial(name: str) -> bool:
    """Return True if the name looks like a scientific name: two or three words, only the first one capitalized.

    `Parus major` and `Parus major minor` do, `Great Tit` and `parus major` do not; `Great tit` does as well.
    """
    return _BINOMIAL.fullmatch(name) is not None


def is_scientific(name: str) -> bool:
    """Return True if the name looks like a scientific name, also with an addition as in `Strix aluco (male)`."""
    below = _IN_BRACKETS.fullmatch(name)
    return is_binomial(name if below is None else below["before"])


def names_no_species(label: Label) -> bool:
    """Return True if the label says that there is no species: blank, `none`, or of the kind "sound" (`nocall`)."""
    name = label.scientific_name
    return not name.strip() or name_key(name) == "none" or label.kind == "sound"


def is_unnamed(text: str) -> bool:
    """Return True for texts that name no class: without letters and digits (`?`), or a word such as `unknown`.

    Other such words are `none`, `unidentified`, `sp.`, `n/a` and `soundscape`. The whole text must be the word,
    in upper or lower case.
    """
    return not any(character.isalnum() for character in text) or name_key(text) in _UNNAMED


def is_indeterminate(text: str) -> bool:
    """Return True for names that are not of one certain species, in one of these forms.

    `Parus sp.` or `Parus spp` (but not `Parus` alone, nor a numbered `Parus sp. 2`), `Parus cf. major`,
    `Parus major/minor`, `Great Tit or Blue Tit`, `probable Great Tit`, a hybrid (`Anas platyrhynchos x acuta`), a name
    with a question mark, and a name with a negative or undecided review (`Parus major_negative`).
    """
    review = split_review(text)
    if review is not None and review[1] != "present":
        return True
    return _INDETERMINATE.search(" ".join(text.replace("_", " ").split())) is not None


def split_labels(text: str, names: Names | None = None) -> list[str]:
    """Split a list of labels at commas, semicolons or bars, except in brackets and before a year; [] if it is blank.

    With `names` (the known classes), also split `Great Tit + Blackbird`, `A & B` and `A and B`, unless the whole text
    is a known class, or one of the parts is neither a known class nor looks like a scientific name.
    """
    labels = [label for part in _LIST_SEPARATOR.split(text) if (label := part.strip())]
    return labels if names is None else [species for label in labels for species in _split_joined(label, names)]


def _split_joined(label: str, names: Names) -> list[str]:
    parts = [part.strip() for part in _JOINED.split(label)]
    if len(parts) == 1 or names.find(Label(label, label)) is not None:
        return [label]
    species = [is_binomial(part) or names.find(parse_label(part)) is not None for part in parts]
    return parts if all(species) else [label]


def names_one_species(text: str) -> bool:
    """Return True if the text is a single label of a certain class: not unknown, indeterminate or a list."""
    return not (is_unnamed(text) or is_indeterminate(text)) and len(split_labels(text)) == 1


def find_duplicate_class(labels: Sequence[Label]) -> tuple[int, int] | None:
    """Return the indices, the lower first, of two labels that are the same class; None if all classes differ.

    Two labels are the same class if they have the same scientific name, or if one of them has a single name that is the
    common name of the other: `Great Tit` and `Parus major_Great Tit`. Two species may share a common name.
    """
    by_name: dict[str, int] = {}
    for index, label in enumerate(labels):
        other = by_name.setdefault(name_key(label.scientific_name), index)
        if other != index:
            return other, index
    for index, label in enumerate(labels):
        other = by_name.get(name_key(label.common_name), index)
        other_label = labels[other]
        if other != index and name_key(other_label.common_name) == name_key(other_label.scientific_name):
            return min(other, index), max(other, index)
    return None


def label_text(label: Label) -> str:
    """Format a label as BirdNET does, `Genus species_Common Name`; without a common name, the scientific name alone."""
    if label.common_name in ("", label.scientific_name):
        return label.scientific_name
    return f"{label.scientific_name}_{label.common_name}"


def read_label(text: str, names: Names | None = None) -> Label | None:
    """Parse a label; None if it names no class, or no certain species.

    A label is a scientific name, `Genus species_Common Name`, a common name, an eBird code, or any other name of a
    class. Additions (`_male`, `_song`, a third part) make a class below the species, `Strix aluco (male)`. The outcome
    of a review may follow: `Strix aluco_confirmed` is the species, `Strix aluco_negative` is None. In a text without
    spaces, underscores stand for spaces.

    `Parus sp.` and other texts that `is_indeterminate` recognizes are None unless they are a known class. The names of
    two known species, `Parus major_Tawny Owl`, are None; without `names` they are not recognized.

    Args:
        text: the label as written.
        names: known classes; they complete common names and codes, and decide the spelling. None: nothing is known.
    """
    clean = _clean(text)
    if is_unnamed(clean):
        return None
    label = _read(clean, names)
    if names is not None and has_two_species(label, names):
        return None
    return None if is_indeterminate(clean) and not _is_known(clean, label, names) else label


def has_two_species(label: Label, names: Names) -> bool:
    """Return True if scientific and common name belong to two known classes with different scientific names.

    False if one of the two names is unknown, if the label has a single name, if the class of the scientific name has
    this common name, or if the other class has only a common name.
    """
    if label.common_name in ("", label.scientific_name):
        return False
    first = names.find(Label(label.scientific_name, label.scientific_name))
    second = names.find(Label(label.common_name, label.common_name))
    if first is None or second is None or name_key(first.common_name) == name_key(label.common_name):
        return False
    return is_scientific(second.scientific_name) and name_key(first.scientific_name) != name_key(second.scientific_name)


def _is_known(text: str, label: Label, names: Names | None) -> bool:
    """Return True if `names` has the label; a question mark in the text must be part of the known name."""
    known = None if names is None else names.find(label)
    return known is not None and ("?" not in text or "?" in known.scientific_name + known.common_name)


def _clean(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).translate(_INVISIBLE).split())


def _read(clean: str, names: Names | None) -> Label:
    review = split_review(clean)
    if review is not None and (names is None or names.find(Label(clean, clean)) is None):
        name, outcome = review
        return _read(name, names) if outcome == "present" else Label(clean, clean)
    return _read_numbered(clean, names) or _read_sound(clean) or _read_name(clean, names)


def complete_label(label: Label, names: Names) -> Label:
    """Return the label with names and kind of its class in `names`; unchanged if the class is not found.

    The class is looked up by the label's `scientific_name`, which may hold a common name. A different `common_name` of
    the label stays. If there is no such class, but one of the name before brackets, the result has that class's names,
    each with the brackets: `Tawny Owl (male)` becomes `Strix aluco (male)`; the label's `common_name` is then dropped.
    """
    known = names.find(Label(label.scientific_name, label.scientific_name))
    if known is not None:
        is_given = label.common_name not in ("", label.scientific_name)
        return replace(known, common_name=label.common_name) if is_given else known
    below = _IN_BRACKETS.fullmatch(label.scientific_name)
    species = None if below is None else names.find(Label(below["before"], below["before"]))
    if below is None or species is None:
        return label
    return _below(species, below["inside"])


def with_common_name(label: Label, common_name: str) -> Label:
    """Return the label with another common name; `Strix aluco (male)` with "Tawny Owl" gets "Tawny Owl (male)"."""
    below = _IN_BRACKETS.fullmatch(label.scientific_name)
    is_species = below is not None and _IN_BRACKETS.fullmatch(common_name) is None
    return replace(label, common_name=f"{common_name} ({below['inside']})" if below and is_species else common_name)


def _read_numbered(text: str, names: Names | None) -> Label | None:
    """Return the label after a list number, `01_Parus_major`; None if there is no number, or it is part of the name."""
    match = _NUMBER_BEFORE.fullmatch(text)
    if match is None or not match["separator"]:
        return None
    label = read_label(match["name"], names)
    if label is None:
        return None
    is_known = names is not None and names.find(label) is not None
    is_long = match["number"].startswith("0") or (len(match["number"]) > 2 and match["separator"].startswith("."))
    is_listed = is_long and _LISTED_NAME.fullmatch(match["name"]) is not None
    return label if is_known or is_listed or is_binomial(label.scientific_name) else None


def _read_sound(text: str) -> Label | None:
    """Return the label of a sound that is no species, `Engine_Engine`, `Noise`, `dog_bark`; None for other texts."""
    if kind_of(text) == "sound":
        return Label(text, text, "sound")
    first, *others = [" ".join(part.split()) for part in text.split("_") if part.strip()]
    second = " ".join(others)
    if name_key(first) not in _SOUND_KEYS:
        return None
    sound = Label(first, first, "sound")
    return sound if name_key(second) in ("", name_key(first)) else _below(sound, second)


def _read_name(text: str, names: Names | None) -> Label:
    parts = [part.strip() for part in text.split("_") if part.strip()] if " " in text else [text]
    if len(parts) == 1 and text.count(" - ") == 1:
        halves = text.split(" - ")
        parts = halves if sum(map(is_binomial, halves)) == 1 else parts
    first, *others = parts
    if not others:
        return _read_one_name(" ".join(first.replace("_", " ").split()) or first, names)
    if " " not in first:  # an underscore stands for a blank: great_tit 2
        return _read_one_name(" ".join(parts), names)
    if is_binomial(others[0]) and not is_binomial(first):
        first, others[0] = others[0], first
    below: list[str] = []
    while others and _is_below_species(others[-1]):
        below.insert(0, others.pop())
    if any(" " in part for part in others):
        others, below = others[:1], others[1:] + below
    common = " ".join(others)
    if not common or name_key(common) == name_key(first):
        species = _read_one_name(first, names)
    else:
        species = _read_two_names(first, common, names)
    return _below(species, " ".join(below)) if below else species


def _read_two_names(scientific: str, common: str, names: Names | None) -> Label:
    label = Label(_without_authority(scientific), common)
    return label if names is None else complete_label(label, names)


def _read_one_name(name: str, names: Names | None) -> Label:
    name = _without_authority(name)
    known = None if names is None else names.find(Label(name, name))
    if known is not None:
        return known
    brackets = _IN_BRACKETS.fullmatch(name)
    if brackets is not None:
        before, inside = brackets["before"], brackets["inside"]
        if is_binomial(inside):
            return _read_two_names(inside, before, names)
        if is_binomial(before) and inside[0].isupper() and " " in inside and not _is_below_species(inside):
            return _read_two_names(before, inside, names)
        species = None if names is None else names.find(Label(before, before))
        return Label(name, name) if species is None else _below(species, inside)
    words = name.split()
    n_below = next((n for n, word in enumerate(reversed(words)) if not _is_below_species(word)), len(words))
    for n in range(n_below, 0, -1):
        before, below = " ".join(words[:-n]), " ".join(words[-n:])
        species = None if names is None else names.find(Label(before, before))
        if species is None and is_binomial(before):
            species = Label(before, before)
        if species is not None:
            return _below(species, below)
    return Label(name, name)


def _below(species: Label, name: str) -> Label:
    """Return the class below a species: `Strix aluco` with "male" becomes `Strix aluco (male)`."""
    return replace(
        species, scientific_name=f"{species.scientific_name} ({name})", common_name=f"{species.common_name} ({name})"
    )


def _is_below_species(text: str) -> bool:
    """Return True if all words are sexes, ages, call types, single letters or contain digits."""
    words = text.casefold().replace("-", " ").split()
    return all(word in _BELOW_SPECIES or len(word) == 1 or any(map(str.isdigit, word)) for word in words)


def _without_authority(name: str) -> str:
    """Remove the author and year from a scientific name: `Parus major (Linnaeus, 1758)`."""
    match = _AUTHORITY.fullmatch(name)
    return match["name"] + match["rest"] if match else name


def read_label_lines(path: Path) -> tuple[Label, ...]:
    """Read a model's labels from a text file, one `Genus species_Common Name` per line, in the order of its outputs.

    Blank lines are skipped. A class that stands in two lines is returned twice.

    Raises:
        FormatError: the file is not UTF-8 text, or has no labels.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"expected UTF-8 text, one label in a line ({error}).", subject=path) from error
    labels = tuple(parse_label(line) for line in lines if line.strip())
    if not labels:
        raise FormatError("expected one label in a line, found none.", subject=path)
    return labels


def parse_label(text: str) -> Label:
    """Parse a label as `read_label` does without known classes, but return a label for every text.

    A text that names no class, or ends in a negative or undecided review (`Strix aluco_negative`), is both names of its
    label.
    """
    clean = _clean(text)
    return Label(text.strip(), text.strip()) if is_unnamed(clean) else _read(clean, None)


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read the labels of a bundle's `labels.csv`, in the order of the model's outputs.

    Raises:
        FormatError: the file is not UTF-8 text, has other columns than scientific_name, common_name and kind, a kind
            other than "species" and "sound", no rows, or two rows of the same class (`find_duplicate_class`).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"expected UTF-8 text ({error}).", subject=path) from error
    columns, rows = csv_records(path, text)
    if tuple(columns) != _COLUMNS:
        raise FormatError(f"expected the columns {_COLUMNS}, found {columns}.", subject=path)
    labels = []
    for number, row in enumerate(rows, start=2):
        kind = KINDS.get(row["kind"])
        if kind is None:
            raise FormatError(
                f"line {number}: expected kind to be one of {tuple(KINDS)}, found {row['kind']!r}.", subject=path
            )
        labels.append(Label(row["scientific_name"], row["common_name"], kind))
    if not labels:
        raise FormatError("expected one row per class, found none.", subject=path)
    if (duplicate := find_duplicate_class(labels)) is not None:
        first, second = (label_text(labels[index]) for index in duplicate)
        raise FormatError(
            f"line {duplicate[1] + 2}: expected each class once, found a second {second!r} (line {duplicate[0] + 2}: "
            f"{first!r}), whose scores could not be distinguished from those of the first. Give the two names that "
            f"differ (as {labels[duplicate[1]].scientific_name + ' song'!r}); the order of the lines stays.",
            subject=path,
        )
    return tuple(labels)


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    """Write a bundle's `labels.csv`; `labels` are in the order of the model's outputs, and so are the rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_COLUMNS)
        rows.writerows((label.scientific_name, label.common_name, label.kind) for label in labels)
