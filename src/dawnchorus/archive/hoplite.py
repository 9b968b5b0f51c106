"""Export of embeddings from an archive to a Perch-Hoplite database, and import into an archive."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dawnchorus.archive.archive import Archive
from dawnchorus.archive.hoplite_files import (
    INDEX_NAME,
    HopliteReader,
    HopliteRecording,
    HopliteWriter,
    read_index,
    require_usearch,
)
from dawnchorus.archive.manifest import (
    Entry,
    ListedFile,
    Manifest,
    UnitSize,
    latest_signatures,
    list_manifests,
    next_number,
    pin_manifest,
    read_entries,
    unit_sizes,
)
from dawnchorus.archive.rows import SharedValues, failure_row, recording_rows
from dawnchorus.archive.runs import ArchiveRun
from dawnchorus.archive.schemas import EMBEDDINGS, MANIFEST, RECORDINGS, SCHEMAS, UNKNOWN_MONTH
from dawnchorus.archive.search import embedding_runs
from dawnchorus.archive.selection import DONE
from dawnchorus.archive.workers import Worker
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.storage.files import cannot_write
from dawnchorus.types import Progress, Report, ignore_progress
from dawnchorus.version import __version__

if TYPE_CHECKING:
    from usearch.index import Index

METADATA_KEY = "dawnchorus"
"""Key, in the database's metadata, of the model that computed the embeddings."""

PROJECT = "dawnchorus"

UNITS = UnitSize(max_bytes=1e15, min_bytes=1e15, max_recordings=200)

_N_CHECKED = 100
"""Maximum number of recordings whose windows are compared with those of the model."""

_TIMES_DIFFER_S = 0.01

_MODEL_FIELDS = ("model", "model_version", "bundle_id", "sample_rate_hz", "window_s", "overlap_s", "embedding_dim")


