"""Reading of a folder of recordings, or of a table that describes recordings, as a recordings table."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dawnchorus.arguments import option
from dawnchorus.audio.discovery import describe_skipped, find_recordings
from dawnchorus.audio.parallel import map_recordings
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.data.audio_notes import list_audio_problems
from dawnchorus.data.contradictions import describe_contradictions, join_contradictory
from dawnchorus.data.identity import hash_content, merge, with_unique_ids
from dawnchorus.data.labels import LabelReader
from dawnchorus.data.layout_detection import (
    KNOWN_TABLES,
    Layout,
    count_recordings,
    describe_unread_tables,
    described_layout,
    detect_layout,
    find_audio_folder,
    find_known_table,
    list_some,
)
from dawnchorus.data.layouts.annotations import MarkTables, NamedMark, ReadAnnotations, find_marks, text_files
from dawnchorus.data.layouts.audio_files import find_audio
from dawnchorus.data.layouts.folders import (
    SPECIES,
    FolderReading,
    build_rows,
    find_folder_date,
    parse_file_facts,
    read_folders,
)
from dawnchorus.data.layouts.registry import SOURCES, find_descriptions
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.data.marks import match_marks
from dawnchorus.data.recordings import (
    MISSING,
    TABLE_NAME,
    UNREADABLE,
    RecordingRow,
    RecordingsTable,
    select_per_species,
)
from dawnchorus.data.sources.archive_changes import SEARCHES_NAME, lengths_differ
from dawnchorus.errors import AudioError, InputError
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.registry import MARK_SUFFIXES, detect_format, marks_format, read_annotations
from dawnchorus.storage.paths import absolute_path, as_path, closing_content, full_name, is_missing, is_remote
from dawnchorus.tables.notes import counted
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, is_binomial
from dawnchorus.types import Detection, Mark

LOG = logging.getLogger(__name__)


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
    read_annotations: ReadAnnotations = read_annotations,
    n_workers: int,
) -> RecordingsTable:
    """Return the recordings of `source` as a table of the data set `folder`; no files are written.

    Recordings that are missing or cannot be decoded stay in the table, with a problem. The evidence for the layout,
    guesses, and values that were left out are logged.

    Args:
        source: a folder of recordings, or a table that describes them.
        folder: the data set's folder, to which paths are relative.
        layout: a name of `list_layouts`, or the meaning of folder levels such as `site/species`; "auto" detects it.
        columns: column names by field (keys of `dawnchorus.data.layouts.tables.COLUMNS`), for the layout "csv"; None to
            find columns by usual names.
        audio: the folder of the recordings; None: next to the table.
        per_species: maximum number of recordings per species, the first in order; None for all.
        known: classes whose names labels are matched with, unless `labels` is given.
        labels: reader of the labels, which counts them; None creates one with the classes `known`.
        read_annotations: reader of annotation files (Raven, Audacity, ...).
        n_workers: number of decoder processes, which read the files' headers.

    Raises:
        InputError: no such source, no recordings in it, an ambiguous layout, one common name for all species, or
            `columns` or `audio` with a layout that does not use them.
        FormatError: a table is invalid.
    """
    labels = labels or LabelReader(KnownClasses(known))
    is_given = layout != "auto"
    layout = _choose_layout(source, layout, labels.known, read_annotations)
    _check_columns(columns, layout)
    if layout not in ("csv", "detections"):
        for note in describe_skipped([find_audio_folder(source, audio)], companions=_files_read(source)):
            LOG.info(note)
    if layout in ("annotations", "mixed", "detections"):
        if layout != "detections":
            table = _annotate(
                source,
                folder,
                audio,
                read_annotations,
                n_workers,
                known=labels.known,
                with_model_output=is_given,
                with_folders=layout == "mixed",
            )
        else:
            reader = _choose_reader(source)
            table = import_detections(source, folder, reader, audio=audio, n_workers=n_workers, known=labels.known)
        table = table.with_rows(_read_labels(labels, table.rows, per_species))
        if layout == "mixed":
            table = table.with_rows(_join_contradictory(table.rows))
    else:
        rows = list(_rows(source, layout, columns or {}, audio, labels.known))
        named = _read_labels(labels, rows, per_species)
        table = _describe(source, folder, named, layout, audio, labels.known, n_workers)
        if (layout == "csv" or layout in SOURCES) and (source.is_dir() or audio is not None):
            _log_undescribed(find_audio_folder(source, audio), rows)
    if not table.rows:
        raise InputError("there are no recordings in it.", subject=source)
    table = _fill_folder_dates(table)
    unlabeled = [row.recording_id for row in table.rows if row.is_unlabeled]
    if unlabeled:
        LOG.info(
            f"unlabeled: {len(unlabeled)} of {count_recordings(table.rows)} ({list_some(unlabeled)}). "
            f"Nothing says what is in them, so neither training nor evaluation uses them. "
            f"An empty table next to a recording says that nothing is there."
        )
    same = Counter(row.content_hash for row in table.rows if row.content_hash)
    again = [row.recording_id for row in table.rows if row.content_hash and same[row.content_hash] > 1]
    if again:
        LOG.info(
            f"files of the same bytes as another: {len(again)} ({list_some(again)}). `dawnchorus data check` pairs "
            f"them."
        )
    return table


def _choose_layout(source: Path, layout: Layout, known: KnownClasses, read_annotations: ReadAnnotations) -> Layout:
    """Return the given layout, or detect it; log the evidence, or the tables that it does not read."""
    if is_remote(source):
        return _choose_remote_layout(source, layout)
    if layout == "auto":
        return detect_layout(source, known, read_annotations)
    if layout == "folders" or "/" in layout:
        _log_unread_tables(source, layout)
    return layout


def _choose_remote_layout(source: Path, layout: Layout) -> Layout:
    """Return the layout of a remote folder (`s3://...`), in which no tables are read.

    Raises:
        InputError: the layout needs a table.
    """
    if layout not in ("auto", "folders") and "/" not in layout:
        raise InputError(
            f"expected --layout folders, or what the folders are, as site/species, since tables in a store are not "
            f"read; got {layout}. Copy the table here, with the URLs of the recordings in it, and import that.",
            subject=source,
        )
    LOG.info("layout: folders, because tables in a store are not read.")
    return "folders" if layout == "auto" else layout


def _check_columns(columns: Mapping[str, str] | None, layout: Layout) -> None:
    if columns and layout != "csv":
        raise InputError(
            f"columns: expected the layout csv, whose columns they name, got {layout}. Leave them out, or choose the "
            f"layout with {option('layout', 'csv')}."
        )


def _files_read(source: Path) -> frozenset[str]:
    """Return suffixes and names of files other than recordings that imports read or write."""
    names = [] if is_remote(source) else [description.name for _, description in find_descriptions(source)]
    return frozenset((*MARK_SUFFIXES, TABLE_NAME, SEARCHES_NAME, source.name, *names))


def _read_labels(labels: LabelReader, rows: Sequence[RecordingRow], per_species: int | None) -> list[RecordingRow]:
    """Return the rows with labels replaced by classes, at most `per_species` per species."""
    named = labels.read(rows)
    if per_species is None:
        return named
    selected, left_out = select_per_species(named, per_species)
    if left_out:
        counts = [f"{name} {len(of)} (as {named[of[0]].recording_id})" for name, of in left_out.items()]
        n_left_out = sum(map(len, left_out.values()))
        recordings = counted(n_left_out, "recording")
        LOG.info(f"left out, as the first {per_species} of each species are enough: {recordings}: {list_some(counts)}.")
    return labels.count([rows[k] for k in selected])


def _describe(
    source: Path,
    folder: Path,
    named: Sequence[RecordingRow],
    layout: Layout,
    audio: Path | None,
    known: KnownClasses,
    n_workers: int,
) -> RecordingsTable:
    """Return labeled recordings as a table, and log contradictions between labels, folders and lengths.

    Raises:
        InputError: all species have one name.
    """
    _check_names(source, named)
    if layout == "csv":
        for note in describe_contradictions(named, find_audio_folder(source, audio), known):
            LOG.info(note)
    described = build_table(named, folder, n_workers=n_workers)
    _log_other_lengths(named, described.rows)
    return described.with_rows(_join_contradictory(described.rows))


def _join_contradictory(rows: Sequence[RecordingRow]) -> list[RecordingRow]:
    """Return the rows after `join_contradictory`, and log the contradictions."""
    joined = join_contradictory(rows)
    for note in joined.notes():
        LOG.info(note)
    return joined.rows


def _fill_folder_dates(table: RecordingsTable) -> RecordingsTable:
    """Return the table with missing dates filled from names of folders such as `2021-05-01`."""
    rows = [row if row.date else replace(row, date=find_folder_date(table.file(row))) for row in table.rows]
    dated = [new for old, new in zip(table.rows, rows, strict=True) if new.date != old.date]
    if dated:
        LOG.info(
            f"dates taken from the names of folders: {count_recordings(dated)} (as {dated[0].date} of "
            f"{dated[0].recording_id})."
        )
    return table.with_rows(rows)


def _choose_reader(source: Path) -> Callable[[Path], Iterable[tuple[str | None, Detection]]]:
    """Return the reader of a table of detections.

    Raises:
        InputError: tables of this format cannot be read.
    """
    read = detect_format(source).read
    if read is None:
        raise InputError("tables of this format cannot be read.", subject=source)
    return read


def _rows(
    source: Path,
    layout: Layout,
    columns: Mapping[str, str],
    audio: Path | None,
    known: KnownClasses,
) -> Iterable[RecordingRow]:
    """Return the rows of a source with the layout "csv", "folders", levels of folders, or of a plug-in."""
    if layout == "csv":
        csv_path = source if source.is_file() else find_known_table(source) or source / KNOWN_TABLES[0]
        folders = [audio] if audio else [csv_path.parent, csv_path.absolute().parent.parent]
        return _read_table(TableLayout.of(csv_path, columns, audio_folders=folders))
    if layout in SOURCES:
        kind, root = SOURCES[layout], find_audio_folder(source, audio)
        description = kind.find(source)
        if description is None:
            raise InputError(
                f"expected {kind.expected}, found none. Name the file itself, with {option('audio', 'FOLDER')} if the "
                f"recordings are elsewhere; or import the folders alone with {option('layout', 'folders')}.",
                subject=source,
            )
        return kind.read(description, root, _described_recordings(root))
    if audio is not None:
        raise InputError(f"audio: expected a table that describes the recordings in it, got {source}.")
    files = find_recordings([source])
    reading = read_folders(source, files, known, levels=layout.split("/") if "/" in layout else ())
    if reading.ties:
        raise InputError(_question(source, reading))
    for note in reading.notes():
        LOG.info(note)
    return build_rows(source, files, reading)


def _read_table(layout: TableLayout) -> Iterator[RecordingRow]:
    """Yield a table's rows, and log what was guessed or not understood in it."""
    yield from layout.rows()
    for sentence in layout.table.notes.sentences():
        LOG.info(f"{layout.table.path}: {sentence}")


