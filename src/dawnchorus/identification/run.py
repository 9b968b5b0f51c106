"""The function `identify`, from recordings to detections; a journal makes runs resumable."""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from dawnchorus.arguments import count_workers
from dawnchorus.audio.discovery import find_recordings
from dawnchorus.audio.sources import AudioSource, is_in_memory, open_audio
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import InputError
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import NO_FILE, FileVersion, Journal, file_version
from dawnchorus.identification.options import OptionFields, Options, as_options
from dawnchorus.identification.output import OutputLocation, choose_location, write_outputs
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.result import Run, RunCounts
from dawnchorus.identification.resuming import lock_output, open_journal
from dawnchorus.identification.score_filter import build_score_filter
from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.model import Model, load_model
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.inference.scoring import score_recordings
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.inference.speech import VoiceActivityDetector
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.store import DEFAULT_MODEL
from dawnchorus.storage.paths import absolute_path, as_path, can_list, full_name, is_remote
from dawnchorus.types import RecordingMetadata, Report, ignore_progress

N_SPARE_REMOTE = 1
"""Number of recordings from a store that are decoded in addition to one for each worker.

They keep all workers busy while the first bytes of a recording arrive: decoding is twenty times as fast as scoring.
Each one is a process, whose start takes a quarter of a second of CPU time (`python -m bench storage`).
"""


def identify(
    audio: AudioSource | Iterable[str | os.PathLike[str]],
    options: Options | None = None,
    *,
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    out: str | os.PathLike[str] | None = None,
    formats: Sequence[str] | str | None = None,
    combined: bool = False,
    recordings: Mapping[Path, RecordingMetadata] | None = None,
    analyses: Iterable[str] | str | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore_progress,
    **changes: Unpack[OptionFields],
) -> Run:
    """Detect birds in recordings.

    An interrupted run is resumed by the same call; its result equals that of an undisturbed run.

    Args:
        audio: files, folders (searched to any depth) and globs, also by URL (docs/STORES.md); or one sound: an open
            file, a file's bytes, or `(samples, sample_rate_hz)` with samples [frames] or [frames, channels].
        options: thresholds, overlap, location, merging; default: those of `Options`.
        model: a built-in model's name, a bundle's or training run's folder, or a loaded model.
        out: a file for one table of all recordings, or a folder for one table per recording, also by URL; None returns
            the detections in the `Run` only.
        formats: one or several of "csv", "raven", "audacity", "kaleidoscope", "parquet", "jsonl", "birdnet",
            "opensoundscape" or plug-ins' formats; default: by the suffix of `out`, else "csv".
        combined: with a folder as `out`, write one table of all recordings in each format, instead of one per
            recording.
        recordings: location and time by path (relative to the working directory), which take precedence over the
            files' metadata; default: only the files' metadata. The options `latitude` and `longitude` take precedence
            over both.
        analyses: name or names of analyses of the recordings' original samples ("health", "indices", or a plug-in's);
            their tables are in `Run.analysis_tables`, and are written next to `out`; default: none.
        workers: number of cores to use; default: all that this process may use.
        resume: add to a finished run: new and changed recordings, those that failed, and those for which an analysis
            failed. Earlier results stay; a table that was changed by others since is renamed, and written again.
        overwrite: replace a finished or interrupted run; takes precedence over `resume`.
        report: function that is called with the progress, in the caller's thread, after every recording and several
            times per second; `RunCounts` has its metrics.
        changes: options by name, which take precedence: `identify("recordings/", latitude=52.5, longitude=13.4)`.

    Raises:
        InputError: no recordings, an argument out of range, an unknown format or analysis, `formats`, `combined` or
            `resume` without `out`, a species list without a class of the model, or another model or options than the
            run to resume.
        ModelError: the model cannot be loaded or run, or its scores are not finite.
        StoreError: a store refused access, or cannot be reached.
        MissingExtraError: the extra [cloud] is not installed, and there are URLs; the library that runs the model
            is not installed; or noisereduce is not, and the model cleans recordings by noise reduction.
        TypeError: `changes` has an unknown option.
        OutputExistsError: `out` has a finished run, and neither `resume` nor `overwrite` was given; or it has output
            files without a usable journal, and `overwrite` was not given.
        JournalDamagedError: the journal in `out` is damaged, `resume` was given, and `overwrite` was not.
        PlugInError: a plug-in's format or analysis cannot be used, or failed while tables were written.
        OutputError: results cannot be written.
        BusyError: another process is writing to `out`.
    """
    options = as_options(options).with_changes(changes)
    n_workers = count_workers(workers)
    analyses = tuple(dict.fromkeys(ANALYSES.lookup(name).name for name in _as_names(analyses or ())))
    recordings = {} if recordings is None else _by_absolute_path(recordings)
    if out is None and (formats or combined or resume):
        raise InputError("out: expected a file or a folder, since formats, combined or resume is given.")
    if resume and is_in_memory(audio):
        raise InputError(
            "resume: expected paths of recordings, got a sound in memory, which has no path to be known by. "
            "Give another out, or overwrite=True, or write the sound to a file first."
        )
    model = load_model(model)
    with _list_recordings(audio) as (listed, names):
        loaded = load_sessions(model, options)
        plan = build_run_plan(model, options, analyses)
        range_filter = open_range_filter(model, options, recordings)
        builder = TableBuilder(model.bundle, plan.windows, options, range_filter, recordings, names)
        location = (
            None
            if out is None
            else choose_location(as_path(out), _as_names(formats or ()), combined=combined, analyses=analyses)
        )
        key = _build_key(model.bundle, options, analyses)
        with _open_journal(location, key, listed, resume=resume, overwrite=overwrite) as journal:
            paths = _with_earlier(listed, journal) if resume else listed
            versions = {path: file_version(path) for path in paths}
            needed = analyses if resume else ()
            done = {path for path in paths if journal.is_done(path, versions[path], analyses=needed)}
            counts = RunCounts(len(paths), n_resumed=len(done))
            waiting = {path: versions[path] for path in paths if path not in done}
            steps = _score(waiting, journal, loaded, plan, counts, n_workers=n_workers)
            # Also where `report` raises: threads and decoders end now, not with the exception.
            with closing(steps):
                for counts in steps:
                    report(counts.as_progress("identifying"))
            run = Run(
                model.bundle,
                tuple(paths),
                counts,
                journal,
                builder,
                analyses=analyses,
                formats=() if location is None else location.formats,
                gone=tuple(path for path in paths if path in done and versions[path] == NO_FILE),
            )
            if location is not None:
                run = replace(run, written=write_outputs(run, location))
            weakref.finalize(run, journal.close)
            return run


