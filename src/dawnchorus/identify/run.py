"""`identify`: from paths to tables of detections, with a journal, so that nothing is lost."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus import __version__
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import InputError
from dawnchorus.identify.journal import Journal, file_mark
from dawnchorus.identify.options import Options
from dawnchorus.identify.place import RangeFilter
from dawnchorus.identify.rows import TableBuilder, printable
from dawnchorus.identify.scan import find_recordings
from dawnchorus.identify.score import Failed, Scored, Selection, score_recordings
from dawnchorus.identify.target import Target
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import Engine
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.types import Origin, Provenance, RecordingTable

SOFTWARE = f"dawnchorus {__version__}"


@dataclass(frozen=True)
class Failure:
    """A recording that could not be scored, and why."""

    recording: str
    reason: str


@dataclass
class Progress:
    """How far a run is; the same object is passed to every call of the progress function."""

    n_files: int
    n_resumed: int = 0
    """Recordings that an earlier, interrupted run had scored."""
    n_done: int = 0
    """Recordings scored now."""
    n_failed: int = 0
    n_detections: int = 0
    scored_s: float = 0.0
    """Seconds of sound scored now."""


@dataclass
class Run:
    """A finished run: its tables, read from the journal one recording at a time, and what went wrong."""

    bundle: Bundle
    provenance: Provenance
    paths: list[Path]
    progress: Progress
    failures: list[Failure] = field(default_factory=list)
    warnings: list[Failure] = field(default_factory=list)
    _journal: Journal | None = None
    _builder: TableBuilder | None = None
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    def tables(self) -> Iterator[RecordingTable]:
        """The table of every scored recording, in the order of `paths`."""
        for path in self.paths:
            table = self.table(path)
            if table is not None:
                yield table

    def table(self, path: Path) -> RecordingTable | None:
        """The table of one recording; None if it failed."""
        if self._journal is None or self._builder is None:
            return None
        found = self._journal.read(path)
        return self._builder.build(found) if isinstance(found, Scored) else None

    def species_counts(self) -> Counter[tuple[str, str, str]]:
        """Number of detections by kind, scientific and common name."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for table in self.tables():
            counts.update((d.kind, d.scientific_name, d.common_name) for d in table.detections)
        return counts


