"""Training data of the server: uploaded labeled recordings and reviewed detections."""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sqlalchemy import case, delete, func, insert, literal, select
from sqlalchemy.orm import Session

from dawnchorus.audio.decode import read_clip
from dawnchorus.audio.discovery import SUFFIXES, find_recordings
from dawnchorus.audio.write import write_recording
from dawnchorus.data.audio_notes import list_audio_notes
from dawnchorus.data.contradictions import describe_contradictions
from dawnchorus.data.importing import MISSING, UNREADABLE, build_table
from dawnchorus.data.layout_detection import KNOWN_TABLES, OnNote, say_nothing
from dawnchorus.data.layouts.folders import apply_review, build_rows, read_folders
from dawnchorus.data.layouts.review_folders import find_folder_review
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.data.synthesis.negatives import SOURCE as GENERATED
from dawnchorus.errors import AudioTooLargeError, FormatError, InputError, NotFoundError, UnknownClassError
from dawnchorus.limits import Limits, ZipLimits
from dawnchorus.models.bundle import file_sha256
from dawnchorus.server.history import scored_channel
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.file_names import base_name
from dawnchorus.server.state.tables import (
    DetectionRow,
    JobFile,
    LabeledRecording,
    Recording,
    Review,
    SplitAssignment,
)
from dawnchorus.server.training.archives import unpack
from dawnchorus.storage.safe_names import safe_name
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import find_class_of_file, parse_folder_label
from dawnchorus.taxonomy.labels import Label, is_indeterminate, is_unnamed, label_text, name_key
from dawnchorus.types import ChannelSource

LOG = logging.getLogger(__name__)

CLIP_RATE_HZ = 48_000
"""Sample rate of clips that are cut out of recordings; most models need no more."""

Verdict = Literal["right", "wrong", "other"]

MAX_LABEL = 200
"""Maximum length of a name in bytes."""

MAX_CLIP_S = 15.0
"""Maximum length of a clip; of a longer detection, the middle is cut out."""

SEPARATOR = "~"
"""Separator between the server's number of a file and the client's name."""

ZIP = f"{SEPARATOR}zip "
"""Prefix of the folders into which zips are unpacked; a number follows."""

FIELD_FOLDER = f"{SEPARATOR}field"
"""Parent of the folder named by the form field `species`, which has the files of that label."""

NO_SPECIES = (
    "neither a folder, a csv nor the field 'species' names its species, and its own name is not that of a known "
    "species and a number, such as 'Great Tit12.mp3'"
)


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
class SpeciesCount:
    """Amount of training data of a species."""

    scientific_name: str | None
    """None for recordings without any species, or with only a species that is absent."""
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


def parse_species(name: str, common_name: str | None = None) -> Label:
    """Return the label of a name; `common_name` replaces the one in it.

    Raises:
        InputError: it is no name of a species.
    """
    label = parse_folder_label(_check_name(name))
    if is_unnamed(label.scientific_name):
        raise InputError(f"species: expected a name such as Parus major_Great Tit, got {name[:80]!r}.")
    return label if common_name is None else replace(label, common_name=_check_name(common_name))


def _check_name(name: str) -> str:
    words = " ".join(name.split())
    if not words or len(words) > MAX_LABEL or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in words):
        raise InputError(f"species: expected a name such as Parus major_Great Tit, got {words[:80]!r}.")
    return words


def resolve_class(given: Label, known: KnownClasses, *, is_new: bool) -> Label:
    """Return the known class that has a name of `given`; if there is none and `is_new`, add it to `known`.

    Raises:
        UnknownClassError: there is none; the message names the nearest ones.
        InputError: a new class would be of no one species, such as `Strix aluco?`.
    """
    label = known.find(given)
    if label is not None:
        return label
    if is_new and is_indeterminate(given.scientific_name):
        raise InputError(f"species: expected the name of one species, got {given.scientific_name[:80]!r}.")
    if is_new:
        known.add(given)
        return given
    raise UnknownClassError(
        f"{known.question(given)} Send it with the right name, or with new_class=yes to train a class of this name.",
        suggestions=tuple(map(label_text, known.near(given))),
    )


