"""Tables of marks, of Raven, Audacity or BirdNET-Analyzer, and the recordings that they are of.

A row that names a recording (`Begin Path`, `Begin File`, `File`) is of that one, wherever the table lies. Other rows
are of the recording that the table is named after: `a.Table.1.selections.txt` of `a.wav`, in the same folder, in a
folder of tables beside it or above it (`annotations/`, `labels/`...), or elsewhere, if no other recording has that
name.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from dawnchorus.formats.registry import MARK_SUFFIXES, marks_format
from dawnchorus.types import Mark

ReadAnnotations = Callable[[Path], Iterable[Mark]]

_END_OF_TABLE = re.compile(
    r"([._ -]*(wave?|flac|mp3|ogg|table[._ -]*\d*|selections?|labels?|annotations?|marks?|birdnet|results?|audacity"
    r"|raven))*\.(txt|tsv|csv)",
    re.IGNORECASE,
)
"""Ends of a table's name behind the name of its recording."""


@dataclass(frozen=True)
class NamedMark:
    """A row of a table, and the recording that it is of."""

    table: Path
    mark: Mark
    recording: Path | None
    """None where there is no such recording, or more than one: see `reason`."""
    reason: str = ""


@dataclass
class FoundMarks:
    """Everything that tables say of recordings."""

    marks: list[NamedMark] = field(default_factory=list)
    empty: dict[Path, Path] = field(default_factory=dict)
    """Tables without rows, by the recording that they are named after."""
    tables: list[Path] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    """Why other files, which look like tables of recordings, are of none."""

    def recordings(self) -> set[Path]:
        """Return the recordings that tables are of."""
        return {each.recording for each in self.marks if each.recording is not None} | set(self.empty)


class RecordingNames:
    """Recordings by the names that tables have for them."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            self._by_name[_key(path.name)].append(path)
            self._by_stem[_key(path.stem)].append(path)

    def named_in_row(self, name: str, table: Path) -> list[Path]:
        """Return the recordings that a row's name or path may mean: one, if it is clear."""
        parts = (PureWindowsPath(name) if "\\" in name else PurePosixPath(name)).parts
        if not parts:
            return []
        last = _key(parts[-1])
        found = self._by_name.get(last) or self._by_stem.get(last, [])
        return _best(found, lambda path: (_n_same_tail(path.parts, parts), *_nearness(path, table)))

    def named_by_table(self, table: Path) -> list[Path]:
        """Return the recordings that a table is named after: one, if it is clear."""
        name = _key(table.name)
        for length in range(len(name), 0, -1):
            stem = name[:length]
            if stem in self._by_stem and _END_OF_TABLE.fullmatch(name[length:]):
                return _best(self._by_stem[stem], lambda path: _nearness(path, table))
        return []


def find_marks(source: Path, files: Sequence[Path], read: ReadAnnotations, *, with_results: bool) -> FoundMarks:
    """Return what the tables at or below `source` say of the recordings `files`.

    Tables with the columns of BirdNET-Analyzer, which are mostly what a model found, count `with_results` only.

    Raises:
        FormatError: a table is not as it should be.
    """
    names, found = RecordingNames(files), FoundMarks()
    for path in [source] if source.is_file() else _text_files(source):
        kind = marks_format(path)
        owners = names.named_by_table(path)
        if kind is None or (kind == "empty" and not owners):
            found.unused.append(f"{path.name}: {'no table of marks' if kind is None else 'empty, of no recording'}")
            continue
        if kind == "BirdNET-Analyzer" and not (with_results or source.is_file()):
            found.unused.append(f"{path.name}: results of a model (import it alone, with --layout detections)")
            continue
        rows = list(read(path))
        if kind == "Audacity" and not owners:
            found.unused.append(f"{path.name}: labels that are named after no recording")
            continue
        found.tables.append(path)
        if not rows:
            if len(owners) == 1:
                found.empty[owners[0]] = path
            else:
                found.unused.append(f"{path.name}: an empty table, named after {_several(owners)}")
        found.marks += [_named(path, mark, owners, names) for mark in rows]
    return found


def _named(table: Path, mark: Mark, owners: Sequence[Path], names: RecordingNames) -> NamedMark:
    found = owners if mark.recording is None else names.named_in_row(mark.recording, table)
    if len(found) == 1:
        return NamedMark(table, mark, found[0])
    called = f"'{mark.recording}' is" if mark.recording else "the table is named after"
    return NamedMark(table, mark, None, f"{called} {_several(found)}")


def _several(tables: Sequence[Path]) -> str:
    return f"{len(tables)} recordings of one name" if tables else "no recording here"


def _text_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in MARK_SUFFIXES:
                yield Path(parent, name)


def _best(paths: Sequence[Path], value: Callable[[Path], tuple[int, ...]]) -> list[Path]:
    """Return the paths of the highest value."""
    values = [value(path) for path in paths]
    return [path for path, each in zip(paths, values, strict=True) if each == max(values)]


def _nearness(path: Path, table: Path) -> tuple[int, ...]:
    """Return how near a recording is to a table: in its folder, above or beside it, or in folders of the same names."""
    sound, here = path.absolute().parent, table.absolute().parent
    if sound == here:
        return 3, 0, 0
    is_beside = here.parent == sound or sound.parent in (here, here.parent)
    same_names = _n_same_tail(sound.parts, here.parts)
    shared = len(os.path.commonpath([sound, here]))
    return 2 if is_beside else 1, same_names, shared


def _key(name: str) -> str:
    """Return a name as it is compared: without case, and in one Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def _n_same_tail(one: Sequence[str], other: Sequence[str]) -> int:
    n = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if _key(a) != _key(b):
            break
        n += 1
    return n
