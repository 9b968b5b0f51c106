"""Problems and messages from decoders' warnings and metadata of a data set's audio files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dawnchorus.audio.clock_report import ClockReport
from dawnchorus.audio.metadata import read_metadata
from dawnchorus.audio.trailing_bytes import find_trailing_bytes
from dawnchorus.data.recordings import MISSING, UNREADABLE, RecordingsTable
from dawnchorus.tables.notes import counted
from dawnchorus.types import RecordingMetadata

LENGTH, CONFLICT, CLOCK_UNREAD = "length_not_written", "clock_conflict", "clock_not_understood"
REMAINDER = "rest_not_read"

_PROBLEM_OF_WARNING = {
    "length never written": LENGTH,
    "length too short": LENGTH,
    "rest of the file": REMAINDER,
    "zeros at the end": "zeros_at_end",
    "low rate": "low_rate",
    "silence": "silent",
    "channels": "channels",
}
"""Problem (a key of `dawnchorus.data.check.ISSUES`) by the start of a decoder's warning; others mean "damaged"."""

_UNREAD = frozenset((MISSING, UNREADABLE))


def list_audio_problems(warnings: Sequence[str], metadata: RecordingMetadata) -> list[str]:
    """Return the problems (keys of `dawnchorus.data.check.ISSUES`) that warnings and metadata show, each once.

    `warnings` are the decoder's on one file. A warning of an unknown kind counts as "damaged".
    """
    issues = [_PROBLEM_OF_WARNING.get(line.partition(":")[0], "damaged") for line in warnings]
    issues += [CONFLICT] if metadata.conflict else []
    issues += [CLOCK_UNREAD] if metadata.unread else []
    return list(dict.fromkeys(issues))


def list_audio_notes(table: RecordingsTable) -> Iterator[str]:
    """Yield sentences on missing start times, contradicting or unreadable metadata, wrong lengths, data after audio.

    There is at most one sentence on each subject, with a number of recordings and an example, whose audio file may be
    read for it. Missing and unreadable recordings are left out.
    """
    report = ClockReport()
    rows = [row for row in table.rows if not _UNREAD.intersection(row.problems)]
    for row in rows:
        is_in_conflict, is_unread = CONFLICT in row.problems, CLOCK_UNREAD in row.problems
        is_example = (is_in_conflict and not report.n_conflicts) or (is_unread and not report.n_unread)
        metadata = read_metadata(table.file(row)) if is_example else RecordingMetadata()
        report.add(
            row.recording_id,
            has_time=row.date is not None and row.time is not None,
            conflict=metadata.conflict or ("also" if is_in_conflict else None),
            unread=metadata.unread or ("also" if is_unread else None),
        )
    yield from report.notes()
    unwritten = [row for row in rows if LENGTH in row.problems]
    if unwritten:
        yield (
            f"length not written, or too short, in {len(unwritten)} of {counted(len(rows), 'recording')}, as "
            f"{unwritten[0].recording_id}: all samples behind the header are read."
        )
    longer = [row for row in rows if REMAINDER in row.problems]
    if longer:
        trailing_bytes = find_trailing_bytes(table.file(longer[0]))
        example = "another file begins there" if trailing_bytes is None else trailing_bytes.description
        of_all = counted(len(rows), "recording")
        yield f"rest of the file in {len(longer)} of {of_all}, as {longer[0].recording_id}: {example}."
