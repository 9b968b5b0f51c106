"""Training data of the server: labelled recordings that people send, and detections that they have reviewed."""

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

from sqlalchemy import and_, case, delete, exists, func, select
from sqlalchemy.orm import Session

from dawnchorus.audio.decode import read_clip
from dawnchorus.audio.discovery import SUFFIXES, find_recordings
from dawnchorus.audio.write import write_recording
from dawnchorus.data.importing import MISSING, UNREADABLE, table_of
from dawnchorus.data.layout_detection import KNOWN_TABLES, OnNote, say_nothing
from dawnchorus.data.layouts.folders import apply_review, rows_of_folders
from dawnchorus.data.layouts.review_folders import review_of_folders
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.data.sound_notes import notes_of_sound
from dawnchorus.data.synthesis.negatives import SOURCE as GENERATED
from dawnchorus.errors import AudioTooLargeError, FormatError, InputError, NotFoundError, UnknownClassError
from dawnchorus.models.bundle import file_sha256
from dawnchorus.server.scheduling import Limits
from dawnchorus.server.state.blobs import FileStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.file_names import base_name
from dawnchorus.server.state.retention import drop_unneeded
from dawnchorus.server.state.tables import ACTIVE_STATUSES, DetectionRow, Job, Lesson, Part, Recording, Review
from dawnchorus.server.training.archives import unpack
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import find_class_of_file, label_of_folder
from dawnchorus.taxonomy.labels import Label, is_unnamed, label_text, name_key

LOG = logging.getLogger(__name__)

LESSON_RATE_HZ = 48_000
"""Of stretches that are cut out of recordings; most models want no more."""

Verdict = Literal["right", "wrong", "other"]

MAX_LABEL = 200
"""Bytes of a name."""

MAX_STRETCH_S = 15.0
"""Of a longer detection, its middle is learned from."""

SEPARATOR = "~"
"""Between a number of ours and the name that a sender gave."""

ZIP = f"{SEPARATOR}zip "
"""The folders into which zips are unpacked: this and a number."""

OF_FIELD = f"{SEPARATOR}field"
"""The folder of files whose label is the text `species`, in a folder of that name."""

NO_SPECIES = (
    "neither a folder, a csv nor the field 'species' names its species, and its own name is not that of a known "
    "species and a number, such as 'Great Tit12.mp3'"
)


@dataclass(frozen=True)
class Taken:
    """Outcome for a file that somebody sent."""

    name: str
    """Its name as it was sent; of a file in a zip, with its folders there."""
    status: Literal["taken", "known", "refused"]
    species: str | None
    reason: str | None = None
    suggestions: tuple[str, ...] | None = None
    """Of a file that was refused because no class has its label: the labels of the nearest classes."""


@dataclass(frozen=True)
class SpeciesLessons:
    """Amount of training data of a species."""

    scientific_name: str | None
    """None: sounds without any species, or of which only is known what they are not."""
    common_name: str
    n_recordings: int
    n_kept_back: int
    duration_s: float

    def with_more(self, other: SpeciesLessons) -> SpeciesLessons:
        """Return the sum of both, under the names of this one."""
        return replace(
            self,
            n_recordings=self.n_recordings + other.n_recordings,
            n_kept_back=self.n_kept_back + other.n_kept_back,
            duration_s=self.duration_s + other.duration_s,
        )


YES, NO = frozenset(("yes", "true", "1", "on")), frozenset(("", "no", "false", "0", "off"))


def is_yes(name: str, text: str) -> bool:
    """Return the truth value of a form's field.

    Raises:
        InputError: it is neither yes nor no.
    """
    given = text.strip().lower()
    if given not in YES | NO:
        raise InputError(f"{name}: expected yes or no, got {text[:40]!r}.")
    return given in YES


def parse_species(name: str, common_name: str | None = None) -> Label:
    """Return the label that a name stands for; `common_name` replaces the one in it.

    Raises:
        InputError: it is no name.
    """
    label = label_of_folder(_checked_name(name))
    if is_unnamed(label.scientific_name):
        raise InputError(f"species: expected a name such as Parus major_Great Tit, got {name[:80]!r}.")
    return label if common_name is None else replace(label, common_name=_checked_name(common_name))


