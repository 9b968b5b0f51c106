r"""Escaping of class names in text tables, so that each name is read as it was written.

Some tables have one field for a class, with its scientific name, its common name, or both. `read_class` splits a text
such as `Parus major_Great Tit` into both names. A single name that looks like a pair is written after a backslash, and
an underscore in the scientific name of a pair as well.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dawnchorus.taxonomy.labels import Label, kind_of, parse_label

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LINE_ENDS = re.compile(r"\r\n|\n|\r")
_AS_WRITTEN = "\\"
_PAIR = re.compile(r"(?P<scientific>(?:[^\\_]|\\.)*)_(?P<common>.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\_])")


def one_line(text: str) -> str:
    """Return the text with each run of tabs, line breaks and other control characters replaced by a space.

    In a table these characters would separate fields and rows, or be invalid.
    """
    return _BREAKS.sub(" ", text)


def split_lines(text: str) -> list[str]:
    r"""Split a file's text at `\n`, `\r\n` and `\r` alone, since other separators, such as U+2028, may be in names.

    A line end at the end of the text adds no line.
    """
    lines = _LINE_ENDS.split(text)
    return lines[:-1] if lines[-1] == "" else lines


def join_names(scientific_name: str, common_name: str) -> str:
    r"""Return both names of a class as BirdNET writes them: `Genus species_Common Name`.

    An underscore or backslash in the scientific name gets a backslash before it.
    """
    escaped = scientific_name.replace("\\", "\\\\").replace("_", "\\_")
    return one_line(f"{escaped}_{common_name}")


def split_names(text: str) -> Label:
    """Return the class of a text that `join_names` wrote, split at the first underscore without a backslash before it.

    A text without such an underscore is used as both names, and so is a scientific name without a common name.
    """
    pair = _PAIR.fullmatch(text)
    scientific_name, common_name = (pair["scientific"], pair["common"]) if pair else (text, "")
    scientific_name = _ESCAPED.sub(r"\1", scientific_name)
    return Label(scientific_name, common_name or scientific_name, kind_of(scientific_name))


@lru_cache(1 << 14)
def write_class(name: str) -> str:
    """Return a class that has a single name as text for `read_class`.

    A backslash is put before a name that would be read differently, such as the single name `Parus major_Great Tit`.
    """
    is_plain = read_class(name).scientific_name == read_class(name).common_name == name
    return name if is_plain else _AS_WRITTEN + name


def read_class(text: str) -> Label:
    """Return the class that a table's field names: a single name after a backslash, else what `parse_label` reads.

    `Parus major_Great Tit` gives two names, but with a backslash before it one name with an underscore. A single name
    is used as both the scientific and the common name.
    """
    if text.startswith(_AS_WRITTEN):
        return _class_of_one(text.removeprefix(_AS_WRITTEN))
    label = parse_label(text)
    return label if label.common_name != label.scientific_name else _class_of_one(text)


def _class_of_one(name: str) -> Label:
    return Label(name, name, kind_of(name))
