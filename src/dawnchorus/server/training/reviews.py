"""Reviews of detections: answers of people, undo, conflicts between reviewers, and clips as training data.

An *answer* is the verdict that a person gives on a detection. All answers are stored; the latest answer that was not
undone is the detection's *review*. A reviewer is identified by a random id of the browser.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session, aliased

from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.audio.write import write_recording
from dawnchorus.errors import ConflictError, InputError, NotFoundError
from dawnchorus.server.detection_counts import CountChange
from dawnchorus.server.detection_reviews import count_species, current_detection, model_label, set_verdict
from dawnchorus.server.history import scored_channel
from dawnchorus.server.listing import DetectionRecord, read_detections
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import DetectionRow, LabeledRecording, Recording, Review, ReviewAnswer, Verdict
from dawnchorus.server.training.data import TrainingData
from dawnchorus.server.training.labels import parse_species, resolve_class
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import ChannelSource

CLIP_RATE_HZ = 48_000
"""Sample rate of clips that are cut out of recordings; most models need no higher rate."""

MAX_CLIP_S = 15.0
"""Maximum length of a clip; a longer detection's clip is its middle."""

WITH_CLIP: tuple[Verdict, ...] = ("correct", "incorrect", "relabeled", "none")
"""Verdicts for which the detection's clip becomes training data; "several" and "unsure" give no usable label."""


class _Answer(NamedTuple):
    """A person's answer to a detection; a verdict of None deletes the review."""

    verdict: str | None
    scientific_name: str | None = None
    common_name: str | None = None

    @classmethod
    def of(cls, row: ReviewAnswer | Review | None) -> _Answer:
        """Return the answer in a row; without a row, the answer without a verdict."""
        return cls(None) if row is None else cls(row.verdict, row.scientific_name, row.common_name)

    @property
    def species(self) -> Label | None:
        """Correct species for the verdict "relabeled"; None for other verdicts."""
        if self.scientific_name is None or self.common_name is None:
            return None
        return Label(self.scientific_name, self.common_name)


class _Clip(NamedTuple):
    """A clip of a detection in the file store."""

    sha256: str
    n_bytes: int


@dataclass(frozen=True)
class Undone:
    """Result of an undo."""

    answer: ReviewAnswer
    """Answer that was undone."""
    record: DetectionRecord
    """Detection with its review after the undo."""


