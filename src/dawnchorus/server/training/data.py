"""Training data of the server: uploaded labeled recordings, and clips of reviewed detections."""

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
    """The client's name; of a file in a zip, with its folders in the zip."""
    status: Literal["accepted", "duplicate", "rejected"]
    species: str | None
    reason: str | None = None
    suggestions: tuple[str, ...] | None = None
    """Labels of the nearest classes, if the file was rejected because no class has its label."""


@dataclass(frozen=True)
class UploadResult:
    """Outcome of an upload for each file, and sentences on unread columns of a csv, times, locations and sound."""

    files: tuple[UploadOutcome, ...]
    notes: tuple[str, ...]

    def count(self, status: Literal["accepted", "duplicate", "rejected"]) -> int:
        """Return the number of files with this status."""
        return sum(each.status == status for each in self.files)


@dataclass(frozen=True)
class SpeciesCount:
    """Amount of training data of a species."""

    scientific_name: str | None
    """Species of the recordings; None for those without any species, or with only a species that is absent."""
    common_name: str
    n_recordings: int
    n_held_out: int
    duration_s: float

    def add(self, other: SpeciesCount) -> SpeciesCount:
        """Return the sum of both counts, under the names of this one."""
        return replace(
            self,
            n_recordings=self.n_recordings + other.n_recordings,
            n_held_out=self.n_held_out + other.n_held_out,
            duration_s=self.duration_s + other.duration_s,
        )


YES, NO = frozenset(("yes", "true", "1", "on")), frozenset(("", "no", "false", "0", "off"))


def parse_bool(name: str, text: str) -> bool:
    """Return the truth value of a form field.

    Raises:
        InputError: it is neither yes nor no.
    """
    given = text.strip().lower()
    if given not in YES | NO:
        raise InputError(f"{name}: expected yes or no, got {text[:40]!r}.")
    return given in YES


class TrainingData:
    """Labeled recordings in the database, with their audio in the file store."""

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
        """Add labeled recordings, and return the outcome for each file.

        The species of a file is the text `species`, the folder in its name or in a zip, or the entry of a csv; `noise`
        means none. It must be one of `labels` or have training data already; for other names, the text `new_class` is
        required, which adds them as classes. If neither a folder nor a csv names a species, the name of the file may
        be that of a known species and a number: `Great Tit12.mp3`.

        Args:
            folder: Temporary folder.
            texts: Text fields of the form.
            files: Files with the client's names.
            labels: Classes of the active model.
            max_bytes: Maximum size of all unpacked files.

        Raises:
            InputError, UploadTooLargeError: a zip or a table cannot be used, or there are no files.
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
        """Return the recording with facts from its header and metadata."""
        with self._decoders.decoder() as decoder:
            return replace(labeled, row=read_facts(decoder, labeled.row))

    def known_classes(self, labels: Sequence[Label]) -> KnownClasses:
        """Return `labels` and the classes that have training data."""
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

    def count_by_species(self) -> list[SpeciesCount]:
        """Return the amount of training data by species, the most first."""
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
        merged: dict[str | None, SpeciesCount] = {}
        with self._database.read() as session:
            for name, common, n, held_out, duration_s in session.execute(query):
                key = None if name is None else name_key(name)
                row = SpeciesCount(name, common or "no species, or unknown", n, held_out or 0, duration_s)
                merged[key] = merged[key].add(row) if key in merged else row
        return sorted(merged.values(), key=lambda row: -row.n_recordings)

    def count(self) -> int:
        """Return the number of labeled recordings."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(LabeledRecording)) or 0

    # ------------------------------------------------------------------ retraining

    def snapshot(self, folder: Path, job_id: str) -> RecordingsTable:
        """Write all labeled recordings as a recordings table into `folder`; later uploads do not change it.

        Their files stay until the job has ended, even if their reviews are deleted.
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
        """Store the splits of new groups, so that no later model is trained on held-out recordings."""
        with self._database.write() as session:
            for group, split in splits.items():
                if session.get(SplitAssignment, group) is None:
                    session.add(SplitAssignment(group=group, split=split))


def _drop_conflicts(
    labeled: Sequence[LabeledUpload], known: KnownClasses
) -> tuple[list[LabeledUpload], list[Rejection]]:
    """Return the recordings whose audio has one label, and the others with the reason."""
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
    """Yield a sentence if the field, which has `given`, the folder or the name of a file says another species."""
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
    """Yield the sources besides a recording's label that say a species of it, with the species."""
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
    """Return a key that is equal for rows of one label."""
    name = row.scientific_name or ""
    label = known.find(Label(name, row.common_name or name)) if name else None
    return row.kind, name_key(name if label is None else label.scientific_name), *row.absent, *row.secondary


def species_count_fields(count: SpeciesCount) -> dict[str, Any]:
    """Return the fields of a count for JSON."""
    return {**vars(count), "duration_s": round(count.duration_s, 3)}
