"""From recordings to clips of one length, by a recipe."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.parallel import map_recordings
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.audio.write import write_recording
from dawnchorus.data.clips import FULL_SCALE, SAMPLE, ClipWriter
from dawnchorus.data.recipes import MAX_CHOICE_S, Recipe
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.errors import AudioError
from dawnchorus.inference.preparation import WHOLE, Cleaner, sample_ranges
from dawnchorus.storage.safe_names import safe_name
from dawnchorus.types import Segment

FloatArray = npt.NDArray[np.float32]

PREPARE_VERSION = 3
"""Part of every key; raised when the same recipe gives other clips."""

_UNUSABLE = frozenset(("missing", "unreadable", "silent", "duplicate", "near_duplicate"))
_BATCH = 16


@dataclass
class PrepareSummary:
    """Result of a preparation."""

    n_recordings: int = 0
    n_before: int = 0
    """Recordings that an earlier run had prepared."""
    n_left_out: int = 0
    """Recordings that a check says cannot be used, or are copies."""
    n_clips: int = 0
    cut_s: dict[str, float] = field(default_factory=dict)
    """Seconds of speech cut, by recording_id."""
    failures: dict[str, str] = field(default_factory=dict)


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
    on_recording: Callable[[], None] = lambda: None,
) -> PrepareSummary:
    """Write the clips of every usable recording of `table` to `folder`; what is there already stays as it is.

    `cleaner` does the recipe's cleaning, and is needed where it cuts speech; what is removed is written to
    `speech_folder`, if there is one.
    `calls`, by recording_id, are seconds at which the species calls, the surest first, for clips taken by score.
    Another process that prepares clips there is waited for, for `wait_s`.

    Raises:
        InputError: the folder holds clips of another recipe.
        BusyError: another process prepares clips there.
        OutputError: no space, or no permission.
    """
    result = PrepareSummary()
    usable = [row for row in table.rows if not _UNUSABLE.intersection(row.problems)]
    result.n_left_out = len(table.rows) - len(usable)
    writer = ClipWriter(
        folder, window_samples=recipe.window_samples, recipe={**recipe.as_json(), "seed": seed}, wait_s=wait_s
    )
    cleaner = cleaner or Cleaner(recipe.cleaning)
    try:
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=folder) as scratch:
            waiting = list(_waiting(table, usable, writer, recipe, seed, calls))
            result.n_before = len(usable) - len(waiting)

            def work(decoder: DecoderProcess, entry: tuple[RecordingRow, str]) -> _Made:
                row, key = entry
                own_calls = calls.get(row.recording_id, ())
                making = _Making(row, key, recipe, seed, Path(scratch), cleaner, speech_folder, own_calls)
                return making.run(decoder, table.file(row))

            for made in map_recordings(work, waiting, n_workers=n_workers):
                if made.reason is not None:
                    result.failures[made.recording_id] = made.reason
                else:
                    writer.add(made.recording_id, made.key, made.clips, made.times, made.cuts)
                    result.n_recordings += 1
                made.clips.unlink(missing_ok=True)
                on_recording()
        result.n_clips = writer.write_index(usable)
        for row in usable:
            location = writer.find_location(row.recording_id)
            if location is not None and location.cuts:
                result.cut_s[row.recording_id] = sum(end - start for start, end in location.cuts)
    finally:
        writer.close()
    return result


def _waiting(
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    writer: ClipWriter,
    recipe: Recipe,
    seed: int,
    calls: Mapping[str, Sequence[float]],
) -> Iterator[tuple[RecordingRow, str]]:
    """Yield the recordings that were not yet prepared from the same sound, with their keys."""
    for row in rows:
        key = _key(table, row, recipe, seed, calls.get(row.recording_id, ()))
        location = writer.find_location(row.recording_id)
        if location is None or location.key != key:
            yield row, key


def _key(table: RecordingsTable, row: RecordingRow, recipe: Recipe, seed: int, calls: Sequence[float]) -> str:
    identity: object = row.sound_hash
    if identity is None:
        try:
            status = table.file(row).stat()
            identity = [status.st_size, status.st_mtime_ns]
        except OSError:
            identity = None
    facts = [PREPARE_VERSION, row.recording_id, identity, recipe.as_json(), seed, list(calls)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Made:
    """The clips of one recording in a file, or why there are none."""

    recording_id: str
    key: str
    clips: Path
    times: list[tuple[float, float]]
    cuts: list[tuple[float, float]]
    reason: str | None = None


class _Making:
    """One recording on its way to clips."""

    def __init__(
        self,
        row: RecordingRow,
        key: str,
        recipe: Recipe,
        seed: int,
        scratch: Path,
        cleaner: Cleaner,
        speech_folder: Path | None,
        calls: Sequence[float],
    ) -> None:
        self._row, self._key, self._recipe = row, key, recipe
        self._path = scratch / key
        self._cleaner = cleaner
        self._speech_folder = speech_folder
        self._calls = calls
        self._rng = np.random.default_rng([seed, int(key[:12], 16)])
        self._kept = WHOLE
        self._n_kept = 0
        self._duration_s = 0.0

    def run(self, decoder: DecoderProcess, path: Path) -> _Made:
        try:
            with self._path.open("wb") as file:
                times = [
                    self._write(file.write, clip, start)
                    for clips in self._clips(decoder, path)
                    for clip, start in clips
                ]
        except AudioError as error:
            return _Made(self._row.recording_id, self._key, self._path, [], [], str(error))
        removed = self._kept.removed(self._duration_s)
        if self._speech_folder is not None and removed:
            name = safe_name(f"{self._row.recording_id}.speech.wav")
            samples = np.concatenate(list(self._blocks_in(decoder, path, removed)))
            write_recording(self._speech_folder / name, samples, rate_hz=self._recipe.rate_hz)
        cuts = [(round(segment.start_s, 3), round(segment.end_s, 3)) for segment in removed]
        return _Made(self._row.recording_id, self._key, self._path, times, cuts)

    def _write(self, write: Callable[[bytes], object], clip: FloatArray, start: int) -> tuple[float, float]:
        recipe = self._recipe
        n_real = min(len(clip), self._n_kept - start)
        clip = self._fill(clip, n_real)
        if recipe.normalize:
            clip = clip * (0.9 / max(float(np.abs(clip).max()), 1e-9))
        write(np.rint(np.clip(clip, -1, 1) * FULL_SCALE).astype(SAMPLE).tobytes())
        return (
            round(self._kept.start_s(start / recipe.rate_hz), 3),
            round(self._kept.end_s((start + n_real) / recipe.rate_hz), 3),
        )

    def _fill(self, clip: FloatArray, n_real: int) -> FloatArray:
        """Return the clip, filled beyond the end of its recording as the recipe says."""
        n_missing = len(clip) - n_real
        if n_missing <= 0 or self._recipe.pad_mode == "zeros":
            return clip
        real = clip[:n_real]
        if self._recipe.pad_mode == "repeat":
            return np.resize(real, len(clip))
        level = 0.01 * float(np.sqrt(np.mean(real**2)))
        noise = level * self._rng.standard_normal(n_missing).astype(np.float32)
        return np.concatenate([real, noise])

    def _clips(self, decoder: DecoderProcess, path: Path) -> Iterator[list[tuple[FloatArray, int]]]:
        """Yield clips [window_samples] with their first sample in the kept sound, in batches."""
        recipe = self._recipe
        if recipe.clip_selection != "all":
            parts: list[FloatArray] = []
            for part in self._read_clean(decoder, path):
                parts.append(part)
                if self._n_kept >= MAX_CHOICE_S * recipe.rate_hz:
                    break
            audio = np.concatenate(parts) if parts else np.empty(0, np.float32)
            yield [(_window(audio, start, recipe.window_samples), start) for start in self._starts(audio)]
            return
        plan = WindowPlan(rate_hz=recipe.rate_hz, window_samples=recipe.window_samples, hop_samples=recipe.hop_samples)
        windower = Windower(plan, batch=_BATCH)
        n = 0
        for part in self._read_clean(decoder, path):
            for windows in windower.push(part):
                yield [(window, (n + k) * recipe.hop_samples) for k, window in enumerate(windows)]
                n += len(windows)
        rest = windower.finish()
        if rest is not None:
            yield [(window, (n + k) * recipe.hop_samples) for k, window in enumerate(rest)]

    def _starts(self, audio: FloatArray) -> list[int]:
        recipe = self._recipe
        last = len(audio) - recipe.window_samples
        if not len(audio):
            return []
        if recipe.clip_selection == "first" or last <= 0:
            return [0]
        if recipe.clip_selection == "random":
            return sorted(self._rng.integers(0, last + 1, recipe.n_clips).tolist())
        if recipe.clip_selection == "scored" and self._calls:
            return sorted(self._called_starts(last))
        return sorted(loudest_starts(audio, recipe.window_samples, recipe.n_clips))

    def _called_starts(self, last: int) -> list[int]:
        """Return the starts of windows with a call in their middle, without overlap."""
        recipe = self._recipe
        chosen: list[int] = []
        for call_s in self._calls:
            middle = round(self._kept.kept_s(call_s) * recipe.rate_hz)
            start = min(max(middle - recipe.window_samples // 2, 0), last)
            if all(abs(start - other) >= recipe.window_samples for other in chosen):
                chosen.append(start)
            if len(chosen) == recipe.n_clips:
                break
        return chosen

    def _read_clean(self, decoder: DecoderProcess, path: Path) -> Iterator[FloatArray]:
        """Yield the cleaned recording, block by block."""
        with self._cleaner.open(decoder, path, rate_hz=self._recipe.rate_hz) as recording:
            self._kept = recording.kept
            for block in recording.blocks():
                self._n_kept += len(block)
                yield block.copy()
            self._duration_s = recording.duration_s

    def _blocks_in(self, decoder: DecoderProcess, path: Path, segments: Sequence[Segment]) -> Iterator[FloatArray]:
        """Yield the samples in spans of the recording, block by block."""
        rate_hz = self._recipe.rate_hz
        n = 0
        with decoder.open(path, rate_hz=rate_hz) as recording:
            for block in recording.blocks():
                for start, stop in sample_ranges(segments, n, len(block), rate_hz):
                    yield block[start:stop].copy()
                n += len(block)


def _window(audio: FloatArray, start: int, window_samples: int) -> FloatArray:
    window = np.zeros(window_samples, np.float32)
    part = audio[start : start + window_samples]
    window[: len(part)] = part
    return window


def loudest_starts(audio: FloatArray, window_samples: int, n_clips: int) -> list[int]:
    """Return the starts of the windows with the most sound, without overlap; wind counts little.

    Loudness is the energy of the first difference, which raises high frequencies by 6 dB per octave.
    """
    hop = max(window_samples // 4, 1)
    starts = np.arange(0, len(audio) - window_samples + 1, hop)
    total = np.concatenate([[0.0], np.cumsum(np.diff(audio, prepend=audio[:1]).astype(np.float64) ** 2)])
    energy = total[starts + window_samples] - total[starts]
    chosen: list[int] = []
    for k in np.argsort(-energy, kind="stable").tolist():
        if all(abs(int(starts[k]) - other) >= window_samples for other in chosen):
            chosen.append(int(starts[k]))
        if len(chosen) == n_clips:
            break
    return chosen
