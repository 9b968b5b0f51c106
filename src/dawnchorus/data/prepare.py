"""From recordings to clips of one length, by a recipe."""

from __future__ import annotations

import bisect
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.many import map_recordings
from dawnchorus.audio.noise import reduce_noise
from dawnchorus.audio.process import DecoderProcess, Ended, Opened
from dawnchorus.audio.speech import RATE_HZ as SPEECH_RATE_HZ
from dawnchorus.audio.speech import Listening, SpeechFinder
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.audio.write import write_recording
from dawnchorus.data.clips import FULL_SCALE, SAMPLE, ClipWriter
from dawnchorus.data.recipes import MAX_CHOICE_S, Recipe
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.errors import AudioError
from dawnchorus.types import Span

FloatArray = npt.NDArray[np.float32]

CHUNK_S = 120.0
"""Noise is estimated in stretches of this length, so that memory does not know a recording's."""

PREPARE_VERSION = 2
"""Part of every key; raised when the same recipe gives other clips."""

_UNUSABLE = frozenset(("missing", "unreadable", "silent", "duplicate", "near_duplicate"))
_BATCH = 16


@dataclass
class Prepared:
    """What a run did."""

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
    speech_graph: Path | None = None,
    speech_folder: Path | None = None,
    calls: Mapping[str, Sequence[float]] = MappingProxyType({}),
    wait_s: float = 0.0,
    on_recording: Callable[[], None] = lambda: None,
) -> Prepared:
    """Write the clips of every usable recording of `table` to `folder`; what is there already stays as it is.

    `speech_graph` is needed where the recipe cuts speech; what is cut is written to `speech_folder`, if there is one.
    `calls`, by recording_id, are seconds at which the species calls, the surest first, for clips taken by score.
    Another process that prepares clips there is waited for, for `wait_s`.

    Raises:
        InputError: the folder holds clips of another recipe.
        Busy: another process prepares clips there.
        OutputError: no space, or no permission.
    """
    result = Prepared()
    usable = [row for row in table.rows if not _UNUSABLE.intersection(row.problems)]
    result.n_left_out = len(table.rows) - len(usable)
    writer = ClipWriter(folder, n_window=recipe.n_window, recipe={**recipe.as_json(), "seed": seed}, wait_s=wait_s)
    finder = SpeechFinder(speech_graph) if recipe.cut_speech and speech_graph is not None else None
    try:
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=folder) as scratch:
            waiting = list(_waiting(table, usable, writer, recipe, seed, calls))
            result.n_before = len(usable) - len(waiting)

            def work(decoder: DecoderProcess, item: tuple[RecordingRow, str]) -> _Made:
                row, key = item
                own_calls = calls.get(row.recording_id, ())
                making = _Making(row, key, recipe, seed, Path(scratch), finder, speech_folder, own_calls)
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
            placed = writer.placed(row.recording_id)
            if placed is not None and placed.cuts:
                result.cut_s[row.recording_id] = sum(end - start for start, end in placed.cuts)
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
    """What was not prepared from the same sound yet, with its key."""
    for row in rows:
        key = _key(table, row, recipe, seed, calls.get(row.recording_id, ()))
        placed = writer.placed(row.recording_id)
        if placed is None or placed.key != key:
            yield row, key


