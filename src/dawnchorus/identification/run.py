"""`identify`: from paths to tables of detections, with a journal, so that nothing is lost."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Unpack, cast

import numpy as np

from dawnchorus.audio.discovery import find_recordings
from dawnchorus.audio.sounds import Sound, is_in_memory, open_sound
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import NO_FILE, Journal, file_mark
from dawnchorus.identification.options import DEFAULT_RANGE_THRESHOLD, OptionFields, Options
from dawnchorus.identification.output import Target
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.result import Progress, RecordingFailure, Run
from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.hits import ScoreFilter
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.model import Model, load_model
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.inference.results import FailedRecording
from dawnchorus.inference.scoring import score_recordings
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.inference.speech import VoiceActivityDetector
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.store import DEFAULT_MODEL
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import RecordingMetadata


def identify(
    audio: Sound | Iterable[str | os.PathLike[str]],
    options: Options | None = None,
    *,
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    out: str | os.PathLike[str] | None = None,
    formats: Sequence[str] | None = None,
    combined: bool = False,
    recordings: dict[Path, RecordingMetadata] | None = None,
    analyses: Iterable[str] = (),
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **changes: Unpack[OptionFields],
) -> Run:
    """Find the birds in recordings.

    Args:
        audio: files, folders (searched to any depth) and globs; or one sound: an open file, a file's bytes, or
            `(samples, sample_rate_hz)` with samples [frames] or [frames, channels].
        options: thresholds, overlap, location, merging; default: those of `Options`.
        model: a built-in model's name, a bundle's or training run's folder, or a loaded model.
        out: a file for one table of all recordings, or a folder for one table per recording; None keeps the
            detections in the returned `Run` only.
        formats: names of table formats; default: by the suffix of `out`, else csv.
        combined: with a folder as `out`, one table of all recordings in each format, instead of one per recording.
        recordings: location and time by absolute path, stronger than the files' own metadata.
        analyses: names of analyses of the recordings' own samples ("health", "indices", or another package's), whose
            tables `Run.analysis_tables` has; they are written next to `out`.
        workers: cores to use; default: all that this process may use.
        resume: add to a finished run: new and changed recordings, and those that failed. What it had stays.
        overwrite: replace a finished or interrupted run.
        on_progress: called in the caller's thread, after every recording and some times in a second.
        changes: options by name, which take precedence: `identify("recordings/", latitude=52.5, longitude=13.4)`.

    An interrupted run is continued by the same call; its result equals that of an undisturbed one.

    Raises:
        InputError: no recordings, or an option out of range, or another model or options than the run to continue.
        ModelError: the model cannot be had or run.
        OutputExistsError: `out` is there already, and neither `resume` nor `overwrite` was given.
        OutputError: results cannot be written.
        BusyError: another process is writing to `out`.
    """
    options = (options or Options()).with_changes(changes)
    chosen = tuple(dict.fromkeys(ANALYSES.lookup(name).name for name in analyses))
    loaded = load_model(model)
    if is_in_memory(audio):
        with open_sound(audio) as file:
            names = {file.path: printable(file.name)}
            return _identify(
                [file.path], options, loaded, names=names, out=out, formats=formats, combined=combined,
                recordings=recordings, analyses=chosen, workers=workers, resume=resume, overwrite=overwrite,
                on_progress=on_progress,
            )  # fmt: skip
    paths = [audio] if isinstance(audio, str | os.PathLike) else cast(Iterable[str | os.PathLike[str]], audio)
    listed = find_recordings(paths)
    return _identify(
        listed, options, loaded, names={}, out=out, formats=formats, combined=combined, recordings=recordings,
        analyses=chosen, workers=workers, resume=resume, overwrite=overwrite, on_progress=on_progress,
    )  # fmt: skip


def _identify(
    listed: list[Path],
    options: Options,
    model: Model,
    *,
    names: Mapping[Path, str],
    out: str | os.PathLike[str] | None,
    formats: Sequence[str] | None,
    combined: bool,
    recordings: dict[Path, RecordingMetadata] | None,
    analyses: tuple[str, ...],
    workers: int | None,
    resume: bool,
    overwrite: bool,
    on_progress: Callable[[Progress], None] | None,
) -> Run:
    bundle = model.bundle
    detector = VoiceActivityDetector(speech_graph(model.store.folder)) if options.speech is not None else None
    sample_analyses = [ANALYSES[name] for name in analyses]
    plan = build_scoring_plan(bundle, options, speech_detector=detector, sample_analyses=sample_analyses)
    range_filter = open_range_filter(model, options, recordings)
    builder = TableBuilder(bundle, plan.windows, options, range_filter, recordings or {}, names)
    n_workers = workers or usable_cores()
    loaded = model.loaded
    if options.tta_shifts > 1:
        loaded = replace(loaded, sessions=SessionPool(bundle, options.tta_shifts))
    # Two bundles may have one graph, and activate or clean differently.
    key = {"bundle_id": bundle.id, "activation": bundle.info.activation, **options.scoring()}
    if bundle.info.cleaning:
        key["cleaning"] = bundle.info.cleaning.model_dump(exclude_defaults=True)
    if analyses:
        key["analyses"] = sorted(analyses)

    def finished_run(journal: Journal) -> Run:
        paths = _with_earlier(listed, journal) if resume else listed
        run = Run(bundle, paths, Progress(len(paths)), journal, builder, analyses=analyses)
        weakref.finalize(run, journal.close)
        if journal.replaced is not None:
            lost = "the journal of an earlier run was damaged, so its results could not be used; it is kept"
            run.warnings.append(RecordingFailure(printable(journal.replaced), lost))
        _score_waiting(run, loaded, plan, n_workers, on_progress)
        run.take_notes()
        run.note_dropped()
        run.notes += [*_notes_on_thresholds(bundle, options), *_notes_on_location(run, options)]
        return run

    if out is None:
        journal = Journal(None)
        journal.start(key)
        return finished_run(journal)
    target = Target.of(Path(out), formats, combined=combined)
    with target.locked():
        run = finished_run(target.open_journal(key, listed, resume=resume, overwrite=overwrite))
        run.note_channels(target.formats)
        target.write(run)
    return run


def _with_earlier(paths: list[Path], journal: Journal) -> list[Path]:
    """Return the recordings that earlier runs scored and `paths` does not have, and then these."""
    given = {os.path.abspath(path) for path in paths}
    return [path for path in journal.paths() if os.path.abspath(path) not in given] + paths


def _score_waiting(
    run: Run,
    model: LoadedModel,
    plan: ScoringPlan,
    n_workers: int,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Score what the journal does not have yet, and write every result to it as it comes."""
    journal, progress = run.journal, run.progress
    marks = {path: file_mark(path) for path in run.paths}
    waiting = [path for path in run.paths if not journal.is_done(path, marks[path])]
    for path in set(run.paths).difference(waiting):
        if marks[path] == NO_FILE:
            gone = "it is not there any more; what an earlier run found in it is kept"
            run.warnings.append(RecordingFailure(printable(path), gone))
    progress.n_resumed = len(run.paths) - len(waiting)
    if on_progress:
        on_progress(progress)
    if not waiting:
        return
    windows = plan.windows

    def note_windows(n: int) -> None:
        progress.scored_s += n * windows.hop_samples / windows.rate_hz
        if on_progress:
            on_progress(progress)

    results = score_recordings(waiting, model, plan, n_workers=n_workers, on_windows=note_windows)
    with closing(results):  # also where `on_progress` raises: threads and decoders end now, not with the exception
        for result in results:
            journal.add(result, marks[result.path])
            if isinstance(result, FailedRecording):
                progress.n_failed += 1
            else:
                progress.n_done += 1
                # Windows overlap, and the last one is filled up.
                progress.scored_s += sum(windows.scored_s(s) - _windows_s(s, windows) for s in result.kept_s)
                progress.n_detections += result.n_hits
            if on_progress:
                on_progress(progress)


