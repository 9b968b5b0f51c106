"""Tables of marks (annotated segments, as of Raven, Audacity or BirdNET-Analyzer), matched with their recordings.

A mark is one row of a table: a segment of a recording with a label. A row that names a recording (`Begin Path`,
`Begin File`, `File`) belongs to this recording, in whatever folder the table is. Other rows belong to the recording
whose name the table has: `a.Table.1.selections.txt` to `a.wav`, in the same folder, in a folder of tables next to it
or above it (`annotations/`, `labels/`, ...), or elsewhere, if only one recording has that name.

If a row has a relative path, all its folders must agree with the recording's path. If it has an absolute path, which
may be of another machine, the innermost folder must agree, unless the recording is directly in the source folder.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from dawnchorus.data.layouts.audio_files import fold_name, is_absolute
from dawnchorus.errors import FormatError
from dawnchorus.formats.mark_lists import LIST_OF_ONE
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.registry import MARK_SUFFIXES, describe_missing_columns, is_model_output, marks_format
from dawnchorus.types import Mark

T = TypeVar("T")

ReadAnnotations = Callable[[Path, MarkNotes], Sequence[Mark]]

_Named = tuple[str, str | None]
"""Name of a recording in a row, and the folder or site in another column of the row (or None)."""

NO_MARKS = "no table of marks"

_END_OF_TABLE = re.compile(
    r"([._ -]*(wave?|flac|mp3|ogg|table[._ -]*\d*|selections?|labels?|annotations?|marks?|birdnet|results?|audacity"
    r"|raven))*\.(txt|tsv|csv|data)",
    re.IGNORECASE,
)
"""Endings of a table's file name after the name of the recording: `.Table.1.selections.txt`."""


@dataclass(frozen=True)
class NamedMark:
    """A row of a table of marks, and the recording that it belongs to."""

    table: Path
    """The file of the table."""
    mark: Mark
    """The row."""
    recording: Path | None
    """The recording; None if no recording or several recordings match: see `reason`."""
    reason: str = ""
    """Reason for messages why `recording` is None, else empty."""


@dataclass
class MarkTables:
    """Rows of all tables of marks in a source."""

    marks: list[NamedMark] = field(default_factory=list)
    """Rows in the order of tables and lines, also those that belong to no recording."""
    empty: dict[Path, Path] = field(default_factory=dict)
    """Tables without rows, by recording; such a recording was annotated, and nothing was found."""
    tables: list[Path] = field(default_factory=list)
    """Tables of marks that were read, also those without rows."""
    unused: list[str] = field(default_factory=list)
    """Text files that were not read, as `name: reason`."""
    model_output: dict[Path, int] = field(default_factory=dict)
    """Numbers of rows by table that looks like the output of a model; such tables are not read as annotations."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Reasons by table of marks that could not be read."""
    notes: MarkNotes = field(default_factory=MarkNotes)
    """Guesses about the tables, such as their encoding, and columns that were not read."""
    elsewhere: dict[str, Path] = field(default_factory=dict)
    """Recordings by paths in rows whose folders differ from those of the recording (paths of another machine)."""

    def recordings(self) -> set[Path]:
        """Return the recordings that have a mark or an empty table."""
        return {each.recording for each in self.marks if each.recording is not None} | set(self.empty)


@dataclass(frozen=True)
class _Fit:
    """A candidate for the recording that a row's path means."""

    path: Path
    n_agreeing: int
    """Number of equal parts at the ends of both paths, including the file name."""
    is_whole: bool
    """True if all folders in the row agree with the recording's path."""


