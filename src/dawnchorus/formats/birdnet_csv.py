"""CSV with BirdNET-Analyzer's columns, and optionally `in_range`, `human_voice`, `channel`, `verdict` and `kind`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from dawnchorus.formats.class_names import one_line
from dawnchorus.formats.columns import has_channels, has_kinds, has_verdicts
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.text import (
    NamedColumns,
    convert_marks,
    score,
    seconds,
    text_stream,
)
from dawnchorus.taxonomy.labels import KINDS, kind_of
from dawnchorus.types import Detection, Mark, Provenance, RecordingTable

COLUMNS = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")

MORE_COLUMNS = ("in_range", "human_voice", "channel", "verdict", "kind")
"""Optional columns, written if options of the run, reviews, or kinds that differ from the names' require them."""

_TRUTHS = {"true": True, "false": False}


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection; `stream` stays open.

    `provenance` is not written; its parameters decide which optional columns are: `in_range` with a range filter,
    `human_voice` with speech detection, `channel` if channels were scored separately, `verdict` if detections were
    reviewed, and `kind` if a class has an unusual kind (`columns.has_kinds`).
    """
    parameters = provenance.parameters
    options = parameters.get("range_filter"), parameters.get("speech"), has_channels(provenance)
    requested = *options, has_verdicts(provenance), has_kinds(provenance)
    more = [name for name, is_requested in zip(MORE_COLUMNS, requested, strict=True) if is_requested]
    with text_stream(stream) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([*COLUMNS, *more])
        for table in tables:
            columns = DetectionColumns.from_detections(table.detections)
            rows.writerows(
                zip(
                    map(seconds, columns.to_list("start_s")),
                    map(seconds, columns.to_list("end_s")),
                    map(one_line, columns.to_list("scientific_name")),
                    map(one_line, columns.to_list("common_name")),
                    map(score, columns.to_list("score")),
                    [table.recording] * len(columns),
                    *(map(_text, columns.to_list(name)) for name in more),
                    strict=True,
                )
            )


def _text(value: object) -> str:
    return "" if value is None else str(value).lower()


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each row of a table by BirdNET-Analyzer (versions 1 to 3) or by `write`.

    The recording is None for a row without a value in the column `File`.

    Raises:
        FormatError: the file is not a table, a required column is missing, a row cannot be parsed, or a time or score
            is impossible (see `checks.find_problem`).
    """
    return convert_marks(path, read_marks(path))


def read_marks(path: Path, notes: MarkNotes | None = None) -> Iterator[Mark]:
    """Yield a `Mark` (annotation) for each row; a row that cannot be parsed becomes a mark with a problem.

    `notes` get guesses about the file, such as its encoding, and the columns that are not read.

    Raises:
        FormatError: the file is not a table, or a required column is missing.
    """
    rows = NamedColumns(path)
    start, end = rows.require(["Start (s)"]), rows.require(["End (s)"])
    scientific = rows.require(["Scientific name"])
    common = rows.require(["Common name"])
    confidence = rows.require(["Confidence"])
    file = rows.find_column(["File"])
    in_range, voice, channel, verdict, kind = (rows.find_column([name]) for name in MORE_COLUMNS)

    def mark(line: int, fields: list[str]) -> Mark:
        scientific_name = rows.text(fields, scientific) or ""
        detection = Detection(
            start_s=rows.offset_s(line, fields, start),
            end_s=rows.offset_s(line, fields, end),
            scientific_name=scientific_name,
            common_name=rows.text(fields, common) or "",
            kind=KINDS.get(rows.text(fields, kind) or "") or kind_of(scientific_name),
            score=rows.number(line, fields, confidence),
            in_range=_TRUTHS.get(rows.text(fields, in_range) or ""),
            human_voice=_TRUTHS.get(rows.text(fields, voice) or ""),
            channel=rows.channel(fields, channel),
            verdict=rows.text(fields, verdict),
        )
        return Mark(line, detection, rows.text(fields, file), is_scored=True)

    return rows.marks(mark, notes)
