"""Tests of the scores of a wrapped model on silence, noise and a tone."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InvalidBundleError
from dawnchorus.models.bundle import Activation, Bundle
from dawnchorus.models.runner import open_session

LOG = logging.getLogger(__name__)

NOISE_LEVELS = (0.001, 0.03, 0.3)
TONE_LEVELS = (0.03, 0.9)
TONE_HZ = 1_000

ROUNDING = 1e-3
"""Tolerated distance of a score below 0 or above 1, for rounding errors, also in half precision."""

MIN_PERCENT = 10.0
"""Minimum of the largest score, up to 100, at which scores look like percentages."""

MAX_BATCH_EFFECT = 0.02
"""Maximum change of a window's scores by other windows in its batch, as a share of the scores' range.

Rounding explains as much in quantized graphs, whose scale is chosen for the whole batch.
"""

_ACTIVATION_BEHIND: dict[str, Activation] = {"Sigmoid": "identity", "Softmax": "identity", "LogSoftmax": "softmax"}
"""Activation that the output of an operator needs to be scores."""

_NO_LOGITS = {
    "Tanh": "From -1 to 1, a sigmoid gives no less than 0.27 and no more than 0.73: export the values before it.",
    "Log": "Of logarithms of scores, a sigmoid gives no more than 0.5: export the scores, and use identity.",
}
"""Operators after which a sigmoid cannot give scores over the whole range, with the reason."""


def try_scores(bundle: Bundle, last_operator: str) -> None:
    """Run the bundle on test signals, and check that its scores match its activation.

    `last_operator` is the ONNX name of the operator that computes the logits, or empty. Doubts that are not errors are
    logged.

    Raises:
        InvalidBundleError: the graph cannot be loaded, scores or embeddings are not finite, or scores have a wrong
            shape, vary from run to run or with the batch, or do not match the activation.
        ModelError: the computation fails.
        MissingExtraError: the library that runs the graph is not installed.
    """
    inputs = _make_inputs(bundle)
    session = open_session(bundle)
    output = session.run(np.stack(list(inputs.values())), embeddings=True)
    logits, n_classes = output.logits, len(bundle.labels)
    if logits.shape != (len(inputs), n_classes):
        raise InvalidBundleError(
            f"On {len(inputs)} windows the model gave {logits.shape}; expected {n_classes} for each."
        )
    _check_finite(inputs, "scores", logits)
    if output.embeddings is not None:
        _check_finite(inputs, "embeddings", output.embeddings)
    _check_repeated(session.run(np.stack(list(inputs.values()))).logits, logits)
    _check_batch(np.concatenate([session.run(waveform[None]).logits for waveform in inputs.values()]), logits)
    _check_activation(bundle.info.activation, last_operator, logits)
    if len(logits) > 1 and np.ptp(logits, axis=0).max() <= ROUNDING:
        LOG.info(
            "The model gives the same scores for silence, noise and a tone. It is given samples from -1 to 1: does it "
            "expect others, such as whole numbers up to 32767?"
        )


def _check_finite(names: Iterable[str], kind: str, values: FloatArray) -> None:
    """Refuse scores or embeddings `values` [windows, n] that are not finite; `names` are those of the windows.

    Raises:
        InvalidBundleError: a value is not finite.
    """
    for name, row in zip(names, values, strict=True):
        if not np.isfinite(row).all():
            raise InvalidBundleError(
                f"On {name} the model gave {row[~np.isfinite(row)][0]} in its {kind}; expected {len(row)} finite "
                f"numbers for each window. A recording may have such windows: keep the graph from dividing by 0 or "
                f"taking its logarithm, for example by adding 1e-6 to the level that it divides by."
            )


def _check_repeated(again: FloatArray, logits: FloatArray) -> None:
    """Refuse a graph that scores the same windows differently the second time.

    Raises:
        InvalidBundleError: the logits differ.
    """
    effect = float(np.abs(again - logits).max())
    if effect > ROUNDING * max(float(np.ptp(logits)), 1):
        raise InvalidBundleError(
            f"The scores of the same windows change by up to {effect:.3g} from one run to the next. The graph draws "
            f"random numbers or keeps a state: export it for inference (in PyTorch after model.eval())."
        )


def _check_batch(alone: FloatArray, together: FloatArray) -> None:
    """Refuse a graph that scores a window differently if there are other windows in its batch.

    Raises:
        InvalidBundleError: the logits differ.
    """
    effect = float(np.abs(alone - together).max())
    if effect > MAX_BATCH_EFFECT * max(float(np.ptp(together)), ROUNDING):
        raise InvalidBundleError(
            f"The scores of a window change by up to {effect:.3g} with the windows that are scored with it, so they "
            f"would depend on what comes before and after in a recording. Export the graph so that levels, means and "
            f"softmax are of each window by itself (axis 1, not the batch), or with a fixed batch of 1."
        )


def _check_activation(activation: Activation, last_operator: str, logits: FloatArray) -> None:
    lowest, highest = float(logits.min()), float(logits.max())
    is_inside = lowest >= -ROUNDING and highest <= 1 + ROUNDING
    came = f"on silence, noise and a tone the graph gives {lowest:.4g} to {highest:.4g}"
    right = _ACTIVATION_BEHIND.get(last_operator)
    if right is not None and right != activation:
        raise InvalidBundleError(
            f"The graph ends in {last_operator}, so that scores with activation {activation} would be wrong ({came}). "
            f"Use --activation {right}, or choose the output before it with --scores-output."
        )
    is_positive = lowest >= -ROUNDING and not is_inside
    if activation == "identity" and not is_inside:
        advice = (
            "Use --activation sigmoid if each class is scored by itself, or softmax if one class of all is present."
        )
        advice = _advice_on_positive(highest) if is_positive else advice
        raise InvalidBundleError(f"Expected scores from 0 to 1 with activation identity: {came}. {advice}")
    if activation == "sigmoid" and last_operator in _NO_LOGITS:
        LOG.info(f"Activation sigmoid: {came}, and ends in {last_operator}. {_NO_LOGITS[last_operator]}")
    if activation == "sigmoid" and is_positive:
        LOG.info(f"Activation sigmoid: {came}. {_advice_on_positive(highest)}")
    if activation == "sigmoid" and right is None and highest <= 0 and not is_inside:
        LOG.info(f"Activation sigmoid: {came}. {_advice_on_negative(logits)}")
    if activation != "identity" and right is None and is_inside:
        LOG.info(
            f"Activation {activation}: {came}, as scores would that need none. If they are scores already, use "
            f"--activation identity."
        )


def _advice_on_positive(highest: float) -> str:
    """Return advice on logits that are never negative but exceed 1, of which a sigmoid cannot make scores."""
    advice = "Export the values before the last step, or scores from 0 to 1."
    if MIN_PERCENT < highest <= 100 * (1 + ROUNDING):
        advice = "They look like percent: divide them by 100 in the graph when it is exported, and use identity."
    return f"None is negative, so they are hardly logits: a sigmoid would give 0.5 or more everywhere. {advice}"


def _advice_on_negative(logits: FloatArray) -> str:
    """Return advice on logits that are never positive; if they are logarithms, a sigmoid gives no score above 0.5."""
    if logits.shape[1] > 1 and np.allclose(np.exp(logits.astype(float)).sum(axis=1), 1, atol=ROUNDING):
        return "They are logarithms of shares that add up to 1: use --activation softmax."
    return (
        "None is positive, so that no score is above 0.5. That is right for logits, as no bird is there; logarithms of "
        "scores would never give more: export the values before the logarithm."
    )


def _make_inputs(bundle: Bundle) -> dict[str, FloatArray]:
    """Return test windows by description."""
    rate_hz, window_samples = bundle.info.sample_rate_hz, bundle.window_samples
    noise = np.random.default_rng(1).normal(size=window_samples)
    tone = np.sin(2 * np.pi * TONE_HZ * np.arange(window_samples) / rate_hz)
    waves = {"silence": np.zeros(window_samples)}
    waves |= {f"noise of level {level}": np.clip(level * noise, -1, 1) for level in NOISE_LEVELS}
    waves |= {f"a tone of level {level}": level * tone for level in TONE_LEVELS}
    return {name: wave.astype(np.float32) for name, wave in waves.items()}