def _key(table: RecordingsTable, row: RecordingRow, recipe: Recipe, seed: int, calls: Sequence[float]) -> str:
    sound: object = row.sound_hash
    if sound is None:
        try:
            status = table.file(row).stat()
            sound = [status.st_size, status.st_mtime_ns]
        except OSError:
            sound = None
    about = [PREPARE_VERSION, row.recording_id, sound, recipe.as_json(), seed, list(calls)]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


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
        finder: SpeechFinder | None,
        speech_folder: Path | None,
        calls: Sequence[float],
    ) -> None:
        self._row, self._key, self._recipe = row, key, recipe
        self._path = scratch / key
        self._finder = finder
        self._speech_folder = speech_folder
        self._calls = calls
        self._rng = np.random.default_rng([seed, int(key[:12], 16)])
        self._spans: tuple[Span, ...] = ()
        self._cuts: list[Span] = []
        self._kept_from: list[tuple[int, int]] = []
        """Sample in the kept sound, and sample in the recording, where a kept stretch begins."""
        self._n_kept = self._n_read = 0
        self._speech: list[FloatArray] = []

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
        if self._speech_folder is not None and self._speech:
            name = self._row.recording_id.replace("/", "_") + ".speech.wav"
            write_recording(self._speech_folder / name, np.concatenate(self._speech), rate_hz=self._recipe.rate_hz)
        cuts = [(round(span.start_s, 3), round(span.end_s, 3)) for span in self._cuts]
        return _Made(self._row.recording_id, self._key, self._path, times, cuts)

    def _write(self, write: Callable[[bytes], object], clip: FloatArray, start: int) -> tuple[float, float]:
        recipe = self._recipe
        n_real = min(len(clip), self._n_kept - start)
        clip = self._filled(clip, n_real)
        if recipe.normalise:
            clip = clip * (0.9 / max(float(np.abs(clip).max()), 1e-9))
        write(np.rint(np.clip(clip, -1, 1) * FULL_SCALE).astype(SAMPLE).tobytes())
        return (
            round(self._recorded(start) / recipe.rate_hz, 3),
            round((self._recorded(start + n_real - 1) + 1) / recipe.rate_hz, 3),
        )

    def _filled(self, clip: FloatArray, n_real: int) -> FloatArray:
        """The clip with its end, beyond the recording's, as the recipe wants it."""
        n_missing = len(clip) - n_real
        if n_missing <= 0 or self._recipe.fill == "zeros":
            return clip
        real = clip[:n_real]
        if self._recipe.fill == "repeat":
            return np.resize(real, len(clip))
        level = 0.01 * float(np.sqrt(np.mean(real**2)))
        noise = level * self._rng.standard_normal(n_missing).astype(np.float32)
        return np.concatenate([real, noise])

    def _recorded(self, sample: int) -> int:
        """Where in the recording a sample of the kept sound is."""
        k = bisect.bisect_right(self._kept_from, (sample, 1 << 62)) - 1
        kept, recorded = self._kept_from[k]
        return recorded + sample - kept

    def _clips(self, decoder: DecoderProcess, path: Path) -> Iterator[list[tuple[FloatArray, int]]]:
        """Clips [n_window] with their first sample in the kept sound, in batches."""
        recipe = self._recipe
        if recipe.take != "all":
            parts: list[FloatArray] = []
            for part in self._kept(decoder, path):
                parts.append(part)
                if self._n_kept >= MAX_CHOICE_S * recipe.rate_hz:
                    break
            sound = np.concatenate(parts) if parts else np.empty(0, np.float32)
            yield [(_window(sound, start, recipe.n_window), start) for start in self._starts(sound)]
            return
        plan = WindowPlan(rate_hz=recipe.rate_hz, n_window=recipe.n_window, n_hop=recipe.n_hop)
        windower = Windower(plan, batch=_BATCH)
        n = 0
        for part in self._kept(decoder, path):
            for windows in windower.push(part):
                yield [(window, (n + k) * recipe.n_hop) for k, window in enumerate(windows)]
                n += len(windows)
        rest = windower.finish()
        if rest is not None:
            yield [(window, (n + k) * recipe.n_hop) for k, window in enumerate(rest)]

    def _starts(self, sound: FloatArray) -> list[int]:
        recipe = self._recipe
        last = len(sound) - recipe.n_window
        if not len(sound):
            return []
        if recipe.take == "first" or last <= 0:
            return [0]
        if recipe.take == "random":
            return sorted(self._rng.integers(0, last + 1, recipe.n_clips).tolist())
        if recipe.take == "scored" and self._calls:
            return sorted(self._called_starts(last))
        return sorted(loudest_starts(sound, recipe.n_window, recipe.n_clips))

    def _called_starts(self, last: int) -> list[int]:
        """Where windows with a call in their middle begin, none over another."""
        recipe = self._recipe
        chosen: list[int] = []
        for call_s in self._calls:
            middle = self._kept_at(round(call_s * recipe.rate_hz))
            start = min(max(middle - recipe.n_window // 2, 0), last)
            if all(abs(start - other) >= recipe.n_window for other in chosen):
                chosen.append(start)
            if len(chosen) == recipe.n_clips:
                break
        return chosen

    def _kept_at(self, recorded: int) -> int:
        """Where in the kept sound a sample of the recording is; of one that is cut, the place of the cut."""
        k = max(bisect.bisect_right(self._kept_from, recorded, key=lambda pair: pair[1]) - 1, 0)
        kept, begin = self._kept_from[k]
        end = self._kept_from[k + 1][0] if k + 1 < len(self._kept_from) else self._n_kept
        return min(max(kept + recorded - begin, 0), end)

    def _kept(self, decoder: DecoderProcess, path: Path) -> Iterator[FloatArray]:
        """The recording without what is cut, chunk by chunk."""
        self._listen(decoder, path)
        for chunk in self._chunks(decoder, path):
            if self._recipe.denoise is not None:
                clean = reduce_noise(chunk, rate_hz=self._recipe.rate_hz, kind=self._recipe.denoise)
            else:
                clean = chunk
            begin = 0
            for start, stop in self._speech_in(chunk):
                yield from self._keep(clean, begin, start)
                self._cut(clean, start, stop)
                begin = stop
            yield from self._keep(clean, begin, len(clean))
            self._n_read += len(chunk)

    def _keep(self, chunk: FloatArray, start: int, stop: int) -> Iterator[FloatArray]:
        if stop > start:
            self._kept_from.append((self._n_kept, self._n_read + start))
            self._n_kept += stop - start
            yield chunk[start:stop]

    def _cut(self, chunk: FloatArray, start: int, stop: int) -> None:
        rate_hz = self._recipe.rate_hz
        self._cuts.append(Span((self._n_read + start) / rate_hz, (self._n_read + stop) / rate_hz))
        if self._speech_folder is not None:
            self._speech.append(chunk[start:stop])

    def _listen(self, decoder: DecoderProcess, path: Path) -> None:
        """Go through the whole recording once to find its speech: chunk by chunk, words at edges would be missed."""
        if self._finder is None:
            return
        listening = Listening(self._finder, rate_hz=SPEECH_RATE_HZ)
        for part in decoder.decode(path, rate_hz=SPEECH_RATE_HZ):
            if not isinstance(part, Opened | Ended):
                listening.add(part)
        self._spans = listening.finish()

    def _speech_in(self, chunk: FloatArray) -> list[tuple[int, int]]:
        """First and last sample of every stretch of speech in the chunk that is being read."""
        rate_hz, found = self._recipe.rate_hz, []
        for span in self._spans:
            start = max(round(span.start_s * rate_hz) - self._n_read, 0)
            stop = min(round(span.end_s * rate_hz) - self._n_read, len(chunk))
            if start < stop:
                found.append((start, stop))
        return found

    def _chunks(self, decoder: DecoderProcess, path: Path) -> Iterator[FloatArray]:
        rate_hz = self._recipe.rate_hz
        waiting: list[FloatArray] = []
        n = 0
        for part in decoder.decode(path, rate_hz=rate_hz):
            if isinstance(part, Opened | Ended):
                continue
            waiting.append(part.copy())
            n += len(part)
            if n >= CHUNK_S * rate_hz:
                yield np.concatenate(waiting)
                waiting, n = [], 0
        if waiting:
            yield np.concatenate(waiting)


def _window(sound: FloatArray, start: int, n_window: int) -> FloatArray:
    window = np.zeros(n_window, np.float32)
    part = sound[start : start + n_window]
    window[: len(part)] = part
    return window


def loudest_starts(sound: FloatArray, n_window: int, n_clips: int) -> list[int]:
    """Where the windows with the most sound begin, none over another; wind counts little.

    Loudness is the energy of the first difference, which raises high frequencies by 6 dB per octave.
    """
    hop = max(n_window // 4, 1)
    starts = np.arange(0, len(sound) - n_window + 1, hop)
    total = np.concatenate([[0.0], np.cumsum(np.diff(sound, prepend=sound[:1]).astype(np.float64) ** 2)])
    energy = total[starts + n_window] - total[starts]
    chosen: list[int] = []
    for k in np.argsort(-energy, kind="stable").tolist():
        if all(abs(int(starts[k]) - other) >= n_window for other in chosen):
            chosen.append(int(starts[k]))
        if len(chosen) == n_clips:
            break
    return chosen