def _checked_name(name: str) -> str:
    words = " ".join(name.split())
    if not words or len(words) > MAX_LABEL or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in words):
        raise InputError(f"species: expected a name such as Parus major_Great Tit, got {words[:80]!r}.")
    return words


def class_of(given: Label, known: KnownClasses, *, is_new: bool) -> Label:
    """Return the known class that has a name of `given`; if there is none and `is_new`, add it to `known`.

    Raises:
        UnknownClassError: there is none; the message asks for the nearest ones.
    """
    found = known.find(given)
    if found is not None:
        return found
    if is_new:
        known.add(given)
        return given
    raise UnknownClassError(
        f"{known.question(given)} Send it with the right name, or with new_class=yes to train a class of this name.",
        suggestions=tuple(map(label_text, known.near(given))),
    )


class Lessons:
    """Kept in the database, their sounds in the file store."""

    def __init__(self, database: Database, files: FileStore, limits: Limits) -> None:
        self._database, self._files, self._limits = database, files, limits

    # ------------------------------------------------------------------ sent by people

    def take(
        self,
        folder: Path,
        texts: Mapping[str, str],
        files: Sequence[tuple[str, Path]],
        labels: Sequence[Label],
        *,
        max_bytes: int,
        on_note: OnNote = say_nothing,
    ) -> list[Taken]:
        """Take labelled recordings, and say what became of each file.

        A file's species is the text `species`, or the folder in its name or in a zip, or what a csv says; `noise` has
        none. It must be one of `labels` or have been taught before; other names need the text `new_class`, which then
        makes classes of them. Where neither a folder nor a csv names a species, the file's own name may be that of
        a known one with a number: `Great Tit12.mp3`. `folder` is for scratch. `on_note` is told
        what a csv has that is not read, and what is known of time and sound.

        Raises:
            InputError, UploadTooLargeError: a zip or a table that cannot be used, or nothing to take.
        """
        is_new = is_yes("new_class", texts.get("new_class", ""))
        species = texts.get("species", "").strip()
        if len(species.encode("utf-8", "surrogatepass")) > MAX_LABEL:
            raise InputError(f"species: expected at most {MAX_LABEL} bytes, got {species[:40]!r}...")
        tree = folder / "tree"
        tree.mkdir()
        known = self._known_classes(labels)
        others = _laid_out(tree, species, files, max_bytes)
        if others and not any(tree.iterdir()):
            return [Taken(name, "refused", None, reason) for name, reason in others]
        rows, outside, has_table = _rows_of(tree, on_note)
        if not has_table and not species:
            rows = [_labelled_by_file(row, tree, known, is_new=is_new) for row in rows]
        complete = table_of(rows, tree, n_workers=1).rows
        named = tuple(replace(row, recording_id=_given_path(tree, tree / row.path)) for row in complete)
        for note in notes_of_sound(RecordingsTable(tree, named)):
            on_note(note)
        found, conflicts = _without_conflicts(tree, complete, known)
        refused = [Taken(name, "refused", None, reason) for name, reason in (*conflicts, *others, *outside)]
        return [*(self._store_row(tree, row, known, is_new=is_new) for row in found), *refused]

    def _known_classes(self, labels: Sequence[Label]) -> KnownClasses:
        """Return `labels` and the classes that have training data already."""
        names = Lesson.scientific_name, Lesson.common_name
        with self._database.read() as session:
            rows = session.execute(select(*names).distinct().order_by(*names)).all()
        taught = (Label(scientific, common or scientific) for scientific, common in rows if scientific)
        return KnownClasses([*labels, *taught])

    def _store_row(self, tree: Path, row: RecordingRow, known: KnownClasses, *, is_new: bool) -> Taken:
        path = tree / row.path
        name = _given_path(tree, path)
        try:
            label, absent = _labels_of(row, known, is_new=is_new)
            self._limits.check(n_channels=row.n_channels or 0, rate_hz=row.rate_hz or 0, duration_s=row.duration_s)
        except UnknownClassError as error:
            return Taken(name, "refused", None, str(error), error.suggestions)
        except (InputError, AudioTooLargeError) as error:
            return Taken(name, "refused", None, str(error))
        sha256 = self._files.put(path)
        lesson = Lesson(
            sha256=sha256,
            name=_given_name(row.path),
            n_bytes=path.stat().st_size,
            duration_s=row.duration_s or 0.0,
            rate_hz=row.rate_hz or 0,
            scientific_name=None if label is None else label.scientific_name,
            common_name=None if label is None else label.common_name,
            absent=None if absent is None else absent.scientific_name,
            group=sha256,
            source="upload",
        )
        shown = "no species" if label is None else label.common_name
        reason = None if absent is None else f"it is without {absent.common_name}"
        with self._database.write(about=sha256) as session:
            self._files.ensure(sha256, path)
            earlier = session.scalar(select(Lesson).where(Lesson.sha256 == sha256, Lesson.source == "upload"))
            if earlier is None:
                session.add(lesson)
                return Taken(name, "taken", shown, reason)
            if (earlier.scientific_name, earlier.absent) == (lesson.scientific_name, lesson.absent):
                return Taken(name, "known", shown, "the same sound was sent before")
            before = earlier.common_name or "no species"
            earlier.scientific_name, earlier.common_name = lesson.scientific_name, lesson.common_name
            earlier.absent = lesson.absent
            return Taken(name, "taken", shown, f"it was labelled {before} before")

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
        """Write down what a person says of a detection, and make a lesson of it; it replaces an earlier word.

        Raises:
            NotFoundError: no such detection.
            UnknownClassError: `species` is neither one of `labels` nor taught before, and no `new_class`.
            InputError: "other" and no species.
        """
        if (verdict == "other") != bool(species):
            raise InputError("expected a species where the verdict is 'other', and only there.")
        other = None
        if species is not None:
            other = class_of(parse_species(species), self._known_classes(labels), is_new=new_class)
        with self._database.read() as session:
            row, recording = _detection(session, detection_id)
        review = Review(
            detection=row.id,
            verdict=verdict,
            scientific_name=None if other is None else other.scientific_name,
            common_name=None if other is None else other.common_name,
        )
        heard = other or Label(row.scientific_name, row.common_name)
        lesson = Lesson(
            name=f"{recording.name[:200]} {row.start_s:.1f} s",
            duration_s=min(row.end_s - row.start_s, MAX_STRETCH_S),
            rate_hz=LESSON_RATE_HZ,
            scientific_name=None if verdict == "wrong" else heard.scientific_name,
            common_name=None if verdict == "wrong" else heard.common_name,
            absent=None if verdict == "right" else row.scientific_name,
            group=row.recording,
            source="review",
            detection=row.id,
        )
        with self._cut(row) as path:
            lesson.sha256, lesson.n_bytes = self._files.put(path), path.stat().st_size
            with self._database.write(about=lesson.sha256) as session:
                self._files.ensure(lesson.sha256, path)
                if session.get(DetectionRow, detection_id, with_for_update=True) is None:  # one word at a time
                    raise NotFoundError(f"there is no detection {detection_id}.")
                _forget(session, detection_id)
                session.add_all([review, lesson])
        return review

    def take_back(self, detection_id: int) -> None:
        """Forget what was said of a detection."""
        with self._database.read() as session:
            sha256 = session.scalar(select(Lesson.sha256).where(Lesson.detection == detection_id))
        with self._database.write() as session:
            _forget(session, detection_id)
            is_learning = _is_learning(session)
        if sha256 is not None and not is_learning:
            drop_unneeded(self._database, self._files, sha256)

    @contextmanager
    def _cut(self, row: DetectionRow) -> Iterator[Path]:
        """Cut the span of a detection into a sound of its own."""
        middle_s, half_s = (row.start_s + row.end_s) / 2, min(row.end_s - row.start_s, MAX_STRETCH_S) / 2
        path = self._files.local(row.recording)
        start_s, end_s = middle_s - half_s, middle_s + half_s
        samples = read_clip(path, start_s=start_s, end_s=end_s, rate_hz=LESSON_RATE_HZ, channel=row.source)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "stretch.flac")
            write_recording(path, samples, rate_hz=LESSON_RATE_HZ)
            yield path

    # ------------------------------------------------------------------ looking

    def balance(self) -> list[SpeciesLessons]:
        """Return the amount of training data by species, the most first."""
        kept_back = func.sum(case((Part.split == "test", 1), else_=0))
        query = (
            select(
                Lesson.scientific_name,
                func.max(Lesson.common_name),
                func.count(),
                kept_back,
                func.sum(Lesson.duration_s),
            )
            .select_from(Lesson)
            .outerjoin(Part, Part.group == Lesson.group)
            .group_by(Lesson.scientific_name)
            .order_by(func.count().desc(), Lesson.scientific_name)
        )
        merged: dict[str | None, SpeciesLessons] = {}
        with self._database.read() as session:
            for name, common, n, kept, duration_s in session.execute(query):
                key = None if name is None else name_key(name)
                row = SpeciesLessons(name, common or "no species, or unknown", n, kept or 0, duration_s)
                merged[key] = merged[key].with_more(row) if key in merged else row
        return sorted(merged.values(), key=lambda row: -row.n_recordings)

    def count(self) -> int:
        """Return the number of lessons."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(Lesson)) or 0

    # ------------------------------------------------------------------ for a retraining

    def snapshot(self, folder: Path) -> RecordingsTable:
        """Write a recordings table of all lessons as they are now into `folder`; later ones do not change it."""
        with self._database.read() as session:
            lessons = list(session.scalars(select(Lesson).order_by(Lesson.id)))
            parts = {part.group: part.split for part in session.scalars(select(Part))}
        table = RecordingsTable(folder, tuple(self._rows(lessons, parts)))
        write_table(table)
        return table

    def _rows(self, lessons: Sequence[Lesson], parts: Mapping[str, str]) -> Iterator[RecordingRow]:
        for lesson in lessons:
            try:
                path = self._files.local(lesson.sha256).absolute()
            except NotFoundError as error:
                LOG.error("the lesson %d is left out: %s", lesson.id, error)
                continue
            yield RecordingRow(
                recording_id=f"{lesson.id}",
                path=str(path),
                scientific_name=lesson.scientific_name,
                common_name=lesson.common_name,
                absent=(lesson.absent,) if lesson.absent and lesson.scientific_name is None else (),
                kind="focal" if lesson.scientific_name else "background",
                source=lesson.source,
                locality=lesson.name,
                given_group=lesson.group,
                split=parts.get(lesson.group or ""),
                duration_s=lesson.duration_s,
            )

    def adopt_parts(self, folder: Path) -> None:
        """Remember which lessons of the table in `folder` were kept back: no later model learns from them."""
        rows = [row for row in read_table(folder).rows if row.split and row.given_group and row.source != GENERATED]
        with self._database.write() as session:
            for group, split in {row.given_group: row.split for row in rows}.items():
                if session.get(Part, group) is None:
                    session.add(Part(group=group, split=split))


def _laid_out(tree: Path, species: str, files: Sequence[tuple[str, Path]], max_bytes: int) -> list[tuple[str, str]]:
    """Put files where an import finds them, and give those that cannot be used, with the reason."""
    if not files:
        raise InputError("expected recordings, a zip of folders named by species, or recordings and a csv; got none.")
    has_table = any(_suffix(name) == ".csv" for name, _ in files)
    refused, left = [], max_bytes
    for k, (given, path) in enumerate(files):
        suffix = _suffix(given)
        if suffix == ".zip":
            target = tree if has_table else tree / f"{ZIP}{k}"
            unpack(path, target, max_bytes=left)
            left -= sum(found.stat().st_size for found in target.rglob("*") if found.is_file())
            path.unlink()
        elif suffix == ".csv" and (tree / KNOWN_TABLES[-1]).exists():
            refused.append((_sent_path(given), "only one csv can say which species the recordings are of"))
        elif suffix == ".csv":
            shutil.move(path, tree / KNOWN_TABLES[-1])
        elif suffix and suffix not in SUFFIXES:
            refused.append((_sent_path(given), f"files that end in {suffix[:20]} are no recordings"))
        else:
            parts = _safe_parts(given)
            folder = tree / OF_FIELD / _safe_parts(species)[-1] if species else tree.joinpath(*parts[:-1])
            # Two files of one name are two recordings.
            target = tree.joinpath(*parts) if has_table else folder / f"{k}{SEPARATOR}{parts[-1]}"
            target = target if suffix else target.with_name(f"{target.name}.wav")
            if target.exists():
                refused.append((_sent_path(given), "another file of this name came before it"))
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
            except OSError as error:
                refused.append((_sent_path(given), f"it cannot be stored under this name ({error.strerror})"))
    return refused


def _rows_of(tree: Path, on_note: OnNote) -> tuple[list[RecordingRow], list[tuple[str, str]], bool]:
    """Return the recordings of a tree with their labels, what is not used and why, and if a csv has the labels.

    A csv that was sent beside the recordings has to be readable; one in a zip may be about something else.
    """
    sent = next((tree / name for name in KNOWN_TABLES if (tree / name).is_file()), None)
    packed = _packed_table(tree) if sent is None else None
    table = sent or packed
    try:
        rows, unused = _rows_of_folders(tree) if table is None else _rows_of_table(tree, table, on_note)
    except InputError as error:
        if table is None or table is sent:
            raise
        rows, _ = _rows_of_folders(tree)
        unused = [(table.name, f"it does not say which species the recordings are of: {error}")]
        table = None
    return rows, [*unused, *_left_out(tree, rows, sent or packed)], table is not None


def _packed_table(tree: Path) -> Path | None:
    """Return the csv in a zip that may have the labels: the only one, or the only one of a usual name."""
    tables = sorted(path for path in tree.rglob("*") if path.suffix.lower() == ".csv" and path.is_file())
    usual = [path for path in tables if path.name.lower() in KNOWN_TABLES]
    candidates = usual or tables
    return candidates[0] if len(candidates) == 1 else None


def _left_out(tree: Path, rows: Sequence[RecordingRow], table: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the recordings, tables and zips of a tree that are not used, each with the reason."""
    used = {(tree / row.path).resolve() for row in rows}
    for path in sorted(path for path in tree.rglob("*") if path.is_file() and path != table):
        suffix = path.suffix.lower()
        if suffix == ".csv":
            yield _given_path(tree, path), "only one csv can say which species they are of"
        elif suffix == ".zip":
            yield _given_path(tree, path), "a zip in a zip is not unpacked: send it by itself"
        elif suffix in SUFFIXES and table is not None and path.resolve() not in used:
            yield _given_path(tree, path), f"the csv {table.name} does not name it"


