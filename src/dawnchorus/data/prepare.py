"""Preparation of clips: recordings are decoded, cleaned, cut and stored, in parallel processes."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.parallel import map_recordings
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.write import write_recording
from dawnchorus.data.check import RecordingCheck, check_analyses, failed_check, mark_duplicates, read_check
from dawnchorus.data.clips import FULL_SCALE, SAMPLE, ClipWriter
from dawnchorus.data.cutting import cut_clips
from dawnchorus.data.recipes import Recipe
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, select_usable
from dawnchorus.errors import AudioError
from dawnchorus.inference.preparation import Cleaner, KeptSegments, sample_ranges
from dawnchorus.storage.files import cannot_write
from dawnchorus.storage.safe_names import safe_name
from dawnchorus.types import Progress, Report, Segment, ignore_progress

PREPARE_VERSION = 4
"""Version in each recording's key; to be raised if the same recipe yields different clips."""


@dataclass(frozen=True, kw_only=True)
class PrepareSummary:
    """Result of a preparation."""

    n_recordings: int
    """Number of recordings that this call has prepared."""
    n_before: int
    """Number of recordings that earlier calls had prepared, and whose clips are used."""
    n_left_out: int
    """Number of recordings that are skipped as missing, unreadable, silent, or copies of others."""
    n_clips: int
    """Number of clips in the index: of all usable recordings, prepared in this call or before."""
    cut_s: dict[str, float] = field(default_factory=dict)
    """Seconds that cleaning removed (silent start and end, speech), by recording_id; without recordings from which
    nothing was removed."""
    failures: dict[str, str] = field(default_factory=dict)
    """Reasons, by recording_id, why this call could not prepare recordings."""


def prepare(
    table: RecordingsTable,
    folder: Path,
    recipe: Recipe,
    *,
    seed: int,
    n_workers: int,
    cleaner: Cleaner | None = None,
    speech_folder: Path | None = None,
    calls: Mapping[str, Sequence[float]] = MappingProxyType({}),
    wait_s: float = 0.0,
    report: Report = ignore_progress,
) -> PrepareSummary:
    """Cut all usable recordings into clips, and add them to a folder; recordings prepared before are skipped.

    Recordings that are missing, unreadable, silent, or copies of others are not usable. A recording whose audio or
    `calls` have changed since it was prepared is prepared again. The index is written for all usable recordings of
    `table`.

    Args:
        table: the data set.
        folder: the folder of clips, which is created if missing.
        recipe: settings of the clips.
        seed: seed for random choices and noise.
        n_workers: number of decoder processes.
        cleaner: applies the recipe's cleaning; None creates one, which is only possible if speech is not cut.
        speech_folder: folder for one WAV file per recording with all segments that cleaning removed (speech, silent
            start and end); None discards them.
        calls: times in seconds at which a recording's species calls, the highest score first, by recording_id, for the
            clip selection "scored"; recordings without such times get their loudest clips.
        wait_s: maximum time to wait for another process that writes to the folder.
        report: called with the progress after each recording.

    Raises:
        InputError: the folder contains clips of another recipe or seed.
        BusyError: another process still writes to the folder after `wait_s`.
        OutputError: no space, or no permission.
        ValueError: the recipe cuts speech, and `cleaner` is None.
    """
    rows = select_usable(table.rows, copies=False)
    writer = ClipWriter(
        folder, window_samples=recipe.window_samples, recipe={**recipe.as_json(), "seed": seed}, wait_s=wait_s
    )
    failures: dict[str, str] = {}
    try:
        every = (_task(table, row, recipe, seed, calls) for row in rows)
        tasks = [task for task in every if not _is_prepared(writer, task.recording_id, task.key)]
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=folder) as scratch:
            work = partial(
                _cut_recording,
                recipe=recipe,
                seed=seed,
                cleaner=cleaner or Cleaner(recipe.cleaning),
                scratch=Path(scratch),
                speech_folder=speech_folder,
            )
            results = map_recordings(work, tasks, n_workers=n_workers)
            for n, (task, result) in enumerate(zip(tasks, results, strict=True), 1):
                if isinstance(result, AudioError):
                    failures[task.recording_id] = result.reason
                else:
                    writer.add(task.recording_id, task.key, result.path, result.times, result.cuts)
                    result.path.unlink()
                report(Progress("preparing", n, len(tasks), "recordings"))
        return PrepareSummary(
            n_recordings=len(tasks) - len(failures),
            n_before=len(rows) - len(tasks),
            n_left_out=len(table.rows) - len(rows),
            n_clips=writer.write_index(rows),
            cut_s=dict(_cut_seconds(writer, rows)),
            failures=failures,
        )
    finally:
        writer.close()


