"""Smaller bundles: what they lose is measured, and stands in their cards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.fixtures.commands import Command
from tests.fixtures.training import Train

from dawnchorus.data.recordings import read_table
from dawnchorus.models.bundle import read_bundle, verify_bundle
from dawnchorus.models.runner import open_session

CNN = ("model=mel_cnn", "model.window_s=2", "model.channels=[16,32,64]", "model.mel.n_mels=64", "trainer.epochs=2")


@pytest.mark.ops
def test_quantized_bundles_are_smaller_and_state_their_loss(
    run_training: Train, birds: Path, tmp_path: Path, command: Command
) -> None:
    whole = read_bundle(run_training(*CNN).bundle)
    windows = np.random.default_rng(1).normal(0, 0.1, (2, whole.window_samples)).astype(np.float32)
    logits = open_session(whole).run(windows).logits
    size = whole.graph_path.stat().st_size
    for precision, tolerance in (("float16", 0.02), ("int8", 1.0)):
        folder = tmp_path / precision
        done = command("models", "quantize", whole.folder, folder, "--precision", precision, "--data", birds)
        assert done.returncode == 0, done.stderr
        made = read_bundle(folder)
        verify_bundle(made)
        assert made.graph_path.stat().st_size < size
        assert made.id != whole.id
        assert made.info.name == f"mel_cnn-{precision}"
        quantized_logits = open_session(made).run(windows).logits
        assert 0 < np.abs(quantized_logits - logits).max() < tolerance * max(np.abs(logits).max(), 1)
        card = (folder / "MODEL_CARD.md").read_text()
        assert f"against mel_cnn {whole.id}" in card
        assert "| top 1 |" in card
        assert card.startswith((whole.folder / "MODEL_CARD.md").read_text()[:50])
        assert len(read_table(folder).rows) == len(read_table(whole.folder).rows)
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8" / "model.onnx").graph.node]
    assert "QuantizeLinear" in kinds
    refused = command(
        "models", "quantize", whole.folder, tmp_path / "x", "--precision", "float16", "--data", birds, "--split", "no"
    )
    assert refused.returncode == 2
    assert b"in the split 'no'" in refused.stderr
    assert not (tmp_path / "x").exists()
