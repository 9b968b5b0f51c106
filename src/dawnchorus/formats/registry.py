"""The table formats by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dawnchorus.errors import InputError
from dawnchorus.formats import audacity, birdnet_csv, json_lines, kaleidoscope, parquet, raven
from dawnchorus.types import Detection, Provenance, RecordingTable

Write = Callable[[BinaryIO, Iterable[RecordingTable], Provenance], None]
Read = Callable[[Path], Iterator[tuple[str | None, Detection]]]


@dataclass(frozen=True)
class TableFormat:
    """A way to write a table, and to read it back where that makes sense.

    `suffix` is the end of a file's name: of one for a whole run, and, behind a recording's name, of one for that
    recording.
    """

    name: str
    suffix: str
    summary: str
    write: Write
    read: Read | None = None


FORMATS: dict[str, TableFormat] = {
    entry.name: entry
    for entry in (
        TableFormat("csv", ".csv", "BirdNET-Analyzer's columns", birdnet_csv.write, birdnet_csv.read),
        TableFormat("raven", ".selections.txt", "Raven selection table", raven.write, raven.read),
        TableFormat("audacity", ".labels.txt", "Audacity labels", audacity.write, audacity.read),
        TableFormat("kaleidoscope", ".kaleidoscope.csv", "Kaleidoscope", kaleidoscope.write),
        TableFormat("parquet", ".parquet", "everything, typed, small", parquet.write, parquet.read),
        TableFormat("jsonl", ".jsonl", "everything, one JSON object per line", json_lines.write),
    )
}


def table_format(name: str) -> TableFormat:
    """The format of this name.

    Raises:
        InputError: there is none.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(f"format: expected one of {', '.join(FORMATS)}, got {name!r}.{hint}")
    return FORMATS[name]


def format_of_file(path: Path) -> TableFormat:
    """The format whose suffix the file's name has, the longest that fits (`.txt` alone is Raven's).

    Raises:
        InputError: no format has this suffix.
    """
    name = path.name.lower()
    fitting = [entry for entry in FORMATS.values() if name.endswith(entry.suffix)]
    if fitting:
        return max(fitting, key=lambda entry: len(entry.suffix))
    if name.endswith(".txt"):
        return FORMATS["raven"]
    raise InputError(
        f"{path}: no table format has this suffix; expected one of "
        f"{', '.join(entry.suffix for entry in FORMATS.values())}, or name a format."
    )


def read_annotations(path: Path) -> list[Detection]:
    """The annotations of one recording, in Raven's table or Audacity's: Raven's has a header.

    Raises:
        FormatError: it is neither, or selections have no column of names.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        is_raven = "begin time" in file.readline().lower()
    if is_raven:
        raven.require_names(path)
    return [detection for _, detection in (raven if is_raven else audacity).read(path)]
