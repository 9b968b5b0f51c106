"""Front ends of networks."""

from __future__ import annotations

import numpy as np
from tests.fixtures.training import SMALL, Train


def test_a_front_end_stays_in_single_precision(run_training: Train) -> None:
    # Half precision would overflow in energies; bfloat16 is what a CPU can try.
    run = run_training(*SMALL, "model.mel.learn=true", "trainer.epochs=1", "trainer.precision=bf16-mixed")
    assert np.isfinite(run.metrics["val_loss"])