def _windows_s(kept_s: float, plan: WindowPlan) -> float:
    return plan.start_s(plan.count(round(kept_s * plan.rate_hz)))


def build_scoring_plan(
    bundle: Bundle,
    options: Options,
    *,
    speech_detector: VoiceActivityDetector | None = None,
    limits: Limits | None = None,
    sample_analyses: Sequence[Analysis] = (),
) -> ScoringPlan:
    """Return what the options want done with each recording.

    Raises:
        InputError: the overlap is as long as the bundle's window, or none of the species asked for is a class.
    """
    windows = WindowPlan.from_seconds(
        rate_hz=bundle.info.sample_rate_hz, window_s=bundle.info.window_s, overlap_s=options.overlap_s
    )
    analyses = {"hits": build_score_filter(bundle, options)}
    return ScoringPlan(
        windows=windows,
        analyses=analyses,
        channel=options.channel,
        speech_detector=speech_detector,
        limits=limits,
        sample_analyses=sample_analyses,
    )


def build_score_filter(bundle: Bundle, options: Options) -> ScoreFilter:
    """Return the filter of the bundle's scores that the options describe.

    Raises:
        InputError: none of the species asked for is a class.
    """
    thresholds = np.full(len(bundle.labels), options.min_score, np.float32)
    known = bundle.class_by_scientific_name
    for name, value in bundle.info.thresholds.items():
        if name in known:
            thresholds[known[name]] = value
    for index, value in _thresholds_by_class(bundle, options).items():
        thresholds[index] = value
    if options.species is not None:
        wanted = list(_find_classes(bundle, options.species).values())
        if not wanted:
            raise InputError(
                f"species list: none of its {len(options.species)} names is a class of the model "
                f"{bundle.info.name}. Names are scientific ('Parus major'), labels ('Parus major_Great Tit') or those "
                f"that the model's labels have ('Great Tit')."
            )
        others = np.ones(len(bundle.labels), bool)
        others[wanted] = False
        thresholds[others] = np.inf
    return ScoreFilter(thresholds=thresholds, top=options.top)


