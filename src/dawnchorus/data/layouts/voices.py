"""Kaggle's "Sound of 114 species of birds till 2022": `Birds Voice.csv`, and folders `<Common Name>_sound`.

The table has a line per xeno-canto recording, but files carry no numbers: all that it tells of a file is the scientific
name of its species.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dawnchorus.data.layouts.base import Source
from dawnchorus.data.layouts.tables import xeno_canto_number
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError
from dawnchorus.tables import Table
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import find_class_of_file, parse_file_label, parse_folder_label
from dawnchorus.taxonomy.labels import Label, name_key

LOG = logging.getLogger(__name__)

TABLE = "Birds Voice.csv"
SOURCE = "Kaggle: sound of 114 species of birds (xeno-canto)"
_COLUMNS = ("common_name", "scientific_name", "recordist_name", "xc_id")
_FOLDER_SUFFIXES = ("_sound", "_sounds")


def is_voices_table(path: Path) -> bool:
    """Return True if the file is named as the table, in any case and with spaces or underscores."""
    return name_key(path.name) == name_key(TABLE)


def find_voices_table(source: Path) -> Path | None:
    """Return the table: `source` itself, or the first one below the folder; None if there is none."""
    if source.is_file():
        return source if is_voices_table(source) else None
    for parent, folders, files in os.walk(source):
        folders.sort()
        for name in sorted(files):
            if is_voices_table(Path(name)):
                return Path(parent, name)
    return None


def read_voices(table: Path, root: Path, files: Sequence[Path]) -> Iterator[RecordingRow]:
    """Yield a row for each of `files` below `root`, which are in folders named by species.

    A file in another folder is labeled by its own name, if the table has it. The log says what had to be guessed in
    the table.

    Raises:
        FormatError: the table has not the columns common_name and scientific_name.
    """
    known = KnownClasses(_species(table))
    for path in files:
        label = _label(path, known)
        yield RecordingRow(
            recording_id=path.relative_to(root).as_posix(),
            path=str(path),
            scientific_name=None if label is None else label.scientific_name,
            common_name=None if label is None else label.common_name,
            kind="focal" if label else "soundscape",
            source=SOURCE,
        )


def read_voice_recordings(table: Path) -> list[RecordingRow]:
    """Return the table's xeno-canto recordings, without files.

    Raises:
        FormatError: the table has not the column xc_id.
    """
    lines = _lines(table, "xc_id")
    return [
        RecordingRow(
            recording_id=name,
            path="",
            scientific_name=line.get("scientific_name"),
            recordist=line.get("recordist_name") or None,
            source="xeno-canto",
        )
        for line in lines
        if (name := xeno_canto_number(line["xc_id"].strip()))
    ]


def _label(path: Path, known: KnownClasses) -> Label | None:
    """Return the species of a file: that of its folder, if the table or the folder's form says that it is one."""
    folder = parse_folder_label(path.parent.name)
    is_species = path.parent.name.lower().endswith(_FOLDER_SUFFIXES) or parse_file_label(path.stem) == folder
    return known.find(folder) or (folder if is_species else find_class_of_file(path.stem, known))


def _species(table: Path) -> list[Label]:
    """Return genus and species with the common name; the table also has subspecies."""
    lines = _lines(table, "common_name", "scientific_name")
    return [
        Label(" ".join(line["scientific_name"].split()[:2]), line["common_name"].strip())
        for line in lines
        if line["scientific_name"].strip() and line["common_name"].strip()
    ]


def _lines(table: Path, *columns: str) -> list[dict[str, str]]:
    """Return the lines of the table, by names of its columns.

    Raises:
        FormatError: one of `columns` is not there.
    """
    reader = Table(table)
    indices = {name: reader.find_column([name]) for name in _COLUMNS}
    if any(indices[name] is None for name in columns):
        raise FormatError(f"{table}: expected the columns {' and '.join(columns)}, found {reader.header}.")
    there = {name: index for name, index in indices.items() if index is not None}
    lines = [{name: cells[index] for name, index in there.items()} for _line, cells in reader]
    for sentence in reader.notes.sentences():
        LOG.info(f"{table}: {sentence}")
    return lines


VOICES = Source("voices", f"'{TABLE}' in this folder or below it", find_voices_table, read_voices)
