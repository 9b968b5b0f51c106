"""Detection of a source's layout: where its labels are (in folder names, tables, annotation files)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dawnchorus.arguments import option
from dawnchorus.audio.discovery import find_recordings
from dawnchorus.data.layouts.annotations import NO_MARKS, MarkTables, ReadAnnotations, find_marks
from dawnchorus.data.layouts.folders import SPECIES, FolderReading, read_folders
from dawnchorus.data.layouts.naming_tables import NamingTable, find_naming_tables
from dawnchorus.data.layouts.registry import SOURCES, find_descriptions
from dawnchorus.errors import InputError
from dawnchorus.formats.mark_lists import has_times
from dawnchorus.formats.registry import MARK_SUFFIXES, marks_format, read_annotations
from dawnchorus.tables.notes import counted_rows
from dawnchorus.taxonomy.classes import KnownClasses

Layout = str
"""A name of `list_layouts`, or the meaning of folder levels, outermost first: `species/site`, `site/species/year`."""

KNOWN_TABLES = ("train_metadata.csv", "train.csv", "metadata.csv")
"""File names of tables that describe the recordings next to them: BirdCLEF's, Cornell's, and a common name."""

LOG = logging.getLogger(__name__)

_MAX_NAMED = 3


def list_layouts() -> list[str]:
    """Return the names of layouts.

    They are "auto" (detect one of the others), "folders" (a folder per species), "csv" (a table with a row per
    recording), "annotations" (tables of annotated segments), "mixed" (annotations, and folders for recordings without),
    "detections" (one table of detections that names its recordings), and the names of sources: "xeno-canto", "voices",
    and those that plug-ins add.
    """
    return ["auto", "folders", "csv", *SOURCES, "annotations", "mixed", "detections"]


def parse_layout(text: str) -> Layout:
    """Check the name of a layout, or the meaning of folder levels such as `site/species`, and return it unchanged.

    Raises:
        InputError: the text is neither a name of `list_layouts`, nor two or more levels of which exactly one is
            "species".
        PlugInError: the layout is of a plug-in (another package) that cannot be loaded.
    """
    levels = str(text).split("/")
    if text not in list_layouts() and (len(levels) < 2 or levels.count(SPECIES) != 1):
        SOURCES.raise_broken(text)
        raise InputError(
            f"layout: expected one of {', '.join(list_layouts())}, or the folders from the outer to the inner with "
            f"the word '{SPECIES}' for one of them, as species/site or site/species/year; got {text!r}."
        )
    SOURCES.log_broken(text)  # another package's of the same name may have been meant
    return text


def detect_layout(
    source: Path,
    known: KnownClasses | None = None,
    read_annotations: ReadAnnotations = read_annotations,
) -> Layout:
    """Return the layout of a source of recordings (a name of `list_layouts`, but not "auto"), and log the evidence.

    Args:
        source: a folder or file.
        known: known classes, to recognize species in folder names; None to judge names by their form only.
        read_annotations: reader of annotation files.

    Raises:
        InputError: there is no such file or folder, there are no recordings in it, or the layout is ambiguous.
        FormatError: the file, or every annotation table in the folder, cannot be read.
    """
    if not source.exists():
        raise InputError("no such file or folder.", subject=source)
    described = described_layout(source)
    if described is not None:
        LOG.info(f"layout: {described[0]}, by {described[1]}.")
        return described[0]
    files = find_recordings([source])
    marks = find_marks(source, find_audio_folder(source, None), files, read_annotations, with_model_output=False)
    marked = marks.recordings()
    reading = read_folders(source, files, known)
    if not marks.tables or (not marked and reading.sure):
        named_before = _consider_naming_tables(source, files, reading)
        marks.unused = [reason for reason in marks.unused if reason.removesuffix(f": {NO_MARKS}") not in named_before]
        LOG.info(f"layout: folders, because none of {count_recordings(files)} has a table of marks.")
        if marks.tables:
            LOG.info(
                f"tables of marks of other recordings: {len(marks.tables)} ({list_some(file_names(marks.tables))})."
            )
        for note in describe_unread_tables(marks):
            LOG.info(note)
        return "folders"
    named = reading.sure - marked
    if named and marked.isdisjoint(reading.find_clear()):
        tables = list_some(file_names(marks.tables))
        LOG.info(
            f"layout: mixed, because tables of marks ({tables}) are of {len(marked)} of {count_recordings(files)}, "
            f"none of which is in a folder of a species, as others are (as '{min(named).parent.name}')."
        )
        return "mixed"
    if named:
        first = min(named)
        raise InputError(
            f"the layout is ambiguous. Tables of marks are of {len(marked)} of {len(files)} recordings (as "
            f"{min(marked).name}), and {len(named)} others are in folders of a species (as "
            f"'{reading.labels[first]}'). Repeat it with {option('layout', 'annotations')}, which leaves recordings "
            f"without a table unlabeled, or with {option('layout', 'folders')}, which reads no table.",
            subject=source,
        )
    LOG.info(
        f"layout: annotations, because tables of marks ({list_some(file_names(marks.tables))}) are of {len(marked)} of "
        f"{count_recordings(files)}, and no other is in a folder named after a species."
    )
    return "annotations"


def _consider_naming_tables(source: Path, files: Sequence[Path], reading: FolderReading) -> set[str]:
    """Log which tables of recordings and species are not read because folders are, and return their file names.

    Raises:
        InputError: a recording in such a table is in a folder whose name may or may not be a species.
    """
    tables = list(find_naming_tables(source, files))
    for table in (table for table in tables if table.column is not None):
        doubtful = [path for path in table.recordings if path in reading.labels and path not in reading.sure]
        if doubtful:
            raise InputError(
                f"the layout is ambiguous. {table.evidence()}{_columns_clause(table)}, and "
                f"'{reading.labels[doubtful[0]]}', a folder of {doubtful[0].name}, may be a species. Import the table "
                f"(`{table.command()}`), or repeat it with {option('layout', 'folders')}, which does not read it.",
                subject=source,
            )
    readable = [table for table in tables if table.has_known_columns]
    if readable:
        evidence = list_some([table.evidence() for table in readable])
        LOG.info(
            f"tables of recordings and their species, not read next to folders: {len(readable)} ({evidence}). To read "
            f"one instead: `{readable[0].command()}`."
        )
    others = [table for table in tables if not table.has_known_columns]
    if others:
        commands = [f"`{table.command()}`" for table in others if table.column]
        advice = f" If a column has the species of whole recordings: {commands[0]}." if commands else ""
        evidence = list_some([table.evidence() for table in others])
        LOG.info(f"tables of recordings in columns that are not known, not read: {len(others)} ({evidence}).{advice}")
    return {table.path.name for table in tables}


def _columns_clause(table: NamingTable) -> str:
    """Return a clause for messages if an import would not recognize the table's columns; else ""."""
    return "" if table.has_known_columns else ", in columns that are not known"


