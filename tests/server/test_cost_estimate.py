"""Estimates of work: a single recording has little weight."""

from __future__ import annotations

import pytest

from dawnchorus.server.cost_estimate import LEAST_BYTES, CostEstimate


def test_tiny_recordings_do_not_make_others_look_long() -> None:
    costs = CostEstimate()
    for _ in range(200):
        costs.update(100, elapsed_s=0.02)
    assert costs.work_s(100_000) == pytest.approx(0.02, rel=0.1)
    assert costs.work_s(4 * LEAST_BYTES) == pytest.approx(0.08, rel=0.1)
    costs.update(LEAST_BYTES, elapsed_s=1e6)
    assert costs.work_s(LEAST_BYTES) < 0.05, "one that hangs says little"
