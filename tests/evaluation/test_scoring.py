"""Scores of a data set: several models in one decoding have the scores that each has alone."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.arrays import Windows
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.write import write_recording
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.errors import InputError, ModelError
from dawnchorus.evaluation.scoring import Scores, group_by_windows, score_data_set, score_together
from dawnchorus.inference import sessions
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import GraphOutput, Session
from dawnchorus.models.store import ModelStore

LOUD, DEEP = "Avis magna", "Avis gravis"
"""A species that only `level_bundle` knows, and one that only `band_bundle` knows."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RecordingsTable:
    """Recordings of several lengths, one that is damaged, and one that is unlabeled."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(2)
    for k in range(4):
        write_recording(folder / f"{k}.wav", rng.normal(0, 0.1, 11_000 * (k + 1)).astype(np.float32), rate_hz=16_000)
    (folder / "damaged.wav").write_text("no sound")
    species = {"0": LOUD, "1": DEEP, "2": LOUD, "damaged": DEEP, "3": None}
    return RecordingsTable(
        folder,
        tuple(
            RecordingRow(recording_id=name, path=f"{name}.wav", scientific_name=label, kind="soundscape")
            for name, label in species.items()
        ),
    )


def contents(scores: Scores) -> dict[str, Any]:
    """Return every field, arrays as bytes."""
    values = {field.name: getattr(scores, field.name) for field in fields(scores)}
    return {
        name: (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def test_models_share_one_decoding_and_have_the_same_scores(
    table: RecordingsTable,
    level_bundle: Bundle,
    band_bundle: Bundle,
    store: ModelStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundles = [level_bundle, band_bundle]
    assert group_by_windows(bundles) == [bundles]
    alone = [score_data_set(each, table, table.rows, store=store, overlap_s=0.5) for each in bundles]
    opened: list[Path] = []
    open_recording = DecoderProcess.open

    def noted(self: DecoderProcess, path: Path, **options: Any) -> Any:
        opened.append(path)
        return open_recording(self, path, **options)

    monkeypatch.setattr(DecoderProcess, "open", noted)
    together = score_together(bundles, table, table.rows, store=store, overlap_s=0.5)
    assert sorted(path.stem for path in opened) == ["0", "1", "2", "damaged"]
    assert [contents(each) for each in together] == [contents(each) for each in alone]
    assert [(each.classes, each.unlabeled, [*each.failures]) for each in together] == [
        ((LOUD,), ("3",), ["damaged"]),
        ((DEEP,), ("3",), ["damaged"]),
    ]


def test_each_model_has_classes_and_recordings_of_its_own(
    table: RecordingsTable, level_bundle: Bundle, band_bundle: Bundle, store: ModelStore
) -> None:
    bundles, classes = [level_bundle, band_bundle], [None, [DEEP]]
    together = score_together(bundles, table, table.rows, store=store, classes=classes, n_workers=1)
    alone = [
        score_data_set(bundle, table, table.rows, store=store, classes=each, n_workers=1)
        for bundle, each in zip(bundles, classes, strict=True)
    ]
    assert [len(each.rows) for each in together] == [3, 4], "the unlabeled one only where classes are given"
    assert [contents(each) for each in together] == [contents(each) for each in alone]


def test_a_model_that_knows_no_species_is_refused_before_the_scoring(
    table: RecordingsTable, level_bundle: Bundle, band_bundle: Bundle, store: ModelStore
) -> None:
    rows = [row for row in table.rows if row.scientific_name == LOUD]
    with pytest.raises(InputError, match="the model bands knows none of its 1 species"):
        score_together([level_bundle, band_bundle], table, rows, store=store)


class NanSession:
    """Session of a model whose scores are NaN."""

    def run(self, windows: Windows, *, embeddings: bool = False) -> GraphOutput:
        del embeddings
        return GraphOutput(np.full((len(windows), 2), np.nan, np.float32), None)


def test_scores_that_are_not_finite_name_the_model_that_has_them(
    table: RecordingsTable,
    level_bundle: Bundle,
    band_bundle: Bundle,
    store: ModelStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_session = sessions.open_session

    def opened(bundle: Bundle, *, tta_shifts: int) -> Session:
        return NanSession() if bundle is band_bundle else open_session(bundle, tta_shifts=tta_shifts)

    monkeypatch.setattr(sessions, "open_session", opened)
    with pytest.raises(ModelError, match="bands: expected finite scores, got NaN"):
        score_together([level_bundle, band_bundle], table, table.rows, store=store)


def test_models_are_grouped_by_rate_window_and_cleaning(level_bundle: Bundle, band_bundle: Bundle) -> None:
    longer = replace(level_bundle, info=level_bundle.info.model_copy(update={"window_s": 2.0}))
    assert group_by_windows([level_bundle, longer, band_bundle]) == [[level_bundle, band_bundle], [longer]]
    assert [len(group) for group in group_by_windows([level_bundle] * 6)] == [4, 2]
    with pytest.raises(ValueError, match="different windows"):
        score_together([level_bundle, longer], RecordingsTable(Path(), ()), (), store=ModelStore(Path()))
