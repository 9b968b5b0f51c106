"""Checks of arguments, and names of options in error messages."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral

from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion


def option(name: str, value: str | None = None) -> str:
    """Return the spelling of an option for messages.

    A flag gives `--overwrite (in Python: overwrite=True)`, an option with a value `--split test (in Python:
    split='test')`.

    Args:
        name: name of the Python argument, such as `overwrite`; hyphens replace its underscores in the option.
        value: value of the option; None for a flag.
    """
    typed = f"--{name.replace('_', '-')}" if value is None else f"--{name.replace('_', '-')} {value}"
    return f"{typed} (in Python: {name}={'True' if value is None else repr(value)})"


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check that the value of the argument `name` is one of `choices`.

    Raises:
        InputError: the value is none of the choices; the message lists them and suggests the most similar one.
    """
    if not isinstance(value, str) or value not in choices:
        near = suggestion(value, choices) if isinstance(value, str) else ""
        raise InputError(f"{name}: expected one of {', '.join(choices)}, got {value!r}.{near}")


def check_count(name: str, value: object) -> int:
    """Return the value of the argument `name` as an int, if it is a whole number of at least 1.

    Raises:
        InputError: the value is no integer (True and False are none), or less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InputError(f"{name}: expected a whole number, 1 or more, got {value!r}.")
    return int(value)


def count_workers(workers: int | None) -> int:
    """Return the number of worker processes: `workers`, or the number of cores available to this process if None.

    Raises:
        InputError: `workers` is no whole number of at least 1.
    """
    return usable_cores() if workers is None else check_count("workers", workers)