def _question(source: Path, reading: FolderReading) -> str:
    """Return the error message for ambiguous folders: the candidates, and the layout to give for each."""
    path, names = next(iter(reading.ties.items()))
    folders = path.relative_to(source).parts[:-1]
    layouts = [
        "/".join(SPECIES if name == chosen else f"folder{k + 1}" for k, name in enumerate(folders)) for chosen in names
    ]
    readings = " or ".join(f"'{name}' (--layout {layout})" for name, layout in zip(names, layouts, strict=True))
    if is_binomial(" ".join(folders)):
        readings += f" or '{' '.join(folders)}' (--layout genus/species)"
    return (
        f"{source}: expected to see which folders are species, but for {len(reading.ties)} recordings two are as "
        f"likely. The species of {path.relative_to(source).as_posix()} may be {readings}. Repeat the command with "
        f"one of these (in Python: layout=...)."
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
            f"there are no recordings in it. Name the folder that has them with {option('audio', 'FOLDER')}.",
            subject=root,
        ) from error


def _check_names(source: Path, rows: Sequence[RecordingRow]) -> None:
    """Raise if several species all have the same common name.

    Raises:
        InputError: they have, so the names were read from the wrong folder or column.
    """
    species = {row.scientific_name: row.common_name for row in rows if row.scientific_name}
    if len(species) > 1 and len(set(species.values())) == 1:
        raise InputError(
            f"expected a name for each species, but all {len(species)} species are called "
            f"'{next(iter(species.values()))}' (as {min(map(str, species))}). Folders are named "
            f"'Parus major_Great Tit' or 'Great Tit'; name another layout (--layout, in Python: layout), or use a csv.",
            subject=source,
        )


