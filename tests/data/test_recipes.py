"""Recipes for clips."""

from __future__ import annotations

import pytest

from dawnchorus.data.recipes import Recipe
from dawnchorus.errors import InputError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("window_s", 0.0),
            ("window_s", "3"),
            ("rate_hz", 1),
            ("rate_hz", 16_000.5),
            ("overlap_s", 5.0),
            ("overlap_s", -1),
        ),
        *(("n_clips", 0), ("n_clips", True), ("clip_selection", "loudst"), ("pad_mode", None), ("denoise", "all")),
        *(("trim_db", 0), ("trim_db", "much"), ("cut_speech", "perhaps")),
    ],
)
def test_recipes_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field.split("_", maxsplit=1)[0]):
        Recipe(**{field: value})  # type: ignore[arg-type]
