"""Raven selection tables: tab-separated, one row per detection, for any number of recordings.

With several recordings, `Begin Time (s)` continues from file to file, as Raven counts when it opens them as one
sequence; `File Offset (s)` is the time within the file.
"""

from __future__ import annotations

import ntpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dawnchorus.errors import FormatError
from dawnchorus.formats.class_names import one_line
from dawnchorus.formats.columns import has_kinds, has_verdicts, is_annotated
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.text import (
    NamedColumns,
    convert_marks,
    score,
    seconds,
    text_stream,
)
from dawnchorus.tables import headers
from dawnchorus.tables.text_files import read_text
from dawnchorus.taxonomy.labels import KINDS, Label, kind_of, names_no_species, parse_label
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

SCORE = "Confidence"
"""Column of model scores; a table without it has annotations by people."""

VERDICT, KIND = "Verdict", "Kind"
"""Optional columns: for reviewed detections, and for classes whose kind is not the one that their name implies."""

BOX_TOP_HZ = 15_000
"""Upper edge in Hz of a box without annotated frequencies, unless half the sample rate is lower."""

NAME_COLUMNS = ("Scientific Name", "Label", "Annotation", "Species", "Class")
CODE_COLUMNS = ("Species Code", "eBird Code", "Tags", "Type")
"""Columns with names and codes of species; `Common Name` comes between the two in the order of search."""


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection; annotations are written without the score column.

    `provenance` is not written; it decides which optional columns are (score, verdict, kind). `stream` stays open.
    """
    # Raven has no place for the provenance; it goes into the file next to the table
    more = {VERDICT: "verdict"} if has_verdicts(provenance) else {}
    more |= {KIND: "kind"} if has_kinds(provenance) else {}
    columns = [name for name in COLUMNS if name != SCORE or not is_annotated(provenance)]
    with text_stream(stream) as text:
        text.write("\t".join([*columns, *more]) + "\n")
        first, before_s = 1, 0.0
        for table in tables:
            rows = _rows(table, first, before_s, more.values(), with_score=SCORE in columns)
            text.writelines("\t".join(row) + "\n" for row in rows)
            first += len(table.detections)
            before_s += table.duration_s


def _rows(
    table: RecordingTable, first: int, before_s: float, more: Collection[str], *, with_score: bool
) -> Iterator[tuple[str, ...]]:
    """Yield the fields of each detection as text.

    `first` is the number of the first selection, `before_s` the length of all earlier recordings, and `more` are
    optional columns at the end.
    """
    columns = DetectionColumns.from_detections(table.detections)
    n = len(columns)
    start_s, end_s = columns.column("start_s"), columns.column("end_s")
    low_hz, high_hz = (
        np.where(columns.is_null(name), unmarked_hz, columns.column(name)).tolist()
        for name, unmarked_hz in (("low_hz", 0.0), ("high_hz", min(BOX_TOP_HZ, table.rate_hz / 2)))
    )
    return zip(
        map(str, range(first, first + n)),
        ["Spectrogram 1"] * n,
        map(str, np.maximum(columns.column("channel"), 1).tolist()),  # an unknown one is 0
        map(seconds, (before_s + start_s).tolist()),
        map(seconds, (before_s + end_s).tolist()),
        map("{:.1f}".format, low_hz),
        map("{:.1f}".format, high_hz),
        map(one_line, columns.to_list("common_name")),
        map(one_line, columns.to_list("scientific_name")),
        *[map(score, columns.to_list("score"))] * with_score,
        [one_line(ntpath.basename(table.recording))] * n,
        [one_line(table.recording)] * n,
        map(seconds, start_s.tolist()),
        *([one_line(value or "") for value in columns.to_list(name)] for name in more),
        strict=True,
    )


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each selection; the recording is None if the row does not name it.

    Times count from the start of the recording if the row has a `File Offset (s)`. Else the start is `Begin Time (s)`,
    which in a later file of a sequence counts from the start of the sequence. The recording is `Begin Path`, or else
    `Begin File`, or else another column of recordings. A selection with a waveform row and a spectrogram row is yielded
    once. The name is the first that a row has in a column of names, `Common Name`, or a column of codes. Selections
    without a name are left out, with a warning. A selection without a score gets the score 1.

    Raises:
        FormatError: the file is not a table, a required column, such as one of names, is missing, a row cannot be
            parsed, or a time or score is impossible (see `checks.find_problem`).
    """
    marks = read_marks(path)
    require_names(path)
    return convert_marks(path, _in_one_view(marks))


def _in_one_view(marks: Iterable[Mark]) -> Iterator[Mark]:
    """Yield the marks without repetitions of a selection in another view, such as waveform and spectrogram."""
    seen: set[tuple[str | None, str, float, float, int | None]] = set()
    for mark in marks:
        detection = mark.detection
        if mark.selection is not None and detection is not None:
            # A number that comes again with other times is another selection, of a table joined from several; one that
            # comes again with another channel is a sound in both.
            key = (mark.recording, mark.selection, detection.start_s, detection.end_s, detection.channel)
            if key in seen:
                continue
            seen.add(key)
        yield mark


