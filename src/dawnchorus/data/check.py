"""Checks of the recordings of a data set, with advice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import resampler
from dawnchorus.audio.fingerprint import HASH, MAX_S, RATE_HZ, fingerprint, near_pairs
from dawnchorus.audio.parallel import map_recordings
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.data.audio_notes import CLOCK_UNREAD, CONFLICT, LENGTH, REMAINDER, list_audio_problems
from dawnchorus.data.contradictions import CONTRADICTORY
from dawnchorus.data.identity import hash_content
from dawnchorus.data.recordings import MISSING, UNREADABLE, RecordingRow, RecordingsTable
from dawnchorus.errors import AudioError, AudioNotFoundError
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection, Progress, Report, ignore_progress

SILENT_DB = -70.0
"""Root mean square below full scale from which a recording counts as silent."""

CLIPPED_LEVEL, CLIPPED_SHARE = 0.999, 0.001
"""A recording is clipped if so large a part of its samples is at least so loud."""

SHORT_S = 0.5

DOUBTFUL_SCORE, CERTAIN_SCORE = 0.05, 0.5
"""A label is doubtful if a model gives it less than the first anywhere, and another species at least the second."""

STRONG_SCORE = 0.8
"""Score from which another species is reported where the model does not know the label.

It is above `CERTAIN_SCORE` because the label's own score, the other half of the evidence, is missing there. Measured
with BirdNET: of 200 invented songs, 30 reach 0.5 for some species and 11 reach 0.8; of 118 field recordings of known
species, 101 and 92 do for their own.
"""

LABEL_CHECKS: dict[str, str] = {
    "checked": "checked",
    "unknown_label": "with a label that the model does not know",
    "unlabelled": "not labelled",
    "failed": "that could not be scored",
}
"""Outcomes of comparing a recording's label with a model, as a part of a sentence."""

ISSUES: dict[str, str] = {
    MISSING: "the file is missing: mount its drive, download it, or drop the row",
    UNREADABLE: "no decoder can open it: download it again, or drop it",
    "damaged": "it ends early or is damaged inside: download it again; the readable part is used",
    LENGTH: "its header does not say how long it is: save it again with a sound editor; all of it is used",
    REMAINDER: "another file, or junk, follows the sound and is not read: cut it off, or into a file of its own",
    "zeros_at_end": "it ends with exact zeros, as space that a recorder set aside: cut them off",
    "low_rate": "its sample rate is too low for birds",
    "channels": "a channel is silent or only noise, or they cancel out in their mean: keep one of them",
    CONFLICT: "its metadata, its name and today contradict each other in time or location: correct one of them",
    CLOCK_UNREAD: "its metadata have a time or a location in a form that is not known: its name or nothing tells it",
    "silent": f"it is below {SILENT_DB:g} dB all the way, but for a constant offset: drop it",
    "clipped": f"more than {CLIPPED_SHARE:.1%} of its samples are at full scale: prefer another recording",
    "short": f"it is shorter than {SHORT_S:g} s",
    "duplicate": "another row has the same sound: drop it; the split keeps both together",
    "near_duplicate": "another row has nearly the same sound (another codec, level or cut): drop it",
    "unlabelled": "it has no species, and is not marked as background: name its species",
    CONTRADICTORY: "its file lay under several labels: keep it under the right one, and import with --overwrite",
    "doubtful_label": "a model detects another species and not this one: listen to it",
    "other_species": "a model that does not know its label detects another species: listen to it, or correct the label",
    "no_license": "its licence is not known: ask its recordist before you publish anything made from it",
}
"""Every problem that a check names, and what to do."""


@dataclass(frozen=True)
class RecordingCheck:
    """Results of decoding and checking a recording."""

    row: RecordingRow
    prints: npt.NDArray[np.void]


@dataclass(frozen=True)
class ModelScores:
    """Maximum scores of a model in the recordings of a data set."""

    classes: KnownClasses
    best: Mapping[str, Mapping[str, Detection]]
    """By recording_id and scientific name the clip with the highest score; what could not be scored is missing."""


def check_table(
    table: RecordingsTable,
    *,
    n_workers: int,
    scores: ModelScores | None = None,
    report: Report = ignore_progress,
) -> RecordingsTable:
    """Decode all recordings, and return the table with problems, durations, audio hashes and duplicates.

    With `scores`, labels are compared with a model's detections; see `label_check` and `detected_species` of the rows.
    """
    checks = []
    for check in map_recordings(
        lambda decoder, row: _check_recording(decoder, table, row), table.rows, n_workers=n_workers
    ):
        checks.append(check)
        report(Progress("checking", len(checks), len(table.rows), "recordings"))
    rows = [check.row for check in checks]
    rows = _with_duplicates(rows, [check.prints for check in checks])
    if scores is not None:
        rows = [_with_label_check(row, scores) for row in rows]
    return table.with_rows(rows)


def count_issues(rows: Sequence[RecordingRow]) -> Counter[str]:
    """Count the recordings with each problem."""
    return Counter(problem for row in rows for problem in row.problems)


