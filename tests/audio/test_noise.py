"""Noise reduction: which kind is asked of the library, and what is not given to it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tests.fixtures.sounds import tone

from dawnchorus.audio.noise import reduce_noise
from dawnchorus.errors import MissingExtraError


@pytest.mark.parametrize(("kind", "stationary"), [("stationary", True), ("nonstationary", False)])
def test_the_kind_and_the_rate_reach_the_library(kind: str, stationary: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def halve(y: np.ndarray, sr: int, *, stationary: bool) -> np.ndarray:
        calls.append((sr, stationary))
        return y.astype(np.float64) / 2

    calls: list[tuple[int, bool]] = []
    monkeypatch.setitem(sys.modules, "noisereduce", SimpleNamespace(reduce_noise=halve))
    reduced = reduce_noise(tone(), rate_hz=16_000, kind=kind)  # type: ignore[arg-type]
    assert calls == [(16_000, stationary)]
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(reduced, tone() / 2)
    silence = np.zeros(100, np.float32)
    assert reduce_noise(silence, rate_hz=16_000, kind=kind) is silence  # type: ignore[arg-type]
    assert len(calls) == 1


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "noisereduce", None)
    with pytest.raises(MissingExtraError, match=r"Noise reduction needs the package 'noisereduce'.*dawnchorus\[data\]"):
        reduce_noise(tone(), rate_hz=16_000, kind="stationary")
