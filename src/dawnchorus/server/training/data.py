"""Store of the server's training data: uploaded labeled recordings, and clips of reviewed detections."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import case, delete, func, insert, literal, select

from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.data.audio_notes import list_audio_notes
from dawnchorus.data.importing import read_facts
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.errors import AudioTooLargeError, InputError, NotFoundError, UnknownClassError
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import file_sha256
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import JobFile, LabeledRecording, SplitAssignment
from dawnchorus.server.training.labels import parse_species, resolve_label
from dawnchorus.server.training.uploads import LabeledUpload, Rejection, Upload, label_uploads, unpack_files
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import find_class_of_file, parse_folder_label
from dawnchorus.taxonomy.labels import Label, name_key

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class UploadOutcome:
    """Outcome of the upload of one file."""

    name: str
    """Client's name of the file; for a file in a zip, its path in the zip."""
    status: Literal["accepted", "duplicate", "rejected"]
    """Outcome: "duplicate" if the same audio with the same label was uploaded before, so that nothing was stored."""
    species: str | None
    """Common name of the species; "no species" for a recording without birds, or with the label that a species is
    absent (`reason` names it); None if the file was rejected."""
    reason: str | None = None
    """Reason of a rejection, or a remark on an accepted file; None without either."""
    suggestions: tuple[str, ...] | None = None
    """Labels of similar known classes, such as "Parus major_Great Tit", if the file was rejected because its species is
    no known class; else None."""


@dataclass(frozen=True)
class UploadResult:
    """Outcome of an upload of several files."""

    files: tuple[UploadOutcome, ...]
    """Outcome of each file; of a zip archive, of each file in the archive. The order is not that of the upload."""
    notes: tuple[str, ...]
    """Sentences on how labels were read, contradictions, unread csv columns, times, locations and audio faults."""

    def count(self, status: Literal["accepted", "duplicate", "rejected"]) -> int:
        """Return the number of files with this status."""
        return sum(each.status == status for each in self.files)


@dataclass(frozen=True)
class SpeciesTrainingData:
    """Amount of training data of a species."""

    scientific_name: str | None
    """Scientific name; None for recordings without birds, or for which only an absent species is known."""
    common_name: str
    """Common name; "no species, or unknown" if `scientific_name` is None."""
    n_recordings: int
    """Number of labeled recordings, including held-out recordings."""
    n_held_out: int
    """Number of recordings that are held out for testing, and never used for training."""
    duration_s: float
    """Length of all recordings of the species together, in seconds."""

    def add(self, other: SpeciesTrainingData) -> SpeciesTrainingData:
        """Return the sums of the numbers and lengths of both objects, with the names of this object."""
        return replace(
            self,
            n_recordings=self.n_recordings + other.n_recordings,
            n_held_out=self.n_held_out + other.n_held_out,
            duration_s=self.duration_s + other.duration_s,
        )


YES, NO = frozenset(("yes", "true", "1", "on")), frozenset(("", "no", "false", "0", "off"))


def parse_bool(name: str, text: str) -> bool:
    """Return the truth value of a form field; an empty text is False.

    Args:
        name: name of the field, for the message.
        text: value of the field: yes, true, 1, on, no, false, 0 or off, ignoring case and surrounding spaces.

    Raises:
        InputError: `text` is another word.
    """
    given = text.strip().lower()
    if given not in YES | NO:
        raise InputError(f"{name}: expected yes or no, got {text[:40]!r}.")
    return given in YES


