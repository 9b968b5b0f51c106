"""Search results of xeno-canto's API (versions 2 and 3), saved as JSON."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dawnchorus.data.layouts.base import Source
from dawnchorus.data.layouts.folders import xeno_canto_id
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.data.sources.xeno_canto import parse_recordings
from dawnchorus.errors import FormatError
from dawnchorus.tables import Notes
from dawnchorus.tables.text_files import read_text

LOG = logging.getLogger(__name__)

RESULTS = "xc.json"
_LISTS = ("recordings", "results")


def find_search_results(source: Path) -> Path | None:
    """Return the file of search results for `source`: a `.json` file itself, or `xc.json` in a folder; else None.

    If the folder has no `xc.json`, but files named by xeno-canto's numbers (`XC12`, `12`), the `xc.json` of its parent
    folder is returned. The content of the file is not checked.
    """
    if source.is_file():
        return source if source.suffix.lower() == ".json" else None
    if (source / RESULTS).is_file():
        return source / RESULTS
    results_path = source.absolute().parent / RESULTS
    if not (results_path.is_file() and source.is_dir()):
        return None
    return results_path if any(_recording_id(path) for path in source.iterdir() if path.is_file()) else None


def read_search_results(results: Path, folder: Path, files: Sequence[Path]) -> Iterator[RecordingRow]:
    """Yield a row for each recording in the search results, with the path of its file if it is among `files`.

    Files are matched by xeno-canto's numbers in their names (`XC12...`, `12`); of several files with one number, the
    first is used. A row without a file has the path `XC12.mp3` in `folder`. `duration_s` is the length that xeno-canto
    lists. Entries without an id or genus are left out, and logged; of several entries with the same id the last is
    used.

    Args:
        results: the JSON file.
        folder: the folder of the recordings.
        files: the audio files in the folder.

    Raises:
        FormatError: the file has no search results of xeno-canto.
    """
    by_id = {name: path for path in reversed(files) if (name := _recording_id(path))}
    notes = Notes()
    try:
        recordings = list(_recordings(json.loads(read_text(results)), notes))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"expected JSON ({error}).", subject=results) from error
    listing = list({str(fields["id"]): fields for fields in recordings}.values())
    rows = {result.row.recording_id: result.row for result in parse_recordings(listing, notes)}
    for sentence in notes.sentences():
        LOG.info(f"{results.name}: {sentence}")
    if not rows:
        raise FormatError(
            f"expected results of xeno-canto's API, with a list of recordings under one of {_LISTS}; "
            f"found none that have an id and a genus.",
            subject=results,
        )
    for name, row in rows.items():
        yield replace(row, path=str(by_id.get(name, folder / f"{name}.mp3")), rate_hz=None)


def _recording_id(path: Path) -> str | None:
    """Return `XC123` for a file named `XC123...` or `123`; None for other names."""
    return xeno_canto_id(path.stem) or (f"XC{path.stem}" if path.stem.isascii() and path.stem.isdigit() else None)


def _recordings(document: Any, notes: Notes) -> Iterator[Mapping[str, Any]]:
    """Yield the recordings of a page of results, or of a list of pages; invalid recordings are counted in `notes`."""
    lists = [document[name] for name in _LISTS if name in document] if isinstance(document, dict) else []
    if isinstance(document, list):
        for part in document:
            yield from _recordings(part, notes)
    elif lists and "gen" not in document:
        for part in lists:
            yield from _recordings(part, notes)
    elif document is not None:
        fields = document if isinstance(document, dict) else {}
        if "gen" not in fields:
            notes.leave_out("a recording without the field 'gen'", f"{json.dumps(document):.60}")
        elif not re.fullmatch(r"\d+", str(fields.get("id")), re.ASCII):
            notes.leave_out("a recording without a number as its id", f"{json.dumps(document):.60}")
        else:
            yield fields


XENO_CANTO = Source("xeno-canto", f"'{RESULTS}' in this folder or next to it", find_search_results, read_search_results)