def read_marks(path: Path, notes: MarkNotes | None = None) -> Iterator[Mark]:
    """Yield a `Mark` (annotation) for each row; a row that cannot be read becomes a mark with a problem.

    A selection may have several rows, one for each view (waveform, spectrogram): see `Mark.selection`. Columns are
    separated by tabs, or by commas or semicolons if a spreadsheet saved the table. A row without times and without a
    species (no name, or `nocall`) becomes a mark without a detection: a person has listened to the recording.
    `notes` get guesses about the file, and columns that are not read.

    Raises:
        FormatError: the file is not a table, or the column of start or end times is missing.
    """
    header = read_text(path).partition("\n")[0]
    rows = NamedColumns(path, delimiter=max("\t;,", key=header.count), quoted=None)
    return rows.marks(_Columns.of(rows).mark, notes)


@dataclass(frozen=True)
class _Columns:
    """Indices of the columns of a table."""

    rows: NamedColumns
    start: int
    end: int
    columns: Mapping[str, int | None]
    is_own: bool
    """True for a table that `write` wrote, by its columns; its names are not parsed."""

    @classmethod
    def of(cls, rows: NamedColumns) -> _Columns:
        """Find the columns of a table.

        Raises:
            FormatError: a required column is missing.
        """
        names = {
            "offset": ["File Offset (s)"],
            "low": ["Low Freq (Hz)"],
            "high": ["High Freq (Hz)"],
            "name": NAME_COLUMNS,
            "common": ["Common Name"],
            "code": CODE_COLUMNS,
            "selection": ["Selection"],
            "channel": ["Channel"],
            "view": ["View"],
            "verdict": [VERDICT],
            "path": ["Begin Path"],
            "file": ["Begin File"],
            "recording": ["Recording", "Filename", "File"],
        }
        columns = {field: rows.find_column(synonyms) for field, synonyms in names.items()}
        columns["confidence"] = rows.score_column(headers.SCORE)
        is_own = set(COLUMNS) - {SCORE} <= set(rows.header)
        columns["kind"] = rows.find_column([KIND]) if is_own else None
        return cls(rows, rows.require(["Begin Time (s)"]), rows.require(["End Time (s)"]), columns, is_own)

    def mark(self, line: int, fields: list[str]) -> Mark:
        """Convert a row to a mark.

        Raises:
            FormatError: a value is not a number.
        """
        rows = self.rows
        text = {field: rows.text(fields, column) for field, column in self.columns.items()}
        counted_on = text["path"] or text["file"]
        named = counted_on or text["recording"]
        label = self._label(text)
        has_times = rows.text(fields, self.start) is not None or rows.text(fields, self.end) is not None
        if not has_times and names_no_species(label):
            return Mark(line, None, named)
        start_s = rows.offset_s(line, fields, self.start)
        length_s = rows.offset_s(line, fields, self.end) - start_s
        offset = self.columns["offset"]
        within = None if offset is None or text["offset"] is None else rows.offset_s(line, fields, offset)
        start_s = start_s if within is None else within
        value = rows.number_or_none(line, fields, self.columns["confidence"])
        detection = Detection(
            start_s=start_s,
            end_s=start_s + length_s,
            scientific_name=label.scientific_name,
            common_name=text["common"] or label.common_name,
            kind=label.kind,
            score=1.0 if value is None else value,
            low_hz=rows.number_or_none(line, fields, self.columns["low"]),
            high_hz=rows.number_or_none(line, fields, self.columns["high"]),
            channel=rows.channel(fields, self.columns["channel"]),
            verdict=text["verdict"],
        )
        is_within_file = within is not None or counted_on is None
        selection, view = text["selection"], text["view"]
        return Mark(line, detection, named, is_within_file, selection, view, is_scored=value is not None)

    def _label(self, text: Mapping[str, str | None]) -> Label:
        """Return the class of a row, given its fields by role."""
        name, common = text["name"], text["common"]
        if self.is_own and name is not None:
            return Label(name, common or name, KINDS.get(text["kind"] or "") or kind_of(name))
        return parse_label(name or common or text["code"] or "")


def require_names(path: Path) -> None:
    """Check that a table has a column of species names or codes; a table without rows passes.

    Raises:
        FormatError: the table has rows, but no such column, or the file is not a table.
    """
    header = read_text(path).partition("\n")[0]
    rows = NamedColumns(path, delimiter=max("\t;,", key=header.count), quoted=None)
    columns = (*NAME_COLUMNS, "Common Name", *CODE_COLUMNS)
    if rows.find_column(columns) is None and any(True for _ in rows):
        raise FormatError(
            f"expected names of species in one of the columns {', '.join(columns)}; found {rows.header}. "
            f"Rename the column that has them.",
            subject=path,
        )
