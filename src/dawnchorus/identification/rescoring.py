"""Rescoring of an archive with another model, from the embeddings that the archive stores.

The recordings are scored in units, batches that are committed together.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.archive import Archive, Names, open_archive
from dawnchorus.archive.delta import ArchiveTable
from dawnchorus.archive.manifest import (
    Entry,
    ListedFile,
    Manifest,
    Shard,
    UnitSize,
    latest_signatures,
    list_manifests,
    next_number,
    pin_manifest,
)
from dawnchorus.archive.rows import SharedValues, detection_rows, failure_row, recording_row, recording_rows
from dawnchorus.archive.runs import ArchiveRun, StoredRun
from dawnchorus.archive.schemas import DETECTIONS, EMBEDDINGS, MANIFEST, RECORDINGS, SCHEMAS
from dawnchorus.archive.selection import DONE, Selection, select_results
from dawnchorus.archive.vectors import read_vectors
from dawnchorus.archive.workers import Worker
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.arguments import count_workers
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import InputError
from dawnchorus.identification.archiving import ArchiveResult, parse_shard
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.options import KEPT_MIN_SCORE, KEPT_TOP, Options, as_options, option_specs
from dawnchorus.identification.ray_cluster import connect_to_cluster, create_ray_run
from dawnchorus.identification.ray_node import NodeModel, check_same_run
from dawnchorus.identification.result import RecordingFailure, RunCounts, build_provenance
from dawnchorus.identification.run import open_range_filter
from dawnchorus.identification.unit_run import UnitRun, WorkerRun
from dawnchorus.inference.analyses.hits import HIT, ScoreFilter
from dawnchorus.inference.embedding_scoring import EmbeddingScorer
from dawnchorus.inference.model import Model, load_model
from dawnchorus.inference.results import ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.embedding_classifier import base_id
from dawnchorus.types import AudioInfo, RecordingMetadata, Report, ignore_progress
from dawnchorus.version import __version__

UNITS = UnitSize(max_bytes=20e9, max_recordings=2_000, min_bytes=5e9)
"""Limits of a unit: some seconds of work, so that its commit takes a small part of the time."""

_field = pa_dataset.field


def rescore_archive(
    archive: str | os.PathLike[str],
    model: str | os.PathLike[str] | Model,
    *,
    runs: Names | None = None,
    min_score: float = KEPT_MIN_SCORE,
    top: int | None = KEPT_TOP,
    shard: Shard | str | None = None,
    unit_size: UnitSize = UNITS,
    workers: int | None = None,
    resume: bool = False,
    ray: str | None = None,
    report: Report = ignore_progress,
) -> list[ArchiveResult]:
    """Score the stored embeddings of an archive with a model on them, as new runs of the archive.

    There is a new run for each run with suitable embeddings. Its rows equal those of a run from the audio, up to the
    precision of the stored embeddings. Calls with the same arguments, for other shards or after an interruption,
    process what is missing.

    Args:
        archive: folder of the archive, or its URL in a store.
        model: a head that was trained on the stored embeddings, a head that is merged with its base (the model that
            computed the embeddings), or the base; given as the folder of a bundle or training run, or a loaded model.
        runs: id or ids of the runs with the embeddings; default: all with suitable embeddings.
        min_score: minimum score of stored detections; default: 0.05.
        top: maximum number of stored detections in a window, those with the highest scores; default: 10; None for no
            limit.
        shard: part of the units to process: "2/8" is the second of eight parts; default: all units.
        unit_size: limits of a unit, used when the recordings are listed.
        workers: number of cores to use, on each node if `ray` is given; default: all that the process may use.
        resume: list the recordings again, and add those with new embeddings; not allowed with `shard`.
        ray: address of a Ray cluster whose nodes do the work: HOST:PORT, "auto" for the cluster of $RAY_ADDRESS or on
            this machine, or "local" for a new one on this machine; None to work in this process. Archive and model must
            have the same paths on all nodes.
        report: function that is called with the progress, in the caller's thread.

    Returns:
        The result of each new run, in the order of the runs with the embeddings.

    Raises:
        InputError: no run has embeddings that the model was trained on, a run in `runs` has others, an option does not
            apply, `shard` together with `resume` or `ray`, or no such cluster.
        NotFoundError: there is no archive, or it has no run of `runs`.
        StoreError: the archive's store failed.
        BusyError: another process writes to a store that allows only one writer.
        ModelError: the model cannot be loaded or run, its scores are not finite, or need more than embeddings.
        OutputError: the archive cannot be written.
        MissingExtraError: deltalake, or Ray for `ray`, is not installed.
    """
    n_workers = count_workers(workers)
    shard = parse_shard(shard, resume=resume, ray=ray)
    floor = as_options(Options(min_score=min_score, top=top))
    opened = open_archive(archive)
    loaded = load_model(model)
    sources = _find_sources(opened, loaded.bundle, runs)
    scorer = EmbeddingScorer(loaded.bundle, dim=sources[0].run.embedding_dim or 0, n_threads=n_workers)
    with nullcontext() if ray is None else connect_to_cluster(ray):
        results = []
        for source in sources:
            rescoring = _Rescoring.create(opened, source, loaded, floor)
            with Worker(opened.location, rescoring.run.id, "ray" if ray else str(shard)) as worker:
                opened.add_run(rescoring.run, loaded.labels)
                manifests = rescoring.pin(unit_size, resume=resume)
                writer = UnitWriter(opened, worker)
                if ray is None:
                    run: UnitRun = RescoringRun(rescoring, scorer, writer)
                else:
                    run = create_ray_run(writer, RescoringWork.create(rescoring, floor), n_workers=workers)
                run.process(manifests, shard, stage="scoring", report=report)
                results.append(ArchiveResult.create(run))
    return results


@dataclass(frozen=True)
class RescoringWork:
    """Arguments of `rescore_archive` that determine the rows of one new run, for the nodes of a Ray cluster.

    Attributes:
        model: the model.
        source: id of the run with the embeddings.
        floor: options with `min_score` and `top` of stored detections.
    """

    model: NodeModel
    source: str
    floor: Options

    @classmethod
    def create(cls, rescoring: _Rescoring, floor: Options) -> RescoringWork:
        """Return the work of a rescoring; `floor` has `min_score` and `top` of stored detections."""
        return cls(NodeModel.describe(rescoring.model), rescoring.source.id, floor)

    def create_run(self, writer: UnitWriter, *, n_workers: int) -> RescoringRun:
        """Create the run of a node; see `ray_node.NodeWork`."""
        archive = writer.archive
        (source,) = archive.find_runs(self.source)
        rescoring = _Rescoring.create(archive, source, self.model.load(), self.floor)
        check_same_run(writer.worker.run, rescoring.run)
        scorer = EmbeddingScorer(rescoring.model.bundle, dim=source.run.embedding_dim or 0, n_threads=n_workers)
        return RescoringRun(rescoring, scorer, writer)


class RescoringRun(WorkerRun):
    """Scoring of units from stored embeddings, one unit after the other.

    Args:
        rescoring: settings of the new run.
        scorer: classifier of the embeddings.
        writer: writer of units to the archive.
    """

    def __init__(self, rescoring: _Rescoring, scorer: EmbeddingScorer, writer: UnitWriter) -> None:
        super().__init__(writer)
        self._rescoring, self._scorer = rescoring, scorer

    def score(self, units: Iterable[Sequence[Entry]]) -> Generator[RunCounts, None, None]:
        """Score and commit units, and yield the counts, at the start and after each unit.

        Raises:
            ModelError: the model does not run on these embeddings, or its scores are not finite.
            OutputError: the archive cannot be written.
            StoreError: the archive's store failed.
        """
        yield self.counts
        for entries in units:
            if self._is_left(entries):
                self._score_unit(entries)
            yield self.counts

    def _score_unit(self, entries: Sequence[Entry]) -> None:
        unit = entries[0].unit
        self.worker.beat([unit])
        scored = _UnitScores(self._rescoring, self._scorer, entries, self.worker.attempt(unit))
        self.writer.commit(unit, *scored.rows())
        self._count_committed(unit, len(entries), scored.failures, scored.n_detections)
        counts = self.counts
        self.counts = replace(
            counts,
            n_done=counts.n_done + len(entries) - len(scored.failures),
            n_failed=counts.n_failed + len(scored.failures),
            n_detections=counts.n_detections + scored.n_detections,
            scored_s=counts.scored_s + scored.scored_s,
        )


def _find_sources(archive: Archive, bundle: Bundle, runs: Names | None) -> list[StoredRun]:
    """Return the runs whose embeddings a bundle can score.

    Raises:
        NotFoundError: there is no such run.
        InputError: no run has suitable embeddings, or a named run has not.
    """
    known = [each for each in archive.find_runs(runs) if runs is not None or each.run.embedding_dim]
    misfits = {each.id: _describe_misfit(bundle, each.run) for each in known}
    fitting = [each for each in known if misfits[each.id] is None]
    if not fitting or (runs is not None and len(fitting) < len(known)):
        listed = "; ".join(f"run {run}: {reason}" for run, reason in misfits.items() if reason is not None)
        raise InputError(
            f"{bundle.info.name} cannot score what the archive keeps: {listed or 'no run has embeddings'}. "
            f"Identify with the model that the head was trained on, and --keep embeddings.",
            subject=archive.location.root,
        )
    return fitting


def _describe_misfit(bundle: Bundle, run: ArchiveRun) -> str | None:
    """Return a sentence on why a bundle cannot score the embeddings of a run; None if it can."""
    info, training = bundle.info, bundle.info.training
    base = f"{info.name} {bundle.id}" if training is None or training.backbone is None else training.backbone
    if not run.embedding_dim:
        return "it has no embeddings"
    if base_id(bundle) != run.bundle_id:
        return f"the model is on embeddings of {base}, the run has those of {run.model} {run.bundle_id}"
    if (info.sample_rate_hz, info.window_s) != (run.sample_rate_hz, run.window_s):
        return (
            f"the model takes windows of {info.window_s:g} s at {info.sample_rate_hz} Hz, the embeddings are of "
            f"{run.window_s:g} s at {run.sample_rate_hz} Hz"
        )
    cleaning = info.cleaning.model_dump(exclude_defaults=True) if info.cleaning else None
    if cleaning != (run.parameters.get("cleaning") or None):
        return "the model's recordings are cleaned before in another way"
    if run.parameters.get("tta_shifts", 1) != 1:
        return "its embeddings are means over test-time augmentation"
    return None


# ---------------------------------------------------------------------- one run


@dataclass(frozen=True)
class _Channel(ScoredChannel):
    """Hits of a channel; its windows have the stored times of their embeddings."""

    starts_s: Sequence[float] = ()
    ends_s: Sequence[float] = ()

    def window_times(self, window: int, plan: WindowPlan, duration_s: float) -> tuple[float, float]:  # noqa: ARG002
        """Return start and end of a window in the recording, in seconds."""
        return self.starts_s[window], self.ends_s[window]


@dataclass(frozen=True)
class _Rescoring:
    """Rescoring of the embeddings of one run.

    Attributes:
        archive: the archive.
        source: the run with the embeddings.
        run: the new run.
        model: the model that scores the embeddings.
        score_filter: filter for the scores to store.
        builder: builder of the tables of detections.
        recordings: table of recordings, in one state for all units; opening a table of many files takes long.
        embeddings: table of embeddings, likewise.
        selection: results of the source that are read; see `archive.selection`.
    """

    archive: Archive
    source: StoredRun
    run: ArchiveRun
    model: Model
    score_filter: ScoreFilter
    builder: TableBuilder
    recordings: ArchiveTable
    embeddings: ArchiveTable
    selection: Selection

    @classmethod
    def create(cls, archive: Archive, source: StoredRun, model: Model, floor: Options) -> _Rescoring:
        """Create the new run and its settings; `floor` has `min_score` and `top` of stored detections."""
        bundle, given = model.bundle, source.run.parameters
        options = _restore_options(source.run, floor)
        recordings, embeddings = archive.table(RECORDINGS), archive.table(EMBEDDINGS)
        selection = select_results(recordings, [source.id])
        run = replace(
            source.run,
            model=bundle.info.name,
            model_version=bundle.info.version,
            bundle_id=bundle.id,
            software=f"dawnchorus {__version__}",
            min_score=options.min_score,
            top=options.top,
            embedding_dim=None,
            analyses=(),
            thresholds=bundle.info.thresholds,
            parameters={**given, "activation": bundle.info.activation, "embeddings_of": source.id},
        )
        # A table that was given had locations, by which the range filter was used.
        located = _list_locations(recordings, selection) if "metadata" in given else None
        plan = WindowPlan.from_seconds(rate_hz=run.sample_rate_hz, window_s=run.window_s, overlap_s=run.overlap_s)
        builder = TableBuilder(bundle, plan, options, open_range_filter(model, options, located), {})
        thresholds = np.full(len(bundle.labels), options.min_score, np.float32)
        score_filter = ScoreFilter(thresholds, options.top)
        return cls(archive, source, run, model, score_filter, builder, recordings, embeddings, selection)

    def pin(self, size: UnitSize, *, resume: bool) -> list[Manifest]:
        """Return the manifests of the new run; store one if there is none, or to resume."""
        table = self.archive.table(MANIFEST)
        while True:
            known = list_manifests(table)
            own = [each for each in known if (each.run, each.source) == (self.run.id, self.source.id)]
            if own and not resume:
                return own
            signatures = latest_signatures(table, self.run.id) if own else {}
            new = [file for file in self._list_files() if signatures.get(file.path) != file.signature]
            if not new:
                return own
            number = next_number(known)
            if pin_manifest(table, number=number, run=self.run.id, source=self.source.id, files=new, size=size):
                resume = False

    def _list_files(self) -> list[ListedFile]:
        columns = ["recording", "path", "n_bytes", "version"]
        condition = self.selection.condition & (_field("status") == DONE)
        rows = self.recordings.read(["recording_id", *columns], condition).sort_by("recording_id")
        return [ListedFile(*file) for file in zip(*(rows[name].to_pylist() for name in columns), strict=True)]


def _restore_options(run: ArchiveRun, floor: Options) -> Options:
    """Return the options of a run that determine its rows, with `min_score` and `top` of `floor`.

    Speech detection is turned off: the archive has its total length in each recording, but not the segments.
    """
    given = {name: value for name, value in run.parameters.items() if name in option_specs()}
    others = {"speech": None, "overlap_s": run.overlap_s, "min_score": floor.min_score, "top": floor.top}
    return Options.from_fields({**given, **others})


def _list_locations(recordings: ArchiveTable, selection: Selection) -> Mapping[Path, RecordingMetadata]:
    rows = recordings.read(["path", "latitude", "longitude"], selection.condition)
    return {
        Path(os.fsdecode(row["path"])): RecordingMetadata(latitude=row["latitude"], longitude=row["longitude"])
        for row in rows.to_pylist()
    }


# ---------------------------------------------------------------------- one unit


class _UnitScores:
    """Scores of the recordings of a unit.

    Args:
        rescoring: the rescoring that the unit belongs to.
        scorer: classifier of the embeddings.
        entries: the recordings in the new run's manifest.
        attempt: name of the worker's attempt at the unit.
    """

    def __init__(self, rescoring: _Rescoring, scorer: EmbeddingScorer, entries: Sequence[Entry], attempt: str) -> None:
        self._rescoring, self._scorer = rescoring, scorer
        self._entries, self._attempt = entries, attempt
        self.failures: list[RecordingFailure] = []
        self.n_detections = 0
        self.scored_s = 0.0

    def rows(self) -> tuple[pa.Table, dict[str, pa.Table]]:
        """Return the rows of the recordings, and the detections by table."""
        rescoring = self._rescoring
        recordings = self._read_recordings()
        channels = self._score([row["recording_id"] for row in recordings.values()])
        builder = replace(rescoring.builder, names={entry.path: entry.file.name for entry in self._entries})
        has_range = builder.range_filter is not None
        provenance = build_provenance(builder.bundle, builder.options, range_filter=has_range)
        listed, detections = [], []
        for entry in self._entries:
            shared = SharedValues(entry, rescoring.run.id, self._attempt)
            row = recordings.get(entry.file.path)
            if row is None:
                reason = "its embeddings were replaced since they were listed. Use --resume to list them again."
                self.failures.append(RecordingFailure(entry.file.name, reason))
                listed.append(failure_row(shared, reason))
                continue
            scored = _as_scored(entry, row, channels.get(row["recording_id"], ()))
            table = builder.build(scored)
            listed.append(recording_row(shared, scored, table, speech_s=row["speech_s"]))
            if len(table.detections):
                detections.append(detection_rows(shared, table, provenance))
            self.n_detections += len(table.detections)
            self.scored_s += scored.duration_s * max(len(scored.channels), 1)
        results = {DETECTIONS: pa.concat_tables(detections, promote_options="default")} if detections else {}
        return recording_rows(listed), results

    def _read_recordings(self) -> dict[bytes, dict[str, Any]]:
        """Return the source's rows for the listed versions of the files, by path."""
        versions = {entry.file.path: entry.file.signature for entry in self._entries}
        is_listed = _field("path").isin(pa.array(list(versions), pa.binary()))
        condition = self._rescoring.selection.condition & (_field("status") == DONE) & is_listed
        rows = self._rescoring.recordings.read(condition=condition).to_pylist()
        return {row["path"]: row for row in rows if versions[row["path"]] == (row["n_bytes"], row["version"])}

    def _score(self, ids: Sequence[int]) -> dict[int, tuple[_Channel, ...]]:
        """Score the embeddings of recordings; return the hits of each channel, by id of the recording."""
        if not ids:
            return {}
        pieces, times = [np.zeros(0, HIT)], []
        n_rows = 0
        for batch in self._read_embeddings(ids):
            vectors = read_vectors(batch["embedding"], self._rescoring.source.run.embedding_dim or 0)
            scores = self._scorer.run(vectors.astype(np.float32))
            pieces.append(self._rescoring.score_filter.apply(scores, n_rows))
            times.append(batch.select(_WINDOW_COLUMNS))
            n_rows += len(batch)
        windows = pa.Table.from_batches(times) if times else _NO_WINDOWS
        order = pc.sort_indices(windows, [(name, "ascending") for name in _WINDOW_COLUMNS[:3]]).to_numpy()
        hits = np.concatenate(pieces)
        rank = np.empty(n_rows, np.int32)
        rank[order] = np.arange(n_rows)
        hits["window"] = rank[hits["window"]]
        hits = hits[np.argsort(hits["window"], kind="stable")]
        return _split_by_channel(hits, windows.take(order))

    def _read_embeddings(self, ids: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Yield the embeddings of the recordings with these ids."""
        number = _field("recording_id")
        # The limits, by which parts of files are passed over, are not seen in a set.
        condition = (number >= min(ids)) & (number <= max(ids)) & number.isin(pa.array(ids, pa.int64()))
        condition &= _field("attempt").isin(self._rescoring.selection.attempts)
        yield from self._rescoring.embeddings.scan([*_WINDOW_COLUMNS, "embedding"], condition)


_WINDOW_COLUMNS = ["recording_id", "channel", "start_s", "end_s"]

_NO_WINDOWS = SCHEMAS[EMBEDDINGS].empty_table().select(_WINDOW_COLUMNS)


def _split_by_channel(hits: np.ndarray[Any, Any], windows: pa.Table) -> dict[int, tuple[_Channel, ...]]:
    """Return the hits of each channel, by id of the recording; `windows` has a row per window, ordered by channel."""
    columns = [windows[name].to_pylist() for name in _WINDOW_COLUMNS]
    recording_ids, numbers, starts_s, ends_s = columns
    keys = list(zip(recording_ids, numbers, strict=True))
    firsts = [k for k, key in enumerate(keys) if k == 0 or key != keys[k - 1]]
    channels: dict[int, tuple[_Channel, ...]] = {}
    for first, last in zip(firsts, [*firsts[1:], len(keys)], strict=True):
        start, stop = np.searchsorted(hits["window"], [first, last])
        own = hits[start:stop].copy()
        own["window"] -= first
        recording_id, number = keys[first]
        channel = _Channel({"hits": own}, channel=number, starts_s=starts_s[first:last], ends_s=ends_s[first:last])
        channels[recording_id] = (*channels.get(recording_id, ()), channel)
    return channels


def _as_scored(entry: Entry, row: Mapping[str, Any], channels: Sequence[_Channel]) -> ScoredRecording:
    """Return a recording in the archive as a scored recording."""
    start_time = row["start_time"]
    return ScoredRecording(
        path=entry.path,
        info=AudioInfo("", "", row["sample_rate_hz"], row["n_channels"], None),
        metadata=RecordingMetadata(
            start_time=None if start_time is None else datetime.fromisoformat(start_time),
            latitude=row["latitude"],
            longitude=row["longitude"],
            recorder=row["recorder"],
            source=row["metadata_source"],
        ),
        duration_s=row["duration_s"],
        warnings=tuple((row["warnings"] or "").splitlines()),
        channels=tuple(channels) or (_Channel({"hits": np.zeros(0, HIT)}),),
    )
