"""Thresholds of classes and lists of species."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dawnchorus.errors import InputError
from dawnchorus.identification import Options
from dawnchorus.identification.score_filter import build_score_filter
from dawnchorus.models.bundle import Bundle

# ---------------------------------------------------------------------- which scores are kept


def thresholds(bundle: Bundle, **options: object) -> list[float]:
    return build_score_filter(bundle, Options(**options)).thresholds.tolist()  # type: ignore[arg-type]


def test_thresholds_of_classes_are_the_users_the_models_or_the_runs(level_bundle: Bundle) -> None:
    info = level_bundle.info.model_copy(update={"thresholds": {"Avis parva": 0.5, "Avis nova": 0.1, "Engine": 0.75}})
    bundle = replace(level_bundle, info=info)
    assert thresholds(level_bundle) == [0.25, 0.25, 0.25]
    assert thresholds(bundle) == [0.25, 0.5, 0.75]
    mine = {"Avis parva": 0.125, "Turdus merula": 0.0}
    assert thresholds(bundle, min_score=0.0, thresholds=mine) == [0.0, 0.125, 0.75]


def test_species_list_keeps_its_classes_alone(level_bundle: Bundle) -> None:
    listed = ("Turdus merula", "Avis parva")
    assert thresholds(level_bundle, species=listed) == [np.inf, 0.25, np.inf]
    assert build_score_filter(level_bundle, Options(top=2)).top == 2
    assert build_score_filter(level_bundle, Options()).top is None
    with pytest.raises(InputError, match="none of its 2 names is a class of the model level. Names are scientific"):
        build_score_filter(level_bundle, Options(species=("Turdus merula", "Lout Bird")))
