"""What models learn from: labelled recordings that people send, and detections that they have reviewed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sqlalchemy import case, delete, func, select
from sqlalchemy.orm import Session

from dawnchorus.audio.decode import read_clip
from dawnchorus.audio.write import write_recording
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.layouts.folders import label_of_folder
from dawnchorus.data.other_sounds import SOURCE as GENERATED
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.errors import InputError, NotKnown
from dawnchorus.formats.registry import read_annotations
from dawnchorus.serve.archives import unpack
from dawnchorus.serve.state.database import Database
from dawnchorus.serve.state.files import FileStore
from dawnchorus.serve.state.tables import DetectionRow, Lesson, Recording, Review
from dawnchorus.serve.uploads import base_name
from dawnchorus.taxonomy.labels import Label

LESSON_RATE_HZ = 48_000
"""Of stretches that are cut out of recordings; most models want no more."""

Verdict = Literal["right", "wrong", "other"]

MAX_LABEL = 200


@dataclass(frozen=True)
class Taken:
    """What became of a file that somebody sent."""

    name: str
    status: Literal["taken", "known", "refused"]
    species: str | None
    reason: str | None = None


@dataclass(frozen=True)
class SpeciesLessons:
    """How much there is of a species to learn from."""

    scientific_name: str | None
    """None: sounds without any species, or of which only is known what they are not."""
    common_name: str
    n_recordings: int
    n_kept_back: int
    duration_s: float


def label_named(name: str, labels: Sequence[Label]) -> Label:
    """The label that a person means: one of `labels`, by either name or both; or else a new one.

    Raises:
        InputError: it is no name.
    """
    wanted = " ".join(name.split())
    if not wanted or len(wanted) > MAX_LABEL or any(ord(character) < 32 for character in wanted):
        raise InputError(f"species: expected a name such as Parus major_Great Tit, got {name[:80]!r}.")
    given = label_of_folder(wanted)
    for key in (given.scientific_name.casefold(), given.common_name.casefold()):
        for label in labels:
            if key in (label.scientific_name.casefold(), label.common_name.casefold()):
                return label
    return given


class Lessons:
    """Kept in the database, their sounds in the file store."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database, self._files = database, files

    # ------------------------------------------------------------------ sent by people

    def take(
        self,
        folder: Path,
        texts: Mapping[str, str],
        files: Mapping[str, Path],
        labels: Sequence[Label],
        *,
        max_bytes: int,
    ) -> list[Taken]:
        """Take labelled recordings, and say what became of each.

        A file's species is the text `species`, or the folder in its name or in a zip, or what a csv says; `noise` has
        none. `folder` is for scratch.

        Raises:
            InputError, UploadTooLarge: a zip or a table that cannot be used, or nothing to take.
        """
        tree = folder / "tree"
        tree.mkdir()
        has_table = _laid_out(tree, texts.get("species", "").strip(), files, max_bytes)
        table = import_recordings(
            tree,
            tree,
            layout="csv" if has_table else "folders",
            columns={},
            read_annotations=read_annotations,
            n_workers=1,
        )
        return [self._taken(table.file(row), row, labels) for row in table.rows]

    def _taken(self, path: Path, row: RecordingRow, labels: Sequence[Label]) -> Taken:
        name = base_name(row.path)
        if row.problems:
            return Taken(name, "refused", None, f"it is {row.problems[0]}: it cannot be opened as sound")
        if row.scientific_name is None and row.kind != "background":
            return Taken(name, "refused", None, "nobody says which species it is of")
        label = None
        if row.scientific_name is not None:
            label = label_named(f"{row.scientific_name}_{row.common_name or row.scientific_name}", labels)
        sha256 = self._files.put(path)
        lesson = Lesson(
            sha256=sha256,
            name=name,
            n_bytes=path.stat().st_size,
            duration_s=row.duration_s or 0.0,
            rate_hz=row.rate_hz or 0,
            scientific_name=None if label is None else label.scientific_name,
            common_name=None if label is None else label.common_name,
            group=sha256,
            source="upload",
        )
        shown = "no species" if label is None else label.common_name
        with self._database.write() as session:
            known = session.scalar(select(Lesson).where(Lesson.sha256 == sha256, Lesson.detection.is_(None)))
            if known is None:
                session.add(lesson)
                return Taken(name, "taken", shown)
            if known.scientific_name == lesson.scientific_name:
                return Taken(name, "known", shown, "the same sound was sent before")
            before = known.common_name or "no species"
            known.scientific_name, known.common_name = lesson.scientific_name, lesson.common_name
            return Taken(name, "taken", shown, f"it was labelled {before} before")

    # ------------------------------------------------------------------ reviews

    def review(self, detection_id: int, verdict: Verdict, species: str | None, labels: Sequence[Label]) -> Review:
        """Write down what a person says of a detection, and make a lesson of it; it replaces an earlier word.

        Raises:
            NotKnown: no such detection.
            InputError: "other" and no species.
        """
        if (verdict == "other") != bool(species):
            raise InputError("expected a species where the verdict is 'other', and only there.")
        other = None if species is None else label_named(species, labels)
        with self._database.read() as session:
            row, recording = _detection(session, detection_id)
        sha256, n_bytes = self._cut(row)
        review = Review(
            detection=row.id,
            verdict=verdict,
            scientific_name=None if other is None else other.scientific_name,
            common_name=None if other is None else other.common_name,
        )
        heard = other or Label(row.scientific_name, row.common_name)
        lesson = Lesson(
            sha256=sha256,
            name=f"{recording.name[:200]} {row.start_s:.1f} s",
            n_bytes=n_bytes,
            duration_s=row.end_s - row.start_s,
            rate_hz=LESSON_RATE_HZ,
            scientific_name=None if verdict == "wrong" else heard.scientific_name,
            common_name=None if verdict == "wrong" else heard.common_name,
            absent=None if verdict == "right" else row.scientific_name,
            group=row.recording,
            source="review",
            detection=row.id,
        )
        with self._database.write() as session:
            _forget(session, detection_id)
            session.add_all([review, lesson])
        return review

    def take_back(self, detection_id: int) -> None:
        """Forget what was said of a detection."""
        with self._database.write() as session:
            _forget(session, detection_id)

    def _cut(self, row: DetectionRow) -> tuple[str, int]:
        """Keep the stretch of a detection as a sound of its own, and give its sha256 and bytes."""
        samples = read_clip(
            self._files.local(row.recording), start_s=row.start_s, end_s=row.end_s, rate_hz=LESSON_RATE_HZ
        )
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "stretch.flac")
            write_recording(path, samples, rate_hz=LESSON_RATE_HZ)
            return self._files.put(path), path.stat().st_size

    # ------------------------------------------------------------------ looking

    def balance(self) -> list[SpeciesLessons]:
        """How much there is to learn from, by species, the most first."""
        kept_back = func.sum(case((Lesson.split == "test", 1), else_=0))
        query = (
            select(
                Lesson.scientific_name,
                func.max(Lesson.common_name),
                func.count(),
                kept_back,
                func.sum(Lesson.duration_s),
            )
            .group_by(Lesson.scientific_name)
            .order_by(func.count().desc(), Lesson.scientific_name)
        )
        with self._database.read() as session:
            return [
                SpeciesLessons(name, common or "no species, or unknown", n, kept or 0, duration_s)
                for name, common, n, kept, duration_s in session.execute(query)
            ]

    def count(self) -> int:
        """How many there are."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(Lesson)) or 0

    # ------------------------------------------------------------------ for a retraining

    def snapshot(self, folder: Path) -> RecordingsTable:
        """A recordings table of all lessons as they are now, in `folder`; what comes later does not change it."""
        with self._database.read() as session:
            lessons = list(session.scalars(select(Lesson).order_by(Lesson.id)))
        table = RecordingsTable(folder, tuple(self._rows(lessons)))
        write_table(table)
        return table

    def _rows(self, lessons: Sequence[Lesson]) -> Iterator[RecordingRow]:
        for lesson in lessons:
            yield RecordingRow(
                recording_id=f"{lesson.id}",
                path=str(self._files.local(lesson.sha256).absolute()),
                scientific_name=lesson.scientific_name,
                common_name=lesson.common_name,
                absent=(lesson.absent,) if lesson.absent and lesson.scientific_name is None else (),
                kind="focal" if lesson.scientific_name else "background",
                source=lesson.source,
                locality=lesson.name,
                given_group=lesson.group,
                split=lesson.split,
                duration_s=lesson.duration_s,
            )

    def adopt_parts(self, folder: Path) -> None:
        """Remember which lessons of the table in `folder` were kept back: no later model learns from them."""
        rows = [row for row in read_table(folder).rows if row.split and row.source != GENERATED]
        parts = {int(row.recording_id): row.split for row in rows}
        with self._database.write() as session:
            for lesson in session.scalars(select(Lesson).where(Lesson.id.in_(parts), Lesson.split.is_(None))):
                lesson.split = parts[lesson.id]


def _laid_out(tree: Path, species: str, files: Mapping[str, Path], max_bytes: int) -> bool:
    """Put files where an import finds them, and tell whether a table describes them."""
    if not files:
        raise InputError("expected recordings, a zip of folders named by species, or recordings and a csv; got none.")
    has_table = False
    for given, path in files.items():
        suffix = PurePosixPath(given.lower()).suffix
        if suffix == ".zip":
            unpack(path, tree, max_bytes=max_bytes)
            path.unlink()
        elif suffix == ".csv":
            shutil.move(path, tree / "metadata.csv")
            has_table = True
        else:
            parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".", "..")]
            label = species or (parts[-2] if len(parts) > 1 else "unlabelled")
            target = tree / label.replace("/", " ").replace("\0", "")[:MAX_LABEL] / base_name(given)
            if has_table or any(name.lower().endswith(".csv") for name in files):
                target = tree.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
    return has_table or any((tree / name).is_file() for name in ("metadata.csv", "train_metadata.csv"))


def _detection(session: Session, detection_id: int) -> tuple[DetectionRow, Recording]:
    row = session.get(DetectionRow, detection_id)
    if row is None:
        raise NotKnown(f"there is no detection {detection_id}.")
    return row, session.get_one(Recording, row.recording)


def _forget(session: Session, detection_id: int) -> None:
    session.execute(delete(Review).where(Review.detection == detection_id))
    session.execute(delete(Lesson).where(Lesson.detection == detection_id))


def lesson_fields(lessons: SpeciesLessons) -> dict[str, Any]:
    """For JSON."""
    return {**vars(lessons), "duration_s": round(lessons.duration_s, 3)}
