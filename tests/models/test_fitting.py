"""A bundle made to fit another rate and window says what it says of the same sound at its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soxr
from tests.conftest import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.ensemble import make_ensemble
from dawnchorus.models.fitting import crop_starts, fitted, resampling_filters
from dawnchorus.models.runner import open_session, scores_of
from dawnchorus.models.wrap import wrap_model


def chirp(rate_hz: int, seconds: float, *, up_to_hz: float) -> np.ndarray:
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * (200 * t + (up_to_hz - 200) * t**2 / (2 * seconds)))).astype(np.float32)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 32_000), (48_000, 22_050), (48_000, 16_000)])
def test_resampling_in_the_graph_is_soxrs(from_hz: int, to_hz: int) -> None:
    sound = chirp(from_hz, 1.0, up_to_hz=0.42 * to_hz)
    filters, n_step, n_before = resampling_filters(from_hz, to_hz)
    n_blocks = -(-to_hz // len(filters))
    padded = np.pad(sound, (n_before, n_step * n_blocks))
    blocks = [padded[k * n_step : k * n_step + filters.shape[2]] @ filters[:, 0].T for k in range(n_blocks)]
    expected = soxr.resample(sound, from_hz, to_hz, "VHQ")
    middle = slice(to_hz // 20, -to_hz // 20)
    found = np.concatenate(blocks)[:to_hz]
    assert np.abs(found[middle] - expected[:to_hz][middle]).max() < 3e-4


def test_windows_cover_a_longer_one_evenly() -> None:
    assert crop_starts(5, 5) == [0]
    assert crop_starts(10, 5) == [0, 5]
    assert crop_starts(11, 5) == [0, 3, 6]


def test_a_bundle_fits_a_longer_window_at_a_higher_rate(birdnet: Bundle) -> None:
    graph = fitted(birdnet, rate_hz=96_000, window_s=5.0)
    high = chirp(96_000, 5.0, up_to_hz=9_000)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = session.run(["logits"], {"waveform": np.stack([high, high[::-1]])})[0]
    own = soxr.resample(high, 96_000, 48_000, "VHQ")
    expected = open_session(birdnet).run(np.stack([own[:144_000], own[-144_000:]])).logits.max(0)
    assert found.shape == (2, len(birdnet.labels))
    best = expected.argsort()[-20:]
    np.testing.assert_allclose(found[0, best], expected[best], atol=0.1)


def test_an_ensemble_of_unlike_members_hears_with_each(level_bundle: Bundle, tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", n_window=3 * 8_000)
    description = replace(LEVEL, name="low", sample_rate_hz=8_000, window_s=3.0)
    low = wrap_model(graph, tmp_path / "low", labels=LEVEL_LABELS, description=description)
    made = make_ensemble([level_bundle, low], tmp_path / "both", name="both", license_name="CC0-1.0", weights=[3, 1])
    assert (made.info.sample_rate_hz, made.info.window_s) == (16_000, 3.0)
    sound = np.repeat(np.array([0.1, 0.6, 0.2], np.float32), 16_000)[None]  # a second each of three levels
    found = open_session(made).run(sound).logits[0]
    # The one takes the best of its three seconds for each class, the other hears their mean level.
    own = np.array(
        [scores_of(open_session(level_bundle).run(part[None]).logits, "identity")[0] for part in sound.reshape(3, -1)]
    )
    others = open_session(low).run(np.full((1, 24_000), 0.3, np.float32)).logits[0]
    np.testing.assert_allclose(found, 0.75 * own.max(0) + 0.25 * others, atol=0.01)
    with pytest.raises(InputError, match="classes"):
        other = wrap_model(graph, tmp_path / "x", labels=LEVEL_LABELS[::-1], description=description)
        make_ensemble([low, other], tmp_path / "no", name="no", license_name="CC0-1.0")


def test_members_that_take_one_window_at_a_time(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", n_window=16_000, batch=1)
    members = [
        wrap_model(graph, tmp_path / name, labels=LEVEL_LABELS, description=replace(LEVEL, name=name)) for name in "ab"
    ]
    made = make_ensemble(members, tmp_path / "both", name="both", license_name="CC0-1.0")
    windows = np.full((3, 16_000), 0.25, np.float32)
    np.testing.assert_allclose(open_session(made).run(windows).logits, [[0.25, 0.75, 0]] * 3, atol=1e-5)
