"""Checks of arguments that have no type of their own, and how messages name options."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral

from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion


def option(name: str, value: str | None = None) -> str:
    """Return how an option is given on the command line and in Python: `--overwrite (in Python: overwrite=True)`."""
    typed = f"--{name.replace('_', '-')}" if value is None else f"--{name.replace('_', '-')} {value}"
    return f"{typed} (in Python: {name}={'True' if value is None else repr(value)})"


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check an argument that is one of some words.

    Raises:
        InputError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        near = suggestion(value, choices) if isinstance(value, str) else ""
        raise InputError(f"{name}: expected one of {', '.join(choices)}, got {value!r}.{near}")


def check_count(name: str, value: object) -> int:
    """Return an argument that is a whole number, 1 or more.

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InputError(f"{name}: expected a whole number, 1 or more, got {value!r}.")
    return int(value)


def count_workers(workers: int | None) -> int:
    """Return the number of cores that a caller asks for; all that are available for None.

    Raises:
        InputError: it is no whole number from 1 on.
    """
    return usable_cores() if workers is None else check_count("workers", workers)
