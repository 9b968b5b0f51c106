"""Checks of a data set's recordings: files, signal levels, duplicates and labels; with advice on each problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.fingerprint import HASH, near_pairs
from dawnchorus.audio.parallel import map_recordings
from dawnchorus.audio.process import DecoderProcess, IsolatedRecording
from dawnchorus.audio.sample_analyses import SampleAnalysis
from dawnchorus.audio.signal_checks import SignalLevel, StartFingerprint
from dawnchorus.data.audio_notes import CLOCK_UNREAD, CONFLICT, LENGTH, REMAINDER, list_audio_problems
from dawnchorus.data.contradictions import CONTRADICTORY
from dawnchorus.data.identity import hash_content
from dawnchorus.data.recordings import MISSING, UNREADABLE, RecordingRow, RecordingsTable
from dawnchorus.errors import AudioDecodeError, AudioError, AudioNotFoundError
from dawnchorus.inference.preparation import CleanedRecording
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection, Progress, Report, ignore_progress

SILENT_DB = -70.0
"""Level in dB relative to full scale (root mean square) at or below which a recording counts as silent."""

CLIPPED_SHARE = 0.001
"""Share of samples at full scale (`signal_checks.CLIPPED_LEVEL`) above which a recording counts as clipped."""

SHORT_S = 0.5

DOUBTFUL_SCORE, CERTAIN_SCORE = 0.05, 0.5
"""A label is doubtful if a model's highest score of the labeled species in the recording is below `DOUBTFUL_SCORE`,
and its highest score of another species is `CERTAIN_SCORE` or more."""

STRONG_SCORE = 0.8
"""Minimum score of a species to be reported if the labeled species is no class of the model.