def build_table(rows: Iterable[RecordingRow], folder: Path, *, n_workers: int) -> RecordingsTable:
    """Return the rows as a table of the data set `folder`, completed from the audio files by `read_facts`.

    Paths in the folder become relative to it, others absolute; equal identifiers are made unique (`with_unique_ids`).
    No file is written. `n_workers` is the number of decoder processes.
    """
    complete = map_recordings(read_facts, rows, n_workers=n_workers)
    relative = (replace(row, path=_relative(as_path(row.path), folder)) for row in complete)
    return RecordingsTable(folder, tuple(with_unique_ids(relative)))


def merge_tables(known: RecordingsTable, new: RecordingsTable) -> RecordingsTable:
    """Merge two tables as `dawnchorus.data.identity.merge` does, and return only the merged table."""
    return merge(known, new).table


def import_detections(
    source: Path,
    folder: Path,
    read: Callable[[Path], Iterable[tuple[str | None, Detection]]],
    *,
    audio: Path | None = None,
    n_workers: int,
    known: KnownClasses | None = None,
) -> RecordingsTable:
    """Return the recordings that a table of detections names, with the detections as annotations.

    Args:
        source: the table of detections.
        folder: the data set's folder, to which paths are relative.
        read: reader of the table, which yields (name of the recording or None, detection).
        audio: the folder of the recordings; None: relative to the working directory or to the table's folder.
        n_workers: number of decoder processes, which read the files' headers.
        known: known classes; a detection whose scientific and common name are two different classes loses its species.
            None: not checked.

    Raises:
        InputError: no row names a recording.
        FormatError: the table is invalid.
    """
    has_lines = source.suffix.lower() in MARK_SUFFIXES and marks_format(source) in ("Raven", "BirdNET-Analyzer", "list")
    notes = MarkNotes()
    marks: list[Mark] = (
        read_annotations(source, notes)
        if has_lines
        else [Mark(line, detection, name) for line, (name, detection) in enumerate(read(source), start=1)]
    )
    paths: dict[str, Path] = {}
    for name in (mark.recording for mark in marks if mark.recording is not None):
        paths.setdefault(name, _locate_recording(name, audio or source.parent))
    if marks and not paths:
        raise InputError(
            "expected rows that name their recording, found none. Import such a table as a file next to its recording.",
            subject=source,
        )
    files = list(dict.fromkeys(paths.values()))
    rows = [RecordingRow(kind="soundscape", **parse_file_facts(path, path.parent)) for path in files]  # type: ignore[arg-type]
    table = build_table([replace(row, source=str(source)) for row in rows], folder, n_workers=n_workers)
    durations = {path: row.duration_s for path, row in zip(files, table.rows, strict=True)}
    named = [NamedMark(source, mark, paths.get(mark.recording or ""), "the row names none") for mark in marks]
    facts = dict(zip(files, table.rows, strict=True))
    matched = match_marks(MarkTables(named, tables=[source]), durations, files, rows=facts, known=known)
    for note in (*notes.sentences(), *matched.notes()):
        LOG.info(note)
    return table.with_rows(
        replace(row, annotations=matched.annotations.get(path, ()), is_annotated=path in matched.annotations)
        for path, row in zip(files, table.rows, strict=True)
    )


