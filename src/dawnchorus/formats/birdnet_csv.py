"""CSV with BirdNET-Analyzer's columns; `in_range` follows them where a range filter was asked for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from dawnchorus.formats.text import NamedColumns, score, seconds, text_stream
from dawnchorus.types import Detection, Provenance, RecordingTable

COLUMNS = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection."""
    with_range = bool(provenance.parameters.get("range_filter"))
    with text_stream(stream) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS + (("in_range",) if with_range else ()))
        for table in tables:
            for found in table.detections:
                row = [
                    seconds(found.start_s),
                    seconds(found.end_s),
                    found.scientific_name,
                    found.common_name,
                    score(found.score),
                    table.recording,
                ]
                if with_range:
                    row.append("" if found.in_range is None else str(found.in_range).lower())
                rows.writerow(row)


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Recording and detection of each row, of ours or of BirdNET-Analyzer's, versions 1 to 3.

    Raises:
        FormatError: a column is missing, or a number is none.
    """
    rows = NamedColumns(path, delimiter=",")
    start, end = rows.require(["Start (s)"]), rows.require(["End (s)"])
    scientific = rows.require(["Scientific name"])
    common = rows.require(["Common name"])
    confidence = rows.require(["Confidence"])
    file, in_range = rows.place(["File"]), rows.place(["in_range"])
    for line, fields in rows:
        yield (
            rows.text(fields, file),
            Detection(
                start_s=rows.number(line, fields, start),
                end_s=rows.number(line, fields, end),
                scientific_name=rows.text(fields, scientific) or "",
                common_name=rows.text(fields, common) or "",
                kind="species",
                score=rows.number(line, fields, confidence),
                in_range={"true": True, "false": False}.get(rows.text(fields, in_range) or ""),
            ),
        )
