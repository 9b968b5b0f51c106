"""The file ATTRIBUTION.md, which lists the recordists and licenses of a data set's recordings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dawnchorus.data.licenses import deed_url
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.storage.files import atomic_file
from dawnchorus.tables.notes import counted

FILE_NAME = "ATTRIBUTION.md"
UNKNOWN = "license not known"


def attribution_line(row: RecordingRow) -> str:
    """Return the attribution of a recording as plain text: recordist, recording_id and URL.

    Recordings of xeno-canto (`XC123`) have the form that it requires; others have a URL only if the row has one.
    """
    name = row.recordist or "recordist not known"
    if row.recording_id.startswith("XC") and row.recording_id[2:].isdigit():
        return f"{name}, {row.recording_id}. Accessible at www.xeno-canto.org/{row.recording_id[2:]}"
    return f"{name}, {row.recording_id}" + (f". {row.url}" if row.url else "")


def attribution_text(rows: Sequence[RecordingRow]) -> str:
    """Return the Markdown text of ATTRIBUTION.md: numbers of recordings and recordists, and recordings by license."""
    by_license: dict[str, list[RecordingRow]] = defaultdict(list)
    for row in rows:
        by_license[row.license or UNKNOWN].append(row)
    recordists = Counter(row.recordist or "not known" for row in rows)
    lines = [
        "# Attribution",
        "",
        f"{counted(len(rows), 'recording')} by {counted(len(recordists), 'recordist')}. Whoever passes on recordings, "
        "or clips of them, passes on this file with them.",
        "",
    ]
    for license_id in sorted(by_license, key=lambda name: (name == UNKNOWN, name)):
        url = deed_url(license_id)
        lines += [f"## {license_id}", "", *([url, ""] if url else [])]
        lines += [f"- {_escape(line)}" for line in sorted(map(attribution_line, by_license[license_id]))]
        lines.append("")
    return "\n".join(lines)


def _escape(line: str) -> str:
    """Escape Markdown characters, so that names are shown as text."""
    return "".join(f"\\{c}" if c in "\\`*_<>[]#" else c for c in line.replace("\n", " "))


def write_attribution(rows: Iterable[RecordingRow], folder: Path) -> Path:
    """Write ATTRIBUTION.md for the recordings into a folder, and return the file's path.

    Raises:
        OutputError: no space, or no permission.
    """
    path = folder / FILE_NAME
    with atomic_file(path) as stream:
        stream.write(attribution_text(list(rows)).encode())
    return path