class TrainingData:
    """Labeled recordings in the database, with their audio in the file store."""

    def __init__(self, database: Database, files: BlobStore, limits: Limits) -> None:
        self._database, self._files, self._limits = database, files, limits

    # ------------------------------------------------------------------ uploads

    def add_files(
        self,
        folder: Path,
        texts: Mapping[str, str],
        files: Sequence[tuple[str, Path]],
        labels: Sequence[Label],
        *,
        max_bytes: int,
        on_note: OnNote = say_nothing,
    ) -> list[UploadOutcome]:
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
            on_note: Called with sentences on unread columns of a csv, and on times, locations and sound.

        Raises:
            InputError, UploadTooLargeError: a zip or a table cannot be used, or there are no files.
        """
        is_new = parse_bool("new_class", texts.get("new_class", ""))
        species = texts.get("species", "").strip()
        if len(species.encode("utf-8", "surrogatepass")) > MAX_LABEL:
            raise InputError(f"species: expected at most {MAX_LABEL} bytes, got {species[:40]!r}...")
        tree = folder.absolute() / "tree"
        tree.mkdir()
        known = self._known_classes(labels)
        unusable = _lay_out(tree, species, files, self._limits.zip, max_bytes=max_bytes)
        if unusable and not any(tree.iterdir()):
            return [UploadOutcome(name, "rejected", None, reason) for name, reason in unusable]
        rows, outside, has_table = _read_rows(tree, on_note)
        if has_table:
            for note in describe_contradictions(rows, tree, known):
                on_note(note)
        elif not species:
            rows = [_label_by_file_name(row, tree, known, is_new=is_new) for row in rows]
        complete = build_table(rows, tree, n_workers=1).rows
        named = tuple(replace(row, recording_id=_given_path(tree, tree / row.path)) for row in complete)
        for note in list_audio_notes(RecordingsTable(tree, named)):
            on_note(note)
        usable, conflicts = _drop_conflicts(tree, complete, known)
        given_folders = [PurePosixPath(_sent_path(given)).parent.name for given, _ in files]
        for note in _note_other_labels(tree, usable, species, given_folders, known):
            on_note(note)
        rejected = [UploadOutcome(name, "rejected", None, reason) for name, reason in (*conflicts, *unusable, *outside)]
        return [*(self._store_row(tree, row, known, is_new=is_new) for row in usable), *rejected]

    def _known_classes(self, labels: Sequence[Label]) -> KnownClasses:
        """Return `labels` and the classes that have training data."""
        names = LabeledRecording.scientific_name, LabeledRecording.common_name
        with self._database.read() as session:
            rows = session.execute(select(*names).distinct().order_by(*names)).all()
        trained = (Label(scientific, common or scientific) for scientific, common in rows if scientific)
        return KnownClasses([*labels, *trained])

    def _store_row(self, tree: Path, row: RecordingRow, known: KnownClasses, *, is_new: bool) -> UploadOutcome:
        path = tree / row.path
        name = _given_path(tree, path)
        try:
            label, absent = _parse_labels(row, known, is_new=is_new)
            self._limits.check(n_channels=row.n_channels or 0, rate_hz=row.rate_hz or 0, duration_s=row.duration_s)
        except UnknownClassError as error:
            return UploadOutcome(name, "rejected", None, str(error), error.suggestions)
        except (InputError, AudioTooLargeError) as error:
            return UploadOutcome(name, "rejected", None, str(error))
        labeled = LabeledRecording(
            name=_given_name(row.path),
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

    # ------------------------------------------------------------------ reviews

    def review(
        self,
        detection_id: int,
        verdict: Verdict,
        species: str | None,
        labels: Sequence[Label],
        *,
        new_class: bool = False,
    ) -> Review:
        """Store the review of a detection and cut its clip as training data; an earlier review is replaced.

        Raises:
            NotFoundError: there is no such detection.
            UnknownClassError: `species` is neither one of `labels` nor has training data, and `new_class` is False.
            InputError: "other" without a species, or another verdict with one.
        """
        if (verdict == "other") != bool(species):
            raise InputError("expected a species where the verdict is 'other', and only there.")
        other = None
        if species is not None:
            other = resolve_class(parse_species(species), self._known_classes(labels), is_new=new_class)
        with self._database.read() as session:
            row, recording = _get_detection(session, detection_id)
            channel = scored_channel(session, row)
        review = Review(
            detection=row.id,
            verdict=verdict,
            scientific_name=None if other is None else other.scientific_name,
            common_name=None if other is None else other.common_name,
        )
        label = other or Label(row.scientific_name, row.common_name)
        labeled = LabeledRecording(
            name=f"{recording.name[:200]} {row.start_s:.1f} s",
            duration_s=min(row.end_s - row.start_s, MAX_CLIP_S),
            rate_hz=CLIP_RATE_HZ,
            scientific_name=None if verdict == "wrong" else label.scientific_name,
            common_name=None if verdict == "wrong" else label.common_name,
            absent=None if verdict == "right" else row.scientific_name,
            group=row.recording,
            source="review",
            detection=row.id,
        )
        with self._cut_clip(row, channel) as path, self._files.keep(path) as (session, sha256):
            labeled.sha256, labeled.n_bytes = sha256, path.stat().st_size
            if session.get(DetectionRow, detection_id, with_for_update=True) is None:  # one review at a time
                raise NotFoundError(f"there is no detection {detection_id}.")
            _delete_review(session, detection_id)
            session.add_all([review, labeled])
        return review

    def delete_review(self, detection_id: int) -> None:
        """Delete the review of a detection and its clip."""
        with self._database.read() as session:
            sha256 = session.scalar(select(LabeledRecording.sha256).where(LabeledRecording.detection == detection_id))
        with self._database.write() as session:
            _delete_review(session, detection_id)
        if sha256 is not None:
            self._files.delete_unused(sha256)

    @contextmanager
    def _cut_clip(self, row: DetectionRow, channel: ChannelSource) -> Iterator[Path]:
        """Write the segment of a detection to a temporary file."""
        middle_s, half_s = (row.start_s + row.end_s) / 2, min(row.end_s - row.start_s, MAX_CLIP_S) / 2
        path = self._files.local(row.recording)
        start_s, end_s = middle_s - half_s, middle_s + half_s
        samples = read_clip(path, start_s=start_s, end_s=end_s, rate_hz=CLIP_RATE_HZ, channel=channel)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "clip.flac")
            write_recording(path, samples, rate_hz=CLIP_RATE_HZ)
            yield path

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
            needed = select(literal(job_id), LabeledRecording.sha256).distinct()
            session.execute(insert(JobFile).from_select(["job", "sha256"], needed))
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

    def save_split(self, folder: Path) -> None:
        """Store the split of the table in `folder`, so that no later model is trained on held-out recordings."""
        rows = [row for row in read_table(folder).rows if row.split and row.given_group and row.source != GENERATED]
        with self._database.write() as session:
            for group, split in {row.given_group: row.split for row in rows}.items():
                if session.get(SplitAssignment, group) is None:
                    session.add(SplitAssignment(group=group, split=split))


def _lay_out(
    tree: Path, species: str, files: Sequence[tuple[str, Path]], zip_limits: ZipLimits, *, max_bytes: int
) -> list[tuple[str, str]]:
    """Move files to the layout of an import, and return the unusable ones with the reason."""
    if not files:
        raise InputError("expected recordings, a zip of folders named by species, or recordings and a csv; got none.")
    has_table = any(_suffix(name) == ".csv" for name, _ in files)
    rejected, remaining_bytes = [], max_bytes
    for k, (given, path) in enumerate(files):
        suffix = _suffix(given)
        if suffix == ".zip":
            folder = tree if has_table else tree / f"{ZIP}{k}"
            unpack(path, folder, max_bytes=remaining_bytes, limits=zip_limits)
            remaining_bytes -= sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
            path.unlink()
        elif suffix == ".csv" and (tree / KNOWN_TABLES[-1]).exists():
            rejected.append((_sent_path(given), "only one csv can say which species the recordings are of"))
        elif suffix == ".csv":
            shutil.move(path, tree / KNOWN_TABLES[-1])
        elif suffix and suffix not in SUFFIXES:
            rejected.append((_sent_path(given), _describe_other_kind(suffix)))
        else:
            parts = _safe_parts(given)
            folder = tree / FIELD_FOLDER / _safe_parts(species)[-1] if species else tree.joinpath(*parts[:-1])
            # Two files of one name are two recordings.
            out_path = tree.joinpath(*parts) if has_table else folder / f"{k}{SEPARATOR}{parts[-1]}"
            out_path = out_path if suffix else out_path.with_name(f"{out_path.name}.wav")
            if out_path.exists():
                rejected.append((_sent_path(given), "another file of this name came before it"))
                continue
            try:
                out_path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, out_path)
            except OSError as error:
                rejected.append((_sent_path(given), f"it cannot be stored under this name ({error.strerror})"))
    return rejected


def _read_rows(tree: Path, on_note: OnNote) -> tuple[list[RecordingRow], list[tuple[str, str]], bool]:
    """Return the labeled recordings of a tree, the unused files with the reason, and True if a csv has the labels.

    A csv that was uploaded with the recordings must be readable; one in a zip may have another purpose.
    """
    uploaded = next((tree / name for name in KNOWN_TABLES if (tree / name).is_file()), None)
    packed = _packed_table(tree) if uploaded is None else None
    table = uploaded or packed
    try:
        rows, unused = _read_folders(tree, on_note) if table is None else _read_table(tree, table, on_note)
    except InputError as error:
        if table is None or table is uploaded:
            raise
        rows, _ = _read_folders(tree, on_note)
        unused = [(table.name, f"it does not say which species the recordings are of: {error}")]
        table = None
    return rows, [*unused, *_find_unused(tree, rows, uploaded or packed)], table is not None


def _packed_table(tree: Path) -> Path | None:
    """Return the csv of labels in a zip: the only one, or the only one with a usual name."""
    tables = sorted(path for path in tree.rglob("*") if path.suffix.lower() == ".csv" and path.is_file())
    usual = [path for path in tables if path.name.lower() in KNOWN_TABLES]
    candidates = usual or tables
    return candidates[0] if len(candidates) == 1 else None


def _find_unused(tree: Path, rows: Sequence[RecordingRow], table: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the files of a tree that are not used, each with the reason; hidden ones only if they are recordings."""
    used = {(tree / row.path).resolve() for row in rows}
    for path in sorted(path for path in tree.rglob("*") if path.is_file() and path != table):
        suffix = path.suffix.lower()
        if suffix == ".csv":
            yield _given_path(tree, path), "only one csv can say which species they are of"
        elif suffix == ".zip":
            yield _given_path(tree, path), "a zip in a zip is not unpacked: send it by itself"
        elif suffix in SUFFIXES and path.resolve() not in used:
            yield _given_path(tree, path), "hidden files are not read" if table is None else "the csv does not name it"
        elif suffix not in SUFFIXES and not path.name.startswith("."):
            yield _given_path(tree, path), _describe_other_kind(suffix)