It is above `CERTAIN_SCORE` because a low score of the labeled species, the other half of the evidence, is missing.
Measured with BirdNET: of 200 invented songs, 30 reach 0.5 for some species, and 11 reach 0.8; of 118 field recordings
of known species, 101 reach 0.5 for the right species, and 92 reach 0.8.
"""

LABEL_CHECKS: dict[str, str] = {
    "checked": "checked",
    "unknown_label": "with a label that the model does not know",
    "unlabeled": "not labeled",
    "failed": "that could not be scored",
}
"""Values of `RecordingRow.label_check`, each with its wording in messages ("3 recordings not labeled")."""

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
    "unlabeled": "it has no species, and is not marked as background: name its species",
    CONTRADICTORY: "its file lay under several labels: keep it under the right one, and import it again",
    "doubtful_label": "a model detects another species and not this one: listen to it",
    "other_species": "a model that does not know its label detects another species: listen to it, or correct the label",
    "no_license": "its license is not known: ask its recordist before you publish anything made from it",
}
"""All values of `RecordingRow.problems`, each with its meaning and advice."""


@dataclass(frozen=True)
class RecordingCheck:
    """Result of decoding and checking a recording.

    Attributes:
        row: the recording's row with new `problems`, duration and hashes.
        prints: acoustic fingerprints of the recording's first 120 s, which find near duplicates, as a structured array
            [hashes] of dtype `audio.fingerprint.HASH`; empty if the recording cannot be decoded.
    """

    row: RecordingRow
    prints: npt.NDArray[np.void]


@dataclass(frozen=True)
class ModelScores:
    """Highest scores of a model in the recordings of a data set.

    Attributes:
        classes: the model's classes.
    """

    classes: KnownClasses
    best: Mapping[str, Mapping[str, Detection]]
    """Detection with the highest score by recording_id, then by scientific name. Recordings that failed are not keys;
    those without a detection have an empty mapping."""


def check_table(
    table: RecordingsTable,
    *,
    n_workers: int,
    scores: ModelScores | None = None,
    report: Report = ignore_progress,
) -> RecordingsTable:
    """Decode all recordings, and return the table with `problems`, durations, sample rates, hashes, `duplicate_of` set.

    A recording that cannot be decoded gets the problem "missing" or "unreadable"; no error is raised.

    Args:
        table: the data set.
        n_workers: number of decoder processes.
        scores: a model's scores of the recordings, to set `label_check`, the `detected_` fields and the problems
            "doubtful_label" and "other_species" of the rows; None leaves labels unchecked, and removes the results of
            an earlier label check.
        report: called with the progress after each recording.
    """
    checks = []
    for check in map_recordings(
        lambda decoder, row: _check_recording(decoder, table, row), table.rows, n_workers=n_workers
    ):
        checks.append(check)
        report(Progress("checking", len(checks), len(table.rows), "recordings"))
    rows = mark_duplicates(checks)
    if scores is not None:
        rows = [_with_label_check(row, scores) for row in rows]
    return table.with_rows(rows)


def count_issues(rows: Sequence[RecordingRow]) -> Counter[str]:
    """Return the number of recordings by problem (keys of `ISSUES`), without problems that no recording has."""
    return Counter(problem for row in rows for problem in row.problems)


_NO_SCORES: dict[str, Any] = dict.fromkeys(
    ("label_check", "detected_species", "detected_score", "detected_start_s", "detected_end_s")
)
"""Fields that a comparison with a model sets, to reset those of an earlier one."""

CheckedRecording = IsolatedRecording | CleanedRecording


def check_analyses() -> dict[str, SampleAnalysis]:
    """Return new analyses by name, "level" and "prints" (fingerprints), for one recording.

    Pass them as `analyses` when you open the recording; `read_check` needs their results.
    """
    return {"level": SignalLevel(), "prints": StartFingerprint()}


def read_check(table: RecordingsTable, row: RecordingRow, recording: CheckedRecording) -> RecordingCheck:
    """Return the check of a recording that was opened with `check_analyses()` and decoded to its end.

    Args:
        table: the data set, which gives the path of the file.
        row: the row of the recording.
        recording: the decoded recording.

    Raises:
        AudioError: the file cannot be read any more.
    """
    (level,) = recording.tables["level"]
    problems = [
        *_label_problems(row),
        *_level_problems(level),
        *list_audio_problems(recording.warnings, recording.metadata),
        *(["short"] if recording.duration_s < SHORT_S else []),
    ]
    checked = replace(
        row,
        **_NO_SCORES,
        content_hash=_hash_file(table.file(row)),
        duration_s=recording.duration_s,
        rate_hz=recording.info.rate_hz,
        audio_hash=str(level["audio_hash"]),
        problems=tuple(dict.fromkeys(problems)),
    )
    return RecordingCheck(checked, recording.tables["prints"])


def failed_check(row: RecordingRow, error: AudioError) -> RecordingCheck:
    """Return the check of a recording that cannot be decoded because of `error`.

    The row gets the problem "missing" for an `AudioNotFoundError`, else "unreadable". It keeps its duration and hashes,
    and loses the results of an earlier label check. `prints` is empty.
    """
    problem = MISSING if isinstance(error, AudioNotFoundError) else UNREADABLE
    return RecordingCheck(replace(row, **_NO_SCORES, problems=(*_label_problems(row), problem)), np.empty(0, HASH))


def _check_recording(decoder: DecoderProcess, table: RecordingsTable, row: RecordingRow) -> RecordingCheck:
    try:
        with decoder.open(table.file(row), analyses=check_analyses()) as recording:
            for _block in recording.blocks():
                continue
            return read_check(table, row, recording)
    except AudioError as error:
        return failed_check(row, error)


def _hash_file(path: Path) -> str:
    try:
        return hash_content(path)
    except OSError as error:
        raise AudioDecodeError(f"it cannot be read ({error.strerror or error})", subject=path) from error


def _label_problems(row: RecordingRow) -> list[str]:
    is_labeled = row.scientific_name or row.is_annotated or row.kind != "focal"
    return [
        *([] if is_labeled else ["unlabeled"]),
        *([] if row.license else ["no_license"]),
        *([CONTRADICTORY] if CONTRADICTORY in row.problems else []),
    ]


def _level_problems(level: np.void) -> Iterator[str]:
    n = int(level["n"])
    if level["energy"] - level["sum"] ** 2 / n <= n * 10 ** (SILENT_DB / 10):
        yield "silent"
    if level["n_clipped"] > n * CLIPPED_SHARE:
        yield "clipped"


def _original(earlier: Mapping[int, tuple[int, str]], k: int) -> int:
    """Return the index of the row that row `k` is a copy of in the end; `k` itself if it is no copy."""
    while k in earlier:
        k = earlier[k][0]
    return k


def mark_duplicates(checks: Sequence[RecordingCheck]) -> list[RecordingRow]:
    """Return the rows of the checks with `duplicate_of` set, and "duplicate" or "near_duplicate" among the problems.

    A recording that is not silent is a "duplicate" if an earlier row has the same `audio_hash`. A recording is a
    "near_duplicate" if its fingerprints match those of an earlier row, and it is no "duplicate". All copies of a
    recording have the recording_id of the first of these rows as `duplicate_of`; this first row, and rows without
    copies, have None.
    """
    rows = [check.row for check in checks]
    first_with: dict[str, int] = {}
    earlier: dict[int, tuple[int, str]] = {}
    for k, row in enumerate(rows):
        if row.audio_hash is not None and "silent" not in row.problems:
            original = first_with.setdefault(row.audio_hash, k)
            if original != k:
                earlier[k] = (original, "duplicate")
    for a, b, _ in near_pairs([check.prints for check in checks]):
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
        return replace(row, label_check="unlabeled")
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
    """Return the row with the problem and the other species' detection; unchanged if `other` is None."""
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
