"""Folders into which somebody sorted the clips of a species by whether it is there: `positive`, `negative`, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Review = Literal["present", "absent", "undecided"]
"""Outcome of a review: the species is in the recording, it is not, or nobody can tell."""

_REVIEWS: dict[str, Review] = {
    **dict.fromkeys(
        (
            *(
                "positive",
                "pos",
                "true positive",
                "tp",
                "false negative",
                "fn",
                "confirmed",
                "correct",
                "present",
                "true",
            ),
            *("verified", "accepted", "positiv", "richtig", "best\u00e4tigt", "positif", "confirm\u00e9", "positivo"),
            *("correcto", "confirmado"),
        ),
        "present",
    ),
    **dict.fromkeys(
        (
            *(
                "negative",
                "neg",
                "false positive",
                "fp",
                "true negative",
                "tn",
                "rejected",
                "incorrect",
                "absent",
                "false",
            ),
            *("not present", "wrong", "negativ", "falsch", "n\u00e9gatif", "rejet\u00e9", "negativo", "incorrecto"),
        ),
        "absent",
    ),
    **dict.fromkeys(("uncertain", "unsure", "unclear", "doubtful", "undecided", "maybe", "skipped"), "undecided"),
}
_OF_WHAT = re.compile(r" (?:clips?|segments?|samples?|detections?|examples?|recordings?|files|audio|sounds?)$")


def review_of_folder(name: str) -> Review | None:
    """Return the outcome of a review that a folder's name is, in any spelling; None for other names."""
    words = _OF_WHAT.sub("", re.sub(r"[\W_]+", " ", name).strip().casefold())
    return _REVIEWS.get(words) or _REVIEWS.get(words.removesuffix("s"))


def review_of_folders(folders: Sequence[str]) -> tuple[str, Review] | None:
    """Return the innermost folder that is an outcome of a review, and the outcome; None without one."""
    return next(((name, review) for name in reversed(folders) if (review := review_of_folder(name))), None)