def _given_path(tree: Path, path: Path) -> str:
    """Return the path of a file as its sender sees it: in the folders of a zip or of its name."""
    folders = path.relative_to(tree).parts[:-1]
    own = () if OF_FIELD in folders[:1] else folders[1:] if folders and folders[0].startswith(ZIP) else folders
    return "/".join((*own, _given_name(path.name)))


def _without_conflicts(
    tree: Path, rows: Sequence[RecordingRow], known: KnownClasses
) -> tuple[list[RecordingRow], list[tuple[str, str]]]:
    """Return the rows of which no other has the same sound under another label, and the others with the reason."""
    same: dict[str, list[RecordingRow]] = {}
    for row in rows:
        path = tree / row.path
        same.setdefault(file_sha256(path) if os.path.isfile(path) else row.path, []).append(row)
    kept, conflicts = [], []
    for copies in same.values():
        if len({_label_key(row, known) for row in copies}) == 1:
            kept += copies
            continue
        said = ", ".join(
            f"{_given_path(tree, tree / row.path)} as {row.common_name or row.scientific_name or 'no species'}"
            for row in copies
        )
        reason = f"the same sound has several labels: {said}. None is taken; send it once, with the right one"
        conflicts += [(_given_path(tree, tree / row.path), reason) for row in copies]
    return kept, conflicts


