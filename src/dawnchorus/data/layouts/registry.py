"""Registry of sources; other packages can add sources by entry points of the group `dawnchorus.sources`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dawnchorus.data.layouts.base import Source
from dawnchorus.data.layouts.search_results import XENO_CANTO
from dawnchorus.data.layouts.voices import VOICES
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import PlugInError
from dawnchorus.plug_ins import PlugIn
from dawnchorus.registry import Registry

Find = Callable[[Path], Path | None]
Read = Callable[[Path, Path, Sequence[Path]], Iterable[RecordingRow]]


def guard_source(entry: Source, plug_in: PlugIn) -> Source:
    """Return a plug-in's source `entry` with functions that raise `PlugInError` for unexpected errors and results.

    Errors of Dawn Chorus and of the operating system are raised unchanged; see `PlugIn.guard`.
    """
    return replace(
        entry, find=partial(_find_guarded, plug_in, entry.find), read=partial(_read_guarded, plug_in, entry.read)
    )


def _find_guarded(plug_in: PlugIn, find: Find, path: Path) -> Path | None:
    with plug_in.guard():
        description = find(path)
        if not isinstance(description, Path | None):
            raise TypeError(f"expected a Path or None, got {type(description).__name__}")
        return description


def _read_guarded(
    plug_in: PlugIn, read: Read, description: Path, folder: Path, files: Sequence[Path]
) -> Iterator[RecordingRow]:
    with plug_in.guard():
        for row in read(description, folder, files):
            if not isinstance(row, RecordingRow):
                raise TypeError(f"expected a RecordingRow for each recording, got {type(row).__name__}")
            yield row


SOURCES = Registry(Source, (XENO_CANTO, VOICES), noun="source", group="dawnchorus.sources", guard=guard_source)


def find_descriptions(path: Path) -> Iterator[tuple[Source, Path]]:
    """Yield (source, file that describes the recordings) for each registered source that recognizes a folder or file.

    Plug-ins that fail are logged and skipped.
    """
    for source in SOURCES.values():
        try:
            description = source.find(path)
        except PlugInError as error:
            SOURCES.log_once(error)
            continue
        if description is not None:
            yield source, description