def _describe_other_kind(suffix: str) -> str:
    return f"files {f'that end in {suffix[:20]}' if suffix else 'without an ending'} are no recordings"


def _given_path(tree: Path, path: Path) -> str:
    """Return the client's path of a file: in the folders of a zip or of its name."""
    folders = path.relative_to(tree).parts[:-1]
    own = () if FIELD_FOLDER in folders[:1] else folders[1:] if folders and folders[0].startswith(ZIP) else folders
    return "/".join((*own, _given_name(path.name)))


def _drop_conflicts(
    tree: Path, rows: Sequence[RecordingRow], known: KnownClasses
) -> tuple[list[RecordingRow], list[tuple[str, str]]]:
    """Return the rows whose audio has one label, and the others with the reason."""
    by_content: dict[str, list[RecordingRow]] = {}
    for row in rows:
        path = tree / row.path
        by_content.setdefault(file_sha256(path) if os.path.isfile(path) else row.path, []).append(row)
    usable, conflicts = [], []
    for copies in by_content.values():
        if len({_label_key(row, known) for row in copies}) == 1:
            usable += copies
            continue
        labels = ", ".join(
            f"{_given_path(tree, tree / row.path)} as {row.common_name or row.scientific_name or 'no species'}"
            for row in copies
        )
        reason = f"the same audio has several labels: {labels}. None was accepted; send it once, with the right one"
        conflicts += [(_given_path(tree, tree / row.path), reason) for row in copies]
    return usable, conflicts


