"""Retraining in a process of its own."""

from __future__ import annotations

import json
import logging
import math

import pytest

from dawnchorus.errors import InputError
from dawnchorus.retraining_messages import RetrainEvent, RetrainOutcome
from dawnchorus.training.job import EventPrinter, print_event, print_failure
from dawnchorus.types import Progress


def test_events_of_a_retraining_are_read_as_they_were_printed(capsys: pytest.CaptureFixture[str]) -> None:
    printer = EventPrinter()
    printer.report(Progress("training", 3, 10, "epochs", {"loss": 0.1234567, "nan": math.nan}, left_s=8.0))
    printer.emit(logging.LogRecord("x", logging.WARNING, "", 0, "%s is silent", ("r1",), None))
    outcome = RetrainOutcome(
        bundle="b",
        bundle_id="0" * 12,
        meets_promotion_rule=False,
        reasons=("worse",),
        report={"species": [{"new_average_precision": None}]},
        splits={"a": "test"},
    )
    print_event(RetrainEvent(stage="done", outcome=outcome))
    with pytest.raises(InputError), print_failure():
        raise InputError("no recordings")
    lines = capsys.readouterr().out.splitlines()
    epoch, sentence, done, failed = map(RetrainEvent.model_validate_json, lines)
    assert epoch.progress == pytest.approx(0.3 + 0.45 * 0.3)
    assert (epoch.epoch, epoch.n_epochs, epoch.left_s, epoch.metrics) == (3, 10, 8.0, {"loss": 0.12346})
    assert (sentence.stage, sentence.message) == ("training", "warning: r1 is silent")
    assert sentence.epoch is None, "a sentence is no epoch"
    assert done.outcome == outcome
    assert (failed.stage, failed.error) == ("failed", "no recordings")
    assert json.loads(lines[3]) == {"stage": "failed", "error": "no recordings"}
