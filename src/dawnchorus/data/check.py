"""What is wrong with the recordings of a data set, and what to do about it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.decode import resampler
from dawnchorus.audio.fingerprint import HASH, MAX_S, RATE_HZ, fingerprint, near_pairs
from dawnchorus.audio.many import map_recordings
from dawnchorus.audio.process import DecoderProcess, Ended, Opened
from dawnchorus.data.importing import MISSING, UNREADABLE
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.errors import AudioError, AudioNotFound

FloatArray = npt.NDArray[np.float32]

SILENT_DB = -70.0
"""Root mean square below full scale from which a recording counts as silent."""

CLIPPED_LEVEL, CLIPPED_PART = 0.999, 0.001
"""A recording is clipped if so large a part of its samples is at least so loud."""

SHORT_S = 0.5

DOUBTFUL_SCORE, CERTAIN_SCORE = 0.05, 0.5
"""A label is doubtful if a model gives it less than the first anywhere, and another species at least the second."""

PROBLEMS: dict[str, str] = {
    MISSING: "the file is not there: mount its drive, fetch it, or drop the row",
    UNREADABLE: "no decoder can open it: fetch it again, or drop it",
    "damaged": "it ends early or is damaged inside: fetch it again; what can be decoded is used",
    "silent": f"it is below {SILENT_DB:g} dB all the way: drop it",
    "clipped": f"more than {CLIPPED_PART:.1%} of its samples are at full scale: prefer another recording",
    "short": f"it is shorter than {SHORT_S:g} s",
    "duplicate": "another row has the same sound: drop it; the split keeps both together",
    "near_duplicate": "another row has nearly the same sound (another codec, level or cut): drop it",
    "unlabelled": "it has no species, and is not marked as background: name its species",
    "doubtful_label": "a model hears another species and not this one: listen to it",
    "no_license": "its licence is not known: ask its recordist before you publish anything made from it",
}
"""Every problem that a check names, and what to do."""


@dataclass(frozen=True)
class Heard:
    """What decoding a recording tells."""

    row: RecordingRow
    prints: npt.NDArray[np.void]


def check_table(
    table: RecordingsTable,
    *,
    n_workers: int,
    best_scores: Mapping[str, Mapping[str, float]] | None = None,
    on_recording: Callable[[], None] = lambda: None,
) -> RecordingsTable:
    """The table with what is wrong in `problems`, the true durations, sound hashes and duplicates.

    `best_scores`, by recording_id, are a model's highest scores by scientific name, to find doubtful labels.
    """
    heard = []
    for found in map_recordings(lambda decoder, row: _listen(decoder, table, row), table.rows, n_workers=n_workers):
        heard.append(found)
        on_recording()
    rows = [found.row for found in heard]
    rows = _with_duplicates(rows, [found.prints for found in heard])
    if best_scores is not None:
        rows = [_with_doubt(row, best_scores.get(row.recording_id)) for row in rows]
    return table.with_rows(rows)


def problem_counts(rows: Sequence[RecordingRow]) -> Counter[str]:
    """How many recordings have each problem."""
    return Counter(problem for row in rows for problem in row.problems)


class _Level:
    """Loudness and clipping, block by block."""

    def __init__(self) -> None:
        self.n = self.n_clipped = 0
        self.energy = 0.0

    def add(self, block: FloatArray) -> None:
        self.n += len(block)
        self.n_clipped += int(np.count_nonzero(np.abs(block) >= CLIPPED_LEVEL))
        self.energy += float(np.dot(block, block))

    def problems(self) -> Iterator[str]:
        if self.energy <= self.n * 10 ** (SILENT_DB / 10):
            yield "silent"
        if self.n_clipped > self.n * CLIPPED_PART:
            yield "clipped"


def _listen(decoder: DecoderProcess, table: RecordingsTable, row: RecordingRow) -> Heard:
    path = table.file(row)
    problems = [] if row.scientific_name or row.annotations or row.kind != "focal" else ["unlabelled"]
    problems += [] if row.license else ["no_license"]
    try:
        rate_hz = decoder.probe(path).info.rate_hz
        level, digest, start = _Level(), hashlib.sha256(), _Start(rate_hz)
        ended = Ended(0.0, ())
        for part in decoder.decode(path, rate_hz=rate_hz):
            if isinstance(part, Ended):
                ended = part
            elif not isinstance(part, Opened):
                level.add(part)
                digest.update(np.rint(np.clip(part, -1, 1) * 32767).astype("<i2").tobytes())
                start.add(part)
    except AudioError as error:
        problems.append(MISSING if isinstance(error, AudioNotFound) else UNREADABLE)
        return Heard(replace(row, problems=tuple(problems)), np.empty(0, HASH))
    problems += level.problems()
    problems += ["damaged"] if ended.warnings else []
    problems += ["short"] if ended.duration_s < SHORT_S else []
    known = replace(row, duration_s=ended.duration_s, rate_hz=rate_hz, sound_hash=digest.hexdigest())
    return Heard(replace(known, problems=tuple(problems)), start.prints())


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


def _with_duplicates(rows: list[RecordingRow], prints: list[npt.NDArray[np.void]]) -> list[RecordingRow]:
    first_with: dict[str, int] = {}
    earlier: dict[int, tuple[int, str]] = {}
    for k, row in enumerate(rows):
        if row.sound_hash is not None and "silent" not in row.problems:
            original = first_with.setdefault(row.sound_hash, k)
            if original != k:
                earlier[k] = (original, "duplicate")
    for a, b, _ in near_pairs(prints):
        earlier.setdefault(b, (a, "near_duplicate"))
    found = []
    for k, row in enumerate(rows):
        if k in earlier:
            original, problem = earlier[k]
            while original in earlier:
                original = earlier[original][0]
            problems = (*row.problems, problem)
            row = replace(row, problems=problems, duplicate_of=rows[original].recording_id)
        else:
            row = replace(row, duplicate_of=None)
        found.append(row)
    return found


def _with_doubt(row: RecordingRow, scores: Mapping[str, float] | None) -> RecordingRow:
    if row.scientific_name is None or not scores:
        return row
    others = max((score for name, score in scores.items() if name != row.scientific_name), default=0.0)
    if scores.get(row.scientific_name, 0.0) < DOUBTFUL_SCORE and others >= CERTAIN_SCORE:
        return replace(row, problems=(*row.problems, "doubtful_label"))
    return row
