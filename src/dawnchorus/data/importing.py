"""From a folder or a table of somebody's recordings to a recordings table."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from dawnchorus.audio.find import find_recordings
from dawnchorus.audio.many import map_recordings
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.data.labels import LabelReader
from dawnchorus.data.layouts.folders import rows_of_folders, xeno_canto_id
from dawnchorus.data.layouts.search_results import find_search_results, rows_of_search_results
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.data.layouts.voices import find_voices_table, rows_of_voices
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, first_of_each_species
from dawnchorus.errors import AudioError, InputError
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection

Layout = Literal["auto", "folders", "csv", "annotations", "voices", "xeno-canto"]

KNOWN_TABLES = ("train_metadata.csv", "train.csv", "metadata.csv")
"""Tables that describe the recordings beside them: BirdCLEF's, the Cornell set's, and the usual name."""

ANNOTATION_SUFFIXES = (".selections.txt", ".Table.1.selections.txt", ".selection.table.txt", ".labels.txt", ".txt")
"""Ends of the names of annotations beside a recording, after its name with or without its own suffix."""

ReadAnnotations = Callable[[Path], Iterable[Detection]]

MISSING, UNREADABLE = "missing", "unreadable"


def detect_layout(source: Path) -> Layout:
    """Return the layout that `source` seems to have.

    Raises:
        InputError: there is no such file or folder.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder.")
    if _known_table(source):
        return "csv"
    if find_search_results(source):
        return "xeno-canto"
    if find_voices_table(source):
        return "voices"
    if source.is_file():
        return "csv"
    recordings = find_recordings([source])
    annotated = sum(_annotations_beside(path) is not None for path in recordings)
    return "annotations" if annotated > len(recordings) / 2 else "folders"


def import_recordings(
    source: Path,
    folder: Path,
    *,
    layout: Layout = "auto",
    columns: Mapping[str, str] | None = None,
    audio: Path | None = None,
    per_species: int | None = None,
    known: Iterable[Label] = (),
    labels: LabelReader | None = None,
    read_annotations: ReadAnnotations,
    n_workers: int,
) -> RecordingsTable:
    """Return the recordings of `source` as a table of the data set `folder`; nothing is copied or written.

    Recordings that are not there or cannot be opened stay in the table, with that as a problem. A table's recordings
    are looked for in `audio`. Labels are read by `labels`, which then has counted them, or by one of the classes
    `known`. Of each species, the first `per_species` are taken. `read_annotations` reads a Raven or Audacity table.

    Raises:
        InputError: no such source, no recordings in it, or all its species have one name.
        FormatError: a table is not as it should be.
    """
    labels = labels or LabelReader(KnownClasses(known))
    layout = detect_layout(source) if layout == "auto" else layout
    rows = _rows(source, layout, columns or {}, audio, labels.known, read_annotations)
    named = labels.read(rows)
    _check_names(source, named)
    taken = named if per_species is None else first_of_each_species(named, per_species)
    table = table_of(taken, folder, n_workers=n_workers)
    if not table.rows:
        raise InputError(f"{source}: there are no recordings in it.")
    return table


def _rows(
    source: Path,
    layout: Layout,
    columns: Mapping[str, str],
    audio: Path | None,
    known: KnownClasses,
    read_annotations: ReadAnnotations,
) -> Iterable[RecordingRow]:
    """Return the rows of a source of this layout."""
    if layout == "csv":
        csv_path = source if source.is_file() else _known_table(source) or source / KNOWN_TABLES[0]
        sounds = [audio] if audio else [csv_path.parent, csv_path.absolute().parent.parent]
        return TableLayout.of(csv_path, columns, sounds=sounds).rows()
    if layout == "voices":
        root = audio or (source.parent if source.is_file() else source)
        return rows_of_voices(find_voices_table(source), root, _described_recordings(root))
    if layout == "xeno-canto":
        root = audio or (source.parent if source.is_file() else source)
        return rows_of_search_results(find_search_results(source), root, _described_recordings(root))
    if audio is not None:
        raise InputError(f"--audio: expected a table that describes the recordings in it, got {source}.")
    files = find_recordings([source])
    return (
        _annotated(source, files, read_annotations)
        if layout == "annotations"
        else rows_of_folders(source, files, known)
    )


def _described_recordings(root: Path) -> list[Path]:
    """Return the recordings that a table describes.

    Raises:
        InputError: there are none.
    """
    try:
        return find_recordings([root])
    except InputError as error:
        raise InputError(
            f"{root}: there are no recordings in it. Name the folder that has them with --audio."
        ) from error


def _known_table(source: Path) -> Path | None:
    return next((source / name for name in KNOWN_TABLES if (source / name).is_file()), None)


