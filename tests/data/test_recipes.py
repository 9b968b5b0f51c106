"""Recipes for clips."""

from __future__ import annotations

import pytest

from dawnchorus.data.recipes import Recipe
from dawnchorus.errors import InputError


@pytest.mark.parametrize(("field", "value"), [("window_s", 0.0), ("rate_hz", 1), ("overlap_s", 5.0), ("n_clips", 0)])
def test_recipes_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field.split("_", maxsplit=1)[0]):
        Recipe(**{field: value})  # type: ignore[arg-type]
