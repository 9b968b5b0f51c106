"""Output tables of a run, which are written only if they are missing or outdated."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawnchorus.errors import InputError, OutputError, PlugInError
from dawnchorus.formats.registry import FORMATS, TableFormat, detect_format
from dawnchorus.formats.structured import WRITERS
from dawnchorus.formats.text import text_stream
from dawnchorus.identification.output_paths import (
    RunFiles,
    WrittenOutputs,
    is_folder,
    named_after,
    relative_paths,
    unused_path,
)
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.storage.files import atomic_file, cannot_write, make_parent
from dawnchorus.storage.paths import absolute_path, as_path, content_version, is_remote

if TYPE_CHECKING:
    from dawnchorus.identification.journal import Journal
    from dawnchorus.identification.result import Run


@dataclass(frozen=True)
class OutputLocation:
    """Path and formats of a run's output, a file or a folder."""

    path: Path
    """Path or URL of the file or folder."""
    formats: tuple[TableFormat, ...]
    """Formats of the tables; one for a file."""
    combined: bool
    """In a folder, True for one table with all recordings, False for one table per recording; no effect for a file."""
    files: RunFiles
    """Paths of the other files of the run."""
    analyses: tuple[str, ...] = ()
    """Names of the analyses whose tables are written next to those of detections."""

    @property
    def analysis_formats(self) -> tuple[str, ...]:
        """Formats of the analyses' tables: "parquet" if those of detections are Parquet, "csv" for other formats."""
        return tuple(dict.fromkeys("parquet" if each.name == "parquet" else "csv" for each in self.formats))


@dataclass(frozen=True, slots=True)
class OutputTable:
    """One table of detections to write."""

    path: Path
    """Path of the table."""
    format: TableFormat
    """Format of the table."""
    recordings: tuple[Path, ...]
    """Paths of the recordings whose detections are in the table."""


def choose_location(
    path: Path, formats: Sequence[str] | None, *, combined: bool, analyses: tuple[str, ...] = ()
) -> OutputLocation:
    """Return the output location: a file if `path` has a suffix and is not an existing folder, else a folder.

    Args:
        path: path or URL of the output.
        formats: names of table formats; None or empty for the format of the path's suffix, or CSV in a folder.
        combined: in a folder, True for one table with all recordings, False for one table per recording.
        analyses: names of the analyses whose tables are written.

    Raises:
        InputError: an unknown format, several formats for one file, or a suffix without a format.
        PlugInError: a format is of a plug-in that cannot be used.
    """
    names = formats or (["csv"] if is_folder(path) else [detect_format(path).name])
    first, *others = (FORMATS.lookup(name) for name in names)
    if others and not is_folder(path):
        listed = ", ".join(each.name for each in (first, *others))
        raise InputError(f"one file holds one format, got {listed}. Give a folder.", subject=path)
    return OutputLocation(path, (first, *others), combined, RunFiles.next_to(path, first.suffix), analyses)


def list_outputs(location: OutputLocation, recordings: Sequence[Path], root: str | None = None) -> list[OutputTable]:
    """Return a run's tables of detections.

    If the output is a file, there is one; in a folder, one per format if `combined`, else one per recording and format.
    Below the folder, the table of a recording has the recording's path relative to `root`, followed by the format's
    suffix (`site1/a.wav.csv`). `root` is an absolute path or URL; None for the recordings' common folder.

    Raises:
        InputError: a recording is not below `root`, so that two recordings might have the same table.
    """
    if not is_folder(location.path):
        return [OutputTable(location.path, location.formats[0], tuple(recordings))]
    if location.combined:
        stem = location.files.stem
        return [
            OutputTable(stem.with_name(f"{stem.name}{each.suffix}"), each, tuple(recordings))
            for each in location.formats
        ]
    if root is not None:
        _check_below(root, recordings, out=location.path)
    return [
        OutputTable(location.path / named_after(relative, each.suffix), each, (path,))
        for path, relative in relative_paths(recordings, root).items()
        for each in location.formats
    ]


def list_other_files(location: OutputLocation) -> list[Path]:
    """Return the paths of the files that a run may write besides tables of detections.

    They are those of the parameters, the failures, and the tables of the analyses.
    """
    tables = [
        _analysis_path(location, name, end, kind)
        for name in location.analyses
        for end in ANALYSES.lookup(name).tables
        for kind in location.analysis_formats
    ]
    return [location.files.parameters, location.files.failures, *tables]


def _analysis_path(location: OutputLocation, name: str, end: str, kind: str) -> Path:
    stem = location.files.stem
    return stem.with_name(".".join(filter(None, (stem.name, name, end, kind))))


def _check_below(root: str, recordings: Sequence[Path], *, out: Path) -> None:
    outside = next((path for path in recordings if not absolute_path(path).is_relative_to(as_path(root))), None)
    if outside is not None:
        raise InputError(
            f"it was started with recordings below {root}, and {outside} is elsewhere, so that their "
            f"tables could be taken for each other's. Choose another output.",
            subject=out,
        )


