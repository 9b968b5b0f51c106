"""Cutting of recordings into clips by a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.data.recipes import MAX_CHOICE_S, Recipe
from dawnchorus.inference.preparation import Kept

PEAK = 0.9
"""The largest sample of a normalized clip."""

NOISE_SHARE = 0.01
"""Level of the noise that a clip is filled with, as a share of the clip's own."""

_BATCH = 16


@dataclass(frozen=True)
class Clip:
    """Samples [window_samples] of a clip, with its start and end in the recording."""

    samples: FloatArray
    start_s: float
    end_s: float


def cut_clips(
    blocks: Iterator[FloatArray], kept: Kept, recipe: Recipe, *, calls: Sequence[float], rng: np.random.Generator
) -> Iterator[Clip]:
    """Yield clips of a recording, selected by the recipe.

    `kept` is what the blocks are of the recording. `calls` are seconds at which the species calls, the surest first,
    for clips chosen by score.

    Raises:
        AudioError: the recording cannot be decoded, or the decoder crashed or hung on it.
    """
    rate_hz = recipe.rate_hz
    if recipe.clip_selection == "all":
        windows = _all_windows(blocks, recipe)
    else:
        windows = _chosen_windows(blocks, kept, recipe, calls=calls, rng=rng)
    for first_sample, samples in windows:
        clip = _fill(samples, recipe, rng)
        if recipe.normalize:
            clip = clip * (PEAK / max(float(np.abs(clip).max()), 1e-9))
        start_s, end_s = first_sample / rate_hz, (first_sample + len(samples)) / rate_hz
        yield Clip(clip, round(kept.start_s(start_s), 3), round(kept.end_s(end_s), 3))


def _all_windows(blocks: Iterator[FloatArray], recipe: Recipe) -> Iterator[tuple[int, FloatArray]]:
    """Yield the first sample of every window in the kept sound, and its samples; those of the last may be fewer."""
    plan = WindowPlan(rate_hz=recipe.rate_hz, window_samples=recipe.window_samples, hop_samples=recipe.hop_samples)
    windower = Windower(plan, batch=_BATCH)
    first, n_samples = 0, 0
    for block in blocks:
        n_samples += len(block)
        for windows in windower.push(block):
            for window in windows:
                yield first, window
                first += recipe.hop_samples
    rest = windower.finish()
    for window in () if rest is None else rest:
        yield first, window[: n_samples - first]
        first += recipe.hop_samples


def _chosen_windows(
    blocks: Iterator[FloatArray],
    kept: Kept,
    recipe: Recipe,
    *,
    calls: Sequence[float],
    rng: np.random.Generator,
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the first sample and the samples of windows among the first `MAX_CHOICE_S`."""
    sound = _first_samples(blocks, MAX_CHOICE_S * recipe.rate_hz)
    last = len(sound) - recipe.window_samples
    if not len(sound):
        return
    if recipe.clip_selection == "first" or last <= 0:
        starts = [0]
    elif recipe.clip_selection == "random":
        starts = rng.integers(0, last + 1, recipe.n_clips).tolist()
    elif recipe.clip_selection == "scored" and calls:
        starts = _called_starts([kept.kept_s(call_s) for call_s in calls], recipe, last=last)
    else:
        starts = loudest_starts(sound, recipe.window_samples, recipe.n_clips)
    for start in sorted(starts):
        yield start, sound[start : start + recipe.window_samples]


def _first_samples(blocks: Iterator[FloatArray], n: float) -> FloatArray:
    """Return blocks as one, up to the one that reaches `n` samples."""
    parts, n_read = [np.empty(0, np.float32)], 0
    for block in blocks:
        parts.append(block.copy())
        n_read += len(block)
        if n_read >= n:
            break
    return np.concatenate(parts)


def _called_starts(calls: Sequence[float], recipe: Recipe, *, last: int) -> list[int]:
    """Return the starts of windows with a call in their middle, without overlap; calls are seconds of the sound."""
    chosen: list[int] = []
    for call_s in calls:
        middle = round(call_s * recipe.rate_hz)
        start = min(max(middle - recipe.window_samples // 2, 0), last)
        if all(abs(start - other) >= recipe.window_samples for other in chosen):
            chosen.append(start)
        if len(chosen) == recipe.n_clips:
            break
    return chosen


def loudest_starts(sound: FloatArray, window_samples: int, n_clips: int) -> list[int]:
    """Return the starts of the loudest windows, without overlap; low frequencies are attenuated.

    Loudness is the energy of the first difference, which raises high frequencies by 6 dB per octave.
    """
    hop = max(window_samples // 4, 1)
    starts = np.arange(0, len(sound) - window_samples + 1, hop)
    total = np.concatenate([[0.0], np.cumsum(np.diff(sound, prepend=sound[:1]).astype(np.float64) ** 2)])
    energy = total[starts + window_samples] - total[starts]
    chosen: list[int] = []
    for k in np.argsort(-energy, kind="stable").tolist():
        if all(abs(int(starts[k]) - other) >= window_samples for other in chosen):
            chosen.append(int(starts[k]))
        if len(chosen) == n_clips:
            break
    return chosen


def _fill(samples: FloatArray, recipe: Recipe, rng: np.random.Generator) -> FloatArray:
    """Return a whole clip, filled beyond the end of its recording as the recipe says."""
    n_missing = recipe.window_samples - len(samples)
    if n_missing <= 0:
        return samples
    if recipe.pad_mode == "repeat":
        return np.resize(samples, recipe.window_samples)
    if recipe.pad_mode == "zeros":
        return np.pad(samples, (0, n_missing))
    level = NOISE_SHARE * float(np.sqrt(np.mean(samples**2)))
    noise = level * rng.standard_normal(n_missing).astype(np.float32)
    return np.concatenate([samples, noise])
