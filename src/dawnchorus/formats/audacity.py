"""Audacity label tracks: lines of `start TAB end TAB name;score`, without a header; one file per recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from dawnchorus.formats.class_names import one_line, read_class, split_lines, write_class
from dawnchorus.formats.columns import is_annotated
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.text import convert_marks, score, text_stream
from dawnchorus.tables import Notes, parse_offset_s, read_text
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Detection, Mark, Provenance, RecordingTable


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one label per detection; annotations (see `columns.is_annotated`) get no score.

    The name is the common name. `provenance` is not written, and `stream` stays open. The times of a recording are
    counted from the start of the first recording, as if all recordings were joined in one track.
    """
    # Labels have no place for the provenance; it goes into the file next to the table
    with_score = not is_annotated(provenance)
    before_s = 0.0
    with text_stream(stream) as text:
        for table in tables:
            columns = DetectionColumns.from_detections(table.detections)
            starts_s, ends_s = ((before_s + columns.column(name)).tolist() for name in ("start_s", "end_s"))
            names, scores = columns.to_list("common_name"), columns.to_list("score")
            text.writelines(
                "{:.6f}\t{:.6f}\t{}{}\n".format(start_s, end_s, *_label(name, value if with_score else None))
                for start_s, end_s, name, value in zip(starts_s, ends_s, names, scores, strict=True)
            )
            before_s += table.duration_s


def _label(name: str, value: float | None) -> tuple[str, str]:
    """Return the name, and the score with its separator; no score for None."""
    return (one_line(name), "") if value is None else (one_line(write_class(name)), f";{score(value)}")


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    r"""Yield (None, detection) for each label; the file does not name its recording.

    The score is the fourth field, or else the number after the last `;` of the name, or else 1. The frequency lines
    (`\ low high`) that may follow a label are read too.

    Raises:
        FormatError: the file is not text, a line is neither a label nor frequencies, or a time or score is impossible
            (see `checks.find_problem`).
    """
    return convert_marks(path, read_marks(path))


def read_marks(path: Path, notes: MarkNotes | None = None) -> Iterator[Mark]:
    """Yield a `Mark` (annotation) for each label; a line that cannot be parsed becomes a mark with a problem.

    `notes` get a sentence if the file's encoding was guessed.

    Raises:
        FormatError: the file is not text.
    """
    guesses = Notes()
    lines = split_lines(read_text(path, guesses))
    if notes is not None:
        for sentence in guesses.sentences():
            notes.add(path, sentence)
    pending: Mark | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        try:
            if fields[0].strip() == "\\":
                pending = _with_frequencies(pending, fields)
                continue
            following = _mark(number, fields)
        except (ValueError, IndexError):
            following = Mark(number, None, problem=f"expected 'start TAB end TAB label', found {line!r}.")
        if pending is not None:
            yield pending
        pending = following
    if pending is not None:
        yield pending


def _mark(number: int, fields: list[str]) -> Mark:
    name, separator, behind = (fields[2] if len(fields) > 2 else "").strip().rpartition(";")
    try:
        value = float(fields[3]) if len(fields) > 3 else float(behind if separator or "." in behind else "none")
        name, is_scored = name or behind if len(fields) > 3 else name, True
    except ValueError:
        name, value, is_scored = (fields[2].strip() if len(fields) > 2 else ""), 1.0, False
    label = read_class(name) if is_scored else parse_label(name)
    detection = Detection(
        start_s=_offset_s(fields[0]),
        end_s=_offset_s(fields[1]),
        scientific_name=label.scientific_name,
        common_name=label.common_name,
        kind=label.kind,
        score=value,
    )
    return Mark(number, detection, is_scored=is_scored)


def _number(text: str) -> float:
    """Return the number in a text with a decimal point or comma."""
    return float(text.replace(",", "."))


def _offset_s(text: str) -> float:
    """Return seconds, also from a time such as `1:02.5`."""
    value = parse_offset_s(text) if ":" in text else _number(text)
    if value is None:
        raise ValueError(text)
    return value


def _with_frequencies(mark: Mark | None, fields: list[str]) -> Mark:
    if mark is None or mark.detection is None:
        raise ValueError("frequencies before any label")
    low, high = _number(fields[1]), _number(fields[2])
    detection = replace(mark.detection, low_hz=max(low, 0.0), high_hz=None if high < 0 else high)
    return replace(mark, detection=detection)
