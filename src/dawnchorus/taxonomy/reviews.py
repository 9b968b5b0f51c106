"""Parsing of a reviewer's words for the outcome of a review: `positive`, `false positive`, `uncertain`, ..."""

from __future__ import annotations

import re
from typing import Literal

Review = Literal["present", "absent", "undecided"]
"""Outcome of a review of a detection: the species is present, absent, or undecided."""

_REVIEWS: dict[str, Review] = {
    **dict.fromkeys(
        (
            *("positive", "pos", "true positive", "tp", "false negative", "fn", "confirmed", "correct", "present"),
            *("true", "valid", "verified", "accepted", "positiv", "richtig", "best\u00e4tigt", "richtig positiv"),
            *("positif", "confirm\u00e9", "vrai", "vrai positif", "positivo", "correcto", "confirmado", "verdadero"),
            *("verdadero positivo", "correto", "vero", "vero positivo"),
        ),
        "present",
    ),
    **dict.fromkeys(
        (
            *("negative", "neg", "false positive", "fp", "true negative", "tn", "rejected", "reject", "incorrect"),
            *("absent", "false", "invalid", "not present", "wrong", "negativ", "falsch", "falsch positiv"),
            *("n\u00e9gatif", "rejet\u00e9", "faux", "faux positif", "negativo", "incorrecto", "falso"),
            *("falso positivo", "rechazado", "incorreto", "rejeitado"),
        ),
        "absent",
    ),
    **dict.fromkeys(
        (
            *("uncertain", "unsure", "unclear", "doubtful", "undecided", "maybe", "skipped", "unverified", "to check"),
            *("unchecked", "to review", "to verify", "todo", "bad", "deleted", "trash", "discarded", "discard"),
            *("unsicher", "unklar", "vielleicht", "zweifelhaft", "fraglich", "zu pr\u00fcfen", "papierkorb"),
            *("douteux", "incertain", "peut \u00eatre", "\u00e0 v\u00e9rifier", "dudoso", "incierto", "incerto"),
            *("duvidoso", "dubbio", "onzeker", "twijfel"),
        ),
        "undecided",
    ),
}
_OF_WHAT = re.compile(r" (?:clips?|segments?|samples?|detections?|examples?|recordings?|files|audio|sounds?)$")
_NO_SPECIES = frozenset(("noise", "none", "nothing"))
"""Words after a species' name that leave the presence of the species undecided."""
_BEFORE = re.compile(r"(?:[Nn]ot|[Nn]icht|[Kk]eine?)[\s_]+(?P<name>[A-Z].*)")
_SHORT = frozenset(("tp", "fp", "tn", "fn"))

MAX_CHARS = 500
"""Maximum length of a label in characters in which `split_review` searches a review outcome.

The search time grows with the square of the length.
"""


def parse_review(text: str) -> Review | None:
    """Parse a text that is only the outcome of a review, in any spelling and several languages; else None.

    `confirmed`, `true positive` and `richtig` mean "present"; `false_positive` and `rejected` "absent"; `unsure` and
    `to check` "undecided". A word such as `clips` may follow.
    """
    words = _OF_WHAT.sub("", re.sub(r"[\W_]+", " ", text).strip().casefold())
    singular = " ".join(word.removesuffix("s") for word in words.split())
    return _REVIEWS.get(words) or _REVIEWS.get(words.removesuffix("s")) or _REVIEWS.get(singular)


def split_review(text: str) -> tuple[str, Review] | None:
    """Split a label such as `Parus major_negative` or `not Parus major` into species name and review outcome.

    None for labels without a review outcome, a review outcome without a name, texts longer than `MAX_CHARS`, and texts
    with one of the signs `,;|+&`, which may be lists of labels.
    """
    text = text.strip()
    if len(text) > MAX_CHARS or re.search(r"[,;|+&]", text) or parse_review(text) is not None:
        return None
    if match := _BEFORE.fullmatch(text):
        return match["name"], "absent"
    for at in [match.start() for match in re.finditer(r"[\s_(\[-]+(?=[^\W\d_])", text)]:
        name, words = text[:at].strip(" _-"), text[at:].strip(" _-()[]")
        review = _review_behind(words)
        is_name = " " in name or "_" in name or (name and text[at] in "_([")
        if review is not None and is_name and name.casefold() != words.casefold():
            return name, review
    return None


def _review_behind(words: str) -> Review | None:
    key = words.casefold()
    if key in _NO_SPECIES:
        return "undecided"
    return parse_review(words) if len(key) > 2 or key in _SHORT else None