def _note_other_labels(
    tree: Path, rows: Sequence[RecordingRow], species: str, given_folders: Sequence[str], known: KnownClasses
) -> Iterator[str]:
    """Yield a sentence if the field, the folder or the name of a file says another species than its label.

    Args:
        tree: Folder of the layout.
        rows: Labeled recordings.
        species: Text of the field.
        given_folders: Folder in the client's name of each file of the form.
        known: Classes.
    """
    examples = []
    for row in rows:
        if row.absent:
            continue
        label = row.common_name or row.scientific_name or "no species"
        key = None if row.scientific_name is None else _label_key(row, known)[1]
        for source, claim in _find_claims(Path(row.path), species, given_folders, known):
            if name_key(claim.scientific_name) != key and not (key is None and claim.kind == "sound"):
                path = _given_path(tree, tree / row.path)
                examples.append(f"{path} is labeled {label}, and {source} says {claim.common_name}")
                break
    if examples:
        yield f"{len(examples)} of {len(rows)} files have contradicting labels: {examples[0]}. Check them."


def _find_claims(
    path: Path, species: str, given_folders: Sequence[str], known: KnownClasses
) -> Iterator[tuple[str, Label]]:
    """Yield the sources that say a species of a file in a layout, with the species."""
    if FIELD_FOLDER in path.parts:  # its label is the field, and its folder is not in the path
        folder = given_folders[int(path.name.partition(SEPARATOR)[0])]
        if label := known.find(parse_folder_label(folder)):
            yield "its folder", label
    elif species:
        label = parse_folder_label(species)
        yield "the field species", known.find(label) or label
    if label := find_class_of_file(Path(_given_name(path.name)).stem, known):
        yield "its name", label


