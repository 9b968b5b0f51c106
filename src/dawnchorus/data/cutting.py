"""Cutting of recordings into clips by a recipe (`dawnchorus.data.recipes`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.data.recipes import MAX_CHOICE_S, Recipe
from dawnchorus.inference.preparation import KeptSegments

PEAK = 0.9
"""Largest absolute sample of a normalized clip."""

NOISE_SHARE = 0.01
"""Level of the noise that pads a clip, as a share of the clip's level (both root mean square)."""

_BATCH = 16


@dataclass(frozen=True)
class CutClip:
    """Samples [window_samples] of a clip, with its start and end in the recording."""

    samples: FloatArray
    """Mono samples, float32, -1 to 1, with padding if the recording ends before the clip does."""
    start_s: float
    """Start in seconds of the original recording, rounded to milliseconds."""
    end_s: float
    """End in seconds of the original recording, without padding, rounded to milliseconds."""


def cut_clips(
    blocks: Iterator[FloatArray],
    kept: KeptSegments,
    recipe: Recipe,
    *,
    calls: Sequence[float],
    rng: np.random.Generator,
) -> Iterator[CutClip]:
    """Yield the clips of a recording that the recipe selects, by ascending start; none if there are no samples.

    Selections other than "all" choose from the first `MAX_CHOICE_S` (600) seconds of the cleaned samples. "random"
    clips may overlap; "loudest" and "scored" ones do not, so there may be fewer than `recipe.n_clips`.

    Args:
        blocks: the recording's samples after cleaning, in blocks [samples], float32, mono.
        kept: the segments of the recording that the cleaning left in the blocks.
        recipe: the settings for cutting.
        calls: times, in seconds of the original recording, at which its species calls, the highest score first, for
            the clip selection "scored"; if empty, the loudest windows are taken.
        rng: generator for the selection "random" and for padding with noise.

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
        yield CutClip(clip, round(kept.start_s(start_s), 3), round(kept.end_s(end_s), 3))


def _all_windows(blocks: Iterator[FloatArray], recipe: Recipe) -> Iterator[tuple[int, FloatArray]]:
    """Yield the index of the first sample and the samples of every window; the last window may be shorter."""
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
    kept: KeptSegments,
    recipe: Recipe,
    *,
    calls: Sequence[float],
    rng: np.random.Generator,
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the index of the first sample and the samples of windows chosen in the first `MAX_CHOICE_S` seconds."""
    audio = _first_samples(blocks, MAX_CHOICE_S * recipe.rate_hz)
    last = len(audio) - recipe.window_samples
    if not len(audio):
        return
    if recipe.clip_selection == "first" or last <= 0:
        starts = [0]
    elif recipe.clip_selection == "random":
        starts = rng.integers(0, last + 1, recipe.n_clips).tolist()
    elif recipe.clip_selection == "scored" and calls:
        starts = _called_starts([kept.kept_s(call_s) for call_s in calls], recipe, last=last)
    else:
        starts = loudest_starts(audio, recipe.window_samples, recipe.n_clips)
    for start in sorted(starts):
        yield start, audio[start : start + recipe.window_samples]


def _first_samples(blocks: Iterator[FloatArray], n: float) -> FloatArray:
    """Concatenate blocks until they have `n` samples or more."""
    parts, n_read = [np.empty(0, np.float32)], 0
    for block in blocks:
        parts.append(block.copy())
        n_read += len(block)
        if n_read >= n:
            break
    return np.concatenate(parts)


def _called_starts(calls: Sequence[float], recipe: Recipe, *, last: int) -> list[int]:
    """Return the first samples of windows without overlap, each with a call (seconds in the audio) at its center.

    `last` is the largest start of a window.
    """
    chosen: list[int] = []
    for call_s in calls:
        middle = round(call_s * recipe.rate_hz)
        start = min(max(middle - recipe.window_samples // 2, 0), last)
        if all(abs(start - other) >= recipe.window_samples for other in chosen):
            chosen.append(start)
        if len(chosen) == recipe.n_clips:
            break
    return chosen


def loudest_starts(audio: FloatArray, window_samples: int, n_clips: int) -> list[int]:
    """Return the indices of the first samples of the `n_clips` loudest windows without overlap, the loudest first.

    `audio` has mono samples [samples]. Windows start at multiples of a quarter window. If fewer than `n_clips` fit,
    only these are returned; none fits if `audio` is shorter than a window. Loudness is the energy of the samples' first
    difference, which raises high frequencies by 6 dB per octave, against wind.
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


def _fill(samples: FloatArray, recipe: Recipe, rng: np.random.Generator) -> FloatArray:
    """Pad the samples to a whole clip by the recipe's `pad_mode`."""
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
