"""Splits given by the user: numbers of recordings per species, or tables that list the recordings of each split."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dawnchorus.audio.discovery import SUFFIXES
from dawnchorus.data.layouts.folders import xeno_canto_id
from dawnchorus.data.layouts.tables import COLUMNS, SPLIT_NAMES, xeno_canto_number
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, select_usable
from dawnchorus.data.split import assign_splits
from dawnchorus.errors import FormatError, InputError
from dawnchorus.tables import Table, exact_id, read_text
from dawnchorus.tables.notes import counted

LOG = logging.getLogger(__name__)

_FILE_LISTS = ("files", "recordings")
"""Keys of the list of recordings if a JSON file has an object per split."""

_NAMING = (*COLUMNS["xc_id"], *COLUMNS["recording_id"], *COLUMNS["path"])
"""Names of columns that identify a recording, the preferred ones first."""


def split_by_counts(table: RecordingsTable, counts: Mapping[str, int]) -> RecordingsTable:
    """Split the table by a number of recordings per species for each split, in the table's order.

    With `{"train": 8, "test": 7}`, the first eight recordings of a species are in "train", and the next seven in
    "test".

    Recordings with a problem in `UNUSABLE` ("missing", "unreadable", "silent") are not counted, and are in no split;
    duplicates are counted, and are in a split. An earlier split is replaced.

    Args:
        table: the data set.
        counts: number of recordings of each main species by split, in the order in which the splits are filled; further
            recordings are in no split. Recordings without a main species are counted by their `kind`, as if it were a
            species.

    Raises:
        InputError: a number is negative, or all are zero, or there is none.
    """
    if min(counts.values(), default=0) < 0 or not any(counts.values()):
        raise InputError(f"--counts: expected numbers of recordings such as 8,0,7, got {dict(counts)}.")
    parts = [name for name, n in counts.items() for _ in range(n)]
    seen: Counter[str] = Counter()
    split_of = {}
    for row in select_usable(table.rows, copies=True):
        species = row.scientific_name or row.kind
        if seen[species] < len(parts):
            split_of[row.recording_id] = parts[seen[species]]
        seen[species] += 1
    return assign_splits(table, split_of)


@dataclass(frozen=True)
class GivenSplit:
    """A data set split by tables of the user."""

    table: RecordingsTable
    """The data set with `split` set; recordings that the tables do not list are in no split."""
    n_named: int
    """Number of recordings that the tables list, a repeated one counted each time."""
    unmatched: tuple[str, ...]
    """Names, as the tables write them, of listed recordings that are not in the data set or cannot be used."""


def split_by_tables(table: RecordingsTable, paths: Sequence[Path]) -> GivenSplit:
    """Split the table by files that list recordings: CSV, or JSON if the suffix is `.json`.

    A CSV file has a column `split`, or else the split as a word of its file name (`my_train.csv`); rows with an empty
    `split` are skipped. A JSON file has an object with a list of recordings per split. Splits are "train", "validation"
    and "test", or usual other names such as "val". Recordings are matched by identifier, else by path, else by file
    name with or without suffix; a name that fits several recordings matches none. An earlier split is replaced. Guesses
    about the tables are logged.

    Raises:
        InputError: no such file, a recording is in two splits, or no listed recording is in the data set.
        FormatError: a file is damaged, names no split, or has no column or list of recordings; or a CSV file names an
            unknown split. Lists of a JSON file that are of no split are logged, and not read.
    """
    index = _index(select_usable(table.rows, copies=True))
    split_of: dict[str, str] = {}
    unmatched = []
    named = [(path, names, split) for path in paths for names, split in _named_recordings(path)]
    for path, names, split in named:
        match = _match(names, index)
        if match is None:
            unmatched.append(names[0])
        elif split_of.setdefault(match, split) != split:
            raise InputError(
                f"expected each recording in one split, found {match} in {split_of[match]} and {split}.", subject=path
            )
    if not split_of:
        raise InputError(
            f"{', '.join(map(str, paths))}: expected recordings of the data set {table.folder}, found "
            f"{f'{len(named)} others (as {unmatched[0]!r})' if unmatched else 'none'}."
        )
    return GivenSplit(assign_splits(table, split_of), len(named), tuple(unmatched))


def _named_recordings(path: Path) -> Iterator[tuple[list[str], str]]:
    """Yield (names, split) of each recording in a file; `names` are the values that may identify it."""
    if not path.exists() or path.is_dir():
        raise InputError("no such file.", subject=path)
    return _of_json(path) if path.suffix.lower() == ".json" else _of_csv(path)


def _of_json(path: Path) -> Iterator[tuple[list[str], str]]:
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"expected JSON ({error}).", subject=path) from error
    lists = [(key, SPLIT_NAMES.get(key.lower()), _file_list(value)) for key, value in _items(document)]
    if not any(names for _, split, names in lists if split):
        raise FormatError(f"expected lists of recordings under names such as {sorted(SPLIT_NAMES)}.", subject=path)
    for key, split, names in lists:
        if split:
            yield from (([str(name)], split) for name in names)
        elif names:
            LOG.info(f"{path}: '{key}' is no name of a split; its list of {len(names)} is not read.")


def _items(document: Any) -> Iterable[tuple[str, Any]]:
    return document.items() if isinstance(document, dict) else ()


def _file_list(value: Any) -> list[Any]:
    """Return the names of the recordings in a split's JSON value: a list, or an object with a list of files."""
    if isinstance(value, dict):
        value = next((value[key] for key in _FILE_LISTS if key in value), None)
    return value if isinstance(value, list) else []


