"""A bundle made to fit another rate and window says what it says of the same sound at its own."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import soxr

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.input_adapter import adapt_input, crop_starts, resampling_filters
from dawnchorus.models.runner import open_session


def chirp(rate_hz: int, seconds: float, *, up_to_hz: float) -> np.ndarray:
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * (200 * t + (up_to_hz - 200) * t**2 / (2 * seconds)))).astype(np.float32)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 32_000), (48_000, 22_050), (48_000, 16_000)])
def test_resampling_in_the_graph_is_soxrs(from_hz: int, to_hz: int) -> None:
    audio = chirp(from_hz, 1.0, up_to_hz=0.42 * to_hz)
    filters, n_step, n_before = resampling_filters(from_hz, to_hz)
    n_blocks = -(-to_hz // len(filters))
    padded = np.pad(audio, (n_before, n_step * n_blocks))
    blocks = [padded[k * n_step : k * n_step + filters.shape[2]] @ filters[:, 0].T for k in range(n_blocks)]
    expected = soxr.resample(audio, from_hz, to_hz, "VHQ")
    middle = slice(to_hz // 20, -to_hz // 20)
    resampled = np.concatenate(blocks)[:to_hz]
    assert np.abs(resampled[middle] - expected[:to_hz][middle]).max() < 3e-4


def test_windows_cover_a_longer_one_evenly() -> None:
    assert crop_starts(5, 5) == [0]
    assert crop_starts(10, 5) == [0, 5]
    assert crop_starts(11, 5) == [0, 3, 6]


def test_a_bundle_fits_a_longer_window_at_a_higher_rate(birdnet: Bundle) -> None:
    graph = adapt_input(birdnet, rate_hz=96_000, window_s=5.0)
    high = chirp(96_000, 5.0, up_to_hz=9_000)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    logits = session.run(["logits"], {"waveform": np.stack([high, high[::-1]])})[0]
    own = soxr.resample(high, 96_000, 48_000, "VHQ")
    expected = open_session(birdnet).run(np.stack([own[:144_000], own[-144_000:]])).logits.max(0)
    assert logits.shape == (2, len(birdnet.labels))
    best = expected.argsort()[-20:]
    np.testing.assert_allclose(logits[0, best], expected[best], atol=0.1)
