"""YAMNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawnchorus.models.runner import open_session
from dawnchorus.models.store import ModelStore


def test_the_shared_yamnet_loads(tmp_path: Path, shared_yamnet: Path) -> None:
    bundle = ModelStore(tmp_path).pull("yamnet", source=shared_yamnet)
    assert (len(bundle.labels), bundle.window_samples, bundle.info.embedding_dim) == (521, 15_600, 1024)
    output = open_session(bundle).run(np.zeros((2, 15_600), np.float32), embeddings=True)
    assert output.embeddings is not None
    assert output.embeddings.shape == (2, 1024)
    best = bundle.labels[int(output.logits[0].argmax())]
    assert (best.scientific_name, best.kind) == ("Silence", "sound")
    assert ModelStore(tmp_path / "again").pull("yamnet", source=shared_yamnet.parent).id == bundle.id