def _of_csv(path: Path) -> Iterator[tuple[list[str], str]]:
    table = Table(path)
    match = {name: index for name in _NAMING if (index := table.find_column([name])) is not None}
    columns = list(dict.fromkeys(match.values()))
    if not columns:
        raise FormatError(
            f"expected a column that names recordings ({', '.join(_NAMING)}); it has {table.header}.", subject=path
        )
    split_column, number_column = table.find_column(["split"]), table.find_column(COLUMNS["xc_id"])
    file_split = _part_in_name(path)
    if split_column is None and file_split is None:
        raise FormatError("expected a column 'split', or a file named train, valid or test.", subject=path)
    n_unnamed = 0
    for _line, cells in table:
        split = file_split if split_column is None else _parse_split(cells[split_column].strip(), path)
        names = [value for column in columns if (value := cells[column].strip())]
        n_unnamed += not names
        if split and names:
            number = None if number_column is None else xeno_canto_number(cells[number_column])
            yield ([number, *names] if number else names), split
    if table.long_rows:
        raise FormatError(
            f"line {table.long_rows[0]}: expected {len(table.header)} cells as in the header.", subject=path
        )
    if n_unnamed:
        table.notes.add(f"{counted(n_unnamed, 'row')} without the name of a recording.")
    for sentence in table.notes.sentences():
        LOG.info(f"{path}: {sentence}")


def _parse_split(value: str, path: Path) -> str | None:
    """Parse a cell of the column `split`; None if it is empty."""
    if value and value.lower() not in SPLIT_NAMES:
        raise FormatError(f"expected splits such as {', '.join(sorted(SPLIT_NAMES))}, found {value!r}.", subject=path)
    return SPLIT_NAMES.get(value.lower())


def _part_in_name(path: Path) -> str | None:
    """Return the split that is a word of the file's name; None if there is none."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def _index(rows: Iterable[RecordingRow]) -> dict[str, set[str]]:
    """Return the recording_ids by each text that may identify their row (`_keys`)."""
    index: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for key in (*_keys(row.recording_id), *_keys(row.path)):
            index[key].add(row.recording_id)
    return index


def _match(names: Iterable[str], index: Mapping[str, set[str]]) -> str | None:
    """Return the recording_id of the first name that fits exactly one recording; None if there is none."""
    for name in names:
        for key in _keys(name):
            if len(match := index.get(key, set())) == 1:
                return next(iter(match))
    return None


def _keys(name: str) -> list[str]:
    """Return the keys to find a recording by, the most specific first: `XC123`, path, folder and file, file, stem."""
    parts = (PureWindowsPath(name) if "\\" in name else PurePosixPath(name)).parts
    if not parts:
        return []
    last = PurePosixPath(parts[-1])
    stem = last.stem if last.suffix.lower() in SUFFIXES else last.name
    exact = exact_id(stem) or stem
    unpadded = f"number {exact.lstrip('0')}" if exact.isdigit() else None  # spreadsheets take zeros before it away
    keys = (xeno_canto_id(stem), name, "/".join(parts[-2:]), last.name, stem, unpadded)
    return [key.casefold() for key in keys if key]
