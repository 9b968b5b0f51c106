"""Raven selection tables: tab-separated, one row per detection, for any number of recordings.

With several recordings, `Begin Time (s)` counts on from file to file, as Raven does when it opens them one after the
other; `File Offset (s)` is the time within the file.
"""

from __future__ import annotations

import ntpath
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from dawnchorus.errors import FormatError
from dawnchorus.formats.text import NamedColumns, score, seconds, text_stream
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.text_files import read_text
from dawnchorus.types import Detection, Mark, Provenance, RecordingTable

COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Common Name",
    "Scientific Name",
    "Confidence",
    "Begin File",
    "Begin Path",
    "File Offset (s)",
)

BOX_TOP_HZ = 15_000
"""Upper edge of a box whose frequencies nobody marked, where the recording goes as high."""

NAME_COLUMNS = ("Scientific Name", "Label", "Annotation", "Species", "Class")
CODE_COLUMNS = ("Species Code", "eBird Code", "Tags", "Type")
"""Columns in which people keep names and codes; a common name is looked for between the two."""


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection."""
    del provenance  # Raven has no place for it; it goes into the file beside the table
    with text_stream(stream) as text:
        text.write("\t".join(COLUMNS) + "\n")
        number, before_s = 0, 0.0
        for table in tables:
            for found in table.detections:
                number += 1
                fields = _row(number, before_s, table, found)
                # Raven knows no quotes: a field must not hold what separates fields and rows.
                text.write("\t".join(" ".join(field.split("\t")) for field in fields).replace("\n", " ") + "\n")
            before_s += table.duration_s


def _row(number: int, before_s: float, table: RecordingTable, found: Detection) -> list[str]:
    low = 0.0 if found.low_hz is None else found.low_hz
    high = min(BOX_TOP_HZ, table.rate_hz / 2) if found.high_hz is None else found.high_hz
    return [
        str(number),
        "Spectrogram 1",
        "1",
        seconds(before_s + found.start_s),
        seconds(before_s + found.end_s),
        f"{low:.1f}",
        f"{high:.1f}",
        found.common_name,
        found.scientific_name,
        score(found.score),
        ntpath.basename(table.recording),
        table.recording,
        seconds(found.start_s),
    ]


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield recording and detection of each selection.

    Times are within the file where the table says so. A selection that has a waveform row and a spectrogram row is
    given once. A table without names gives empty names; one without scores gives the score 1.

    Raises:
        FormatError: a needed column is missing, or a number is none.
    """
    seen: set[tuple[str | None, str, float, float]] = set()
    for mark in read_marks(path):
        detection = mark.detection
        if detection is None:
            continue
        if mark.selection is not None:
            # A number that comes again with other times is another selection, of a table joined from several.
            key = (mark.recording, mark.selection, detection.start_s, detection.end_s)
            if key in seen:
                continue  # the same selection in another view
            seen.add(key)
        yield mark.recording, detection


def read_marks(path: Path) -> Iterator[Mark]:
    """Yield each row of a table, also those of the same selection in another view.

    Columns are separated by tabs, or by commas or semicolons where a spreadsheet saved the table.

    Raises:
        FormatError: a needed column is missing, or a number is none.
    """
    header = read_text(path).partition("\n")[0]
    rows = NamedColumns(path, delimiter=max("\t;,", key=header.count), quoted=None)
    begin, end = rows.require(["Begin Time (s)"]), rows.require(["End Time (s)"])
    offset = rows.place(["File Offset (s)"])
    low, high = rows.place(["Low Freq (Hz)"]), rows.place(["High Freq (Hz)"])
    name, common, code = rows.place(NAME_COLUMNS), rows.place(["Common Name"]), rows.place(CODE_COLUMNS)
    selection, view = rows.place(["Selection"]), rows.place(["View"])
    confidence = rows.place(["Confidence", "Score"])
    recording, file = rows.place(["Begin Path"]), rows.place(["Begin File"])
    for line, fields in rows:
        named = rows.text(fields, recording) or rows.text(fields, file)
        text = rows.text(fields, name) or rows.text(fields, common) or rows.text(fields, code) or ""
        if not text and named and rows.text(fields, begin) is None and rows.text(fields, end) is None:
            yield Mark(line, None, named)
            continue
        start_s = rows.number(line, fields, begin)
        length_s = rows.number(line, fields, end) - start_s
        within = rows.number_or_none(line, fields, offset)
        start_s = start_s if within is None else within
        value = rows.number_or_none(line, fields, confidence)
        label = parse_label(text)
        detection = Detection(
            start_s=start_s,
            end_s=start_s + length_s,
            scientific_name=label.scientific_name,
            common_name=rows.text(fields, common) or label.common_name,
            kind=label.kind,
            score=1.0 if value is None else value,
            low_hz=rows.number_or_none(line, fields, low),
            high_hz=rows.number_or_none(line, fields, high),
        )
        is_within_file = within is not None or named is None
        yield Mark(line, detection, named, is_within_file, rows.text(fields, selection), rows.text(fields, view))


def require_names(path: Path) -> None:
    """Check that a table with selections has a column that names are looked for in.

    Raises:
        FormatError: it has none; or it is no table.
    """
    header = read_text(path).partition("\n")[0]
    rows = NamedColumns(path, delimiter=max("\t;,", key=header.count), quoted=None)
    columns = (*NAME_COLUMNS, "Common Name", *CODE_COLUMNS)
    if rows.place(columns) is None and any(True for _ in rows):
        raise FormatError(
            f"{path}: expected names of species in one of the columns {', '.join(columns)}; found {rows.header}. "
            f"Rename the column that has them."
        )