class TrainingData:
    """Store of labeled recordings: rows in the database, and audio in the file store.

    Args:
        database: database with the rows.
        files: file store for the audio.
        limits: limits of uploaded recordings and zip archives.
        decoders: decoder processes, which read the recordings' headers.
    """

    def __init__(self, database: Database, files: BlobStore, limits: Limits, *, decoders: DecoderPool) -> None:
        self._database, self._files, self._limits, self._decoders = database, files, limits, decoders

    # ------------------------------------------------------------------ uploads

    def add_files(
        self,
        folder: Path,
        texts: Mapping[str, str],
        files: Sequence[tuple[str, Path]],
        labels: Sequence[Label],
        *,
        max_bytes: int,
    ) -> UploadResult:
        """Add uploaded recordings with their labels to the training data.

        If there is a csv of recordings and their species, it alone labels the recordings, and recordings that it does
        not name are rejected. It is the first csv among `files`, or else, of those in the zips, the only one with a
        usual name of label tables such as `metadata.csv`, or the only one at all if none has such a name. In a zip, one
        that has other columns is rejected and not used. Without a csv the label is, in this order: the form's field
        `species` (not for files in a zip); a known class in the name of the file's folder; a known species in the file
        name, such as `Great Tit12.mp3`; another folder name. The label `noise` means a recording without birds.

        A species must be one of `labels` or have training data already, unless the form's field `new_class` is true:
        then any folder name takes precedence over the file name. Audio that was uploaded before with another label gets
        the new label.

        Args:
            folder: temporary folder, in which the files are unpacked.
            texts: text fields of the form by name: `species` and `new_class` (see `parse_bool`), both optional.
            files: client's name and path of each file; the files are moved.
            labels: labels of the active model's classes.
            max_bytes: maximum size of all unpacked files of zip archives together.

        Returns:
            Outcome of each file; a file that cannot be used is rejected with a reason, and the others are stored.

        Raises:
            InputError: there are no files, a field or a zip archive is invalid, or the csv among `files` is not one of
                recordings and species.
            UploadTooLargeError: a zip archive exceeds `max_bytes` or `Limits.zip`.
            OutputError: no space, or no permission.
        """
        is_new = parse_bool("new_class", texts.get("new_class", ""))
        species = texts.get("species", "")
        label = parse_species(species) if species.strip() else None
        tree = folder.absolute() / "tree"
        known = self.known_classes(labels)
        unpacked = unpack_files(files, tree, label=label, limits=self._limits.zip, max_bytes=max_bytes)
        labeled = label_uploads(unpacked, known, is_new=is_new)
        complete = [self._complete(each) for each in labeled.recordings]
        named = tuple(replace(each.row, recording_id=each.upload.name) for each in complete)
        usable, conflicts = _drop_conflicts(complete, known)
        rejected = (*conflicts, *unpacked.rejected, *labeled.rejected)
        notes = (
            *labeled.notes,
            *list_audio_notes(RecordingsTable(tree, named)),
            *_note_other_labels(usable, label, known),
        )
        stored = [self._store_row(each, known, is_new=is_new) for each in usable]
        return UploadResult(
            (*stored, *(UploadOutcome(name, "rejected", None, reason) for name, reason in rejected)), notes
        )

    def _complete(self, labeled: LabeledUpload) -> LabeledUpload:
        """Return the recording with its row completed from the file's header and metadata."""
        with self._decoders.decoder() as decoder:
            return replace(labeled, row=read_facts(decoder, labeled.row))

    def known_classes(self, labels: Sequence[Label]) -> KnownClasses:
        """Return the classes that labels of training data may name: `labels`, and all classes with training data."""
        names = LabeledRecording.scientific_name, LabeledRecording.common_name
        with self._database.read() as session:
            rows = session.execute(select(*names).distinct().order_by(*names)).all()
        trained = (Label(scientific, common or scientific) for scientific, common in rows if scientific)
        return KnownClasses([*labels, *trained])

    def _store_row(self, labeled_upload: LabeledUpload, known: KnownClasses, *, is_new: bool) -> UploadOutcome:
        upload, row = labeled_upload.upload, labeled_upload.row
        name, path = upload.name, upload.path
        try:
            label, absent = resolve_label(row, known, is_new=is_new)
            self._limits.check(
                name, n_channels=row.n_channels or 0, rate_hz=row.rate_hz or 0, duration_s=row.duration_s
            )
        except UnknownClassError as error:
            return UploadOutcome(name, "rejected", None, error.reason, error.suggestions)
        except (InputError, AudioTooLargeError) as error:
            return UploadOutcome(name, "rejected", None, error.reason)
        labeled = LabeledRecording(
            name=upload.base_name,
            n_bytes=path.stat().st_size,
            duration_s=row.duration_s or 0.0,
            rate_hz=row.rate_hz or 0,
            scientific_name=None if label is None else label.scientific_name,
            common_name=None if label is None else label.common_name,
            absent=None if absent is None else absent.scientific_name,
            source="upload",
        )
        species = "no species" if label is None else label.common_name
        reason = None if absent is None else f"it is without {absent.common_name}"
        with self._files.keep(path) as (session, sha256):
            is_same_upload = LabeledRecording.sha256 == sha256, LabeledRecording.source == "upload"
            earlier = session.scalar(select(LabeledRecording).where(*is_same_upload))
            if earlier is None:
                labeled.sha256 = labeled.group = sha256
                session.add(labeled)
                return UploadOutcome(name, "accepted", species, reason)
            if (earlier.scientific_name, earlier.absent) == (labeled.scientific_name, labeled.absent):
                return UploadOutcome(name, "duplicate", species, "the same audio was uploaded before")
            before = earlier.common_name or "no species"
            earlier.scientific_name, earlier.common_name = labeled.scientific_name, labeled.common_name
            earlier.absent = labeled.absent
            return UploadOutcome(name, "accepted", species, f"it was labeled {before} before")

    # ------------------------------------------------------------------ queries

    def count_by_species(self) -> list[SpeciesTrainingData]:
        """Return the amount of training data of each species, the species with most recordings first.

        Spellings of a scientific name that `taxonomy.labels.name_key` equates are one species.
        """
        n_held_out = func.sum(case((SplitAssignment.split == "test", 1), else_=0))
        query = (
            select(
                LabeledRecording.scientific_name,
                func.max(LabeledRecording.common_name),
                func.count(),
                n_held_out,
                func.sum(LabeledRecording.duration_s),
            )
            .select_from(LabeledRecording)
            .outerjoin(SplitAssignment, SplitAssignment.group == LabeledRecording.group)
            .group_by(LabeledRecording.scientific_name)
            .order_by(func.count().desc(), LabeledRecording.scientific_name)
        )
        merged: dict[str | None, SpeciesTrainingData] = {}
        with self._database.read() as session:
            for name, common, n, held_out, duration_s in session.execute(query):
                key = None if name is None else name_key(name)
                row = SpeciesTrainingData(name, common or "no species, or unknown", n, held_out or 0, duration_s)
                merged[key] = merged[key].add(row) if key in merged else row
        return sorted(merged.values(), key=lambda row: -row.n_recordings)

    def count(self) -> int:
        """Return the number of labeled recordings."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(LabeledRecording)) or 0

    # ------------------------------------------------------------------ retraining

    def snapshot(self, folder: Path, job_id: str) -> RecordingsTable:
        """Write and return a recordings table of all labeled recordings, with their splits, for a retraining job.

        The audio files are not copied; the file store keeps them until the job ends, even if recordings or reviews are
        deleted meanwhile. A recording whose file is missing is logged and left out.

        Args:
            folder: folder for the table.
            job_id: id of the job.

        Raises:
            OutputError: no space, or no permission.
        """
        with self._database.write() as session:
            session.execute(delete(JobFile).where(JobFile.job == job_id))
            files = select(literal(job_id), LabeledRecording.sha256).distinct()
            session.execute(insert(JobFile).from_select(["job", "sha256"], files))
            labeled = list(session.scalars(select(LabeledRecording).order_by(LabeledRecording.id)))
            splits = {each.group: each.split for each in session.scalars(select(SplitAssignment))}
        table = RecordingsTable(folder, tuple(self._to_rows(labeled, splits)))
        write_table(table)
        return table

    def _to_rows(self, labeled: Sequence[LabeledRecording], splits: Mapping[str, str]) -> Iterator[RecordingRow]:
        for recording in labeled:
            try:
                path = self._files.local(recording.sha256).absolute()
            except NotFoundError as error:
                LOG.error("the labeled recording %d is left out: %s", recording.id, error)
                continue
            yield RecordingRow(
                recording_id=f"{recording.id}",
                path=str(path),
                scientific_name=recording.scientific_name,
                common_name=recording.common_name,
                absent=(recording.absent,) if recording.absent and recording.scientific_name is None else (),
                kind="focal" if recording.scientific_name else "background",
                source=recording.source,
                locality=recording.name,
                given_group=recording.group,
                split=splits.get(recording.group or ""),
                duration_s=recording.duration_s,
            )

    def save_splits(self, splits: Mapping[str, str]) -> None:
        """Store the splits of groups that have none yet, so that no later model is trained on held-out recordings.

        Args:
            splits: split, "train" or "test", by group (`LabeledRecording.group`).
        """
        with self._database.write() as session:
            for group, split in splits.items():
                if session.get(SplitAssignment, group) is None:
                    session.add(SplitAssignment(group=group, split=split))


def _drop_conflicts(
    labeled: Sequence[LabeledUpload], known: KnownClasses
) -> tuple[list[LabeledUpload], list[Rejection]]:
    """Return the recordings whose audio has only one label in the upload, and rejections for the other recordings."""
    by_content: dict[str, list[LabeledUpload]] = {}
    for each in labeled:
        by_content.setdefault(file_sha256(each.upload.path), []).append(each)
    usable: list[LabeledUpload] = []
    conflicts: list[Rejection] = []
    for copies in by_content.values():
        if len({_label_key(each.row, known) for each in copies}) == 1:
            usable += copies
            continue
        labels = ", ".join(f"{each.upload.name} as {_label_name(each.row)}" for each in copies)
        reason = f"the same audio has several labels: {labels}. None was accepted; send it once, with the right one"
        conflicts += [(each.upload.name, reason) for each in copies]
    return usable, conflicts


def _note_other_labels(labeled: Sequence[LabeledUpload], given: Label | None, known: KnownClasses) -> Iterator[str]:
    """Yield a sentence if other sources name another species than the labels of files: field, folder or file name.

    `given` is the label in the form's field `species`.
    """
    examples = []
    for each in labeled:
        if each.row.absent:
            continue
        key = None if each.row.scientific_name is None else _label_key(each.row, known)[1]
        for source, claim in _find_claims(each.upload, given, known):
            if name_key(claim.scientific_name) != key and not (key is None and claim.kind == "sound"):
                label = _label_name(each.row)
                examples.append(f"{each.upload.name} is labeled {label}, and {source} says {claim.common_name}")
                break
    if examples:
        yield f"{len(examples)} of {len(labeled)} files have contradicting labels: {examples[0]}. Check them."


def _find_claims(upload: Upload, given: Label | None, known: KnownClasses) -> Iterator[tuple[str, Label]]:
    """Yield the sources that name a species of the recording but were not used as its label, with the species."""
    if upload.label is not None:
        folder = upload.folders[-1] if upload.folders else ""
        if label := known.find(parse_folder_label(folder)):
            yield "its folder", label
    elif given is not None:
        yield "the field species", known.find(given) or given
    if label := find_class_of_file(upload.stem, known):
        yield "its name", label


def _label_name(row: RecordingRow) -> str:
    return row.common_name or row.scientific_name or "no species"


def _label_key(row: RecordingRow, known: KnownClasses) -> tuple[str, ...]:
    """Return a key that is equal for rows with the same label."""
    name = row.scientific_name or ""
    label = known.find(Label(name, row.common_name or name)) if name else None
    return row.kind, name_key(name if label is None else label.scientific_name), *row.absent, *row.secondary


def species_count_fields(count: SpeciesTrainingData) -> dict[str, Any]:
    """Return the fields of a `SpeciesTrainingData` by name, with the length rounded to milliseconds."""
    return {**vars(count), "duration_s": round(count.duration_s, 3)}
