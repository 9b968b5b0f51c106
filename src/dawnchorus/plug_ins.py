"""Plug-ins: entries that other packages add to registries, and guards that name them where their code fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dawnchorus.errors import DawnChorusError, PlugInError

PLUG_IN_FAILURES = (Exception, SystemExit)
"""Failures of another package's code: all but an interrupt from the keyboard."""


@dataclass(frozen=True)
class PlugIn:
    """An entry that another package adds to a registry.

    Args:
        noun: what the registry has, such as "format".
        name: name of the entry point.
        package: name and version of the package.
        target: the entry point's value, `module:OBJECT`.
    """

    noun: str
    name: str
    package: str
    target: str

    def __str__(self) -> str:
        return f"{self.noun} '{self.name}' of the package {self.package} ({self.target})"

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Name the plug-in in errors of its code, in a `with` block or, as `guard()(function)`, of a function.

        Errors of Dawn Chorus pass, and those of the system, such as a full disk: they say what they are.

        Raises:
            PlugInError: the code raised anything else, which is the cause.
        """
        try:
            yield
        except PLUG_IN_FAILURES as error:
            if isinstance(error, DawnChorusError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise PlugInError(str(self), "failed", detail=describe_failure(error)) from error


def describe_failure(error: BaseException) -> str:
    """Describe an exception of another package in one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))
