"""The Kaggle data set "Sound of 114 species of birds till 2022": `Birds Voice.csv`, folders `<Common Name>_sound`.

The table has a row per xeno-canto recording. The files have no xeno-canto numbers, so the table can only be used to get
the scientific name of a folder's species.
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
    """Return True if the file is named `Birds Voice.csv`, in any case, with a space or an underscore."""
    return name_key(path.name) == name_key(TABLE)


def find_voices_table(source: Path) -> Path | None:
    """Return `Birds Voice.csv`: `source` itself if it is that file, or the first such file in or below the folder.

    None if there is none.
    """
    if source.is_file():
        return source if is_voices_table(source) else None
    for parent, folders, files in os.walk(source):
        folders.sort()
        for name in sorted(files):
            if is_voices_table(Path(name)):
                return Path(parent, name)
    return None


def read_voices(table: Path, root: Path, files: Sequence[Path]) -> Iterator[RecordingRow]:
    """Yield a row for each of `files` below `root`, labeled by its folder.

    A folder is a species if the table has its name, if its name ends with `_sound`, or if the file is named like it.
    Files in other folders are labeled by their file names if the table has that name, else they are unlabeled. Guesses
    about the table are logged.

    Raises:
        FormatError: the table cannot be read, or lacks the column common_name or scientific_name.
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
    """Return a row per xeno-canto recording in the table, without a path, for attribution.

    The rows have the species and the recordist as written, and the recording_id `XC123`; `path` is "". Rows of the
    table without a valid number are skipped.

    Raises:
        FormatError: the table cannot be read, or lacks the column xc_id.
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
    """Return the species of a file: of its folder if that is a species, or else of its file name; None without."""
    folder = parse_folder_label(path.parent.name)
    is_species = path.parent.name.lower().endswith(_FOLDER_SUFFIXES) or parse_file_label(path.stem) == folder
    return known.find(folder) or (folder if is_species else find_class_of_file(path.stem, known))


def _species(table: Path) -> list[Label]:
    """Return the table's species, with subspecies reduced to genus and species."""
    lines = _lines(table, "common_name", "scientific_name")
    return [
        Label(" ".join(line["scientific_name"].split()[:2]), line["common_name"].strip())
        for line in lines
        if line["scientific_name"].strip() and line["common_name"].strip()
    ]


def _lines(table: Path, *columns: str) -> list[dict[str, str]]:
    """Return the rows of the table as dicts by column name.

    Raises:
        FormatError: the table lacks one of `columns`.
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
