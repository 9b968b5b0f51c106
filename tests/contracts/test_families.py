"""One suite for every family: it learns, its bundle says what torch says, and identify runs it like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.fixtures.training import STARTED, TINY, Train

from dawnchorus.data.recordings import read_table
from dawnchorus.identification import Options, identify
from dawnchorus.models.bundle import BundleDescription, new_bundle, read_bundle, verify_bundle
from dawnchorus.models.graphs.parity import check_parity
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.models.store import ModelStore
from dawnchorus.taxonomy.labels import Label
from dawnchorus.training.bundles import PARITY, network_logits
from dawnchorus.training.compose import compose_config, family_config
from dawnchorus.training.families import FAMILIES, Context

# The transformer and EfficientNet cost most, and no rule of the path is theirs alone.
SLOW = {"wav2vec2", "efficientnet"}


def test_every_family_is_tried_here() -> None:
    assert set(TINY) == set(FAMILIES)


@pytest.mark.parametrize("family", [pytest.param(name, marks=pytest.mark.ops if name in SLOW else ()) for name in TINY])
def test_a_family_from_recordings_to_detections(family: str, run_training: Train, birds: Path) -> None:
    run = run_training(*TINY[family], "loss=cross_entropy", "trainer.epochs=1", "trainer.batch_size=8")
    assert run.metadata["status"] == "done"
    assert run.metadata["started"] == STARTED.isoformat(timespec="seconds")
    assert {"val_loss", "val_auc", "val_accuracy"} <= set(run.metrics)
    bundle = read_bundle(run.bundle)
    verify_bundle(bundle)
    assert bundle.info.family == family
    assert bundle.info.embedding_dim
    assert len(bundle.labels) == 3
    card = (run.bundle / "MODEL_CARD.md").read_text()
    assert all(label.scientific_name in card for label in bundle.labels)
    assert ("chroma's are taken at concert pitch" in card) == (family == "acoustic_mlp")
    # One predict path: the scores of `identify` are those of the graph on the same windows.
    table = read_table(birds)
    row = next(row for row in table.rows if row.split == "test" and row.scientific_name)
    identified = identify(table.file(row), Options(min_score=0.0), model=run.bundle)
    detections = [d for t in identified.tables() for d in t.detections]
    assert len(detections) % 3 == 0
    assert {d.scientific_name for d in detections} == {label.scientific_name for label in bundle.labels}
    windows = {d.start_s for d in detections}
    for start_s in windows:
        assert sum(d.score for d in detections if d.start_s == start_s) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("family", list(TINY))
def test_the_graph_says_what_torch_says_for_any_number_of_windows(
    family: str, tiny: dict[str, tuple[str, ...]], birds: Path, tmp_path: Path, store: ModelStore
) -> None:
    config = compose_config([*tiny[family], f"data={birds}"])
    kind, shape = family_config(config, store)
    torch.manual_seed(5)
    classes = tuple(f"Avis {k}" for k in "abcd")
    network = kind.build(shape, Context(classes, store)).eval()
    description = BundleDescription(
        name="x", version="1", family=family, sample_rate_hz=shape.rate_hz, window_s=shape.window_s,
        activation="softmax", license="CC0-1.0", attribution="x", source="x", made_by="x",
    )  # fmt: skip
    with new_bundle(tmp_path / "bundle") as draft:
        onnx.save(network.export(window_samples=shape.window_samples), draft.folder / "model.onnx")
        draft.describe(description, [Label(name, name) for name in classes])
        bundle = draft.finish("# x\n")
    rng = np.random.default_rng(7)
    for n in (1, 3):
        windows = rng.normal(0, 0.1, (n, shape.window_samples)).astype(np.float32)
        windows[0, : shape.window_samples // 2] = 0
        check_parity(bundle, windows, network_logits(network, windows), tolerance=PARITY, source="torch")
    silence = np.zeros((1, shape.window_samples), np.float32)
    check_parity(bundle, silence, network_logits(network, silence), tolerance=PARITY, source="torch")
    output = open_session(bundle).run(windows, embeddings=True)
    assert output.embeddings is not None
    assert len(output.embeddings) == 3
    assert apply_activation(output.logits, "softmax").sum(1) == pytest.approx(np.ones(3), abs=1e-5)
