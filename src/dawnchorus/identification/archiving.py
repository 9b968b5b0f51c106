"""Identification into an archive: units of a stored manifest, in any number of shards.

A unit is a batch of recordings that are committed together; a shard is a part of the units.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Unpack, get_args

import numpy as np

from dawnchorus.archive.archive import Archive, create_tables, open_archive
from dawnchorus.archive.delta import require_deltalake
from dawnchorus.archive.location import ArchiveLocation
from dawnchorus.archive.manifest import (
    ListedFile,
    Manifest,
    Shard,
    UnitSize,
    assign_shards,
    cut_units,
    latest_signatures,
    list_manifests,
    next_number,
    pin_manifest,
    read_entries,
    unit_sizes,
)
from dawnchorus.archive.runs import ArchiveRun
from dawnchorus.archive.schemas import MANIFEST, RECORDINGS
from dawnchorus.archive.selection import committed_attempts, failed_paths
from dawnchorus.archive.workers import Worker
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.arguments import count_workers
from dawnchorus.audio.discovery import find_recordings
from dawnchorus.errors import InputError, ModelError
from dawnchorus.identification.audio_run import AudioRun, read_signature
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.options import KEPT_MIN_SCORE, KEPT_TOP, Keep, OptionFields, Options, as_options
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.ray_cluster import connect_to_cluster, create_ray_run
from dawnchorus.identification.ray_node import NodeModel, check_same_run
from dawnchorus.identification.result import RecordingFailure, RunCounts
from dawnchorus.identification.run import build_run_plan, load_sessions, open_range_filter
from dawnchorus.identification.unit_run import UnitRun
from dawnchorus.inference.analyses.embeddings import Embeddings
from dawnchorus.inference.analyses.hits import ScoreFilter
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.inference.analyses.windows import WindowAnalysis
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.model import Model, load_model
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.models.store import DEFAULT_MODEL
from dawnchorus.storage.paths import RemotePath, absolute_path, as_path, folder_prefix, full_name
from dawnchorus.tables.notes import counted
from dawnchorus.types import RecordingMetadata, Report, ignore_progress
from dawnchorus.version import __version__

LOG = logging.getLogger(__name__)

MAX_SHORT = 8
"""Length of an embedding for which 8 bits, with minimum and step, take as many bytes as half precision."""

_READ_OPTIONS = ("species", "thresholds", "merge", "drop_out_of_range")
"""Options that select or describe detections, which an archive does only when it is read."""

SOURCE_DIGITS = 12


@dataclass(frozen=True)
class ArchiveResult:
    """Result of `archive_recordings`, or of one of the runs that `rescore_archive` adds.

    Attributes:
        archive: the archive.
        run: id of the run.
        counts: numbers of recordings and failures in this shard of the manifest, and of detections that this call
            found.
        n_failed_before: number of the failures in `counts` from earlier calls; `resume` scores these recordings again.
        n_units: number of units in this shard.
        n_ended: number of units in this shard that are committed, by this call, an earlier one or another process.
        failures: recordings in this shard that failed in this call.
    """

    archive: Archive
    run: str
    counts: RunCounts
    n_units: int
    n_ended: int
    failures: tuple[RecordingFailure, ...] = ()
    n_failed_before: int = 0

    @classmethod
    def create(cls, run: UnitRun) -> ArchiveResult:
        """Return the result of a run that has ended."""
        return cls(
            run.writer.archive,
            run.worker.run,
            run.counts,
            run.n_units,
            run.n_ended,
            tuple(run.failures),
            run.n_failed_before,
        )


def archive_recordings(
    recordings: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    archive: str | os.PathLike[str],
    options: Options | None = None,
    *,
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    keep: Iterable[Keep] = (),
    metadata: dict[Path, RecordingMetadata] | None = None,
    analyses: Iterable[str] = (),
    shard: Shard | str | None = None,
    unit_size: UnitSize | None = None,
    workers: int | None = None,
    resume: bool = False,
    ray: str | None = None,
    report: Report = ignore_progress,
    **changes: Unpack[OptionFields],
) -> ArchiveResult:
    """Identify recordings, and store the results in an archive.

    The recordings are listed once, and the list is stored in the archive as a manifest. Calls with the same arguments,
    for other shards or after an interruption, process what is missing of the manifest.

    Args:
        recordings: files, folders (searched to any depth) and globs.
        archive: folder of the archive, or its URL in a store; created if it does not exist.
        options: overlap, location and other options that determine results. `min_score` and `top` limit the stored
            detections; without `options`, they are 0.05 and 10. `species`, `thresholds`, `merge` and
            `drop_out_of_range` apply when an archive is read, and are refused here; `speech` may only be "flag".
        model: a built-in model's name, a bundle's or training run's folder, or a loaded model.
        keep: "embeddings" stores the embeddings of all windows in half precision, "embeddings:int8" in 8 bits; empty
            for detections only. At most one of the two.
        metadata: location and time by absolute path, which take precedence over the files' metadata; default: only the
            files' metadata. The options `latitude` and `longitude` take precedence over both.
        analyses: names of analyses of the recordings' original samples, "health", "indices" or a plug-in's; empty for
            none.
        shard: part of the units to process: "2/8" is the second of eight parts; default: all units.
        unit_size: limits of a unit, used when the recordings are listed; default: those of `UnitSize`.
        workers: number of cores to use, on each node if `ray` is given; default: all that the process may use.
        resume: list the recordings again, and add those that are new, have changed or failed; not allowed with `shard`.
        ray: address of a Ray cluster whose nodes do the work: HOST:PORT, "auto" for the cluster of $RAY_ADDRESS or on
            this machine, or "local" for a new one on this machine; None to work in this process. Archive and
            recordings must have the same paths on all nodes.
        report: function that is called with the progress, in the caller's thread.
        changes: options by name, which take precedence over `options`.

    Raises:
        InputError: no recordings, an option that does not apply, an unknown analysis, `shard` together with `resume` or
            `ray`, credentials or parameters in a URL, an archive of a newer version, or no such cluster.
        TypeError: `changes` has an unknown option.
        PlugInError: an analysis of a plug-in cannot be used.
        ModelError: the model cannot be loaded or run, has no embeddings to store, or its scores are not finite.
        OutputError: the archive cannot be written.
        StoreError: the archive's store failed.
        BusyError: another process writes to a store that allows only one writer.
        MissingExtraError: deltalake, the library that runs the model, noisereduce for its cleaning, or Ray for `ray` is
            not installed.
    """
    n_workers, keep = count_workers(workers), tuple(keep)
    job = prepare_job(
        recordings,
        options,
        changes,
        model=model,
        keep=keep,
        metadata=metadata,
        analyses=analyses,
        shard=parse_shard(shard, resume=resume, ray=ray),
    )
    with nullcontext() if ray is None else connect_to_cluster(ray):
        require_deltalake()
        location = ArchiveLocation.parse(archive)
        # A path with a spelling mistake should leave no archive behind.
        files = None if location.exists else _list_files(job.given)
        location.create()
        with Worker(location, job.run.id, "ray" if ray else str(job.shard)) as worker:
            opened = create_tables(location)
            opened.add_run(job.run, job.model.labels)
            manifests = _pin(opened, job, files, size=unit_size or UnitSize(), resume=resume)
            writer = UnitWriter(opened, worker)
            if ray is None:
                run: UnitRun = AudioRun(job.builder, job.plan, writer, job.load(), n_workers=n_workers)
            else:
                run = create_ray_run(writer, ArchivingWork.create(job, keep), n_workers=workers)
            run.process(manifests, job.shard, stage="identifying", report=report)
            return ArchiveResult.create(run)


@dataclass(frozen=True)
class ArchivingWork:
    """Arguments of `archive_recordings` that determine results, for the nodes of a Ray cluster.

    Attributes:
        model: the model.
        options: options of the run.
        keep: "embeddings" or "embeddings:int8" to store embeddings; empty for detections only.
        metadata: location and time by absolute path; None if the caller gave none.
        analyses: names of analyses of the recordings' original samples; empty for none.
    """

    model: NodeModel
    options: Options
    keep: tuple[Keep, ...]
    metadata: dict[Path, RecordingMetadata] | None
    analyses: tuple[str, ...]

    @classmethod
    def create(cls, job: ArchivingJob, keep: tuple[Keep, ...]) -> ArchivingWork:
        """Return the work of a job; `keep` is the argument of `archive_recordings`."""
        builder = job.builder
        return cls(
            NodeModel.describe(job.model), builder.options, keep, builder.metadata_by_path or None, job.run.analyses
        )

    def create_run(self, writer: UnitWriter, *, n_workers: int) -> AudioRun:
        """Create the run of a node; see `ray_node.NodeWork`."""
        job = prepare_job(
            (),
            self.options,
            {},
            model=self.model.load(),
            keep=self.keep,
            metadata=self.metadata,
            analyses=self.analyses,
            shard=Shard(1, 1),
        )
        check_same_run(writer.worker.run, job.run)
        return AudioRun(job.builder, job.plan, writer, job.load(), n_workers=n_workers)


@dataclass(frozen=True)
class ArchivePlan:
    """Work that a call of `archive_recordings` would do.

    Attributes:
        model: the loaded model.
        plan: settings of scoring.
        run: id of the run.
        shard: part of the units that the call would process.
        sizes: size of each unit in bytes by the unit's name, in the order of the manifest, of all shards and including
            committed units; units that the call would add are named "new-000000" and so on.
        missing: recordings of each uncommitted unit, by the unit's name, of all shards.
    """

    model: LoadedModel
    plan: ScoringPlan
    run: str
    shard: Shard
    sizes: Mapping[str, int]
    missing: Mapping[str, list[ListedFile]]

    def missing_shares(self, count: int) -> list[float]:
        """Return the share (0 to 1) of all missing bytes in each of `count` shards, in order; 0 if none is missing."""
        shards = assign_shards(list(self.sizes.values()), count)
        missing = [n_bytes if unit in self.missing else 0 for unit, n_bytes in self.sizes.items()]
        sums = np.bincount(shards - 1, np.array(missing, np.float64), minlength=count)
        shares: list[float] = (sums / max(sums.sum(), 1.0)).tolist()
        return shares


def plan_archiving(
    recordings: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    archive: str | os.PathLike[str],
    options: Options | None = None,
    *,
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    keep: Iterable[Keep] = (),
    metadata: dict[Path, RecordingMetadata] | None = None,
    analyses: Iterable[str] = (),
    shard: Shard | str | None = None,
    unit_size: UnitSize | None = None,
    resume: bool = False,
) -> ArchivePlan:
    """Return what `archive_recordings` would do with the same arguments, without writing anything.

    Raises:
        InputError: no recordings, an option that does not apply, an unknown analysis, `shard` together with `resume`,
            credentials or parameters in a URL, or an archive of a newer version.
        PlugInError: an analysis of a plug-in cannot be used.
        ModelError: the model cannot be loaded, or has no embeddings to store.
        StoreError: a store refused access, or cannot be reached.
        MissingExtraError: deltalake is not installed.
    """
    require_deltalake()
    job = prepare_job(
        recordings,
        options,
        {},
        model=model,
        keep=keep,
        metadata=metadata,
        analyses=analyses,
        shard=parse_shard(shard, resume=resume),
    )
    sizes: dict[str, int] = {}
    missing: dict[str, list[ListedFile]] = {}
    if ArchiveLocation.parse(archive).exists:
        opened = open_archive(archive)
        table = opened.table(MANIFEST)
        manifests, new = _find_listed(opened, job, None, list_manifests(table), resume=resume)
        sizes = unit_sizes(table, manifests)
        left = sizes.keys() - committed_attempts(opened.table(RECORDINGS)).keys()
        for entry in read_entries(table, manifests, left):
            missing.setdefault(entry.unit, []).append(entry.file)
    else:
        new = _list_files(job.given)
    units = cut_units(new, unit_size or UnitSize())
    for number, file in sorted(zip(units, new, strict=True), key=itemgetter(0)):
        unit = f"new-{number:06d}"
        sizes[unit] = sizes.get(unit, 0) + (file.n_bytes or 0)
        missing.setdefault(unit, []).append(file)
    return ArchivePlan(job.load(), job.plan, job.run.id, job.shard, sizes, missing)


@dataclass(frozen=True)
class ArchivingJob:
    """Checked arguments of `archive_recordings`, and objects created from them.

    Attributes:
        given: the recordings as given by the caller: files, folders and globs.
        model: the model.
        plan: settings of scoring.
        builder: builder of detection tables.
        run: model and settings, as the archive stores them.
        shard: part of the units to process.
    """

    given: list[str | os.PathLike[str]]
    model: Model
    plan: ScoringPlan
    builder: TableBuilder
    run: ArchiveRun
    shard: Shard

    @property
    def source(self) -> str:
        """Digest of the absolute paths in `given`, regardless of their order, by which their manifests are found."""
        return _digest(sorted(full_name(as_path(os.fsdecode(path))) for path in self.given))

    def load(self) -> LoadedModel:
        """Return the model with its sessions for scoring, which are opened when they are first used.

        Raises:
            ModelError: the model's cleaning removes speech, and the speech detector cannot be downloaded.
        """
        return load_sessions(self.model, self.builder.options)


def prepare_job(
    recordings: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    options: Options | None,
    changes: OptionFields,
    *,
    model: str | os.PathLike[str] | Model,
    keep: Iterable[Keep],
    metadata: dict[Path, RecordingMetadata] | None,
    analyses: Iterable[str],
    shard: Shard,
) -> ArchivingJob:
    """Check the arguments of `archive_recordings`, and return what is created from them.

    Raises:
        InputError: an option that does not apply, an unknown analysis, or credentials or parameters in a URL.
        TypeError: `changes` has an unknown option.
        PlugInError: an analysis of a plug-in cannot be used.
        ModelError: the model cannot be loaded, or has no embeddings to store.
    """
    all_kept = Options(min_score=KEPT_MIN_SCORE, top=KEPT_TOP)
    options = (all_kept if options is None else as_options(options)).with_changes(changes)
    _check_options(options)
    analyses = tuple(dict.fromkeys(ANALYSES.lookup(name).name for name in analyses))
    model = load_model(model)
    kept_rows = _check_kept(keep, model)
    floor = ScoreFilter(np.full(len(model.labels), options.min_score, np.float32), options.top)
    kept: dict[str, WindowAnalysis] = {name: Embeddings() for name in kept_rows}
    plan = replace(build_run_plan(model, options, analyses), analyses={"hits": floor, **kept})
    range_filter = open_range_filter(model, options, metadata)
    builder = TableBuilder(model.bundle, plan.windows, options, range_filter, metadata or {})
    run = _describe_run(builder, analyses, keep=kept_rows, embedding_dim=model.embedding_dim if kept_rows else None)
    given = [recordings] if isinstance(recordings, str | os.PathLike) else list(recordings)
    _check_urls(given)
    return ArchivingJob(given, model, plan, builder, run, shard)


def parse_shard(shard: Shard | str | None, *, resume: bool, ray: str | None = None) -> Shard:
    """Return the shard that an argument such as "2/8" names; all units for None.

    Raises:
        InputError: the argument is not a shard, or is given together with `resume` or `ray`.
    """
    if shard is None:
        return Shard(1, 1)
    if ray is not None:
        raise InputError("shard: the nodes of a Ray cluster share all units. Leave it out, or ray.")
    if resume:
        raise InputError(
            "resume: it lists the recordings again, which one process has to do. Start it once without a shard; "
            "shards can then be started as before."
        )
    return Shard.parse(shard) if isinstance(shard, str) else shard


def _check_options(options: Options) -> None:
    """Refuse options that would have no effect in an archive.

    Raises:
        InputError: such an option is set.
    """
    defaults = Options()
    for name in _READ_OPTIONS:
        if getattr(options, name) != getattr(defaults, name):
            raise InputError(f"{name}: an archive keeps what the model gives; select when it is read. Leave it out.")
    if options.speech not in (None, "flag"):
        raise InputError(f"speech: expected 'flag' for an archive, got {options.speech!r}.")


def _check_urls(given: Sequence[str | os.PathLike[str]]) -> None:
    """Refuse URLs with credentials or parameters, which an archive does not store, so that shards could not use them.

    Raises:
        InputError: a URL has a user, password, signature or parameters.
    """
    for path in map(as_path, given):
        if isinstance(path, RemotePath) and (path.url.login or path.url.query):
            raise InputError(
                "an archive keeps no users, passwords, signatures and parameters of URLs, so they cannot be read "
                "for it. Leave them out where the environment has credentials; else identify into a table (--out).",
                subject=path,
            )


def _check_kept(keep: Iterable[Keep], model: Model) -> tuple[Keep, ...]:
    kept = tuple(keep)
    for each in kept:
        if each not in get_args(Keep):
            raise InputError(f"keep: expected any of {', '.join(get_args(Keep))}, got {each!r}.")
    if len(kept) > 1:
        raise InputError(f"keep: expected embeddings in one form, got {', '.join(kept)}.")
    if kept and model.embedding_dim is None:
        raise ModelError(f"{model.name}: this model has no embeddings to keep. Use one that has, such as birdnet.")
    if "embeddings:int8" in kept and (model.embedding_dim or 0) <= MAX_SHORT:
        raise ModelError(f"{model.name}: its embeddings are too short for 8 bits. Keep them in half precision.")
    return kept


def _describe_run(
    builder: TableBuilder, analyses: tuple[str, ...], *, keep: tuple[Keep, ...], embedding_dim: int | None
) -> ArchiveRun:
    info, options = builder.bundle.info, builder.options
    unused = {*_READ_OPTIONS, "min_score", "top"}
    parameters: dict[str, Any] = {name: value for name, value in asdict(options).items() if name not in unused}
    parameters["activation"] = info.activation
    if "embeddings:int8" in keep:
        parameters["embeddings"] = "int8"
    if info.cleaning:
        parameters["cleaning"] = info.cleaning.model_dump(exclude_defaults=True)
    if builder.metadata_by_path:
        parameters["metadata"] = _digest(sorted((str(p), repr(m)) for p, m in builder.metadata_by_path.items()))
    return ArchiveRun(
        model=info.name,
        model_version=info.version,
        bundle_id=builder.bundle.id,
        software=f"dawnchorus {__version__}",
        sample_rate_hz=info.sample_rate_hz,
        window_s=info.window_s,
        overlap_s=options.overlap_s,
        min_score=options.min_score,
        top=options.top,
        embedding_dim=embedding_dim,
        analyses=analyses,
        thresholds=info.thresholds,
        parameters=parameters,
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:SOURCE_DIGITS]


# ---------------------------------------------------------------------- listing


def _pin(
    archive: Archive, job: ArchivingJob, files: list[ListedFile] | None, *, size: UnitSize, resume: bool
) -> list[Manifest]:
    """Return the manifests of the given paths; store a manifest if there is none, or to resume.

    Raises:
        InputError: there are no recordings.
    """
    table = archive.table(MANIFEST)
    while True:
        # Before the files are listed, which may take long: of processes that start at once, one pins its list.
        known = list_manifests(table)
        manifests, new = _find_listed(archive, job, files, known, resume=resume)
        if not new:
            return manifests
        if pin_manifest(table, number=next_number(known), run=job.run.id, source=job.source, files=new, size=size):
            resume = False


def _find_listed(
    archive: Archive, job: ArchivingJob, files: list[ListedFile] | None, known: Sequence[Manifest], *, resume: bool
) -> tuple[list[Manifest], list[ListedFile]]:
    """Return the known manifests of the given paths, and the files for a new manifest, if one is needed.

    A new manifest is needed if there is none, or, to resume, for files that are new, have changed or failed.

    Raises:
        InputError: there are no recordings.
    """
    run = job.run.id
    own = [manifest for manifest in known if (manifest.run, manifest.source) == (run, job.source)]
    if own and not resume:
        return own, []
    files = files or _list_files(job.given)
    _warn_of_gone(archive, own, files)
    signatures = latest_signatures(archive.table(MANIFEST), run) if known else {}
    repeated = failed_paths(archive.table(RECORDINGS), run) if resume else frozenset()
    new = [file for file in files if signatures.get(file.path) != file.signature or file.path in repeated]
    return own if own or new else [manifest for manifest in known if manifest.run == run], new


def _warn_of_gone(archive: Archive, manifests: Sequence[Manifest], files: Sequence[ListedFile]) -> None:
    """Log a warning if recordings of manifests are not among the files that were found: they may have been moved."""
    table = archive.table(MANIFEST)
    known = {path for each in manifests for path in table.read(["path"], each.condition)["path"].to_pylist()}
    # Of a folder that cannot be listed, nothing is known.
    hidden = tuple(folder_prefix(file.path) for file in files if file.n_bytes is None)
    gone = [path for path in known.difference(file.path for file in files) if not path.startswith(hidden)]
    if gone:
        LOG.warning(
            "not found any more: %s of an earlier list, such as %s. Their results still count, so what was moved or "
            "renamed counts twice.",
            counted(len(gone), "recording"),
            printable(os.fsdecode(min(gone))),
        )


def _list_files(given: Sequence[str | os.PathLike[str]]) -> list[ListedFile]:
    files = []
    for path in find_recordings(given):
        full = absolute_path(path)
        files.append(ListedFile(printable(path), os.fsencode(full), *read_signature(full)))
    return files