def _locate_recording(name: str, folder: Path) -> Path:
    """Return the absolute path of a recording that a table names: relative to the working directory or to `folder`."""
    sibling = find_audio([folder], [name], None)
    return Path(os.path.abspath(name if os.path.exists(name) or sibling is None else sibling))


def read_facts(decoder: DecoderProcess, row: RecordingRow) -> RecordingRow:
    """Return the row completed from its file's header and metadata; date, time and location are filled if missing.

    For a file that is missing or cannot be read, the duration is None, and "missing" or "unreadable" the only problem.
    """
    path = as_path(row.path)
    try:
        opened = decoder.probe(path)
        with closing_content(path):
            n_bytes, content = path.stat().st_size, hash_content(path)
    except (AudioError, OSError):
        return replace(row, duration_s=None, problems=(MISSING if is_missing(path) else UNREADABLE,))
    metadata, info, moment = opened.metadata, opened.info, opened.metadata.start_time
    return replace(
        row,
        duration_s=info.duration_s,
        rate_hz=info.rate_hz,
        n_channels=info.n_channels,
        container=info.container,
        n_bytes=n_bytes,
        content_hash=content,
        latitude=metadata.latitude if row.latitude is None else row.latitude,
        longitude=metadata.longitude if row.longitude is None else row.longitude,
        date=row.date or (None if moment is None else moment.date().isoformat()),
        time=row.time or (None if moment is None else moment.timetz().isoformat("minutes")),
        problems=(*row.problems, *list_audio_problems(opened.warnings, metadata)),
    )


