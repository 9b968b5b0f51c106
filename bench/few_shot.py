"""Few-shot training: recall of newly trained species, and false alarms elsewhere.

Four species of the focal set are trained under new names, as birds that BirdNET does not know, from six recordings
each; recordings of the others, and of the set `open_set`, must not be detected as one of them.
"""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.focal import data_sets
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, species_of
from dawnchorus.identification.options import Options
from dawnchorus.identification.run import identify
from dawnchorus.inference.model import Model
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.training.retraining import retrain

N_DRAWS, N_NEW, N_EACH = 3, 4, 6
SCORE = 0.5
RECIPES: dict[str, tuple[str, ...]] = {
    "cautious": (),
    "plain": (
        "model.init_from_backbone_mean=false",
        "optimizer.lr=1e-3",
        "optimizer.weight_decay=0.1",
        "trainer.epochs=30",
    ),
}
"""Settings of a server's retraining, and of a head that is trained in the usual way."""


def measure() -> dict[str, Any]:
    """Return recall of held-out recordings of the new species, and false alarms elsewhere, by recipe."""
    store = ModelStore(default_folder())
    counts: dict[str, dict[str, int]] = {name: defaultdict(int) for name in RECIPES}
    with tempfile.TemporaryDirectory() as scratch:
        sets = data_sets(Path(scratch, "sets"))
        for draw in range(N_DRAWS):
            training_rows, held_out, others = _draw(sets["focal"], sets["open"], draw)
            for name, recipe in RECIPES.items():
                folder = Path(scratch, f"{draw}-{name}")
                folder.mkdir()
                outcome = retrain(
                    RecordingsTable(folder, tuple(training_rows)),
                    store.open("birdnet"),
                    folder,
                    backbone="birdnet",
                    store=store,
                    negatives_folder=Path(scratch),
                    started=datetime.now(),  # noqa: DTZ005 - a folder's name
                    overrides=recipe,
                    n_workers=2,
                )
                _count(counts[name], outcome.bundle, held_out, others, store)
    return {
        name: {
            **counted,
            "recall": counted["detected"] / counted["held_out"],
            "false_window_share": counted["false_windows"] / counted["windows"],
            "false_recording_share": counted["false_recordings"] / counted["others"],
        }
        for name, counted in counts.items()
    }


def _new_name(name: str | None) -> str:
    return f"Nova {name}"


def _draw(
    focal: RecordingsTable, unknown: RecordingsTable, draw: int
) -> tuple[list[RecordingRow], list[RecordingRow], list[RecordingRow]]:
    """Return recordings to train on, held-out ones of the same species, and others."""
    rng = random.Random(draw)  # noqa: S311 - a choice, not a secret
    chosen = rng.sample(species_of(focal.rows), N_NEW)
    training_rows: list[RecordingRow] = []
    held_out: list[RecordingRow] = []
    for species in chosen:
        rows = [row for row in focal.rows if row.scientific_name == species]
        trained_on = set(rng.sample(range(len(rows)), N_EACH))
        for k, row in enumerate(rows):
            renamed = replace(row, scientific_name=_new_name(species), common_name=_new_name(species))
            # One is held out for the comparison that every retraining makes.
            split = "test" if k == min(trained_on) else "train"
            (training_rows if k in trained_on else held_out).append(replace(renamed, split=split))
    others = [row for row in focal.rows if row.scientific_name not in chosen]
    return training_rows, held_out, [*others, *(row for row in unknown.rows if row.scientific_name not in chosen)]


def _count(
    counts: dict[str, int],
    bundle: Bundle,
    held_out: Sequence[RecordingRow],
    others: Sequence[RecordingRow],
    store: ModelStore,
) -> None:
    names = tuple(label.scientific_name for label in bundle.labels if label.scientific_name.startswith("Nova "))
    rows = {Path(row.path): row for row in (*held_out, *others)}
    options = Options(min_score=SCORE, species=names)
    run = identify(list(rows), options, model=Model(bundle, store))
    for path, row in rows.items():
        table = run.table(path)
        if table is None:
            continue
        detected = [d for d in table.detections if d.score >= SCORE]
        if (row.scientific_name or "").startswith("Nova "):
            counts["held_out"] += 1
            counts["detected"] += any(d.scientific_name == row.scientific_name for d in detected)
        else:
            counts["others"] += 1
            counts["false_recordings"] += bool(detected)
            counts["windows"] += max(round(table.duration_s / bundle.info.window_s), 1)
            counts["false_windows"] += len({d.start_s for d in detected})
