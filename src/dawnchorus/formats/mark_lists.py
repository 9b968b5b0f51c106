"""Lists of marks with columns for recording, start, end and label, as OpenSoundscape and others write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dawnchorus.formats.text import NamedColumns, OnNote, say_nothing
from dawnchorus.tables.text_files import read_text
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Detection, Mark

_RECORDING = (
    "recording",
    "audio_file",
    "audiofilename",
    "file",
    "filename",
    "file_name",
    "filepath",
    "path",
    "begin file",
)
_START = ("start_time", "start_s", "start", "start_offset_s", "start (s)", "onset", "begin", "begin_time", "start time")
_END = ("end_time", "end_s", "end", "end_offset_s", "end (s)", "offset", "end time", "stop")
_LABEL = ("scientific_name", "scientific name", "species", "annotation", "label", "label:species", "class", "name")
_SCORE = ("score", "confidence")
_LOW, _HIGH = ("low_f", "low_hz", "low freq (hz)"), ("high_f", "high_hz", "high freq (hz)")
_KIND = ("label_type",)
"""Hoplite's: "positive", "negative" (looked for, not there) or "uncertain"."""

_DELIMITERS = ",;\t"


def has_columns(header: str) -> bool:
    """Return True if a first line names the columns of such a list."""
    names = {name.strip(' "\r').lower() for name in header.split(_delimiter(header))}
    return all(not names.isdisjoint(wanted) for wanted in (_RECORDING, _START, _END, _LABEL))


def read_marks(path: Path, on_note: OnNote = say_nothing) -> Iterator[Mark]:
    """Yield each row, also those that cannot be read.

    Rows without times that have no label, or that of no species (`nocall`), and negative ones, say that somebody
    listened.

    Raises:
        FormatError: a needed column is missing.
    """
    rows = NamedColumns(path, delimiter=_delimiter(read_text(path).partition("\n")[0]))
    recording, label = rows.require(_RECORDING), rows.require(_LABEL)
    start, end = rows.require(_START), rows.require(_END)
    score, low, high, kind = (rows.place(names) for names in (_SCORE, _LOW, _HIGH, _KIND))

    def mark(line: int, fields: list[str]) -> Mark:
        named, text = rows.text(fields, recording), rows.text(fields, label) or ""
        certainty = (rows.text(fields, kind) or "positive").lower()
        found = parse_label(text if certainty == "positive" else "?")
        has_times = rows.text(fields, start) is not None or rows.text(fields, end) is not None
        is_bare = not has_times and (not text or found.kind == "sound")
        if is_bare or (named and certainty == "negative"):
            return Mark(line, None, named)
        value = rows.number_or_none(line, fields, score)
        detection = Detection(
            start_s=rows.offset_s(line, fields, start),
            end_s=rows.offset_s(line, fields, end),
            scientific_name=found.scientific_name,
            common_name=found.common_name,
            kind=found.kind,
            score=1.0 if value is None else value,
            low_hz=rows.number_or_none(line, fields, low),
            high_hz=rows.number_or_none(line, fields, high),
        )
        return Mark(line, detection, named)

    return rows.marks(mark, on_note)


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)
