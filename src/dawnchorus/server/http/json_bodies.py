"""Bodies in JSON: none that says one thing twice, and no numbers that JSON does not have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from dawnchorus.errors import InputError
from dawnchorus.server.http.parameters import refuse_repeated


def parse_json(body: bytes) -> Any:
    """Return the value of a body.

    Raises:
        InputError: a name comes twice in one object, of which `json` would take the last without a word, or there is
            NaN or Infinity, which are not in RFC 8259.
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(body, object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    refuse_repeated(pairs, "field")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise InputError(f"expected a number or null, got {name}, which JSON does not have.")