def _as_names(names: Iterable[str] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _by_absolute_path(recordings: object) -> dict[Path, RecordingMetadata]:
    """Return the metadata of recordings by absolute path.

    Raises:
        InputError: `recordings` is not a mapping from paths to metadata.
    """
    got = list(recordings.values()) if isinstance(recordings, Mapping) else [recordings]
    wrong = [type(each).__name__ for each in got if not isinstance(each, RecordingMetadata)]
    if wrong or not isinstance(recordings, Mapping):
        kind = wrong[0] if wrong else type(recordings).__name__
        raise InputError(f"recordings: expected a RecordingMetadata by path, in a dictionary, got {kind}.")
    return {absolute_path(as_path(path)): metadata for path, metadata in recordings.items()}


@contextmanager
def _list_recordings(
    audio: AudioSource | Iterable[str | os.PathLike[str]],
) -> Iterator[tuple[list[Path], dict[Path, str]]]:
    """Yield the recordings, and the names of those that are not named by their path."""
    if is_in_memory(audio):
        with open_audio(audio) as file:
            yield [file.path], {file.path: printable(file.name)}
        return
    yield find_recordings([audio] if isinstance(audio, str | os.PathLike) else _check_paths(audio)), {}


def _check_paths(audio: object) -> list[str | os.PathLike[str]]:
    """Check that all elements are paths, and return them as a list.

    Raises:
        InputError: the value is something else, such as samples without their rate.
    """
    paths: list[str | os.PathLike[str]] = []
    for path in audio if isinstance(audio, Iterable) else (None,):
        if not isinstance(path, str | os.PathLike):
            raise InputError(
                f"audio: expected paths, a sound file's bytes, an open file, or (samples, sample_rate_hz), "
                f"got {type(audio).__name__}. Give samples with their rate, as in identify((samples, 48_000))."
            )
        paths.append(path)
    return paths


@contextmanager
def _open_journal(
    location: OutputLocation | None, key: dict[str, Any], paths: list[Path], *, resume: bool, overwrite: bool
) -> Iterator[Journal]:
    """Yield the journal: next to the output, which is locked meanwhile, or a temporary one.

    It stays open after the block, for the `Run`.
    """
    with nullcontext() if location is None else lock_output(location):
        if location is None:
            journal = Journal(None)
            journal.start(key)
        else:
            journal = open_journal(location, key, paths, resume=resume, overwrite=overwrite)
        try:
            yield journal
        except BaseException:
            journal.close()
            raise


def _build_key(bundle: Bundle, options: Options, analyses: Sequence[str]) -> dict[str, Any]:
    """Return the settings that determine the contents of a journal, the `key` of `resuming.open_journal`."""
    # Two bundles may have one graph, and activate or clean differently.
    key = {"bundle_id": bundle.id, "activation": bundle.info.activation, **options.scoring()}
    if bundle.info.cleaning:
        key["cleaning"] = bundle.info.cleaning.model_dump(exclude_defaults=True)
    if analyses:
        key["analyses"] = sorted(analyses)
    return key


def build_run_plan(model: Model, options: Options, analyses: Sequence[str]) -> ScoringPlan:
    """Return the scoring plan of a run, with a speech detector if the option `speech` is not None.

    `analyses` are names of analyses of the recordings' original samples.

    Raises:
        InputError: the overlap is as long as the model's window, none of the requested species is a class, two names of
            a class have different thresholds, or the state of an analysis cannot be created or pickled.
        PlugInError: an analysis of a plug-in failed.
        ModelError: the speech detector cannot be downloaded.
    """
    detector = VoiceActivityDetector(speech_graph(model.store.folder)) if options.speech is not None else None
    sample_analyses = [ANALYSES[name] for name in analyses]
    for analysis in sample_analyses:
        analysis.check()
    return build_scoring_plan(model.bundle, options, speech_detector=detector, sample_analyses=sample_analyses)


def load_sessions(model: Model, options: Options) -> LoadedModel:
    """Return the loaded model, with separate sessions for test-time augmentation if `options.tta_shifts` is above 1.

    Raises:
        ModelError: the model's cleaning removes speech, and the speech detector cannot be downloaded.
    """
    if options.tta_shifts == 1:
        return model.loaded
    return replace(model.loaded, sessions=SessionPool(model.bundle, options.tta_shifts))


def _with_earlier(paths: list[Path], journal: Journal) -> list[Path]:
    """Return the recordings in the journal that `paths` lacks, followed by `paths`.

    Folders that could not be listed, and now can be, are left out.
    """
    given = {full_name(path) for path in paths}
    return [path for path in journal.paths() if full_name(path) not in given and not can_list(path)] + paths


def _score(
    waiting: Mapping[Path, FileVersion],
    journal: Journal,
    model: LoadedModel,
    plan: ScoringPlan,
    counts: RunCounts,
    *,
    n_workers: int,
) -> Generator[RunCounts, None, None]:
    """Score recordings, store each result in the journal, and yield the counts.

    `waiting` has the version of each recording's file.
    """
    yield counts
    if not waiting:
        return
    max_active = count_active(waiting, n_workers)
    with closing(score_recordings(waiting, model, plan, n_workers=n_workers, max_active=max_active)) as steps:
        for step in steps:
            if step.scored is not None:
                journal.add(step.scored, waiting[step.scored.path])
            if step.failed is not None:
                journal.add_failure(step.failed, waiting[step.failed.path])
            counts = counts.after(step, plan.windows)
            yield counts


def count_active(paths: Iterable[Path], n_workers: int) -> int:
    """Return the number of recordings to decode at the same time.

    It is `n_workers`, plus `N_SPARE_REMOTE` if any of `paths` is in a store.
    """
    return n_workers + N_SPARE_REMOTE if any(map(is_remote, paths)) else n_workers


def build_scoring_plan(
    bundle: Bundle,
    options: Options,
    *,
    speech_detector: VoiceActivityDetector | None = None,
    limits: Limits | None = None,
    sample_analyses: Sequence[Analysis] = (),
) -> ScoringPlan:
    """Return the scoring plan for a bundle and options; its only window analysis is "hits", the scores to report.

    Args:
        bundle: the model.
        options: options of the run.
        speech_detector: speech detector; None for no speech detection.
        limits: limits of length and channels, beyond which a recording fails; None for no limits.
        sample_analyses: analyses of the recordings' original samples.

    Raises:
        InputError: the overlap is as long as the bundle's window, none of the requested species is a class, or two
            names of a class have different thresholds.
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


def open_range_filter(
    model: Model, options: Options, recordings: Mapping[Path, RecordingMetadata] | None
) -> RangeFilter | None:
    """Open the range filter of a run.

    The range model of the model's bundle is used. A bundle without a range model gets that of the default model if
    `options` or `recordings` (location and time by path) have a location, else the result is None; locations in the
    files are not looked at.

    Raises:
        ModelError: the default model cannot be loaded, or has no range model.
    """
    if model.bundle.range_path.is_file():
        source = model.bundle
    elif options.latitude is None and not any(o.latitude is not None for o in (recordings or {}).values()):
        return None
    else:
        source = model.store.open(DEFAULT_MODEL)
    return RangeFilter(source, bundle=model.bundle, threshold=options.range_threshold)
