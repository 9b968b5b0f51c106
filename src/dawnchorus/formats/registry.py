"""The table formats by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from dawnchorus.errors import InputError
from dawnchorus.formats import birdnet_csv, json_lines
from dawnchorus.types import Provenance, RecordingTable


@dataclass(frozen=True)
class TableFormat:
    """A way to write a table: `combined` is the file's name for a whole run, `suffix` follows a recording's stem."""

    name: str
    combined: str
    suffix: str
    write: Callable[[BinaryIO, Iterable[RecordingTable], Provenance], None]


FORMATS: dict[str, TableFormat] = {
    entry.name: entry
    for entry in (
        TableFormat("csv", "detections.csv", ".csv", birdnet_csv.write),
        TableFormat("jsonl", "detections.jsonl", ".jsonl", json_lines.write),
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