def _label_key(row: RecordingRow, known: KnownClasses) -> tuple[str, ...]:
    """Return a key that is equal for rows of one label."""
    name = row.scientific_name or ""
    label = known.find(Label(name, row.common_name or name)) if name else None
    return row.kind, name_key(name if label is None else label.scientific_name), *row.absent, *row.secondary


def _read_folders(tree: Path, on_note: OnNote) -> tuple[list[RecordingRow], list[tuple[str, str]]]:
    """Return the recordings, labelled by their folders; note those that are outcomes of a review."""
    try:
        files = find_recordings([tree])
    except InputError as error:
        raise InputError(f"{tree}: there are no recordings in it.") from error
    reading = read_folders(tree, files)
    for note in reading.list_review_notes():
        on_note(note)
    return list(build_rows(tree, files, reading)), []


def _read_table(tree: Path, table: Path, on_note: OnNote) -> tuple[list[RecordingRow], list[tuple[str, str]]]:
    """Return the uploaded recordings that a csv names, and its other names with the reason."""
    try:
        # Paths in it may begin in its own folder, or in one above it in the zip.
        folders = [folder for folder in table.parents if folder.is_relative_to(tree)]
        layout = TableLayout.of(table, {}, audio_folders=folders)
        rows = list(layout.rows())
        for note in layout.table.notes.sentences():
            on_note(f"the csv: {note.partition(' Name one with --column')[0]}")  # advice for the command line
    except FormatError as error:
        raise InputError(str(error).replace(f"{table}: ", "the csv: ")) from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"the csv cannot be read ({error}). Save it as UTF-8, with commas.") from error
    root = tree.resolve()
    inside, outside = [], []
    for row in rows:
        path = Path(row.path)
        try:
            is_ours = path.resolve().is_relative_to(root) and path.suffix.lower() in SUFFIXES
        except (OSError, ValueError):
            is_ours = False
        if is_ours:
            inside.append(row)
        else:
            outside.append(
                (
                    _sent_path(os.path.relpath(row.path, table.parent)),
                    "the csv names no recording that was sent with it",
                )
            )
    return inside, outside


