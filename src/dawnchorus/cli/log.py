"""Sentences of the library's log on the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

LIBRARY = "dawnchorus"


def sentence(record: logging.LogRecord) -> str:
    """Return a sentence of the log; a warning says that it is one."""
    prefix = "warning: " if record.levelno == logging.WARNING else ""
    return prefix + record.getMessage()


class LinesHandler(logging.Handler):
    """Prints sentences as lines to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(sentence(record), err=True)


def show_log(handler: logging.Handler) -> None:
    """Pass the library's sentences to a handler, to the end of the command."""
    click.get_current_context().with_resource(_handled_log(handler))


@contextmanager
def _handled_log(handler: logging.Handler) -> Iterator[None]:
    log = logging.getLogger(LIBRARY)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
