"""The command `train`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fixtures.commands import Command
from tests.fixtures.training import SMALL

from dawnchorus.data.recordings import read_table
from dawnchorus.training.compose import (
    describe_config_dir,
)
from dawnchorus.training.runs import find_runs, read_config


def test_the_built_in_choices_are_written_changed_and_trained_with(
    tmp_path: Path, birds: Path, command: Command
) -> None:
    folder = tmp_path / "conf"
    assert command("train", "--init-config", folder).returncode == 0
    assert describe_config_dir(folder) == []
    (folder / "trainer" / "default.yaml").write_text("epochs: 1\nbatch_size: 5\n")
    settings = [f"data={birds}", f"paths.runs={tmp_path / 'runs'}", *SMALL[:-1]]
    done = command("train", "--config-dir", folder, *settings)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"instead of the built-in files: trainer/default.yaml") == 1
    (run,) = find_runs(tmp_path / "runs")
    assert read_config(run)["trainer"]["batch_size"] == 5
    again = command("train", "--init-config", folder)
    assert again.returncode == 4
    assert b"expected a new or empty folder" in again.stderr


def test_the_commands_from_training_to_a_report(birds: Path, tmp_path: Path, command: Command) -> None:
    runs, settings = tmp_path / "runs", [*SMALL, f"data={birds}", "trainer.epochs=1", "trainer.accelerator=cpu"]
    done = command("train", *settings, f"paths.runs={runs}", "--multirun", "optimizer.lr=1e-2,1e-3")
    assert done.returncode == 0, done.stderr
    bundles = [Path(line) for line in done.stdout.decode().split()]
    assert len(bundles) == 2
    listed = json.loads(command("runs", "list", "--runs", runs, "--json").stdout)
    assert [run["status"] for run in listed] == ["done", "done"]
    names = [bundle.parent.name for bundle in bundles]
    compared = command("runs", "compare", *names, "--runs", runs).stdout.decode()
    assert "optimizer.lr" in compared
    assert "0.01" in compared
    assert command("runs", "plot", "--runs", runs, "--out", tmp_path / "p.png").returncode == 0
    assert (tmp_path / "p.png").stat().st_size > 10_000
    report = command("evaluate", *bundles, birds, "--out", tmp_path / "report", "--thresholds", tmp_path / "t.csv")
    assert report.returncode == 0, report.stderr
    assert b" minus mel_cnn, on what both know (" in report.stdout
    evaluations = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    first = evaluations["evaluations"][0]
    n_named = sum(row.split == "test" and row.scientific_name is not None for row in read_table(birds).rows)
    assert sum(map(sum, first["confusion"])) == n_named
    assert 0 <= first["by_recording"]["top_1"]["low"] <= first["by_recording"]["top_1"]["value"] <= 1
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert page.count('class="card"') == n_named - sum(row[k] for k, row in enumerate(first["confusion"]))
    assert (tmp_path / "t.csv").read_text().startswith("scientific_name,min_score")
    submission = tmp_path / "submission.csv"
    assert command("evaluate", bundles[0], birds, "--submission", submission).returncode == 0
    header, first_row = submission.read_text().splitlines()[:2]
    assert header.startswith("row_id,")
    assert first_row.split(",")[0].endswith("_5")
    sample = tmp_path / "sample.csv"
    sample.write_text("row_id,gretit1\nnothing_5,0\n")
    refused = command(
        "evaluate", bundles[0], birds, "--submission", submission, "--sample-submission", sample, "--overwrite"
    )
    assert refused.returncode == 2
    assert command("runs", "rm", *names, "--runs", runs).returncode == 0
    assert not bundles[0].exists()
