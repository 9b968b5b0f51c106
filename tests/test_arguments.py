"""Arguments that have no type of their own."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.arguments import check_choice, check_count, count_workers, option
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError


def test_an_option_is_named_for_the_command_line_and_for_python() -> None:
    assert option("per_species", "5") == "--per-species 5 (in Python: per_species='5')"
    assert option("overwrite") == "--overwrite (in Python: overwrite=True)"


def test_choices_are_words_and_the_nearest_is_suggested() -> None:
    check_choice("pool", "mean", ("mean", "max"))
    with pytest.raises(InputError, match=r"^pool: expected one of mean, max, got 'maen'\. Did you mean 'mean'\?$"):
        check_choice("pool", "maen", ("mean", "max"))
    with pytest.raises(InputError, match=r"^pool: expected one of mean, max, got None\.$"):
        check_choice("pool", None, ("mean", "max"))


def test_counts_are_whole_numbers_from_one_on() -> None:
    assert (check_count("n", np.int16(3)), count_workers(None), count_workers(2)) == (3, usable_cores(), 2)
    for value in (0, -1, 1.0, True, "2", None):
        with pytest.raises(InputError, match="^n: expected a whole number, 1 or more, got"):
            check_count("n", value)