def _label_key(row: RecordingRow, known: KnownClasses) -> tuple[str, ...]:
    """Return what two rows of one label have in common."""
    name = row.scientific_name or ""
    found = known.find(Label(name, row.common_name or name)) if name else None
    return row.kind, name_key(name if found is None else found.scientific_name), *row.absent, *row.secondary


def _rows_of_folders(tree: Path) -> tuple[list[RecordingRow], list[tuple[str, str]]]:
    try:
        return list(rows_of_folders(tree, find_recordings([tree]))), []
    except InputError as error:
        raise InputError(f"{tree}: there are no recordings in it.") from error


def _rows_of_table(tree: Path, table: Path, on_note: OnNote) -> tuple[list[RecordingRow], list[tuple[str, str]]]:
    """Return the recordings that a csv names, and its names that lead elsewhere."""
    try:
        # Paths in it may begin in its own folder, or in one above it in the zip.
        folders = [folder for folder in table.parents if folder.is_relative_to(tree)]
        layout = TableLayout.of(table, {}, sounds=folders)
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


def _labelled_by_file(row: RecordingRow, root: Path, known: KnownClasses, *, is_new: bool) -> RecordingRow:
    """Return the row with the known class that its file's name has in it, where its folder names none.

    If `is_new`, every folder's name is a label, except those of `root` and of zips themselves.
    """
    review = review_of_folders(Path(row.path).parts[:-1])
    if row.kind == "background" or row.secondary or (review is not None and review[1] == "undecided"):
        return row
    folder = Path(row.path).parent
    has_folder = folder != root and not folder.name.startswith(ZIP)
    scientific, common = row.scientific_name or "", row.common_name or ""
    if has_folder and (is_new or known.find(Label(scientific, common)) is not None):
        return row
    found = find_class_of_file(Path(_given_name(row.path)).stem, known)
    if found is not None:
        labels = {"scientific_name": found.scientific_name, "common_name": found.common_name, "kind": "focal"}
        reviewed = labels if review is None else apply_review(labels, review[1])
        return replace(row, **{"scientific_name": None, "common_name": None, **reviewed})
    return row if has_folder else replace(row, scientific_name=None, common_name=None, kind="soundscape")


