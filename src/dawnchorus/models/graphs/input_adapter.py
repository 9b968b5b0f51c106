"""Adaptation of a graph's input to another sample rate and a longer window, for ensembles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx

from dawnchorus.arrays import FloatArray
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.onnx_writer import OnnxWriter
from dawnchorus.models.graphs.surgery import cut_graph, join_graphs, rename_values

N_CROSSINGS = 32
"""Number of zero crossings of the resampling filter on each side of its center."""

PASS = 0.95
"""Share of the frequency band, up to half the lower sample rate, that resampling preserves."""

KAISER_BETA = 9.0


def crop_starts(n_long: int, n_short: int) -> list[int]:
    """Return the starts, in samples, of the fewest windows of `n_short` samples that cover `n_long`, evenly spaced."""
    n = math.ceil(n_long / n_short)
    return [round((n_long - n_short) * k / max(n - 1, 1)) for k in range(n)]


def resampling_filters(from_hz: int, to_hz: int) -> tuple[FloatArray, int, int]:
    """Return the filters for resampling by `to_hz` / `from_hz` = L / M (in lowest terms) as a strided convolution.

    Output sample q * L + p is filter p applied to the input around sample q * M. The filters are a windowed sinc
    (Kaiser window, beta 9).

    Returns:
        Filters [L, 1, taps], the stride M, and the number of zeros to put before the input.
    """
    shared = math.gcd(from_hz, to_hz)
    n_out, n_step = to_hz // shared, from_hz // shared
    band = PASS * min(from_hz, to_hz) / from_hz  # as a share of the input's band
    half = math.ceil(N_CROSSINGS / band)
    taps = np.arange(-half, n_step + half)
    apart = taps - np.arange(n_out)[:, None] * (from_hz / to_hz)
    inside = np.clip(1 - (apart / half) ** 2, 0, None)
    window = np.i0(KAISER_BETA * np.sqrt(inside)) / np.i0(KAISER_BETA) * (inside > 0)
    filters = band * np.sinc(band * apart) * window
    return filters[:, None].astype(np.float32), n_step, half


def adapt_input(bundle: Bundle, *, rate_hz: int, window_s: float) -> onnx.ModelProto:
    """Return the bundle's graph with an input of a higher or equal sample rate and window length.

    The waveform is resampled and covered evenly by windows of the bundle's length; for every class, the maximum of
    their logits (with softmax, of the logarithms of their scores) is taken. A graph whose input fits already is
    returned unchanged; an adapted graph has no embeddings.

    Args:
        bundle: the bundle.
        rate_hz: sample rate of the new input in Hz.
        window_s: length of the new input in seconds.

    Raises:
        InvalidBundleError: the graph is not an ONNX model, or refers to other files.
    """
    model = load_graph(bundle.graph_path)
    window_samples, own_hz = bundle.window_samples, bundle.info.sample_rate_hz
    out_samples = round(window_s * rate_hz)
    if (own_hz, window_samples) == (rate_hz, out_samples):
        return model
    n_classes = _width(model, "logits")
    before = OnnxWriter()
    waveform, n_sound = "waveform", out_samples
    if own_hz != rate_hz:
        n_sound = round(out_samples * own_hz / rate_hz)
        waveform = _resample(before, waveform, out_samples, n_sound, from_hz=rate_hz, to_hz=own_hz)
    if n_sound < window_samples:  # a sample may be missing by rounding
        waveform = before.node("Pad", [waveform, before.constant([0, 0, 0, window_samples - n_sound], dtype=np.int64)])
    starts = crop_starts(max(n_sound, window_samples), window_samples)
    crops = [_slice(before, waveform, start, start + window_samples) for start in starts]
    _reshape(before, before.node("Concat", crops, axis=1), [-1, window_samples], output="windows")
    after = OnnxWriter()
    # Logits before a softmax mean nothing across windows; their logarithms after it do.
    each = after.node("LogSoftmax", ["each"], axis=1) if bundle.info.activation == "softmax" else "each"
    rows = _reshape(after, each, [-1, len(starts), n_classes])
    after.node("ReduceMax", [rows], output="logits", axes=[1], keepdims=0)

    models = {
        "f": before.model(
            inputs={"waveform": ("batch", out_samples)}, outputs={"windows": ("windows", window_samples)}
        ),
        "o": cut_graph(model, ["waveform"], ["logits"]),
        "a": after.model(inputs={"each": ("windows", n_classes)}, outputs={"logits": ("batch", n_classes)}),
    }
    whole = join_graphs(models, [("f.windows", "o.waveform"), ("o.logits", "a.each")])
    rename_values(whole.graph, {"f.waveform": "waveform", "a.logits": "logits"})
    del whole.graph.value_info[:]  # it names the batch of the windows as it names that of the waveforms
    return whole


def _width(model: onnx.ModelProto, output: str) -> int:
    (value_info,) = (value for value in model.graph.output if value.name == output)
    return int(value_info.type.tensor_type.shape.dim[-1].dim_value)


def _slice(writer: OnnxWriter, waveform: str, start: int, end: int) -> str:
    limits = [writer.constant([value], dtype=np.int64) for value in (start, end, 1)]
    return writer.node("Slice", [waveform, *limits])


def _reshape(writer: OnnxWriter, values: str, shape: Sequence[int], *, output: str | None = None) -> str:
    return writer.node("Reshape", [values, writer.constant(shape, dtype=np.int64)], output=output)


def _resample(writer: OnnxWriter, waveform: str, n_from: int, n_to: int, *, from_hz: int, to_hz: int) -> str:
    """Return the name of the resampled waveform [batch, n_to] of a waveform [batch, n_from]."""
    filters, n_step, n_before = resampling_filters(from_hz, to_hz)
    n_blocks = -(-n_to // len(filters))
    n_after = max((n_blocks - 1) * n_step + filters.shape[2] - n_before - n_from, 0)
    pads = writer.constant([0, 0, n_before, 0, 0, n_after], dtype=np.int64)
    padded = writer.node("Pad", [_reshape(writer, waveform, [-1, 1, n_from]), pads])
    blocks = writer.node("Conv", [padded, writer.constant(filters)], strides=[n_step])
    turned = writer.node("Transpose", [blocks], perm=[0, 2, 1])
    return _slice(writer, _reshape(writer, turned, [0, -1]), 0, n_to)
