"""Recognition of missing values and of spreadsheet errors."""

from __future__ import annotations

import re

_BLANKS = frozenset(("nan", "na", "n/a", "#n/a", "<na>", "none", "null", "nil", "unknown", "unbekannt", "inconnu"))
_PUNCTUATION = re.compile(r"[\W_]*|[xX?][\W_xX?]*|[yYmMdDhHsS]{2,4}([\W_][yYmMdDhHsS]{2,4})+")

ERROR_VALUE = re.compile(
    r"#(?:N/A|(?:REF|NAME|VALUE|DIV/0|NULL|NUM|SPILL|CALC)[!?]"  # English
    r"|NV|(?:BEZUG|WERT|ZAHL|\u00dcBERLAUF)!"  # German
    r"|(?:NOM|VALEUR|NOMBRE|NUL)[!?]"  # French
    r"|(?:\u00a1(?:REF|VALOR|NUM|NULO|DIV/0)!|\u00bfNOMBRE\?))",  # Spanish
    re.IGNORECASE,
)
"""Values that spreadsheets in four languages show if a formula failed."""


def is_error_value(text: str) -> bool:
    """Return True for a spreadsheet's error value, such as `#N/A`, `#REF!`, `#BEZUG!`."""
    return ERROR_VALUE.fullmatch(text.strip()) is not None


def is_blank(text: str) -> bool:
    """Return True for a missing value: empty, `-`, `?`, `??:??`, `n/a`, `unknown`, ...

    `####` is not blank: spreadsheets write it in place of a value if the column is too narrow.
    """
    text = text.strip()
    return text.casefold() in _BLANKS or (_PUNCTUATION.fullmatch(text) is not None and "##" not in text)
