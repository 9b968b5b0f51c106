"""Labels of uploaded recordings, from the form's field `species`, the folders in file names, or a csv.

The result has a row of the recordings table for each recording.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from dawnchorus.audio.discovery import SUFFIXES
from dawnchorus.data.contradictions import describe_contradictions
from dawnchorus.data.layout_detection import KNOWN_TABLES
from dawnchorus.data.layouts.folders import apply_review, build_rows, list_labels, parse_file_facts, read_folders
from dawnchorus.data.layouts.review_folders import find_folder_review
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError, InputError
from dawnchorus.limits import ZipLimits
from dawnchorus.server.training.archives import unpack
from dawnchorus.server.training.labels import MAX_LABEL
from dawnchorus.storage.safe_names import safe_name
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import find_class_of_file
from dawnchorus.taxonomy.labels import Label

_ROOT = Path("/")
"""Folder that is put before file names of uploads while the labels in their folders are read."""

Rejection = tuple[str, str]
"""Client's name of a file, and the reason why the file is not used."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file, or a file of an uploaded zip."""

    name: str
    """Client's name of the file, including its folders if the file is in a zip or a folder was dropped on the page."""
    path: Path
    """Path of the file on the server."""
    label: Label | None = None
    """Label in the form's field `species`; None if the label has to be read from folders, a csv or the file name."""

    @property
    def base_name(self) -> str:
        """File name with its suffix, without folders."""
        return PurePosixPath(self.name).name

    @property
    def stem(self) -> str:
        """File name without folders and without suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Suffix of the file name with its dot, in lower case; "" without a suffix."""
        return PurePosixPath(self.name.lower()).suffix

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders in the file name, outermost first."""
        return PurePosixPath(self.name).parts[:-1]

    @property
    def is_hidden(self) -> bool:
        """True if a folder's name starts with a dot, or the file's with exactly one: `.a.wav`, but not `..wav`."""
        is_hidden_file = self.base_name.startswith(".") and not self.base_name.startswith("..")
        return is_hidden_file or any(folder.startswith(".") for folder in self.folders)


@dataclass(frozen=True)
class LabeledUpload:
    """An uploaded recording, and its row of the recordings table, which has the label."""

    upload: Upload
    row: RecordingRow


@dataclass(frozen=True)
class LabeledFiles:
    """Result of labeling the files of an upload."""

    recordings: tuple[LabeledUpload, ...]
    """Recordings with a row of the recordings table; the row may lack a species."""
    rejected: tuple[Rejection, ...] = ()
    """Client's name of each file that is not used, and the reason."""
    notes: tuple[str, ...] = ()
    """Sentences for the client on how the labels were read, and on contradictions."""


@dataclass(frozen=True)
class UploadedFiles:
    """Unpacked files of one request."""

    tree: Path
    """Temporary folder with all files."""
    sources: tuple[tuple[Upload, ...], ...]
    """Groups of files whose folders are interpreted together: the form's files, and the files of each zip. If the form
    has a csv, all files except `table` are one group."""
    table: Upload | None
    """First csv among the form's files, which has the labels; None without one. A csv in a zip is in `sources`."""
    rejected: tuple[Rejection, ...]
    """Client's name of each file that could not be stored, and the reason."""

    @property
    def uploads(self) -> list[Upload]:
        """All files in `sources`: those that are stored, except `table`."""
        return [upload for source in self.sources for upload in source]


def unpack_files(
    files: Sequence[tuple[str, Path]], tree: Path, *, label: Label | None, limits: ZipLimits, max_bytes: int
) -> UploadedFiles:
    """Move the files of a form into a folder, and unpack zip archives.

    If the form has a csv, the files get their names in `tree`, since the csv's paths are relative to this folder. Else
    each file gets a subfolder of its own, since two files of the same name are two recordings. Files whose name was
    used before or is not allowed are rejected. A name without a suffix gets `.wav`.

    Args:
        files: client's name and path of each file.
        tree: folder for the files.
        label: label in the form's field `species`; None without one.
        limits: limits of zip archives.
        max_bytes: maximum size of all unpacked files of zip archives together.

    Raises:
        InputError: there are no files, or a zip archive is invalid.
        UploadTooLargeError: a zip archive exceeds `limits` or `max_bytes`.
        OutputError: a file of a zip archive cannot be written: no space, or no permission.
    """
    if not files:
        raise InputError("expected recordings, a zip of folders named by species, or recordings and a csv; got none.")
    has_table = any(_suffix(name) == ".csv" for name, _ in files)
    form: list[Upload] = []
    zips: list[tuple[Upload, ...]] = []
    rejected: list[Rejection] = []
    for k, (given, path) in enumerate(files):
        folder = tree if has_table else tree / f"{k}"
        if _suffix(given) == ".zip":
            max_bytes -= unpack(path, folder, limits=limits, max_bytes=max_bytes)
            path.unlink()
            zips.append(() if has_table else tuple(_list_files(folder)))
            continue
        try:
            form.append(_move(Upload(safe_path(given), path, label), folder))
        except FileExistsError:
            rejected.append((safe_path(given), "another file of this name came before it"))
        except OSError as error:
            rejected.append((safe_path(given), f"it cannot be stored under this name ({error.strerror})"))
    table = next((upload for upload in form if upload.suffix == ".csv"), None)
    if has_table:
        together = tuple(upload for upload in _list_files(tree) if table is None or upload.path != table.path)
        return UploadedFiles(tree, (together,), table, tuple(rejected))
    return UploadedFiles(tree, (tuple(form), *zips), None, tuple(rejected))