def export_hoplite(
    archive: Archive,
    folder: Path,
    *,
    run: str | None = None,
    workers: int = 1,
    report: Report = ignore_progress,
) -> int:
    """Export the embeddings in an archive to a new Perch-Hoplite database; return the number of embeddings.

    If several runs have embeddings of a recording, the latest are exported.

    Each site becomes a deployment. Recordings keep their name and start time from the archive; of several
    with the same name at a site, all but the first have their whole path as a name.

    Args:
        archive: the archive.
        folder: folder of the new database; an existing one must be empty.
        run: id of the run with the embeddings; None for all runs, which must have embeddings of the same model.
        workers: number of threads that build the index.
        report: function that is called with the progress, a `types.Progress`.

    Raises:
        OutputExistsError: the folder exists and is not empty.
        OutputError: the folder cannot be written.
        NotFoundError: the archive has no embeddings, or no such run.
        InputError: the archive has embeddings of several models, and no `run` is given.
        StoreError, FormatError: the archive cannot be read, see `delta.ArchiveTable.reading`.
        MissingExtraError: usearch is not installed.
    """
    require_usearch()
    chosen = embedding_runs(archive, archive.find_runs(run))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError("exists already. Choose a new folder.", subject=folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from error
    model = chosen[0].run
    try:
        with closing(HopliteWriter(scratch, dim=model.embedding_dim or 0)) as writer:
            writer.add_metadata(METADATA_KEY, {name: asdict(model)[name] for name in _MODEL_FIELDS})
            n_windows = _Export(archive, writer).write(run, workers=workers, report=report)
            writer.save()
        scratch.chmod(0o755)
        os.replace(scratch, folder)
    except (OSError, sqlite3.OperationalError) as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return n_windows


class _Export:
    """Export of an archive's embeddings to a database."""

    def __init__(self, archive: Archive, writer: HopliteWriter) -> None:
        self._archive, self._writer = archive, writer
        columns = ["recording_id", "recording", "path", "site", "start_time", "latitude", "longitude"]
        rows = archive.table(RECORDINGS).read(columns).to_pylist()
        self._recordings: dict[int, dict[str, Any]] = {row["recording_id"]: row for row in rows}
        self._deployments: dict[str, int] = {}
        self._ids: dict[int, int] = {}
        self._names: set[tuple[str, int]] = set()

    def write(self, run: str | None, *, workers: int, report: Report) -> int:
        """Write all windows, and return their number.

        `run` is the id of the run; None for all runs with embeddings.
        """
        n_windows = 0
        for batch in self._archive.embeddings(runs=run):
            recordings = [self._recording(each) for each in batch["recording_id"].to_pylist()]
            offsets_s = np.stack([batch["start_s"].to_numpy(), batch["end_s"].to_numpy()], axis=1)
            vectors = batch["embedding"].flatten().to_numpy().reshape(len(batch), -1)
            self._writer.add_windows(recordings, offsets_s, vectors, n_threads=workers)
            n_windows += len(batch)
            report(Progress("exporting", len(self._ids), len(self._recordings), "recordings"))
        return n_windows

    def _recording(self, number: int) -> int:
        """Return the id in the database of a recording of the archive; add the recording if it is new."""
        if number not in self._ids:
            row = self._recordings[number]
            site = row["site"] or ""
            if site not in self._deployments:
                location = (row["latitude"], row["longitude"])
                self._deployments[site] = self._writer.add_deployment(site, PROJECT, *location)
            deployment = self._deployments[site]
            # Relative paths of several folders may be equal; whole ones are not.
            is_known = (row["recording"], deployment) in self._names
            name = os.fsdecode(row["path"]) if is_known else row["recording"]
            self._names.add((name, deployment))
            self._ids[number] = self._writer.add_recording(name, row["start_time"], deployment)
        return self._ids[number]


# ---------------------------------------------------------------------- import


@dataclass(frozen=True)
class ImportResult:
    """Result of an import.

    Attributes:
        run: id of the archive's run that has the embeddings.
        n_recordings: number of recordings with windows in the database, including those that were imported before.
        n_windows: number of windows that were imported now.
        n_annotations: number of annotations (labels of windows) in the database, which are not imported.
    """

    run: str
    n_recordings: int
    n_windows: int
    n_annotations: int


def import_hoplite(
    folder: Path,
    archive: Archive,
    *,
    model: Mapping[str, Any] | None = None,
    audio: Path | None = None,
    report: Report = ignore_progress,
) -> ImportResult:
    """Import the embeddings of a Perch-Hoplite database into an archive, as a run of its own.

    The recordings are committed in batches. A repeated call resumes an interrupted import, and adds recordings that are
    new or have other windows than before.

    Args:
        folder: folder of the database.
        archive: an archive that can be written.
        model: the model that computed the embeddings, as fields of `ArchiveRun` by name: `model`, `model_version`,
            `bundle_id`, `sample_rate_hz`, `window_s`, `embedding_dim` and, if it is not 0, `overlap_s`; None to read
            them from a database that `export_hoplite` wrote.
        audio: folder of the recordings, to which their file names are relative; None for the folder that the database
            states for the recording's project or, if it states none, for `folder`.
        report: function that is called with the progress, a `types.Progress`.

    Returns:
        The run's id, and numbers of what was imported.

    Raises:
        NotFoundError: there is no database in the folder.
        FormatError: the database cannot be read.
        InputError: the model is unknown, embeddings or windows do not match it, or several recordings have one path.
        BusyError: another process writes to a store that allows only one writer.
        OutputError: the archive cannot be written.
        StoreError: the archive's store failed.
        MissingExtraError: usearch is not installed.
    """
    require_usearch()
    reader = HopliteReader(folder)
    metadata, recordings, index = reader.metadata(), reader.recordings(), reader.open_index()
    fields = dict(model or metadata.get(METADATA_KEY) or {})
    if not fields:
        raise InputError(
            "the database does not say which bundle made its embeddings. Give the model (--model NAME or FOLDER).",
            subject=folder,
        )
    _check_model(fields, reader, recordings, index, folder)
    run = ArchiveRun(
        **{name: fields[name] for name in _MODEL_FIELDS if name in fields and name != "overlap_s"},
        overlap_s=float(fields.get("overlap_s", 0.0)),
        software=f"dawnchorus {__version__}",
        min_score=1.0,
        top=0,
        parameters={"imported": "perch-hoplite"},
    )
    files = [_as_file(each, metadata, audio, folder) for each in recordings]
    by_path = dict(zip((file.path for file in files), recordings, strict=True))
    if len(by_path) < len(recordings):
        raise InputError(
            "several recordings have one path, in different deployments. Import it without --audio, or rename them.",
            subject=folder,
        )
    source = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:12]
    with Worker(archive.location, run.id, "1/1") as worker:
        archive.add_run(run, ())
        manifests = _pin(archive, run.id, source, files)
        n_windows = _Import(archive, run, reader, index, by_path, folder).write(manifests, worker, report)
    return ImportResult(run.id, len(recordings), n_windows, reader.count_annotations())


def _check_model(
    fields: Mapping[str, Any], reader: HopliteReader, recordings: Sequence[HopliteRecording], index: Index, folder: Path
) -> None:
    """Check that embeddings and windows match the model.

    Raises:
        InputError: embeddings or windows have another length.
    """
    if index.ndim != fields["embedding_dim"]:
        raise InputError(
            f"expected embeddings of {fields['model']} ({fields['embedding_dim']} numbers), got those of {index.ndim}.",
            subject=folder,
        )
    for recording in recordings[:_N_CHECKED]:
        _, offsets_s = reader.windows(recording.id)
        length_s = float(np.max(offsets_s[:, 1] - offsets_s[:, 0]))
        # The only window of a short recording ends with it.
        is_short = recording.n_windows == 1 and length_s < fields["window_s"]
        if not is_short and abs(length_s - fields["window_s"]) > _TIMES_DIFFER_S:
            raise InputError(
                f"expected windows of {fields['model']} ({fields['window_s']:g} s), got some of {length_s:g} s.",
                subject=folder,
            )


