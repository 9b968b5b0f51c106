"""Recordings that make an evaluation less than it seems: those that were learned from, and those labelled wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dawnchorus.data.check import CERTAIN_SCORE, DOUBTFUL_SCORE
from dawnchorus.data.recordings import RecordingRow, read_table, table_path
from dawnchorus.evaluate.metrics import best_index
from dawnchorus.evaluate.scoring import Scores
from dawnchorus.models.bundle import Bundle


@dataclass(frozen=True)
class Leak:
    """A recording that the bundle has learned from."""

    recording_id: str
    learned_as: str
    """The recording_id that it had there."""
    why: str


@dataclass(frozen=True)
class Doubt:
    """A recording in which the bundle hears another species than its label's, and nothing of that one."""

    recording_id: str
    label: str
    heard: str
    score: float


def learned_from(bundle: Bundle, rows: Sequence[RecordingRow]) -> tuple[Leak, ...]:
    """Those of `rows` that the bundle was trained on, by the table of recordings that it carries.

    Sounds are compared where both data sets were checked (`dawnchorus data check`), identifiers elsewhere. A bundle
    without a table is taken at its word.
    """
    if not table_path(bundle.folder).is_file():
        return ()
    learned = [row for row in read_table(bundle.folder).rows if row.split == "train"]
    by_id = {row.recording_id: row for row in learned}
    by_sound = {row.sound_hash: row for row in learned if row.sound_hash}
    by_original = {row.duplicate_of or row.recording_id: row for row in learned}

    def found() -> Iterator[Leak]:
        for row in rows:
            same = by_id.get(row.recording_id)
            alike = by_original.get(row.duplicate_of or row.recording_id)
            if row.sound_hash in by_sound:
                yield Leak(row.recording_id, by_sound[row.sound_hash].recording_id, "the same sound")
            elif same is not None and not (row.sound_hash and same.sound_hash):
                yield Leak(row.recording_id, same.recording_id, "the same identifier")
            elif alike is not None and row.duplicate_of != alike.duplicate_of:
                yield Leak(row.recording_id, alike.recording_id, "nearly the same sound")
            elif alike is not None and row.duplicate_of is not None:
                yield Leak(row.recording_id, alike.recording_id, "nearly the same sound as a third recording")

    return tuple(found())


def doubtful_labels(scores: Scores) -> tuple[Doubt, ...]:
    """Recordings of one species whose label the scores contradict in every window, the surest first."""
    best, truth = scores.by_recording("max")
    strongest = best_index(best)
    found = []
    for k, row in enumerate(scores.rows):
        if row.is_annotated or row.scientific_name not in scores.classes or truth[k].sum() != 1:
            continue
        heard = int(strongest[k])
        if best[k, truth[k]].max() < DOUBTFUL_SCORE and best[k, heard] >= CERTAIN_SCORE:
            found.append(Doubt(row.recording_id, row.scientific_name, scores.classes[heard], float(best[k, heard])))
    return tuple(sorted(found, key=lambda doubt: -doubt.score))