def _label_by_file_name(row: RecordingRow, root: Path, known: KnownClasses, *, is_new: bool) -> RecordingRow:
    """Return the row with the known class in the name of its file, if its folder names none.

    If `is_new`, the name of every folder is a label, except those of `root` and of zips.
    """
    review = find_folder_review(Path(row.path).parts[:-1])
    if row.kind == "background" or row.secondary or (review is not None and review[1] == "undecided"):
        return row
    folder = Path(row.path).parent
    has_folder = folder != root and not folder.name.startswith(ZIP)
    scientific, common = row.scientific_name or "", row.common_name or ""
    if has_folder and (is_new or known.find(Label(scientific, common)) is not None):
        return row
    label = find_class_of_file(Path(_given_name(row.path)).stem, known)
    if label is not None:
        labels = {"scientific_name": label.scientific_name, "common_name": label.common_name, "kind": "focal"}
        reviewed = labels if review is None else apply_review(labels, review[1])
        return replace(row, **{"scientific_name": None, "common_name": None, **reviewed})
    return row if has_folder else replace(row, scientific_name=None, common_name=None, kind="soundscape")


def _given_name(path: str) -> str:
    """Return the client's name of the file at `path`."""
    name = base_name(path)
    return name.partition(SEPARATOR)[2] or name


def _safe_parts(given: str) -> list[str]:
    """Split a client's file name into parts that are valid on every file system."""
    parts = [part for part in re.split(r"[/\\]", given) if part.strip(" .")] or [""]
    return [safe_name(part, replacement=" ", max_bytes=MAX_LABEL) for part in parts]


def _sent_path(given: str) -> str:
    """Return a client's file name for a reply."""
    return "/".join(_safe_parts(given))


def _suffix(given: str) -> str:
    return PurePosixPath(given.lower()).suffix


def _parse_labels(row: RecordingRow, known: KnownClasses, *, is_new: bool) -> tuple[Label | None, Label | None]:
    """Return the species of a recording and the species that is absent from it; either may be None.

    Raises:
        UnknownClassError: no class has its label; see `resolve_class`.
        InputError: it cannot be used for training.
    """
    unopened = [problem for problem in row.problems if problem in (MISSING, UNREADABLE)]
    if unopened:
        raise InputError(f"it is {unopened[0]}: it cannot be opened as audio")
    if row.duration_s == 0:
        raise InputError("it contains no audio")
    if row.secondary:
        raise InputError("it has several species: send a recording of one, or review its detections")
    if row.scientific_name is not None:
        common_name = None if row.common_name == row.scientific_name else row.common_name
        return resolve_class(parse_species(row.scientific_name, common_name), known, is_new=is_new), None
    if row.kind != "background":
        raise InputError(NO_SPECIES)
    return None, resolve_class(parse_species(row.absent[0]), known, is_new=is_new) if row.absent else None


def _get_detection(session: Session, detection_id: int) -> tuple[DetectionRow, Recording]:
    row = session.get(DetectionRow, detection_id)
    if row is None:
        raise NotFoundError(f"there is no detection {detection_id}.")
    return row, session.get_one(Recording, row.recording)


def _delete_review(session: Session, detection_id: int) -> None:
    session.execute(delete(Review).where(Review.detection == detection_id))
    session.execute(delete(LabeledRecording).where(LabeledRecording.detection == detection_id))


def species_count_fields(count: SpeciesCount) -> dict[str, Any]:
    """Return the fields of a count for JSON."""
    return {**vars(count), "duration_s": round(count.duration_s, 3)}
