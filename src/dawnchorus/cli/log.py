"""Output of the library's log messages on the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

LIBRARY = "dawnchorus"


def sentence(record: logging.LogRecord) -> str:
    """Format a log message: the text alone, with the prefix "warning: " if its level is WARNING."""
    prefix = "warning: " if record.levelno == logging.WARNING else ""
    return prefix + record.getMessage()


class LinesHandler(logging.Handler):
    """Log handler that prints messages to standard error, one per line, as `sentence` formats them."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(sentence(record), err=True)


class ListHandler(logging.Handler):
    """Log handler that collects messages, as the function `sentence` formats them, in its list `sentences`."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(sentence(record))


def collect_log() -> list[str]:
    """Return a list to which the library's log messages of level INFO and above are appended until the command ends."""
    handler = ListHandler()
    show_log(handler)
    return handler.sentences


def show_log(handler: logging.Handler) -> None:
    """Attach a handler to the library's logger, and set the logger's level to INFO, until the command ends."""
    click.get_current_context().with_resource(handled_log(handler))


@contextmanager
def handled_log(handler: logging.Handler) -> Iterator[None]:
    """Attach a handler to the library's logger, and set the logger's level to INFO, for the block; then undo both."""
    log = logging.getLogger(LIBRARY)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
