"""Traces of the profiler."""

from __future__ import annotations

import json

import pytest
from tests.fixtures.training import SMALL, Train

from dawnchorus.errors import InputError


@pytest.mark.ops
def test_profiler_traces_the_configured_steps(run_training: Train) -> None:
    settings = (*SMALL, "trainer.epochs=1", "profiler=torch", "profiler.wait=2", "profiler.active=2")
    run = run_training(*settings, "profiler.record_shapes=true", "profiler.profile_memory=true")
    trace = json.loads((run.folder / "reports" / "trace.json").read_text())["traceEvents"]
    steps = {event["name"] for event in trace if event.get("name", "").startswith("ProfilerStep#")}
    assert steps == {"ProfilerStep#3", "ProfilerStep#4"}
    table = (run.folder / "reports" / "profile.txt").read_text()
    assert "Input Shapes" in table
    assert "CPU Mem" in table
    with pytest.raises(InputError, match=r"profiler\.wait and profiler\.warmup: expected fewer steps than the 4"):
        run_training(*settings, "profiler.wait=30")