def check_and_cut(
    table: RecordingsTable,
    folder: Path,
    recipe: Recipe,
    *,
    seed: int,
    n_workers: int,
    cleaner: Cleaner,
    wait_s: float = 0.0,
    report: Report = ignore_progress,
) -> RecordingsTable:
    """Check the recordings as `check_table` does, and cut them into clips in the same pass of decoding.

    Returns the checked table; recordings that cannot be decoded are in it with a problem, and have no clips. The index
    is not written: a later `prepare` with the same folder, recipe and seed skips the recordings that were cut, and
    writes the index. The arguments are those of `prepare`.

    Raises:
        InputError, BusyError, OutputError: see `prepare`.
    """
    writer = ClipWriter(
        folder, window_samples=recipe.window_samples, recipe={**recipe.as_json(), "seed": seed}, wait_s=wait_s
    )
    checks: list[RecordingCheck] = []
    try:
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=folder) as scratch:
            work = partial(
                _check_and_cut_recording, table=table, recipe=recipe, seed=seed, cleaner=cleaner, scratch=Path(scratch)
            )
            for check, clips in map_recordings(work, table.rows, n_workers=n_workers):
                checks.append(check)
                if clips is not None:
                    key = _key(table, check.row, recipe, seed, ())
                    if not _is_prepared(writer, check.row.recording_id, key):
                        writer.add(check.row.recording_id, key, clips.path, clips.times, clips.cuts)
                    clips.path.unlink()
                report(Progress("checking", len(checks), len(table.rows), "recordings"))
    finally:
        writer.close()
    return table.with_rows(mark_duplicates(checks))


@dataclass(frozen=True)
class _Task:
    """A recording to cut, and the digest (key) of all that its clips depend on."""

    recording_id: str
    path: Path
    key: str
    calls: Sequence[float]


def _task(
    table: RecordingsTable, row: RecordingRow, recipe: Recipe, seed: int, calls: Mapping[str, Sequence[float]]
) -> _Task:
    own_calls = calls.get(row.recording_id, ())
    return _Task(row.recording_id, table.file(row), _key(table, row, recipe, seed, own_calls), own_calls)


def _is_prepared(writer: ClipWriter, recording_id: str, key: str) -> bool:
    """Return True if clips of the recording exist with the same key."""
    location = writer.find_location(recording_id)
    return location is not None and location.key == key


def _cut_seconds(writer: ClipWriter, rows: Sequence[RecordingRow]) -> Iterator[tuple[str, float]]:
    """Yield (recording_id, removed seconds) of recordings from which segments were removed."""
    for row in rows:
        location = writer.find_location(row.recording_id)
        if location is not None and location.cuts:
            yield row.recording_id, sum(end - start for start, end in location.cuts)