def _find_classes(bundle: Bundle, names: Iterable[str]) -> dict[str, int]:
    """Return the index of the class of each name that the bundle has, by its scientific or its common name."""
    names = tuple(names)
    known = bundle.class_by_scientific_name
    others = [name for name in names if name not in known]
    known_classes = KnownClasses(bundle.labels if others else ())
    classes = {name: known[name] for name in names if name in known}
    for name in others:
        label = known_classes.find(Label(name, name))
        if label is not None:
            classes[name] = known[label.scientific_name]
    return classes


def _thresholds_by_class(bundle: Bundle, options: Options) -> dict[int, float]:
    """Return the smallest scores that the options give, by the index of the class.

    Raises:
        InputError: two names of one class have different ones.
    """
    first: dict[int, str] = {}
    for name, index in _find_classes(bundle, options.thresholds).items():
        other = first.setdefault(index, name)
        if options.thresholds[other] != options.thresholds[name]:
            raise InputError(
                f"thresholds: '{other}' and '{name}' are one class of the model {bundle.info.name}, but have the "
                f"scores {options.thresholds[other]:g} and {options.thresholds[name]:g}. Leave one of them out."
            )
    return {index: options.thresholds[name] for index, name in first.items()}


def _notes_on_thresholds(bundle: Bundle, options: Options) -> Iterator[str]:
    """Yield sentences if thresholds are given for species that are not reported, or others are reported as well."""
    by_name = _find_classes(bundle, options.thresholds)
    given = set(by_name.values())
    reported = set(_find_classes(bundle, options.species or bundle.class_by_scientific_name).values())
    others = [
        label for index, label in enumerate(bundle.labels) if index in reported - given and label.kind == "species"
    ]
    unused = [name for name, index in by_name.items() if index not in reported]
    if unused:
        yield (
            f"thresholds: {len(unused)} of {len(by_name)} are of species that the species list leaves out (as "
            f"{unused[0]}), and have no effect."
        )
    if options.thresholds and others:
        yield (
            f"thresholds: none for {len(others)} of {len(reported)} classes of {bundle.info.name} (as "
            f"{others[0].scientific_name}), which are reported from score {options.min_score:g} on. A species list "
            f"leaves them out."
        )


def _notes_on_location(run: Run, options: Options) -> Iterator[str]:
    """Yield a sentence if the options ask for a range check of which nothing can come."""
    range_filter = run.builder.range_filter
    if run.has_location and range_filter is not None and (note := range_filter.note()) is not None:
        yield note
    has_range_options = options.week is not None or options.range_threshold != DEFAULT_RANGE_THRESHOLD
    if (options.drop_out_of_range or has_range_options) and not run.has_location:
        yield (
            "no recording was checked for range: none has a location, or the model has no range model. Give "
            "latitude and longitude (--lat and --lon)."
        )


def open_range_filter(
    model: Model, options: Options, recordings: dict[Path, RecordingMetadata] | None
) -> RangeFilter | None:
    """Return the range filter, where a location is known or the bundle has one; else None."""
    if model.bundle.range_path.is_file():
        source = model.bundle
    elif options.latitude is None and not any(o.latitude is not None for o in (recordings or {}).values()):
        return None
    else:
        source = model.store.open(DEFAULT_MODEL)
    return RangeFilter(source, bundle=model.bundle, threshold=options.range_threshold)
