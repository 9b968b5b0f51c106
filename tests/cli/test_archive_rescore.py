"""`dawnchorus archive rescore`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fixtures.archives import write_sounds
from tests.fixtures.commands import Command
from tests.fixtures.heads import write_head

from dawnchorus.models.bundle import Bundle


def test_heads_are_added_as_runs(band_bundle: Bundle, level_bundle: Bundle, command: Command, tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds")
    folder = tmp_path / "archive"
    kept = command("identify", sounds, "--archive", folder, "--model", band_bundle.folder, "--keep", "embeddings", "-q")
    assert kept.returncode == 3, kept.stderr
    one, two = (write_head(band_bundle, tmp_path / f"head{seed}", seed=seed).folder for seed in (1, 2))
    done = command("archive", "rescore", folder, "--model", one, "--model", two, "--json", "--min-score", "0.2")
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["n_done"], each["n_failed"], each["n_units"]) for each in printed] == [(4, 0, 2)] * 2
    assert printed[0]["run"] != printed[1]["run"]
    assert b"head: 4 recordings done (0 of them before), 0 failed;" in done.stderr
    rows = command("archive", "query", folder, "--run", printed[0]["run"], "--columns", "model,scientific_name,score")
    lines = rows.stdout.decode().splitlines()[1:]
    assert len(lines) == printed[0]["n_detections"]
    assert all(line.startswith('"head","Avis ') for line in lines)
    again = command("archive", "rescore", folder, "--model", one, "--shard", "1/1", "--min-score", "0.2", "-q")
    assert (again.returncode, again.stdout) == (0, b"")
    refused = command("archive", "rescore", folder, "--model", level_bundle.folder)
    assert (refused.returncode, b"level cannot score what the archive keeps" in refused.stderr) == (2, True)