def _key(table: RecordingsTable, row: RecordingRow, recipe: Recipe, seed: int, calls: Sequence[float]) -> str:
    identity: object = row.audio_hash
    if identity is None:
        try:
            status = table.file(row).stat()
            identity = [status.st_size, status.st_mtime_ns]
        except OSError:
            identity = None
    facts = [PREPARE_VERSION, row.recording_id, identity, recipe.as_json(), seed, list(calls)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _CutRecording:
    """A file with the clips of a recording, their times, and the removed segments, in seconds of the recording."""

    path: Path
    times: list[tuple[float, float]]
    cuts: list[tuple[float, float]]


def _cut_recording(
    decoder: DecoderProcess,
    task: _Task,
    *,
    recipe: Recipe,
    seed: int,
    cleaner: Cleaner,
    scratch: Path,
    speech_folder: Path | None,
) -> _CutRecording | AudioError:
    """Write the clips of a recording to a file in `scratch`; return the error if it cannot be decoded."""
    path = scratch / task.key
    try:
        with cleaner.open(decoder, task.path, rate_hz=recipe.rate_hz) as recording:
            times = _write_clips(
                path,
                recording.blocks(),
                recording.kept,
                recipe,
                recording_id=task.recording_id,
                seed=seed,
                calls=task.calls,
            )
            removed = recording.kept.removed(recording.duration_s)
    except AudioError as error:
        path.unlink(missing_ok=True)
        return error
    if speech_folder is not None and removed:
        name = safe_name(f"{task.recording_id}.speech.wav")
        samples = np.concatenate(list(_read_segments(decoder, task.path, removed, rate_hz=recipe.rate_hz)))
        write_recording(speech_folder / name, samples, rate_hz=recipe.rate_hz)
    return _CutRecording(path, times, _rounded(removed))


def _check_and_cut_recording(
    decoder: DecoderProcess,
    row: RecordingRow,
    *,
    table: RecordingsTable,
    recipe: Recipe,
    seed: int,
    cleaner: Cleaner,
    scratch: Path,
) -> tuple[RecordingCheck, _CutRecording | None]:
    """Check a recording, and write its clips to a file in `scratch`; (check, None) if it cannot be decoded."""
    path = scratch / hashlib.sha256(row.recording_id.encode()).hexdigest()
    try:
        with cleaner.open(decoder, table.file(row), rate_hz=recipe.rate_hz, analyses=check_analyses()) as recording:
            blocks = recording.blocks()
            times = _write_clips(path, blocks, recording.kept, recipe, recording_id=row.recording_id, seed=seed)
            for _block in blocks:  # the check needs all of it
                continue
            cuts = _rounded(recording.kept.removed(recording.duration_s))
            return read_check(table, row, recording), _CutRecording(path, times, cuts)
    except AudioError as error:
        path.unlink(missing_ok=True)
        return failed_check(row, error), None


def _write_clips(
    path: Path,
    blocks: Iterator[FloatArray],
    kept: KeptSegments,
    recipe: Recipe,
    *,
    recording_id: str,
    seed: int,
    calls: Sequence[float] = (),
) -> list[tuple[float, float]]:
    """Write the clips of an opened recording to a file, and return their (start, end) in seconds; see `cut_clips`.

    Raises:
        OutputError: no space, or no permission.
    """
    times = []
    name = int(hashlib.sha256(recording_id.encode()).hexdigest()[:12], 16)
    try:
        with path.open("wb") as file:
            for clip in cut_clips(blocks, kept, recipe, calls=calls, rng=np.random.default_rng([seed, name])):
                file.write(np.rint(np.clip(clip.samples, -1, 1) * FULL_SCALE).astype(SAMPLE).tobytes())
                times.append((clip.start_s, clip.end_s))
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    return times


def _rounded(segments: Iterable[Segment]) -> list[tuple[float, float]]:
    return [(round(each.start_s, 3), round(each.end_s, 3)) for each in segments]


def _read_segments(
    decoder: DecoderProcess, path: Path, segments: Sequence[Segment], *, rate_hz: int
) -> Iterator[FloatArray]:
    """Yield the samples in the segments of a recording, in blocks."""
    n = 0
    with decoder.open(path, rate_hz=rate_hz) as recording:
        for block in recording.blocks():
            for start, stop in sample_ranges(segments, n, len(block), rate_hz):
                yield block[start:stop].copy()
            n += len(block)