def _as_file(recording: HopliteRecording, metadata: Mapping[str, Any], audio: Path | None, folder: Path) -> ListedFile:
    """Return a recording as an entry of a manifest.

    Its version is the number of windows, so that changes are detected.
    """
    sources = (metadata.get("audio_sources") or {}).get("audio_globs") or ()
    bases = {each["dataset_name"]: each["base_path"] for each in sources}
    base = audio or Path(bases.get(recording.project, folder))
    path = Path(os.path.abspath(base / recording.filename))
    # Without a size, it replaces no version of the file that was identified.
    return ListedFile(recording.filename, os.fsencode(path), None, f"{recording.n_windows} windows")


def _pin(archive: Archive, run: str, source: str, files: Sequence[ListedFile]) -> list[Manifest]:
    """Pin a manifest of the recordings that are new or changed, and return all manifests of the database."""
    table = archive.table(MANIFEST)
    while True:
        known = list_manifests(table)
        signatures = latest_signatures(table, run) if known else {}
        new = [file for file in files if signatures.get(file.path) != file.signature]
        number = next_number(known)
        if not new or pin_manifest(table, number=number, run=run, source=source, files=new, size=UNITS):
            return [each for each in list_manifests(table) if (each.run, each.source) == (run, source)]


class _Import:
    """Import of a database's recordings into an archive, unit by unit."""

    def __init__(
        self,
        archive: Archive,
        run: ArchiveRun,
        reader: HopliteReader,
        index: Index,
        recordings: Mapping[bytes, HopliteRecording],
        folder: Path,
    ) -> None:
        self._archive, self._run, self._reader, self._index = archive, run, reader, index
        self._recordings, self._folder = recordings, folder
        self._n_windows = 0

    def write(self, manifests: Sequence[Manifest], worker: Worker, report: Report) -> int:
        """Write the units that are missing, and return the number of windows."""
        table = self._archive.table(MANIFEST)
        units = list(unit_sizes(table, manifests))
        by_unit: dict[str, list[Entry]] = {}
        for entry in read_entries(table, manifests, units):
            by_unit.setdefault(entry.unit, []).append(entry)
        writer = UnitWriter(self._archive, worker)
        for number, (unit, entries) in enumerate(by_unit.items(), start=1):
            if not writer.is_committed(unit):
                worker.beat([unit])
                writer.commit(unit, *self._rows(entries, worker.attempt(unit)))
            report(Progress("importing", number, len(by_unit), "units"))
        return self._n_windows

    def _rows(self, entries: Sequence[Entry], attempt: str) -> tuple[pa.Table, dict[str, pa.Table]]:
        """Return the rows of a unit's recordings, and its embeddings by table."""
        listed, embeddings = [], []
        for entry in entries:
            recording = self._recordings.get(entry.file.path)
            if recording is None:
                reason = "it is no longer in the database."
                listed.append(failure_row(SharedValues(entry, self._run.id, attempt), reason))
                continue
            keys, offsets_s = self._reader.windows(recording.id)
            vectors = read_index(self._index, keys, self._folder / INDEX_NAME)
            shared = {
                "recording": entry.file.name,
                "recording_id": entry.recording_id,
                "run": self._run.id,
                "unit": entry.unit,
                "attempt": attempt,
                "site": recording.site,
                "month": recording.start_time[:7] if recording.start_time else UNKNOWN_MONTH,
            }
            listed.append(
                {
                    "path": entry.file.path,
                    "status": DONE,
                    "duration_s": float(offsets_s[:, 1].max()),
                    "start_time": recording.start_time,
                    "latitude": recording.latitude,
                    "longitude": recording.longitude,
                    "n_detections": 0,
                    "n_bytes": entry.file.n_bytes,
                    "version": entry.file.version,
                    **shared,
                }
            )
            columns: dict[str, Any] = {
                "start_s": offsets_s[:, 0],
                "end_s": offsets_s[:, 1],
                "embedding": [vector.tobytes() for vector in vectors],
            }
            embeddings.append(_embedding_table(columns, shared, len(keys)))
            self._n_windows += len(keys)
        return recording_rows(listed), {EMBEDDINGS: pa.concat_tables([SCHEMAS[EMBEDDINGS].empty_table(), *embeddings])}


def _embedding_table(columns: Mapping[str, Any], shared: Mapping[str, Any], n: int) -> pa.Table:
    """Return rows of embeddings; `shared` has the values that are equal in all rows."""
    return pa.Table.from_arrays(list(_arrays(columns, shared, n)), schema=SCHEMAS[EMBEDDINGS])


def _arrays(columns: Mapping[str, Any], shared: Mapping[str, Any], n: int) -> Iterator[pa.Array]:
    for field in SCHEMAS[EMBEDDINGS]:
        if field.name in columns:
            yield pa.array(columns[field.name], field.type)
        else:
            yield pa.repeat(pa.scalar(shared.get(field.name), field.type), n)