def safe_path(given: str) -> str:
    r"""Return a client's file name with its folders, with characters that some file systems do not allow as spaces.

    Both `/` and `\` separate folders. Parts of only dots and spaces are left out, and each part is cut to `MAX_LABEL`
    bytes; `unnamed` if nothing is left.
    """
    parts = [part for part in re.split(r"[/\\]", given) if part.strip(" .")] or [""]
    return "/".join(safe_name(part, replacement=" ", max_bytes=MAX_LABEL) for part in parts)


def _suffix(name: str) -> str:
    return PurePosixPath(name.lower()).suffix


def _move(upload: Upload, folder: Path) -> Upload:
    """Move a file to its name in `folder`, and return the moved upload; a name without a suffix gets `.wav`.

    Raises:
        OSError: there is a file of this name already, or the file system does not allow the name.
    """
    name = upload.name if upload.suffix else f"{upload.name}.wav"
    path = folder / name
    if path.exists():
        raise FileExistsError(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(upload.path, path)
    return replace(upload, name=name, path=path)


def _list_files(folder: Path) -> Iterator[Upload]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield Upload(path.relative_to(folder).as_posix(), path)


def label_uploads(files: UploadedFiles, known: KnownClasses, *, is_new: bool) -> LabeledFiles:
    """Find the label of each uploaded recording.

    Labels are read from `files.table`, or from the only suitable csv in a zip; recordings that the csv does not name
    are rejected. A csv in a zip that is no table of recordings and species is rejected, and the labels are read as
    without a csv: from the form's field `species` (`Upload.label`), or else from a known class in the name of the
    recording's folder, a known species in the file name, or another folder name, in this order.

    Args:
        files: uploaded files.
        known: classes of the active model, and classes with training data.
        is_new: True if any folder's name may be a new class, so that it takes precedence over the file name; False for
            the order above.

    Raises:
        InputError: the csv among the form's files is not a table of recordings and species.
    """
    table = files.table or _find_packed_table(files.uploads)
    rejected: list[Rejection] = []
    if table is not None:
        try:
            labeled = _label_by_table(files, table)
        except InputError as error:
            if table is files.table:
                raise
            rejected = [(table.name, f"it does not say which species the recordings are of: {error.reason}")]
        else:
            contradictions = describe_contradictions([each.row for each in labeled.recordings], files.tree, known)
            others = _reject_others(files, labeled.recordings, table, "the csv does not name it")
            return LabeledFiles(labeled.recordings, (*labeled.rejected, *others), (*labeled.notes, *contradictions))
    sources = [_label_source(source, known, is_new=is_new) for source in files.sources]
    recordings = tuple(each for source in sources for each in source.recordings)
    others = _reject_others(files, recordings, table, "hidden files are not read")
    return LabeledFiles(recordings, (*rejected, *others), tuple(note for source in sources for note in source.notes))


def _find_packed_table(uploads: Sequence[Upload]) -> Upload | None:
    """Return the only csv in the zips, or the only csv with a usual name of label tables; None if there are several."""
    tables = [upload for upload in uploads if upload.suffix == ".csv"]
    usual = [upload for upload in tables if upload.base_name.lower() in KNOWN_TABLES]
    candidates = usual or tables
    return candidates[0] if len(candidates) == 1 else None


def _reject_others(
    files: UploadedFiles, labeled: Sequence[LabeledUpload], table: Upload | None, reason: str
) -> Iterator[Rejection]:
    """Yield name and reason for each file that is not used; hidden files are left out unless they are recordings.

    `reason` is the reason for recordings.
    """
    used = {each.upload.path for each in labeled}
    for upload in files.uploads:
        if upload.path in used or upload == table:
            continue
        if upload.suffix == ".csv":
            yield upload.name, "only one csv can say which species the recordings are of"
        elif upload.suffix == ".zip":
            yield upload.name, "a zip in a zip is not unpacked: send it by itself"
        elif upload.suffix in SUFFIXES:
            yield upload.name, reason
        elif not upload.is_hidden:
            ending = f"that end in {upload.suffix[:20]}" if upload.suffix else "without an ending"
            yield upload.name, f"files {ending} are no recordings"


def _label_by_table(files: UploadedFiles, table: Upload) -> LabeledFiles:
    """Return the recordings that a csv names, and rejections for names in the csv that were not uploaded.

    Raises:
        InputError: the csv is not a table of recordings and species.
    """
    try:
        # Paths in it may begin in its own folder, or in one above it.
        folders = [folder for folder in table.path.parents if folder.is_relative_to(files.tree)]
        layout = TableLayout.of(table.path, {}, audio_folders=folders)
        rows = list(layout.rows())
        sentences = layout.table.notes.sentences()
    except FormatError as error:
        raise InputError(f"the csv: {error.reason}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"the csv cannot be read ({error}). Save it as UTF-8, with commas.") from error
    uploads = {os.path.realpath(upload.path): upload for upload in files.uploads if upload.suffix in SUFFIXES}
    labeled, rejected = [], []
    for row in rows:
        upload = _find_upload(row.path, uploads)
        if upload is not None:
            labeled.append(LabeledUpload(upload, row))
        else:
            name = safe_path("/".join((*table.folders, os.path.relpath(row.path, table.path.parent))))
            rejected.append((name, "the csv names no recording that was sent with it"))
    advice = " Name one with --column"  # for the command line
    return LabeledFiles(
        tuple(labeled), tuple(rejected), tuple(f"the csv: {each.partition(advice)[0]}" for each in sentences)
    )


def _find_upload(path: str, uploads: Mapping[str, Upload]) -> Upload | None:
    try:
        return uploads.get(os.path.realpath(path))
    except (OSError, ValueError):  # a name that no file can have
        return None


def _label_by_field(uploads: Sequence[Upload]) -> Iterator[LabeledUpload]:
    """Yield the recordings with a label from the form's field `species`."""
    for upload in uploads:
        if upload.label is not None and upload.suffix in SUFFIXES and not upload.is_hidden:
            facts = parse_file_facts(_ROOT / upload.name, _ROOT) | list_labels(upload.label)
            yield LabeledUpload(upload, RecordingRow(**(facts | {"path": str(upload.path)})))  # type: ignore[arg-type]


def _label_source(uploads: Sequence[Upload], known: KnownClasses, *, is_new: bool) -> LabeledFiles:
    """Return the recordings of a group with labels from the field `species`, their folders, or their file names.

    Folders that name the result of a review (such as "correct") are interpreted, and noted.
    """
    recordings = [each for each in uploads if each.label is None and each.suffix in SUFFIXES and not each.is_hidden]
    paths = [_ROOT / upload.name for upload in recordings]
    reading = read_folders(_ROOT, paths)
    by_names = (
        LabeledUpload(upload, _label_by_file_name(replace(row, path=str(upload.path)), upload, known, is_new=is_new))
        for upload, row in zip(recordings, build_rows(_ROOT, paths, reading), strict=True)
    )
    return LabeledFiles((*_label_by_field(uploads), *by_names), notes=tuple(reading.list_review_notes()))


def _label_by_file_name(row: RecordingRow, upload: Upload, known: KnownClasses, *, is_new: bool) -> RecordingRow:
    """Return the row with the known class in the recording's file name, unless its folder names a class.

    If `is_new`, every name of a folder counts as a class.
    """
    review = find_folder_review(upload.folders)
    if row.kind == "background" or row.secondary or (review is not None and review[1] == "undecided"):
        return row
    scientific, common = row.scientific_name or "", row.common_name or ""
    if upload.folders and (is_new or known.find(Label(scientific, common)) is not None):
        return row
    label = find_class_of_file(upload.stem, known)
    if label is not None:
        labels = {"scientific_name": label.scientific_name, "common_name": label.common_name, "kind": "focal"}
        reviewed = labels if review is None else apply_review(labels, review[1])
        return replace(row, **{"scientific_name": None, "common_name": None, **reviewed})
    return row if upload.folders else replace(row, scientific_name=None, common_name=None, kind="soundscape")
