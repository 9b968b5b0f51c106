"""Trial of a foreign model's scores on silence, noise and a tone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dawnchorus.errors import InvalidBundleError
from dawnchorus.models.bundle import Activation, Bundle
from dawnchorus.models.graphs.ports import FloatArray
from dawnchorus.models.runner import open_session

NOISE_LEVELS = (0.001, 0.03, 0.3)
TONE_LEVELS = (0.03, 0.9)
TONE_HZ = 1_000

ROUNDING = 1e-3
"""Distance from 0 and 1 that rounding explains, also in half precision."""

MAX_BATCH_EFFECT = 0.02
"""Change of a window's scores by the windows beside it, as a share of the scores' range, that a scale of quantized
numbers explains which is chosen for the whole batch."""

_ACTIVATION_BEHIND: dict[str, Activation] = {"Sigmoid": "identity", "Softmax": "identity", "LogSoftmax": "softmax"}
"""Activations that make scores of what such an operator gives."""


def try_scores(bundle: Bundle, last_operator: str, on_note: Callable[[str], None]) -> None:
    """Run the bundle on some sounds, and hold its scores against its activation.

    `last_operator` is the operator of ONNX that makes them.

    Raises:
        InvalidBundleError: numbers that are not finite or of another shape, or scores of another activation.
    """
    sounds = _sounds(bundle)
    session = open_session(bundle)
    logits = session.run(np.stack(list(sounds.values()))).logits
    n_classes = len(bundle.labels)
    if logits.shape != (len(sounds), n_classes):
        raise InvalidBundleError(
            f"On {len(sounds)} windows the model gave {logits.shape}; expected {n_classes} for each."
        )
    for name, row in zip(sounds, logits, strict=True):
        if not np.isfinite(row).all():
            raise InvalidBundleError(
                f"On {name} the model gave {row[~np.isfinite(row)][0]}; expected finite numbers of shape "
                f"({n_classes},) for each window. A recording may have such windows: keep the graph from dividing by "
                f"0 or taking its logarithm, for example by adding 1e-6 to the level that it divides by."
            )
    _check_batch(np.concatenate([session.run(waveform[None]).logits for waveform in sounds.values()]), logits)
    _check_activation(bundle.info.activation, last_operator, logits, on_note)
    if len(logits) > 1 and np.ptp(logits, axis=0).max() <= ROUNDING:
        on_note(
            "The model gives the same scores for silence, noise and a tone. It is given samples from -1 to 1: does it "
            "expect others, such as whole numbers up to 32767?"
        )


def _check_batch(alone: FloatArray, together: FloatArray) -> None:
    """Refuse a graph that scores a window differently with others beside it.

    Raises:
        InvalidBundleError: it does.
    """
    effect = float(np.abs(alone - together).max())
    if effect > MAX_BATCH_EFFECT * max(float(np.ptp(together)), ROUNDING):
        raise InvalidBundleError(
            f"The scores of a window change by up to {effect:.3g} with the windows that are scored with it, so they "
            f"would depend on what comes before and after in a recording. Export the graph so that levels, means and "
            f"softmax are of each window by itself (axis 1, not the batch), or with a fixed batch of 1."
        )


def _check_activation(
    activation: Activation, last_operator: str, logits: FloatArray, on_note: Callable[[str], None]
) -> None:
    lowest, highest = float(logits.min()), float(logits.max())
    is_inside = lowest >= -ROUNDING and highest <= 1 + ROUNDING
    came = f"on silence, noise and a tone the graph gives {lowest:.4g} to {highest:.4g}"
    right = _ACTIVATION_BEHIND.get(last_operator)
    if right is not None and right != activation:
        raise InvalidBundleError(
            f"The graph ends in {last_operator}, so that scores with activation {activation} would be wrong ({came}). "
            f"Use --activation {right}, or choose the output before it with --scores-output."
        )
    if activation == "identity" and not is_inside:
        raise InvalidBundleError(
            f"Expected scores from 0 to 1 with activation identity: {came}. Use --activation sigmoid if each class is "
            f"scored by itself, or softmax if one class of all is present."
        )
    if activation != "identity" and right is None and is_inside:
        on_note(
            f"Activation {activation}: {came}, as scores would that need none. If they are scores already, use "
            f"--activation identity."
        )


def _sounds(bundle: Bundle) -> dict[str, FloatArray]:
    """Return windows by what they are."""
    rate_hz, window_samples = bundle.info.sample_rate_hz, bundle.window_samples
    noise = np.random.default_rng(1).normal(size=window_samples)
    tone = np.sin(2 * np.pi * TONE_HZ * np.arange(window_samples) / rate_hz)
    waves = {"silence": np.zeros(window_samples)}
    waves |= {f"noise of level {level}": np.clip(level * noise, -1, 1) for level in NOISE_LEVELS}
    waves |= {f"a tone of level {level}": level * tone for level in TONE_LEVELS}
    return {name: wave.astype(np.float32) for name, wave in waves.items()}
