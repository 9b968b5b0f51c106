"""Sentences of the library's log on the command line, as lines and as JSON."""

from __future__ import annotations

import json
import logging

import click
from click.testing import CliRunner

from dawnchorus.cli.log import LIBRARY, LinesHandler, show_log
from dawnchorus.cli.retrain import _JsonLines
from dawnchorus.types import Progress

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


def test_a_retraining_process_says_stages_epochs_and_sentences_as_json() -> None:
    @click.command()
    def command() -> None:
        output = _JsonLines()
        show_log(output)
        output.report(Progress("checking", 5, 10, "recordings"))
        LOG.warning("1 species has one recording")
        output.report(Progress("training", 1, 4, "epochs", {"loss": 0.1234567, "val_auc": float("nan")}, left_s=3.0))
        output.report(Progress("comparing", 1, 2, "models"))

    lines = [json.loads(line) for line in CliRunner().invoke(command).stdout.splitlines()]
    assert lines == [
        {"stage": "checking", "progress": 0.05},
        {"stage": "checking", "progress": 0.05, "message": "warning: 1 species has one recording"},
        {
            "stage": "training",
            "progress": 0.3 + 0.45 / 4,
            "epoch": 1,
            "n_epochs": 4,
            "metrics": {"loss": 0.12346},
            "left_s": 3.0,
        },
        {"stage": "comparing", "progress": 0.8 + 0.05},
    ]
