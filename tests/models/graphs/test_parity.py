"""Two graphs that should agree."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.errors import (
    ModelError,
)
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.parity import check_parity, largest_difference, noise_windows
from dawnchorus.models.runner import open_session


def test_logits_that_differ_are_refused_with_the_difference(level_bundle: Bundle) -> None:
    windows = noise_windows(level_bundle, 2)
    logits = open_session(level_bundle).run(windows).logits
    check_parity(level_bundle, windows, logits + np.float32(0.9e-3), tolerance=1e-3, source="itself")
    with pytest.raises(ModelError, match=r"differ from those of itself by at most 0.001 of the largest, got 0.0011"):
        check_parity(level_bundle, windows, logits + np.float32(1.1e-3), tolerance=1e-3, source="itself")
    with pytest.raises(ModelError, match="got nan"):
        check_parity(level_bundle, windows, logits * np.float32(np.nan), tolerance=1e-3, source="itself")
    assert largest_difference(np.float32([30.0, -29.0]), np.float32([30.0, -30.0])) == pytest.approx(1 / 30)