def described_layout(source: Path) -> tuple[Layout, str] | None:
    """Return (layout, evidence) of a file or folder; None for a folder in which no file describes the recordings.

    A file always has a layout: "csv" if no other fits. For a folder, a table in `KNOWN_TABLES` has precedence over the
    files of sources (xeno-canto, ...). The evidence is a phrase for messages, such as the table's name.

    Raises:
        FormatError: a file cannot be read as a table.
    """
    if (table := find_known_table(source)) is not None:
        if has_times(table):
            return "annotations", f"the columns of {table.name}: times within recordings"
        return "csv", table.name
    described = next(find_descriptions(source), None)
    if described is not None:
        return described[0].name, described[1].name
    SOURCES.log_broken()  # one of them may know it
    return _detect_file_layout(source) if source.is_file() else None


def _detect_file_layout(source: Path) -> tuple[Layout, str]:
    """Return (layout, evidence) of a table with any name."""
    kind = marks_format(source) if source.suffix.lower() in MARK_SUFFIXES else None
    if kind == "BirdNET-Analyzer" and any(mark.recording for mark in read_annotations(source)):
        return "detections", f"the columns of {source.name}: the recordings that it names, and no others"
    if kind not in (None, "empty"):
        return "annotations", f"the columns of {source.name}"
    return "csv", source.name


def find_known_table(source: Path) -> Path | None:
    """Return the table of a folder: `train_metadata.csv`, else `train.csv`, else `metadata.csv`; None without one."""
    return next((source / name for name in KNOWN_TABLES if (source / name).is_file()), None)


def find_audio_folder(source: Path, audio: Path | None) -> Path:
    """Return the folder of a source's recordings: `audio` if given, else the source or, if it is a file, its folder."""
    return audio or (source.parent if source.is_file() else source)


def describe_unread_tables(marks: MarkTables) -> Iterator[str]:
    """Yield up to three sentences on text files that were not read as annotations: no marks, invalid, model output."""
    if marks.unused:
        yield f"files that are not read as marks: {len(marks.unused)} ({'; '.join(marks.unused[:_MAX_NAMED])})."
    if marks.unreadable:
        yield (
            f"tables of marks that cannot be read, left out: {len(marks.unreadable)} "
            f"({list_some(file_names(marks.unreadable))}). {next(iter(marks.unreadable.values()))}"
        )
    if marks.model_output:
        rows = counted_rows(sum(marks.model_output.values()))
        yield (
            f"tables of model output, which are no annotations: {len(marks.model_output)} with {rows} "
            f"({list_some(file_names(marks.model_output))}). If a person checked all of it, "
            f"{option('layout', 'annotations')} reads them too."
        )


def count_recordings(files: Sequence[object]) -> str:
    """Format the number of `files` as a number of recordings: `1 recording`, `2 recordings`, ..."""
    return f"{len(files)} recording{'' if len(files) == 1 else 's'}"


def file_names(paths: Iterable[Path]) -> list[str]:
    """Return the names of files without their folders."""
    return [path.name for path in paths]


def list_some(names: Sequence[str]) -> str:
    """Format up to three names and the number of further ones: `a, b`, or `a, b, c and 4 more`."""
    return ", ".join(names[:_MAX_NAMED]) + (f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else "")