class RecordingNames:
    """Lookup of the recordings `files` below the folder `root` by names and paths in tables; case is ignored."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = root
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            self._by_name[fold_name(path.name)].append(path)
            self._by_stem[fold_name(path.stem)].append(path)

    def named_in_row(self, name: str, table: Path, folder: str | None = None) -> tuple[list[_Fit], str]:
        """Return the best candidates for a recording named in a row, and why it is unclear which one is meant.

        A candidate is a recording's path with the degree of agreement. The reason is empty if there is exactly one.
        Recordings with exactly this file name count, or else those with it before their suffix (`a` for `a.wav`),
        unless their folders contradict those in `name`. Of these, the ones in `folder` are preferred, then those that
        agree with most of the last folders in `name`, then those nearest to the table.

        Args:
            name: the row's file name or path of the recording, with or without suffix.
            table: the file of the table.
            folder: the row's folder or site, from another column; None without one. If no candidate is in it, it is
                ignored.
        """
        *folders, last = _parts(name) or [""]
        candidates = self._by_name.get(fold_name(last)) or self._by_stem.get(fold_name(last), [])
        fits = [fit for path in candidates if (fit := self._fit(path, name, folders)) is not None]
        if candidates and not fits:
            near = (
                candidates[0].relative_to(self._root).as_posix()
                if candidates[0].is_relative_to(self._root)
                else candidates[0]
            )
            return [], f"'{name}' is no recording here: its folders are not those of {near}"
        fits = [fit for fit in fits if self.is_in_folder(fit.path, folder)] or fits
        best = _best(fits, lambda fit: (fit.n_agreeing, *_nearness(fit.path, table)))
        return best, "" if len(best) == 1 else f"'{name}' is {_describe_candidates(best)}"

    def _fit(self, path: Path, name: str, folders: Sequence[str]) -> _Fit | None:
        """Return how well a path in a row fits a recording with its file name; None if their folders contradict."""
        n_agreeing = 1 + _n_same_tail(path.absolute().parent.parts, folders)
        if n_agreeing == 1 + len(folders):
            return _Fit(path, n_agreeing, is_whole=True)
        n_here = len(path.relative_to(self._root).parts) if path.is_relative_to(self._root) else n_agreeing + 1
        if is_absolute(name):
            is_other = os.path.exists(name) and not os.path.samefile(name, path)
            fits = not is_other and (n_agreeing > 1 or n_here == 1)
        else:
            fits = n_agreeing > 1 and n_agreeing >= n_here
        return _Fit(path, n_agreeing, is_whole=n_agreeing > 1 and n_agreeing >= n_here) if fits else None

    def is_in_folder(self, path: Path, folder: str | None) -> bool:
        """Return True if all parts of `folder` (`site/plot`) are folders in the recording's path, in any order.

        A `folder` of a single part is only compared with `root` and the folders below it. False for None or "".
        """
        parts = set(map(fold_name, _parts(folder or "")))
        folders = path.absolute().parent.parts
        if len(parts) == 1 and path.is_relative_to(self._root):
            n_inside = len(path.relative_to(self._root).parts) - 1
            folders = folders[len(folders) - n_inside - 1 :]
        return bool(parts) and parts <= set(map(fold_name, folders))

    def named_by_table(self, table: Path) -> list[Path]:
        """Return the recordings that a table is named after; [] for none.

        The table's name is the recording's name without suffix, followed at most by an audio suffix and a usual ending
        of tables: `rec_1.txt` and `rec_1.wav.Table.1.selections.txt` belong to `rec_1.wav`, `rec_10.txt` does not. Case
        is ignored. If several names fit, the longest counts; of several recordings with this name, only those nearest
        to the table are returned.
        """
        name = fold_name(table.name)
        for length in range(len(name), 0, -1):
            stem = name[:length]
            if stem in self._by_stem and _END_OF_TABLE.fullmatch(name[length:]):
                return _best(self._by_stem[stem], lambda path: _nearness(path, table))
        return []


def find_marks(
    source: Path, root: Path, files: Sequence[Path], read: ReadAnnotations, *, with_model_output: bool
) -> MarkTables:
    """Read all tables of marks of recordings.

    Args:
        source: one table, or the folder in and below which tables are searched.
        root: the folder of the recordings.
        files: the recordings below `root`.
        read: reader of one table; it gets the file, and notes to which it adds guesses.
        with_model_output: True to also read tables in a folder that look like the output of a model; a single table
            `source` is always read.

    Raises:
        FormatError: none of the tables of marks in a folder can be read, or the single table `source` cannot be read.
    """
    names, mark_tables = RecordingNames(root, files), MarkTables()
    for path in [source] if source.is_file() else text_files(source):
        kind = marks_format(path)
        owners = names.named_by_table(path)
        if kind is None or (kind == "empty" and not owners):
            mark_tables.unused.append(
                f"{path.name}: {_describe_other_file(path) if kind is None else 'empty, of no recording'}"
            )
            continue
        notes = MarkNotes()
        try:
            rows = read(path, notes)
        except FormatError as error:
            if source.is_file():
                raise
            mark_tables.unreadable[path] = str(error)
            continue
        if not with_model_output and source.is_dir() and is_model_output(path, rows):
            mark_tables.model_output[path] = len(rows)
            continue
        mark_tables.notes.extend(notes)
        if kind in ("Audacity", LIST_OF_ONE) and not owners:
            mark_tables.unused.append(f"{path.name}: labels that are named after no recording")
            continue
        mark_tables.tables.append(path)
        if not rows:
            if len(owners) == 1:
                mark_tables.empty[owners[0]] = path
            else:
                mark_tables.unused.append(f"{path.name}: an empty table, named after {_describe_candidates(owners)}")
        owner, reason = (
            (owners[0], "") if len(owners) == 1 else (None, f"the table is named after {_describe_candidates(owners)}")
        )
        named = _named_in_rows(path, rows, names, mark_tables)
        for mark in rows:
            recording, why = (owner, reason) if mark.recording is None else named[mark.recording, mark.folder]
            mark_tables.marks.append(NamedMark(path, mark, recording, why))
    if mark_tables.unreadable and not mark_tables.tables:
        _refuse(mark_tables.unreadable)
    return mark_tables


def _describe_other_file(path: Path) -> str:
    missing = describe_missing_columns(path)
    return f"{NO_MARKS}: it has {missing}" if missing else NO_MARKS


def _refuse(unreadable: Mapping[Path, str]) -> None:
    """Raise the error of tables of marks of which none can be read.

    Raises:
        FormatError: always, with the first reason.
    """
    first, *others = unreadable
    tables = f"{len(others)} other table{'' if len(others) == 1 else 's'}"
    more = f" {tables} cannot be read either (as {others[0]})." if others else ""
    raise FormatError(unreadable[first] + more)


def _named_in_rows(
    table: Path, rows: Iterable[Mark], names: RecordingNames, mark_tables: MarkTables
) -> dict[_Named, tuple[Path | None, str]]:
    """Return (recording, "") or (None, reason) for each name of a recording in a table's rows.

    Paths in different folders mean different recordings: if several paths fit one recording, only the best one does.
    """
    named: dict[_Named, tuple[Path | None, str]] = {}
    fits: dict[Path, dict[_Named, _Fit]] = defaultdict(dict)
    for key in dict.fromkeys((mark.recording, mark.folder) for mark in rows if mark.recording is not None):
        best, reason = names.named_in_row(key[0], table, key[1])
        named[key] = (None, reason)
        if len(best) == 1:
            fits[best[0].path][key] = best[0]
    for path, of in fits.items():
        in_folder = {key for key in of if names.is_in_folder(path, key[1])} or set(of)
        most = max(of[key].n_agreeing for key in in_folder)
        whole = {key for key in in_folder if of[key].is_whole}
        likely = whole or {key for key in in_folder if of[key].n_agreeing == most}
        is_one = len({tuple(map(fold_name, _parts(name))) for name, _ in likely}) == 1
        is_clear = (whole or is_one) and len({fold_name(folder or "") for _, folder in likely}) == 1
        for key in of:
            if key in likely and is_clear:
                named[key] = (path, "")
                if key not in whole:
                    mark_tables.elsewhere[key[0]] = path
            else:
                other = next(iter(likely - {key}), key)
                named[key] = (
                    None,
                    f"'{_describe_named(key)}' and '{_describe_named(other)}' are two recordings, but only one is here",
                )
    return named


def _describe_named(named: _Named) -> str:
    name, folder = named
    return f"{folder}/{name}" if folder else name


def _parts(name: str) -> list[str]:
    """Return the parts of a path in POSIX or Windows form, without its root, `.` and `..`."""
    path = PureWindowsPath(name) if "\\" in name or PureWindowsPath(name).drive else PurePosixPath(name)
    return [part for part in path.parts if part not in (path.anchor, ".", "..")]


def _describe_candidates(candidates: Sequence[object]) -> str:
    return f"{len(candidates)} recordings of one name" if candidates else "no recording here"


def text_files(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder with a suffix of tables of marks (`.txt`, `.tsv`, `.csv`, `.data`).

    Hidden files and folders are left out.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in MARK_SUFFIXES:
                yield Path(parent, name)


def _best(paths: Sequence[T], value: Callable[[T], tuple[int, ...]]) -> list[T]:
    """Return the items with the highest value."""
    values = [value(path) for path in paths]
    return [path for path, each in zip(paths, values, strict=True) if each == max(values)]


def _nearness(path: Path, table: Path) -> tuple[int, ...]:
    """Return a sort key, higher if a recording is nearer to a table: same folder, adjacent folder, shared folders."""
    audio, here = path.absolute().parent, table.absolute().parent
    if audio == here:
        return 3, 0, 0
    is_adjacent = here.parent == audio or audio.parent in (here, here.parent)
    same_names = _n_same_tail(audio.parts, here.parts)
    shared = len(os.path.commonpath([audio, here]))
    return 2 if is_adjacent else 1, same_names, shared


def _n_same_tail(one: Sequence[str], other: Sequence[str]) -> int:
    n = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if fold_name(a) != fold_name(b):
            break
        n += 1
    return n
