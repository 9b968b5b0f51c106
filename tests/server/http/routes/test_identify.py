"""Identification by HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.server import Serve

from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore


def test_the_rows_are_those_of_the_command_line(
    dawn: Path, birdnet: Bundle, store: ModelStore, serve: Serve, command: Command
) -> None:
    client = serve(models_folder=store.folder)
    expected = json.loads(command("identify", dawn, "--json", "-q", "--min-score", "0.1").stdout)["detections"]
    with dawn.open("rb") as file:
        reply = client.post("/api/v1/identify?min_score=0.1", files={"audio": (dawn.name, file)})
    assert reply.status_code == 200, reply.text
    reply_fields = reply.json()
    assert reply_fields["bundle_id"] == birdnet.id
    assert reply_fields["recording"] == dawn.name
    keys = ("start_s", "end_s", "scientific_name", "common_name")
    assert [[row[k] for k in keys] for row in reply_fields["detections"]] == [
        [row[k] for k in keys] for row in expected
    ]
    assert [row["score"] for row in reply_fields["detections"]] == pytest.approx(
        [r["score"] for r in expected], abs=1e-4
    )
    raven = client.post("/api/v1/identify?format=raven&min_score=0.1", content=dawn.read_bytes())
    assert raven.text.splitlines()[0].startswith("Selection\tView")
    assert len(raven.text.splitlines()) == 1 + len(expected)
    result = client.post("/api/v1/identify?lat=52.5&lon=13.4&week=18", content=dawn.read_bytes()).json()
    assert {row["in_range"] for row in result["detections"]} == {True, False}
    best = client.post("/api/predict", files={"audio": ("x.wav", dawn.read_bytes())}).json()
    top = max(expected, key=lambda row: row["score"])
    assert best["predicted_species"] == top["common_name"]
    assert best["confidence"] == pytest.approx(top["score"], abs=1e-4)


def test_overlaps_count_as_length_and_are_bounded(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    window_s = level_bundle.info.window_s
    client = serve(model=level_bundle.folder, limits=Limits(max_sync_s=10))
    refused = client.post(f"/api/v1/identify?overlap={window_s - 0.01}", content=tone.read_bytes())
    assert refused.status_code == 400
    assert f"overlap: expected at most {window_s - 0.1:g} s" in refused.json()["detail"]
    assert client.post("/api/v1/identify", content=tone.read_bytes()).status_code == 200
    job = client.post(f"/api/v1/identify?overlap={window_s - 0.1}", content=tone.read_bytes())
    assert job.status_code == 202, job.text
