"""CTM, the time-marked format of speech recognition: `recording channel start duration label confidence` on a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from dawnchorus import Detection, FormatError, Provenance, RecordingTable, TableFormat


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one line per detection; spaces in names are escaped as in web addresses."""
    del provenance  # the format has no columns for it
    for table in tables:
        for row in table.detections:
            times = f"{row.start_s:.3f} {row.end_s - row.start_s:.3f}"
            label = f"{quote(row.scientific_name)},{quote(row.common_name)}"
            stream.write(f"{quote(table.recording)} {row.channel or 1} {times} {label} {row.score:.4f}\n".encode())


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield recording and detection of each line."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            recording, channel, start, duration, label, confidence = line.split(" ")
            scientific_name, _, common_name = map(unquote, label.partition(","))
            start_s, end_s = float(start), float(start) + float(duration)
            names = scientific_name, common_name, "species"
            detection = Detection(start_s, end_s, *names, score=float(confidence), channel=int(channel))
        except ValueError as error:
            raise FormatError(f"{path}, line {number}: expected six fields of CTM, found {line!r}.") from error
        yield unquote(recording), detection


CTM = TableFormat(
    name="ctm",
    suffix=".ctm",
    summary="time-marked labels of speech recognition",
    write=write,
    read=read,
    preserved_fields=("recording", "scientific_name", "common_name", "start_s", "end_s", "score", "channel"),
)