def identify(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    options: Options | None = None,
    *,
    model: str | Path = DEFAULT_MODEL,
    out: str | os.PathLike[str] | None = None,
    formats: Sequence[str] | None = None,
    recordings: dict[Path, Origin] | None = None,
    workers: int | None = None,
    engine: Engine = "auto",
    resume: bool = False,
    overwrite: bool = False,
    store: ModelStore | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Find the birds in recordings.

    Args:
        paths: files, folders (searched to any depth) and globs.
        options: thresholds, overlap, place, merging.
        model: a built-in model's name, or a bundle's folder.
        out: a file for one table of all recordings, or a folder for one table per recording; None keeps the
            detections in the returned `Run` only.
        formats: names of table formats; default: by the suffix of `out`, else csv.
        recordings: place and time by absolute path, stronger than the files' own metadata.
        workers: cores to use; default: all that this process may use.
        resume: add to a finished run: new and changed recordings, and those that failed.
        overwrite: replace a finished or interrupted run.

    An interrupted run is continued by the same call; its result equals that of an undisturbed one.

    Raises:
        InputError: no recordings, or an option out of range, or another model or options than the run to continue.
        ModelError: the model cannot be had or run.
        OutputExists: `out` is there already, and neither `resume` nor `overwrite` was given.
        OutputError: results cannot be written.
        Busy: another process is writing to `out`.
    """
    options = options or Options()
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = find_recordings(given)
    store = store or ModelStore(default_folder())
    bundle = store.open(model)
    plan = WindowPlan.from_seconds(
        rate_hz=bundle.info.sample_rate_hz,
        window_s=bundle.info.window_s,
        overlap_s=options.overlap_s,
    )
    range_filter = _range_filter(bundle, options, recordings, store)
    builder = TableBuilder(bundle, plan, options, range_filter, recordings or {})
    provenance = _provenance(bundle, options, range_filter)
    target = None if out is None else Target.of(Path(out), formats)
    run = Run(bundle, provenance, found, Progress(len(found)), _builder=builder)
    if target is None:
        run._scratch = tempfile.TemporaryDirectory(prefix="dawnchorus-")
        run._journal = Journal(Path(run._scratch.name) / "journal")
        run._journal.start(_key(bundle, options))
        _score(run, plan, _selection(bundle, options), workers, engine, on_progress)
        return run
    with target.locked():
        run._journal = target.open_journal(_key(bundle, options), resume=resume, overwrite=overwrite)
        _score(run, plan, _selection(bundle, options), workers, engine, on_progress)
        target.write(run)
        run._journal.finished = True
    return run


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _score(
    run: Run,
    plan: WindowPlan,
    selection: Selection,
    workers: int | None,
    engine: Engine,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    journal, progress = run._journal, run.progress
    if journal is None:
        return
    marks = {path: file_mark(path) for path in run.paths}
    waiting = [path for path in run.paths if not journal.is_done(path)]
    progress.n_resumed = len(run.paths) - len(waiting)
    if on_progress:
        on_progress(progress)
    n_workers = workers or usable_cores()
    results = score_recordings(waiting, run.bundle, plan=plan, selection=selection, n_workers=n_workers, engine=engine)
    for result in results if waiting else ():
        journal.add(result, marks[result.path])
        if isinstance(result, Failed):
            progress.n_failed += 1
        else:
            progress.n_done += 1
            progress.scored_s += result.duration_s
            progress.n_detections += len(result.hits)
        if on_progress:
            on_progress(progress)
    for path in run.paths:
        _note_problems(run, journal.read(path))


def _note_problems(run: Run, result: Scored | Failed | None) -> None:
    if isinstance(result, Failed):
        run.failures.append(Failure(printable(result.path), result.reason))
    elif result is not None:
        name = printable(result.path)
        run.warnings.extend(Failure(name, warning) for warning in result.warnings)


def _selection(bundle: Bundle, options: Options) -> Selection:
    thresholds = np.full(len(bundle.labels), options.min_score, np.float32)
    known = bundle.class_by_scientific_name
    for name, value in {**bundle.info.thresholds, **options.thresholds}.items():
        if name in known:
            thresholds[known[name]] = value
    if options.species is not None:
        wanted = [known[name] for name in options.species if name in known]
        if not wanted:
            raise InputError(
                f"species list: none of its {len(options.species)} names is a class of the model "
                f"{bundle.info.name}. Names are scientific ('Parus major') or labels ('Parus major_Great Tit')."
            )
        others = np.ones(len(bundle.labels), bool)
        others[wanted] = False
        thresholds[others] = np.inf
    return Selection(thresholds=thresholds, top=options.top)


def _range_filter(
    bundle: Bundle, options: Options, recordings: dict[Path, Origin] | None, store: ModelStore
) -> RangeFilter | None:
    if bundle.range_path.is_file():
        source = bundle
    elif options.latitude is None and not any(o.latitude is not None for o in (recordings or {}).values()):
        return None
    else:
        source = store.open(DEFAULT_MODEL)
    return RangeFilter(source, bundle=bundle, threshold=options.range_threshold)


def _key(bundle: Bundle, options: Options) -> dict[str, Any]:
    return {"bundle_id": bundle.id, **options.scoring()}


def _provenance(bundle: Bundle, options: Options, range_filter: RangeFilter | None) -> Provenance:
    parameters = {
        **options.scoring(),
        "merge": options.merge,
        "latitude": options.latitude,
        "longitude": options.longitude,
        "week": options.week,
        "range_filter": range_filter is not None and options.latitude is not None,
        "range_threshold": options.range_threshold,
        "drop_out_of_range": options.drop_out_of_range,
    }
    return Provenance(
        model=bundle.info.name,
        model_version=bundle.info.version,
        bundle_id=bundle.id,
        software=SOFTWARE,
        parameters=parameters,
    )