def _relative(path: Path, folder: Path) -> str:
    """Return the path relative to the data set's folder if it is inside, so that it can be moved; else absolute."""
    full, root = absolute_path(path), absolute_path(folder)
    return (full.relative_to(root) if full.is_relative_to(root) else full).as_posix()


def _annotate(
    source: Path,
    folder: Path,
    audio: Path | None,
    read: ReadAnnotations,
    n_workers: int,
    *,
    known: KnownClasses,
    with_model_output: bool,
    with_folders: bool,
) -> RecordingsTable:
    """Return the recordings with the annotations of tables of marks.

    With `with_model_output`, tables that look like the output of a model are read, too. With `with_folders`, recordings
    without a table are labeled by the species of their folder.
    """
    root = find_audio_folder(source, audio)
    files = _described_recordings(root)
    marks = find_marks(source, root, files, read, with_model_output=with_model_output)
    rows = [RecordingRow(kind="soundscape", **parse_file_facts(path, root)) for path in files]  # type: ignore[arg-type]
    if with_folders:
        rows = _label_by_folders(root, files, rows, marks.recordings(), known)
    table = build_table(rows, folder, n_workers=n_workers)
    durations = {path: row.duration_s for path, row in zip(files, table.rows, strict=True)}
    matched = match_marks(marks, durations, files, rows=dict(zip(files, table.rows, strict=True)), known=known)
    for note in (
        *marks.notes.sentences(),
        *describe_unread_tables(marks),
        *_describe_foreign_paths(marks),
        *matched.notes(),
    ):
        LOG.info(note)
    return table.with_rows(
        replace(row, annotations=matched.annotations[path], is_annotated=True) if path in matched.annotations else row
        for path, row in zip(files, table.rows, strict=True)
    )


def _label_by_folders(
    root: Path, files: Sequence[Path], rows: Sequence[RecordingRow], marked: Collection[Path], known: KnownClasses
) -> list[RecordingRow]:
    """Return the rows; recordings not in `marked` are labeled by their folder if it names a species."""
    clear = read_folders(root, files, known).find_clear()
    others = [path for path in files if path in clear and path not in marked]
    reading = read_folders(root, others, known)
    for note in reading.notes():
        LOG.info(note)
    labelled = dict(zip(others, build_rows(root, others, reading), strict=True))
    return [labelled.get(path, row) for path, row in zip(files, rows, strict=True)]


def _log_unread_tables(source: Path, layout: Layout) -> None:
    """Log the tables that are not read because the user chose a layout of folders."""
    tables = [path.name for path in text_files(source) if marks_format(path) not in (None, "empty")]
    tables += [table[1] for table in [described_layout(source)] if table is not None and source.is_dir()]
    if tables:
        LOG.info(f"tables that are not read, because of the layout {layout}: {len(tables)} ({list_some(tables)}).")


def _log_other_lengths(listed: Iterable[RecordingRow], rows: Iterable[RecordingRow]) -> None:
    """Log the recordings whose length differs from the length in the source's list."""
    others = [
        f"{row.recording_id}: {row.duration_s:.1f} s, listed with {before.duration_s:.1f} s"
        for before, row in zip(listed, rows, strict=True)
        if before.duration_s is not None
        and row.duration_s is not None
        and lengths_differ(before.duration_s, row.duration_s)
    ]
    if others:
        LOG.info(
            f"recordings of another length than their source lists: {len(others)} (as {others[0]}). The table has the "
            f"length of the file."
        )


def _log_undescribed(folder: Path, rows: Iterable[RecordingRow]) -> None:
    """Log the recordings in a folder that are missing in the table that describes it."""
    described = {full_name(as_path(row.path)) for row in rows}
    with suppress(InputError):  # there are none
        left_out = [path for path in find_recordings([folder]) if full_name(path) not in described]
        if left_out:
            names = [path.relative_to(folder).as_posix() for path in left_out]
            LOG.info(f"recordings that the table does not name, left out: {len(names)} ({list_some(names)}).")


def _describe_foreign_paths(marks: MarkTables) -> Iterator[str]:
    """Yield a sentence on paths in tables whose folders differ from those of the recordings they were matched with."""
    if marks.elsewhere:
        listed = [f"'{name}' for {path.name} in {path.parent.name}" for name, path in marks.elsewhere.items()]
        yield f"paths of another machine, taken for recordings here: {len(listed)} ({list_some(listed)})."