class Reviews:
    """Store of reviews in the database, and of the clips of reviewed detections in the file store.

    Args:
        database: database with reviews and detections.
        files: file store with the recordings; clips are added.
        training_data: training data, whose classes may be used for "relabeled".
        decoders: decoder processes, which cut the clips.
    """

    def __init__(
        self, database: Database, files: BlobStore, training_data: TrainingData, *, decoders: DecoderPool
    ) -> None:
        self._database, self._files, self._training_data, self._decoders = database, files, training_data, decoders

    def answer(
        self,
        detection_id: int,
        verdict: Verdict,
        species: str | None,
        labels: Sequence[Label],
        *,
        new_class: bool = False,
        reviewer: str | None = None,
        replaces: int | None = None,
    ) -> Review:
        """Store a person's answer as the review of a detection, and return the review.

        For the verdicts "correct", "incorrect", "relabeled" and "none", the detection's clip is added to the training
        data, or replaces its earlier clip there; for "several" and "unsure", an earlier clip is deleted. A clip has at
        most `MAX_CLIP_S` seconds (15), from the middle of the detection. "relabeled" to the species that the model
        detected is stored as "correct". If the recording was identified again since, the answer is to the detection
        that took the place of the given one (`detection_reviews.current_detection`). An answer that is equal to the
        reviewer's present answer is not stored again.

        Args:
            detection_id: id of the detection.
            verdict: verdict of the person; see `tables.Verdict`.
            species: name of the correct species, for "relabeled" only, else None.
            labels: labels of the active model's classes.
            new_class: True if `species` may be a class that is neither in `labels` nor in the training data.
            reviewer: random id of the person's browser; None for other programs.
            replaces: id of the answer that the person saw as the review, 0 if there was no review. The new answer is
                refused if the review is now a different answer of another reviewer (of anybody if `reviewer` is None);
                it is accepted if the review was deleted since. None to replace any review.

        Raises:
            NotFoundError: there is no such detection, or the recording's audio is not in the store.
            UnknownClassError: `species` is neither in `labels` nor in the training data, and `new_class` is False.
            InputError: "relabeled" without a species, another verdict with a species, or `species` is not one name.
            AudioError: the clip cannot be decoded.
            OutputError: the clip cannot be stored: no space, or no permission.
            ConflictError: another reviewer has changed the review since the person saw it, as `replaces` says.
        """
        if (verdict == "relabeled") != bool(species):
            raise InputError("expected a species where the verdict is 'relabeled', and only there.")
        other = None
        if species is not None:
            known = self._training_data.known_classes(labels)
            other = resolve_class(parse_species(species), known, is_new=new_class)
        with self._database.read() as session:
            detected = model_label(_get_detection(session, detection_id))
        if other is not None and other.scientific_name == detected.scientific_name:
            verdict, other = "correct", None
        names = (None, None) if other is None else (other.scientific_name, other.common_name)
        review = self._write(detection_id, _Answer(verdict, *names), reviewer=reviewer, replaces=replaces)
        if review is None:
            raise NotFoundError(f"there is no detection {detection_id}.")
        return review

    def delete(self, detection_id: int, *, reviewer: str | None = None, replaces: int | None = None) -> None:
        """Delete the review of a detection, and the detection's clip from the training data.

        The deletion is stored as an answer, which can be undone. Nothing happens without a review.

        Args:
            detection_id: id of the detection.
            reviewer: random id of the person's browser; None for other programs.
            replaces: id of the answer that the person saw as the review, 0 if there was no review. The deletion is
                refused if the review is now an answer of another reviewer (of anybody if `reviewer` is None) with
                another id. None to delete any review.

        Raises:
            NotFoundError: there is no such detection.
            ConflictError: another reviewer has changed the review since the person saw it (`replaces`).
        """
        self._write(detection_id, _Answer(None), reviewer=reviewer, replaces=replaces)

    def undo(self, reviewer: str | None, answer_id: int | None = None) -> Undone:
        """Undo an answer; the answer before it becomes the detection's review again.

        Without an answer before it, the detection has no review afterwards. The clip in the training data changes to
        match. For an answer that is undone already, nothing changes.

        Args:
            reviewer: random id of the browser that sent the answer; None for a client without an id, which has no
                answers.
            answer_id: id of the answer; None for the browser's last answer that can be undone.

        Raises:
            NotFoundError: this browser has no such answer, the detection was deleted, or the recording's audio is not
                in the store.
            ConflictError: a later answer to the detection exists.
            AudioError: the clip for the earlier answer cannot be decoded.
            OutputError: the clip cannot be stored: no space, or no permission.
        """
        chosen = self.last_answer(reviewer) if answer_id is None else answer_id
        with self._database.read() as session:
            given = None if chosen is None else session.get(ReviewAnswer, chosen)
            if given is None or reviewer is None or given.reviewer != reviewer:
                raise NotFoundError("there is no answer of this browser that can be taken back.")
            before = _Answer.of(None if given.previous is None else session.get(ReviewAnswer, given.previous))
        if not given.is_undone:
            with self._writing(given.detection, before.verdict) as (session, clip):
                recording, row = _lock_detection(session, given.detection)
                current = session.get(Review, row.id)
                latest = _find_latest(session, row.id)
                if latest is None or latest.id != given.id:
                    raise _conflict(current, "It was not taken back.")
                latest.is_undone = True
                _replace(session, recording, row, before, clip, answer_id=given.previous)
        with self._database.read() as session:
            for record in read_detections(session, [given.detection]):
                return Undone(given, record)
        raise NotFoundError(f"there is no detection {given.detection}.")

    def last_answer(self, reviewer: str | None) -> int | None:
        """Return the id of the browser's last answer that can be undone; None if there is no such answer.

        An answer can be undone as long as there is no later answer to the same detection that was not undone.

        Args:
            reviewer: random id of the browser; None for a client without an id, which has no answers.
        """
        if reviewer is None:
            return None
        later = aliased(ReviewAnswer)
        is_replaced = exists().where(
            later.detection == ReviewAnswer.detection, later.id > ReviewAnswer.id, later.is_undone.is_(False)
        )
        own = ReviewAnswer.reviewer == reviewer, ReviewAnswer.is_undone.is_(False), ~is_replaced
        query = select(ReviewAnswer.id).where(*own).order_by(ReviewAnswer.id.desc()).limit(1)
        with self._database.read() as session:
            return session.scalar(query)

    def _write(
        self, detection_id: int, answer: _Answer, *, reviewer: str | None, replaces: int | None
    ) -> Review | None:
        with self._database.read() as session:
            # The page may be older than the latest identification of the recording.
            detection_id = current_detection(session, _get_detection(session, detection_id))
            current = session.get(Review, detection_id)
            if _Answer.of(current) == answer and _is_own(session, current, reviewer):
                return current
        with self._writing(detection_id, answer.verdict) as (session, clip):
            recording, row = _lock_detection(session, detection_id)
            current = session.get(Review, detection_id)
            is_same, is_own = _Answer.of(current) == answer, _is_own(session, current, reviewer)
            if is_same and is_own:
                return current
            is_changed = replaces is not None and current is not None and current.answer != replaces
            if is_changed and not is_same and (reviewer is None or not is_own):
                raise _conflict(current, "Yours was not saved.")
            latest = _find_latest(session, detection_id)
            given = ReviewAnswer(
                detection=detection_id,
                reviewer=reviewer,
                previous=None if latest is None else latest.id,
                **answer._asdict(),
            )
            session.add(given)
            session.flush()
            return _replace(session, recording, row, answer, clip, answer_id=given.id)

    @contextmanager
    def _writing(self, detection_id: int, verdict: str | None) -> Iterator[tuple[Session, _Clip | None]]:
        """Open a write transaction for an answer, with the detection's clip in the file store.

        The clip is None for a verdict that makes no training data; an earlier clip of the detection is then deleted
        from the store after the transaction.
        """
        with self._database.read() as session:
            row = _get_detection(session, detection_id)
            channel = scored_channel(session, row)
            replaced = session.scalar(select(LabeledRecording.sha256).where(LabeledRecording.detection == row.id))
        if verdict in WITH_CLIP:
            with self._cut_clip(row, channel) as path, self._files.keep(path) as (session, sha256):
                yield session, _Clip(sha256, path.stat().st_size)
        else:
            with self._database.write() as session:
                yield session, None
            if replaced is not None:
                self._files.delete_unused(replaced)

    @contextmanager
    def _cut_clip(self, row: DetectionRow, channel: ChannelSource) -> Iterator[Path]:
        """Write the clip of a detection to a temporary file, which is deleted at the end of the block."""
        middle_s, half_s = (row.start_s + row.end_s) / 2, min(row.end_s - row.start_s, MAX_CLIP_S) / 2
        path = self._files.local(row.recording)
        start_s, end_s = middle_s - half_s, middle_s + half_s
        with self._decoders.decoder() as decoder:
            samples = decoder.read_clip(path, start_s=start_s, end_s=end_s, rate_hz=CLIP_RATE_HZ, channel=channel)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "clip.flac")
            write_recording(path, samples, rate_hz=CLIP_RATE_HZ)
            yield path