def _check_names(source: Path, rows: Sequence[RecordingRow]) -> None:
    """Refuse rows of several species that all have the same common name.

    Raises:
        InputError: they have.
    """
    species = {row.scientific_name: row.common_name for row in rows if row.scientific_name}
    if len(species) > 1 and len(set(species.values())) == 1:
        raise InputError(
            f"{source}: expected a name for each species, but all {len(species)} species are called "
            f"'{next(iter(species.values()))}' (as {min(map(str, species))}). Folders are named "
            f"'Parus major_Great Tit' or 'Great Tit'; for another layout use --layout, or a csv."
        )


def table_of(rows: Iterable[RecordingRow], folder: Path, *, n_workers: int) -> RecordingsTable:
    """The rows as a table of the data set `folder`, with what the recordings say of themselves."""
    complete = map_recordings(_with_facts, _unique(rows), n_workers=n_workers)
    return RecordingsTable(folder, tuple(replace(row, path=_relative(Path(row.path), folder)) for row in complete))


def merge_tables(known: RecordingsTable, new: RecordingsTable) -> RecordingsTable:
    """Return both tables' recordings; of the same recording_id, the new row with the old one's split and group.

    A row whose file is missing replaces none.
    """
    by_id = {row.recording_id: row for row in known.rows}
    for row in new.rows:
        old = by_id.get(row.recording_id)
        if old is None:
            by_id[row.recording_id] = row
        elif MISSING not in row.problems or MISSING in old.problems:
            by_id[row.recording_id] = replace(row, split=old.split, group=old.group)
    return new.with_rows(by_id.values())


def annotated_by(detections: Iterable[tuple[str | None, Detection]], source: str) -> list[RecordingRow]:
    """A row for each recording that a table of detections names, with the detections as annotations.

    Raises:
        InputError: a detection names no recording.
    """
    by_recording: dict[str, list[Detection]] = defaultdict(list)
    for recording, detection in detections:
        if recording is None:
            raise InputError(f"{source}: line without a recording. Import such a table as a file beside its recording.")
        by_recording[recording].append(detection)
    return [
        RecordingRow(
            recording_id=name,
            path=os.path.abspath(name),
            kind="soundscape",
            source=source,
            annotations=_as_tuple(found),
        )
        for name, found in by_recording.items()
    ]


def _unique(rows: Iterable[RecordingRow]) -> Iterator[RecordingRow]:
    """The rows, with a number behind identifiers that come again."""
    seen: dict[str, int] = defaultdict(int)
    for row in rows:
        seen[row.recording_id] += 1
        again = seen[row.recording_id]
        yield row if again == 1 else replace(row, recording_id=f"{row.recording_id}#{again}")


def _with_facts(decoder: DecoderProcess, row: RecordingRow) -> RecordingRow:
    """The row with what the file says of itself; time and place of the recorder fill what nobody else gave."""
    path = Path(row.path)
    try:
        opened = decoder.probe(path)
        n_bytes = path.stat().st_size
    except (AudioError, OSError):
        return replace(row, problems=(UNREADABLE if os.path.exists(path) else MISSING,))
    origin, info, moment = opened.origin, opened.info, opened.origin.start_time
    return replace(
        row,
        duration_s=info.duration_s,
        rate_hz=info.rate_hz,
        n_channels=info.n_channels,
        container=info.container,
        n_bytes=n_bytes,
        latitude=origin.latitude if row.latitude is None else row.latitude,
        longitude=origin.longitude if row.longitude is None else row.longitude,
        date=row.date or (None if moment is None else moment.date().isoformat()),
        time=row.time or (None if moment is None else f"{moment:%H:%M}"),
    )


def _relative(path: Path, folder: Path) -> str:
    """The path from the data set's folder where it is inside, so that the folder can be moved; else absolute."""
    full = Path(os.path.abspath(path))
    root = Path(os.path.abspath(folder))
    return (full.relative_to(root) if full.is_relative_to(root) else full).as_posix()


def _annotations_beside(path: Path) -> Path | None:
    for name in (path.stem, path.name):
        for suffix in ANNOTATION_SUFFIXES:
            if path.with_name(name + suffix).is_file():
                return path.with_name(name + suffix)
    return None


def _annotated(root: Path, files: Sequence[Path], read_annotations: ReadAnnotations) -> Iterator[RecordingRow]:
    for path in files:
        beside = _annotations_beside(path)
        yield RecordingRow(
            recording_id=xeno_canto_id(path.stem) or path.relative_to(root).as_posix(),
            path=str(path),
            kind="soundscape",
            annotations=() if beside is None else _as_tuple(read_annotations(beside)),
        )


def _as_tuple(found: Iterable[Detection]) -> tuple[Annotation, ...]:
    return tuple(
        Annotation(
            start_s=d.start_s, end_s=d.end_s, scientific_name=d.scientific_name, low_hz=d.low_hz, high_hz=d.high_hz
        )
        for d in found
        if d.kind == "species"
    )