def _given_name(path: str) -> str:
    """Return the name that the sender gave to a file that was laid out at `path`."""
    name = base_name(path)
    return name.partition(SEPARATOR)[2] or name


def _safe_parts(given: str) -> list[str]:
    """Split a name that a stranger gave into parts that every file system takes."""
    parts = (re.sub(r'[<>:"|?*\x00-\x1f]', " ", part).strip(" .") for part in re.split(r"[/\\]", given))
    return [part.encode("utf-8", "ignore")[:MAX_LABEL].decode("utf-8", "ignore") for part in parts if part] or [
        "unnamed"
    ]


def _sent_path(given: str) -> str:
    """Return a name that a stranger gave, as it is written in a reply."""
    return "/".join(_safe_parts(given))


def _suffix(given: str) -> str:
    return PurePosixPath(given.lower()).suffix


def _labels_of(row: RecordingRow, known: KnownClasses, *, is_new: bool) -> tuple[Label | None, Label | None]:
    """Return the species of a recording, or None, and the one that is known not to be in it, or None.

    Raises:
        UnknownClassError: no class has its label; see `class_of`.
        InputError: it cannot be learned from.
    """
    unopened = [problem for problem in row.problems if problem in (MISSING, UNREADABLE)]
    if unopened:
        raise InputError(f"it is {unopened[0]}: it cannot be opened as sound")
    if row.duration_s == 0:
        raise InputError("there is no sound in it")
    if row.secondary:
        raise InputError("it is of several species: send a recording of one, or review what is heard in it")
    if row.scientific_name is not None:
        common_name = None if row.common_name == row.scientific_name else row.common_name
        return class_of(parse_species(row.scientific_name, common_name), known, is_new=is_new), None
    if row.kind != "background":
        raise InputError(NO_SPECIES)
    return None, class_of(parse_species(row.absent[0]), known, is_new=is_new) if row.absent else None


def _detection(session: Session, detection_id: int) -> tuple[DetectionRow, Recording]:
    row = session.get(DetectionRow, detection_id)
    if row is None:
        raise NotFoundError(f"there is no detection {detection_id}.")
    return row, session.get_one(Recording, row.recording)


def _is_learning(session: Session) -> bool:
    """Return True while a retraining is under way: it has a list of lessons as they were, and needs their sounds."""
    active = and_(Job.kind == "retrain", Job.status.in_(ACTIVE_STATUSES))
    return bool(session.scalar(select(exists().where(active))))


def _forget(session: Session, detection_id: int) -> None:
    session.execute(delete(Review).where(Review.detection == detection_id))
    session.execute(delete(Lesson).where(Lesson.detection == detection_id))


def lesson_fields(lessons: SpeciesLessons) -> dict[str, Any]:
    """For JSON."""
    return {**vars(lessons), "duration_s": round(lessons.duration_s, 3)}