def write_outputs(run: Run, location: OutputLocation) -> WrittenOutputs:
    """Write missing and outdated tables of detections, the failures, the tables of analyses, and last the parameters.

    A written output is recorded in the journal, with a hash of everything that determines its content, and a digest of
    its bytes. A table of detections whose bytes were changed since by others is renamed to PATH.changed-1 (or
    PATH.changed-2 and so on), and written again.

    Raises:
        OutputError: no space, or no permission.
        PlugInError: a plug-in's format or analysis failed; all other tables are written, but not the parameters, so
            that the run stays unfinished.
    """
    journal, files = run.journal, location.files
    scored = [path for path in run.paths if journal.scored_version(path) is not None]
    outputs = list_outputs(location, scored, journal.root)
    settings = _hash_settings(run)
    _note_earlier_outputs(run, location, outputs, settings)
    journal.forget_output(files.name(files.parameters))
    written, changed = [], {}
    failures: list[PlugInError] = []
    for output in outputs:
        name, signature = files.name(output.path), _sign(output, settings, run)
        if _is_changed(output.path, journal.output_digest(name)):
            changed[output.path] = _set_aside(output.path)
        if output.path.exists() and journal.output_signature(name) == signature:
            continue
        journal.forget_output(name)
        try:
            _write_table(output, run)
        except PlugInError as error:
            failures.append(error)
            continue
        journal.note_output(name, signature, digest=hash_file(output.path))
        written.append(output.path)
    _write_failures(run, files.failures)
    for name in location.analyses:
        try:
            written += _write_analysis(run, location, name)
        except PlugInError as error:
            failures.append(error)
    if failures:  # the run stays unfinished, so that the same command writes what is missing
        first = failures[0]
        problem = (
            f"{first.problem}; all other tables are written, and no results were lost: the same command tries again"
        )
        raise PlugInError(first.plug_in, problem, detail=first.detail) from first.__cause__
    with atomic_file(files.parameters) as stream:
        text = json.dumps(asdict(run.provenance), indent=2, ensure_ascii=False)
        stream.write(text.encode() + b"\n")
    journal.note_output(files.name(files.parameters), settings, digest=hash_file(files.parameters))
    return WrittenOutputs(tuple(written), changed)


def _is_changed(path: Path, digest: str | None) -> bool:
    """Return True if a file has changed since it was written, by the digest of its bytes; False if it does not exist.

    Without a digest, an object in a store counts as changed, since there was none when the run started.
    """
    if digest is None:
        return is_remote(path) and path.exists()
    return path.exists() and hash_file(path) != digest


def _set_aside(path: Path) -> Path:
    try:
        return path.rename(unused_path(path, "changed"))
    except OSError as error:
        raise cannot_write(path, error) from error


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes in hexadecimal digits, or "version V" for an object whose store has versions.

    Raises:
        OutputError: the file cannot be read.
    """
    try:
        if (version := content_version(path)) is not None:
            return f"version {version}"
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise OutputError(f"cannot be read ({error.strerror or error}). Check access rights.", subject=path) from error


def is_finished(journal: Journal, files: RunFiles) -> bool:
    """Return True if the run's journal records that all outputs of the run were written.

    Also True for a journal of a program version of before 2026-12 that records tables (`Journal.earlier_layout`).
    """
    return journal.output_signature(files.name(files.parameters)) is not None or journal.earlier_layout() is not None


def _hash_settings(run: Run) -> str:
    """Return a hash of everything that determines all tables, apart from recordings and formats."""
    info = run.bundle.info
    settings = {
        "provenance": asdict(run.provenance),
        "calibration": info.calibration and info.calibration.model_dump(),
        "classes": [(label.scientific_name, label.common_name, label.kind) for label in run.bundle.labels],
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _sign(output: OutputTable, settings: str, run: Run) -> str:
    """Return a hash of everything that determines an output: format, settings, recordings and their metadata."""
    digest = hashlib.sha256(f"{output.format.name} {settings}".encode())
    for path in output.recordings:
        full = absolute_path(path)
        digest.update(os.fsencode(full))
        digest.update(repr((run.journal.scored_version(path), run.builder.metadata_by_path.get(full))).encode())
    return digest.hexdigest()


def _write_table(output: OutputTable, run: Run) -> None:
    make_parent(output.path)
    tables = (table for path in output.recordings if (table := run.table(path)) is not None)
    with atomic_file(output.path) as stream:
        output.format.write(stream, tables, run.provenance)


def _note_earlier_outputs(run: Run, location: OutputLocation, outputs: Sequence[OutputTable], settings: str) -> None:
    """Record the tables of single recordings that a version before 2026-12 wrote with the same settings."""
    earlier = run.journal.earlier_layout()
    current = {"formats": [each.name for each in location.formats], "provenance": asdict(run.provenance)}
    if earlier is not None and earlier == as_json(current):
        written = run.journal.earlier_tables()
        for output in outputs:
            is_written = written.issuperset(map(absolute_path, output.recordings))
            if is_written and output.path.exists():
                name, signature = location.files.name(output.path), _sign(output, settings, run)
                run.journal.note_output(name, signature, digest=hash_file(output.path))
    run.journal.forget_earlier_layout()


def as_json(value: dict[str, Any]) -> Any:
    """Return a value after conversion to JSON and back: tuples become lists, keys become texts, and NaN stays NaN."""
    return json.loads(json.dumps(value))


def _write_failures(run: Run, path: Path) -> None:
    if not run.failures:
        path.unlink(missing_ok=True)
        return
    with atomic_file(path) as stream, text_stream(stream) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["recording", "reason"])
        rows.writerows([failure.recording, failure.reason] for failure in run.failures)


def _write_analysis(run: Run, location: OutputLocation, name: str) -> list[Path]:
    """Write the tables of an analysis, and return their paths."""
    written = []
    for kind in location.analysis_formats:
        for end, pieces in run.iter_analysis(name):
            path = _analysis_path(location, name, end, kind)
            with atomic_file(path) as stream:
                WRITERS[kind](stream, pieces)
            written.append(path)
    return written