class _Level:
    """Loudness and clipping, block by block."""

    def __init__(self) -> None:
        self.n = self.n_clipped = 0
        self.energy = self.sum = 0.0

    def add(self, block: FloatArray) -> None:
        self.n += len(block)
        self.n_clipped += int(np.count_nonzero(np.abs(block) >= CLIPPED_LEVEL))
        exact = block.astype(np.float64)
        self.energy += float(np.dot(exact, exact))
        self.sum += float(exact.sum())

    def problems(self) -> Iterator[str]:
        of_offset = self.sum**2 / max(self.n, 1)
        if self.energy - of_offset <= self.n * 10 ** (SILENT_DB / 10):
            yield "silent"
        if self.n_clipped > self.n * CLIPPED_SHARE:
            yield "clipped"


def _check_recording(decoder: DecoderProcess, table: RecordingsTable, row: RecordingRow) -> RecordingCheck:
    path = table.file(row)
    row = replace(
        row, label_check=None, detected_species=None, detected_score=None, detected_start_s=None, detected_end_s=None
    )
    problems = [] if row.scientific_name or row.is_annotated or row.kind != "focal" else ["unlabelled"]
    problems += [] if row.license else ["no_license"]
    problems += [CONTRADICTORY] if CONTRADICTORY in row.problems else []
    try:
        with decoder.open(path) as recording:
            rate_hz = recording.info.rate_hz
            row = replace(row, content_hash=hash_content(path))
            level, digest, start = _Level(), hashlib.sha256(), _Start(rate_hz)
            for block in recording.blocks():
                level.add(block)
                digest.update(np.rint(np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
                start.add(block)
    except (AudioError, OSError) as error:
        problems.append(MISSING if isinstance(error, AudioNotFoundError) else UNREADABLE)
        return RecordingCheck(replace(row, problems=tuple(problems)), np.empty(0, HASH))
    problems += level.problems()
    problems += list_audio_problems(recording.warnings, recording.metadata)
    problems += ["short"] if recording.duration_s < SHORT_S else []
    known = replace(row, duration_s=recording.duration_s, rate_hz=rate_hz, audio_hash=digest.hexdigest())
    return RecordingCheck(replace(known, problems=tuple(dict.fromkeys(problems))), start.prints())


class _Start:
    """The start of a recording at the fingerprints' rate."""

    def __init__(self, rate_hz: int) -> None:
        self._stream = resampler(rate_hz, RATE_HZ)
        self._parts: list[FloatArray] = []
        self._missing = round(MAX_S * RATE_HZ)

    def add(self, block: FloatArray) -> None:
        if self._missing > 0:
            part = self._stream.resample_chunk(block)
            self._parts.append(part)
            self._missing -= len(part)

    def prints(self) -> npt.NDArray[np.void]:
        return fingerprint(np.concatenate(self._parts)) if self._parts else np.empty(0, HASH)


def _original(earlier: Mapping[int, tuple[int, str]], k: int) -> int:
    """Return the first of the rows that a row is a copy of; the row itself if it is none."""
    while k in earlier:
        k = earlier[k][0]
    return k


def _with_duplicates(rows: list[RecordingRow], prints: list[npt.NDArray[np.void]]) -> list[RecordingRow]:
    first_with: dict[str, int] = {}
    earlier: dict[int, tuple[int, str]] = {}
    for k, row in enumerate(rows):
        if row.audio_hash is not None and "silent" not in row.problems:
            original = first_with.setdefault(row.audio_hash, k)
            if original != k:
                earlier[k] = (original, "duplicate")
    for a, b, _ in near_pairs(prints):
        # Also where `b` has an original already: two excerpts of a longer recording have only that in common.
        first, second = sorted((_original(earlier, a), _original(earlier, b)))
        if first != second:
            earlier[second] = (first, "near_duplicate")
    check = []
    for k, row in enumerate(rows):
        if k in earlier:
            problems = (*row.problems, earlier[k][1])
            row = replace(row, problems=problems, duplicate_of=rows[_original(earlier, k)].recording_id)
        else:
            row = replace(row, duplicate_of=None)
        check.append(row)
    return check


def _with_label_check(row: RecordingRow, scores: ModelScores) -> RecordingRow:
    if row.scientific_name is None:
        return replace(row, label_check="unlabelled")
    best = scores.best.get(row.recording_id)
    if best is None:
        return replace(row, label_check="failed")
    label = scores.classes.find(Label(row.scientific_name, row.common_name or ""))
    if label is None:
        other = _strongest(d for d in best.values() if d.kind == "species" and d.scientific_name not in row.secondary)
        is_reported = other is not None and other.score >= STRONG_SCORE
        return _report_issue(replace(row, label_check="unknown_label"), "other_species", other if is_reported else None)
    own = best.get(label.scientific_name)
    other = _strongest(d for d in best.values() if d is not own)
    is_reported = (own is None or own.score < DOUBTFUL_SCORE) and other is not None and other.score >= CERTAIN_SCORE
    return _report_issue(replace(row, label_check="checked"), "doubtful_label", other if is_reported else None)


def _strongest(detections: Iterable[Detection]) -> Detection | None:
    return max(detections, key=lambda detection: detection.score, default=None)


def _report_issue(row: RecordingRow, problem: str, other: Detection | None) -> RecordingRow:
    """Return the row with the problem and the other species that is detected, if there is one."""
    if other is None:
        return row
    return replace(
        row,
        problems=(*row.problems, problem),
        detected_species=other.scientific_name,
        detected_score=other.score,
        detected_start_s=other.start_s,
        detected_end_s=other.end_s,
    )
