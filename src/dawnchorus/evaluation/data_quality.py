"""Checks of an evaluation's data: overlap with the model's training recordings, and likely label errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dawnchorus.data.check import CERTAIN_SCORE, DOUBTFUL_SCORE
from dawnchorus.data.identity import is_same_recording
from dawnchorus.data.recordings import RecordingRow, read_table, table_path
from dawnchorus.data.relations import ARCHIVE, RECORDER, SAME_RECORDING
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.metrics.classification import best_index
from dawnchorus.models.bundle import Bundle


@dataclass(frozen=True)
class TrainingOverlap:
    """A recording that the model was trained on, or that is related to a training recording."""

    recording_id: str
    """The recording_id in the evaluated data set."""
    trained_as: str
    """The recording_id of the training recording."""
    relation: str
    """Phrase on how both are related, such as "the same sound"."""


@dataclass(frozen=True)
class LabelIssue:
    """A recording in which the model detects another species (`prediction`) and not the labeled one (`label`).

    Attributes:
        recording_id: the recording.
        label: scientific name of the labeled species.
        prediction: scientific name of the detected species.
        score: highest score of `prediction` in the recording.
    """

    recording_id: str
    label: str
    prediction: str
    score: float


def find_training_overlap(bundle: Bundle, rows: Sequence[RecordingRow]) -> tuple[TrainingOverlap, ...]:
    """Return the rows that are training recordings of the bundle, or related to one; each row once.

    Recordings are compared by `audio_hash` if both data sets were checked (`dawnchorus data check`), by `content_hash`,
    by `recording_id` (see `is_same_recording`), by nearly the same sound (`duplicate_of`), and by file names and groups
    (`NAMED_RELATIONS`). Of several relations of a row, the first in this order is returned; rows without one are left
    out. Training recordings are the rows of split "train" in the bundle's recordings table; without a table the result
    is empty, and `overlap_notes` says so.

    Raises:
        FormatError: the bundle's table is damaged or of another version.
    """
    return tuple(_iter_overlaps(_training_rows(bundle), rows))


def _iter_overlaps(trained: Sequence[RecordingRow], rows: Sequence[RecordingRow]) -> Iterator[TrainingOverlap]:
    by_id = {row.recording_id: row for row in trained}
    by_audio = {row.audio_hash: row for row in trained if row.audio_hash}
    by_content = {row.content_hash: row for row in trained if row.content_hash}
    by_original = {row.duplicate_of or row.recording_id: row for row in trained}
    relatives = _relatives(trained, rows)
    for row in rows:
        same = by_id.get(row.recording_id)
        similar = by_original.get(row.duplicate_of or row.recording_id)
        if row.audio_hash in by_audio:
            yield TrainingOverlap(row.recording_id, by_audio[row.audio_hash].recording_id, "the same sound")
        elif row.content_hash in by_content:
            yield TrainingOverlap(row.recording_id, by_content[row.content_hash].recording_id, "the same file")
        elif same is not None and not (row.audio_hash and same.audio_hash) and is_same_recording(row, same):
            yield TrainingOverlap(row.recording_id, same.recording_id, "the same identifier")
        elif similar is not None and row.duplicate_of != similar.duplicate_of:
            yield TrainingOverlap(row.recording_id, similar.recording_id, "nearly the same sound")
        elif similar is not None and row.duplicate_of is not None:
            yield TrainingOverlap(row.recording_id, similar.recording_id, "nearly the same sound as a third recording")
        elif row.recording_id in relatives:
            yield relatives[row.recording_id]


def _training_rows(bundle: Bundle) -> list[RecordingRow]:
    if not table_path(bundle.folder).is_file():
        return []
    return [row for row in read_table(bundle.folder).rows if row.split == "train"]


NAMED_RELATIONS = tuple(
    relation
    for relation in SAME_RECORDING
    if relation.name not in ("the same sound", "nearly the same sound", "files of the same bytes", "the same file")
)
"""Relations between recordings of two data sets that can be found by file names and groups alone."""


def _relatives(trained: Sequence[RecordingRow], rows: Sequence[RecordingRow]) -> dict[str, TrainingOverlap]:
    """Return the first related training recording of each row that has one, by recording_id."""
    relatives: dict[str, TrainingOverlap] = {}
    for relation in NAMED_RELATIONS:
        keys = relation.keys([*trained, *rows])
        by_key = {key: row for row, own in zip(trained, keys[: len(trained)], strict=True) for key in own}
        for row, own in zip(rows, keys[len(trained) :], strict=True):
            other = next((by_key[key] for key in own if key in by_key), None)
            if other is not None:
                relatives.setdefault(
                    row.recording_id, TrainingOverlap(row.recording_id, other.recording_id, relation.name)
                )
    return relatives


def overlap_notes(bundle: Bundle, rows: Sequence[RecordingRow]) -> tuple[str, ...]:
    """Return one sentence on the kinds of overlap between rows and training recordings that could not be checked.

    There is always one, since recordists and days are never compared.

    Raises:
        FormatError: the bundle's table is damaged or of another version.
    """
    trained = _training_rows(bundle)
    if not trained:
        return (
            f"{bundle.info.name} has no table of the recordings that it was trained on: it is not known if some of "
            f"these are among them.",
        )
    missing = [
        name
        for name, is_known in (
            ("sounds (run `dawnchorus data check` on both data sets)", lambda row: row.audio_hash is not None),
            ("archive numbers", lambda row: bool(ARCHIVE.keys([row])[0])),
            ("recorders and start times", lambda row: bool(RECORDER.keys([row])[0])),
        )
        if not (any(map(is_known, trained)) and any(map(is_known, rows)))
    ]
    missing.append("recordists and days (a bundle does not tell dates and locations)")
    return (f"not compared with the recordings that {bundle.info.name} was trained on: {', '.join(missing)}.",)


def find_label_issues(scores: Scores) -> tuple[LabelIssue, ...]:
    """Return the recordings whose labels the scores contradict, the highest scores of another species first.

    In such a recording, the labeled species scores below `DOUBTFUL_SCORE` (0.05) in each window, and another species
    `CERTAIN_SCORE` (0.5) or more in at least one window. Recordings that are annotated, have several species, or whose
    species is no class of `scores`, are left out.
    """
    best, truth = scores.by_recording("max")
    strongest = best_index(best)
    issues = []
    for k, row in enumerate(scores.rows):
        if row.is_annotated or row.scientific_name not in scores.classes or truth[k].sum() != 1:
            continue
        predicted = int(strongest[k])
        if best[k, truth[k]].max() < DOUBTFUL_SCORE and best[k, predicted] >= CERTAIN_SCORE:
            issues.append(
                LabelIssue(row.recording_id, row.scientific_name, scores.classes[predicted], float(best[k, predicted]))
            )
    return tuple(sorted(issues, key=lambda issue: -issue.score))
