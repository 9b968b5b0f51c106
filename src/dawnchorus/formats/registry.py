"""Registry of table formats, and detection of a file's format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats import (
    audacity,
    avianz,
    birdnet_csv,
    birdnet_package,
    json_lines,
    kaleidoscope,
    mark_lists,
    opensoundscape,
    parquet,
    raven,
)
from dawnchorus.formats.checks import check_types, find_problem
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.text import convert_marks
from dawnchorus.plug_ins import PlugIn
from dawnchorus.registry import Registry
from dawnchorus.storage.files import atomic_file, make_parent
from dawnchorus.tables import Table, headers, read_start
from dawnchorus.types import Detection, Mark, Provenance, RecordingTable

Write = Callable[[BinaryIO, Iterable[RecordingTable], Provenance], None]
Read = Callable[[Path], Iterator[tuple[str | None, Detection]]]


@dataclass(frozen=True)
class TableFormat:
    """A table format with its writer and, if tables can be read, its reader.

    Attributes:
        name: in lower case, as users type it.
        suffix: end of the file name with its dot. The table of one recording is named after the recording, with this
            suffix.
        summary: a phrase for lists of formats.
        write: writes tables of recordings, one after the other, and their provenance into an open binary file, which
            stays open.
        read: yields (recording, detection) for each row of a file, with None for a recording that the file does not
            name; None if tables of the format cannot be read.
        preserved_fields: names of fields of `Detection`, and "recording", that are read as they were written.
    """

    name: str
    suffix: str
    summary: str
    write: Write
    read: Read | None = None
    preserved_fields: tuple[str, ...] = ()

    @property
    def has_channel(self) -> bool:
        """True if the format stores the channel of a detection."""
        return "channel" in self.preserved_fields


def guard_format(entry: TableFormat, plug_in: PlugIn) -> TableFormat:
    """Return a plug-in's format, with its functions wrapped so that an error names the plug-in; see `PlugIn.guard`.

    Raises:
        InputError: the suffix has no dot.
    """
    if not entry.suffix.startswith("."):
        raise InputError(f"expected a suffix with its dot, got {entry.suffix!r}.")
    read = None if entry.read is None else partial(_read_guarded, plug_in, entry.read)
    return replace(entry, write=partial(_write_guarded, plug_in, entry.write), read=read)


def _write_guarded(
    plug_in: PlugIn, write: Write, stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance
) -> None:
    with plug_in.guard():
        write(stream, tables, provenance)
        if stream.closed:  # also by a text wrapper that is not detached
            raise ValueError("expected a writer that leaves the file open, got a closed file")


def _read_guarded(plug_in: PlugIn, read: Read, path: Path) -> Iterator[tuple[str | None, Detection]]:
    with plug_in.guard():
        for number, (recording, detection) in enumerate(read(path), start=1):
            if not isinstance(detection, Detection):
                raise TypeError(f"expected pairs of a name and a Detection, got {type(detection).__name__}")
            check_types(recording, detection)
            if (problem := find_problem(detection)) is not None:
                raise FormatError(f"detection {number}: {problem[0]}: {problem[1]}", subject=path)
            yield recording, detection


_TIMES = ("start_s", "end_s", "score")
_NAMES = ("recording", "scientific_name", "common_name")

FORMATS = Registry(
    TableFormat,
    (
        TableFormat(
            "csv",
            ".csv",
            "BirdNET-Analyzer's columns",
            birdnet_csv.write,
            birdnet_csv.read,
            preserved_fields=(*_NAMES, *_TIMES, "kind", "in_range", "human_voice", "channel"),
        ),
        TableFormat(
            "raven",
            ".selections.txt",
            "Raven selection table",
            raven.write,
            raven.read,
            preserved_fields=(*_NAMES, *_TIMES, "kind", "channel"),
        ),
        TableFormat(
            "audacity",
            ".labels.txt",
            "Audacity labels",
            audacity.write,
            audacity.read,
            preserved_fields=("common_name", *_TIMES),
        ),
        TableFormat(
            "kaleidoscope",
            ".kaleidoscope.csv",
            "Kaleidoscope",
            kaleidoscope.write,
            kaleidoscope.read,
            preserved_fields=("recording", "common_name", *_TIMES, "channel"),
        ),
        TableFormat(
            "parquet",
            ".parquet",
            "everything, typed, small",
            parquet.write,
            parquet.read,
            preserved_fields=(*_NAMES, *_TIMES, "kind", "in_range", "human_voice", "channel"),
        ),
        TableFormat(
            "jsonl",
            ".jsonl",
            "everything, one JSON object per line",
            json_lines.write,
            json_lines.read,
            preserved_fields=(*_NAMES, *_TIMES, "kind", "in_range", "human_voice", "channel"),
        ),
        TableFormat(
            "birdnet",
            ".birdnet.csv",
            "columns of the Python package birdnet",
            birdnet_package.write,
            birdnet_package.read,
            preserved_fields=(*_NAMES, *_TIMES),
        ),
        TableFormat(
            "opensoundscape",
            ".opensoundscape.csv",
            "OpenSoundscape's wide scores",
            opensoundscape.write,
            opensoundscape.read,
            preserved_fields=("recording", "scientific_name", *_TIMES),
        ),
    ),
    noun="format",
    group="dawnchorus.formats",
    guard=guard_format,
)


def write_tables(
    path: Path, tables: Iterable[RecordingTable], provenance: Provenance, *, format_name: str | None = None
) -> None:
    """Write one table with all recordings to `path`, atomically; create the folder if it does not exist.

    `format_name` is the name of a format in `FORMATS`, such as "csv"; None for the format of the path's suffix.

    Raises:
        InputError: an unknown format or suffix.
        PlugInError: the format of a plug-in failed.
        OutputError: no space, or no permission.
    """
    chosen = detect_format(path) if format_name is None else FORMATS.lookup(format_name)
    make_parent(path)
    with atomic_file(path) as stream:
        chosen.write(stream, tables, provenance)


def channel_note(formats: Iterable[TableFormat]) -> str | None:
    """Return a sentence for users on those formats that cannot store the channel of a detection; None if all can."""
    without = [entry.name for entry in formats if not entry.has_channel]
    if not without:
        return None
    others = ", ".join(entry.name for entry in FORMATS.values() if entry.has_channel)
    return (
        f"channels: tables of {' and '.join(without)} have no place for them, so detections of all channels are in one "
        f"list there. These have one: {others}."
    )


def detect_format(path: Path) -> TableFormat:
    """Return the format with the longest suffix that the file's name ends with, in any case.

    Other names that end with `.txt` are of the format "raven": `a.labels.txt` is "audacity", `a.txt` is "raven".

    Raises:
        InputError: no format has the suffix.
    """
    table_format = _find_format(path)
    if table_format is not None:
        return table_format
    if path.name.lower().endswith(".txt"):
        return FORMATS["raven"]
    FORMATS.log_broken()  # one of them may have this suffix
    raise InputError(
        f"no table format has this suffix; expected one of "
        f"{', '.join(entry.suffix for entry in FORMATS.values())}, or name a format.",
        subject=path,
    )


def _find_format(path: Path) -> TableFormat | None:
    name = path.name.lower()
    fitting = [entry for entry in FORMATS.values() if name.endswith(entry.suffix)]
    return max(fitting, key=lambda entry: len(entry.suffix), default=None)


MARK_SUFFIXES = (".txt", ".tsv", ".csv", avianz.SUFFIX)
"""Suffixes of tables of annotations, in lower case."""

_AUDACITY_LINE = re.compile(r"\s*-?\d[\d.,:eE+-]*\t\s*-?\d[\d.,:eE+-]*(\t|$)")
_FIRST_BYTES = 8192


def _read_no_marks(path: Path, notes: MarkNotes | None) -> Iterator[Mark]:
    del path, notes
    return iter(())


_MARK_READERS: dict[str, Callable[[Path, MarkNotes | None], Iterator[Mark]]] = {
    "Raven": raven.read_marks,
    "BirdNET-Analyzer": birdnet_csv.read_marks,
    mark_lists.LIST: mark_lists.read_marks,
    mark_lists.LIST_OF_ONE: mark_lists.read_marks,
    "Audacity": audacity.read_marks,
    "AviaNZ": avianz.read_marks,
    "empty": _read_no_marks,
}
"""Readers of tables of annotations, by the kind that `marks_format` returns."""


def marks_format(path: Path) -> str | None:
    """Return the kind of a table of annotations, by its first lines; None if the file is no such table.

    The kind is the first that matches: "empty" for a file without text, "AviaNZ" for a `.data` file that begins with
    `[` (None for another `.data` file), "Raven", "BirdNET-Analyzer", "list" (`mark_lists.LIST`, with a column of
    recordings), "list of one recording" (`mark_lists.LIST_OF_ONE`, without such a column), or "Audacity".
    """
    text = _first_text(path)
    if text is None:
        return None
    first = text.partition("\n")[0].rstrip("\r")
    if not text.strip():
        return "empty"
    if path.suffix.lower() == avianz.SUFFIX:
        return "AviaNZ" if text.lstrip().startswith("[") else None
    if "begin time" in first.lower():
        return "Raven"
    if "start (s)" in first.lower() and "confidence" in first.lower():
        return "BirdNET-Analyzer"
    return mark_lists.detect_list_kind(text) or ("Audacity" if _AUDACITY_LINE.match(first) else None)


def _first_text(path: Path) -> str | None:
    """Return the first lines of a file; None if the file is not text."""
    try:
        return read_start(path, _FIRST_BYTES).lstrip("\r\n")
    except FormatError:
        return None


def describe_missing_columns(path: Path) -> str:
    """Describe the columns that a file has and lacks to be a list of annotations, for an error message.

    Empty if the file is not text, lacks none, or has too few of them to be such a list
    (`mark_lists.describe_missing_columns`).
    """
    return mark_lists.describe_missing_columns(_first_text(path) or "")


def choose_reader(path: Path, *, format_name: str | None = None) -> Read:
    """Return the reader of a table of detections: that of `format_name` or, if None, by suffix or first lines.

    The suffixes `.csv`, `.tsv`, `.txt` and `.data` and unknown ones have a reader that chooses by the first lines; of
    other suffixes, such as `.parquet` or `.birdnet.csv`, it is the format's reader.

    Raises:
        InputError: `format_name` is unknown, or tables of the format cannot be read.
        PlugInError: the format is of a plug-in that cannot be used.
    """
    chosen = _find_format(path) if format_name is None else FORMATS.lookup(format_name)
    if chosen is None and path.suffix.lower() not in MARK_SUFFIXES:
        FORMATS.log_broken()  # one of them may have this suffix
    if format_name is None and (chosen is None or chosen.suffix in MARK_SUFFIXES):
        return _read_marks
    if chosen is None or chosen.read is None:
        raise InputError("tables of this format cannot be read.", subject=path)
    return chosen.read


def _read_marks(path: Path) -> Iterator[tuple[str | None, Detection]]:
    text = _first_text(path) or ""
    has_names = any(mark_lists.has_columns(text, [name]) for name in kaleidoscope.NAMES)
    if has_names and mark_lists.has_columns(text, kaleidoscope.REQUIRED):
        return kaleidoscope.read(path)
    if marks_format(path) is None and mark_lists.has_columns(text, opensoundscape.INDEX):
        return opensoundscape.read(path)
    return convert_marks(path, read_annotations(path))


def read_annotations(path: Path, notes: MarkNotes | None = None) -> list[Mark]:
    """Read a table of annotations: Raven, BirdNET-Analyzer, Audacity, AviaNZ or a list with a header.

    Rows that cannot be read become marks with a problem. `notes` get guesses about the file, such as its encoding, and
    columns that are not read. An empty file has no marks.

    Raises:
        FormatError: the file is no such table, lacks a required column, or is a Raven table with selections but without
            a column of names.
    """
    kind = marks_format(path)
    if kind is None:
        missing = describe_missing_columns(path)
        raise FormatError(
            f"expected a selection table of Raven ('Begin Time (s)' in its first line), a table of "
            f"BirdNET-Analyzer ('Start (s)'), a list with columns for recording, start, end and label, labels of "
            f"Audacity ('start TAB end TAB label'), or a .data file of AviaNZ.{missing and f' It has {missing}.'}",
            subject=path,
        )
    if kind == "Raven":
        raven.require_names(path)
    return list(_MARK_READERS[kind](path, notes))


def is_model_output(path: Path, marks: Sequence[Mark]) -> bool:
    """Return True if a table is the output of a model: some of its `marks` have scores.

    A table of Raven or BirdNET-Analyzer or a list of marks is output of a model also without marks, if it has a column
    of scores.

    Raises:
        FormatError: the file is such a table by its first lines, and cannot be read.
    """
    if marks:
        return any(mark.is_scored for mark in marks)
    is_table = marks_format(path) in ("Raven", "BirdNET-Analyzer", mark_lists.LIST, mark_lists.LIST_OF_ONE)
    return is_table and Table(path, quoted=None).find_column(headers.SCORE) is not None
