"""Sentences of the library's log on the command line."""

from __future__ import annotations

import logging

import click
from click.testing import CliRunner

from dawnchorus.cli.log import LIBRARY, LinesHandler, show_log

LOG = logging.getLogger("dawnchorus.training.trainer")


def say() -> None:
    LOG.debug("a detail")
    LOG.info("12 species to learn, 50%")
    LOG.warning("1 species has one recording")
    LOG.error("failed: seed=1: no memory")


def test_sentences_are_lines_and_the_log_is_as_before_after_the_command() -> None:
    library = logging.getLogger(LIBRARY)
    before = (library.level, list(library.handlers))

    @click.command()
    def command() -> None:
        show_log(LinesHandler())
        say()

    lines = CliRunner().invoke(command).stderr.splitlines()
    assert lines == [
        "12 species to learn, 50%",
        "warning: 1 species has one recording",
        "failed: seed=1: no memory",
    ]
    assert (library.level, library.handlers) == before
