r"""Names of classes in tables with one field for them, or without quotes: what is written is read back as it is.

`read_class` takes a name apart where it plainly has both names, as `Parus major_Great Tit`. A name of ours that only
looks so is written behind a backslash, and so is an underscore in the scientific name of a pair.
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
    """Return the text with a blank for tabs, line ends of all kinds and other control characters.

    They would separate fields and rows, or are refused in text.
    """
    return _BREAKS.sub(" ", text)


def split_lines(text: str) -> list[str]:
    r"""Split a file's text at `\n`, `\r\n` and `\r` alone: other separators may be in names."""
    lines = _LINE_ENDS.split(text)
    return lines[:-1] if lines[-1] == "" else lines


def join_names(scientific_name: str, common_name: str) -> str:
    r"""Return both names as BirdNET does, `Genus species_Common Name`; an underscore in the first is `\_`."""
    escaped = scientific_name.replace("\\", "\\\\").replace("_", "\\_")
    return one_line(f"{escaped}_{common_name}")


def split_names(text: str) -> Label:
    """Return the class of a text as `join_names` writes it, or of one name."""
    pair = _PAIR.fullmatch(text)
    scientific_name, common_name = (pair["scientific"], pair["common"]) if pair else (text, "")
    scientific_name = _ESCAPED.sub(r"\1", scientific_name)
    return Label(scientific_name, common_name or scientific_name, kind_of(scientific_name))


@lru_cache(1 << 14)
def write_class(name: str) -> str:
    """Return one name of a class so that `read_class` reads it as it is."""
    is_plain = read_class(name).scientific_name == read_class(name).common_name == name
    return name if is_plain else _AS_WRITTEN + name


def read_class(text: str) -> Label:
    """Return the class of a field with one name, as it is written, or with both, as `parse_label` reads them."""
    if text.startswith(_AS_WRITTEN):
        return _class_of_one(text.removeprefix(_AS_WRITTEN))
    label = parse_label(text)
    return label if label.common_name != label.scientific_name else _class_of_one(text)


def _class_of_one(name: str) -> Label:
    return Label(name, name, kind_of(name))