def _replace(
    session: Session,
    recording: Recording,
    row: DetectionRow,
    answer: _Answer,
    clip: _Clip | None,
    *,
    answer_id: int | None,
) -> Review | None:
    """Replace the review of a detection, and update species, counts and training data to match.

    Return the new review; None if the answer has no verdict.
    """
    change = CountChange(session, [recording.sha256])
    session.execute(delete(Review).where(Review.detection == row.id))
    session.execute(delete(LabeledRecording).where(LabeledRecording.detection == row.id))
    names = {row.scientific_name}
    set_verdict(row, answer.verdict, answer.species)
    count_species(session, recording, names | {row.scientific_name})
    change.write()
    if clip is not None:
        session.add(_label_clip(recording, row, answer, clip))
    if answer.verdict is None:
        return None
    review = Review(detection=row.id, recording=row.recording, answer=answer_id, **answer._asdict())
    session.add(review)
    return review


def _label_clip(recording: Recording, row: DetectionRow, answer: _Answer, clip: _Clip) -> LabeledRecording:
    detected = model_label(row)
    label = detected if answer.verdict == "correct" else answer.species
    is_absent = answer.verdict in ("incorrect", "relabeled")
    return LabeledRecording(
        sha256=clip.sha256,
        n_bytes=clip.n_bytes,
        name=f"{recording.name[:200]} {row.start_s:.1f} s",
        duration_s=min(row.end_s - row.start_s, MAX_CLIP_S),
        rate_hz=CLIP_RATE_HZ,
        scientific_name=None if label is None else label.scientific_name,
        common_name=None if label is None else label.common_name,
        absent=detected.scientific_name if is_absent else None,
        group=row.recording,
        source="review",
        detection=row.id,
    )


def _get_detection(session: Session, detection_id: int) -> DetectionRow:
    row = session.get(DetectionRow, detection_id)
    if row is None:
        raise NotFoundError(f"there is no detection {detection_id}.")
    return row


def _lock_detection(session: Session, detection_id: int) -> tuple[Recording, DetectionRow]:
    """Return a detection and its recording, with both rows locked until the end of the transaction."""
    owner = select(DetectionRow.recording).where(DetectionRow.id == detection_id).scalar_subquery()
    recording = session.scalar(select(Recording).where(Recording.sha256 == owner).with_for_update())
    row = session.get(DetectionRow, detection_id, with_for_update=True)
    if recording is None or row is None:
        raise NotFoundError(f"there is no detection {detection_id}.")
    return recording, row


def _find_latest(session: Session, detection_id: int) -> ReviewAnswer | None:
    """Return the latest answer to a detection that was not undone, which is its review; None if there is none."""
    counting = ReviewAnswer.detection == detection_id, ReviewAnswer.is_undone.is_(False)
    return session.scalar(select(ReviewAnswer).where(*counting).order_by(ReviewAnswer.id.desc()).limit(1))


def _is_own(session: Session, review: Review | None, reviewer: str | None) -> bool:
    """Return True if this browser made the review, or if there is no review."""
    if review is None or review.answer is None:
        return review is None or reviewer is None
    given = session.get(ReviewAnswer, review.answer)
    return given is not None and given.reviewer == reviewer


def _conflict(review: Review | None, consequence: str) -> ConflictError:
    if review is None:
        return ConflictError(f"somebody else deleted the answer since. {consequence}")
    name = "" if review.common_name is None else f" as {review.common_name}"
    names = {"scientific_name": review.scientific_name, "common_name": review.common_name}
    fields = {"verdict": review.verdict, **names, "answer": review.answer}
    return ConflictError(f"somebody else answered '{review.verdict}'{name} since. {consequence}", current=fields)
