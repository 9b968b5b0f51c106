"""Plug-ins (entries that other packages add to registries), and guards that name the plug-in if its code fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dawnchorus.errors import DawnChorusError, PlugInError

PLUG_IN_FAILURES = (Exception, SystemExit)
"""Exceptions that the code of a plug-in may raise and that are handled: all except an interrupt from the keyboard."""


@dataclass(frozen=True)
class PlugIn:
    """An entry that another package adds to a registry.

    Args:
        noun: what the entry is, such as "format" or "engine".
        name: name of the entry point.
        package: name and version of the package that has the plug-in.
        target: value of the entry point, `module:OBJECT`.
    """

    noun: str
    name: str
    package: str
    target: str

    def __str__(self) -> str:
        return f"{self.noun} '{self.name}' of the package {self.package} ({self.target})"

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Convert unexpected exceptions of the plug-in's code to errors that name the plug-in.

        Use the guard as a `with` block, or as a decorator: `guard()(function)`. A `DawnChorusError` and an `OSError`
        with an `errno`, such as for a full disk, are raised unchanged.

        Raises:
            PlugInError: the code raised another exception, which becomes the `__cause__`.
        """
        try:
            yield
        except PLUG_IN_FAILURES as error:
            if isinstance(error, DawnChorusError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise PlugInError(str(self), "failed", detail=describe_failure(error)) from error


def describe_failure(error: BaseException) -> str:
    """Return the type and the message of an exception in one line, such as `ValueError: no such band`.

    If the exception has no message, only the type is returned.
    """
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))
