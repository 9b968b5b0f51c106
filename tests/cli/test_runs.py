"""The ledger of runs: whole names wherever they are printed, and a study's picture that says what was varied."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from matplotlib.text import Text
from tests.fixtures.commands import Command

from dawnchorus.cli.runs import label_runs
from dawnchorus.plotting.curves import Curves, draw_figure
from dawnchorus.training.runs import read_run

NAMES = [f"2026050{k}-043000-a_name_that_is_long_enough_to_be_cut" for k in (1, 2)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of a study of `n_mels`; the second one was evaluated."""
    for name, n_mels in zip(NAMES, (64, 128), strict=True):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        metadata = {
            "status": "done",
            "metrics": {"val_accuracy": 0.5, "val_auc": 0.75},
            "devices": "1 x CPU (2 threads)",
        }
        (folder / "run.json").write_text(json.dumps(metadata))
        (folder / "config.yaml").write_text(f"model: {{mel: {{n_mels: {n_mels}}}}}\nseed: {n_mels}\n")
        (folder / "metrics.csv").write_text("epoch,loss,val_loss\n1,0.9,0.9\n2,0.5,0.6\n")
    result = {"data_set": "/x/birds", "split": "test", "date": "2026-05-03T04:30:00"}
    measured = {
        **metadata,
        "evaluations": [{**result, "metrics": {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}}],
    }
    measured["metrics"] = {**metadata["metrics"], "test_accuracy": 0.7}
    (folder / "run.json").write_text(json.dumps(measured))
    return tmp_path / "runs"


def test_names_are_whole_in_a_pipe_whatever_the_width(runs: Path, command: Command) -> None:
    listed = command("runs", "list", "--runs", runs, COLUMNS="20").stdout.decode()
    assert len(listed.splitlines()) == 3, "a line for each run"
    for text in (*NAMES, "birds test 2026-05-03", "0.700", "1 x CPU (2 threads)"):
        assert text in listed
    compared = command("runs", "compare", *NAMES, "--runs", runs, COLUMNS="20").stdout.decode()
    for text in (*NAMES, "model.mel.n_mels", "test_accuracy", "evaluated on"):
        assert text in compared


def test_the_list_is_to_be_had_as_csv(runs: Path, command: Command) -> None:
    lines = list(csv.DictReader(io.StringIO(command("runs", "list", "--runs", runs, "--csv").stdout.decode())))
    assert [line["run"] for line in lines] == NAMES
    assert [line["test_accuracy"] for line in lines] == ["", "0.7"]
    assert [line["evaluated_on"] for line in lines] == ["", "birds test 2026-05-03"]


def test_study_plot_names_runs_by_varied_settings(runs: Path, command: Command, tmp_path: Path) -> None:
    assert command("runs", "plot", "--runs", runs, "--out", tmp_path / "runs.png").returncode == 0
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    points = {"loss": [(1.0, 0.9), (2.0, 0.5)]}
    study = [Curves("128", points, 0.7, (0.6, 0.8)), Curves("64", points, 0.5, None)]
    figure = draw_figure(study, setting="model.mel.n_mels", metric="test_accuracy")
    results = figure.axes[-1]
    assert results.get_ylabel() == "model.mel.n_mels"
    assert [label.get_text() for label in results.get_yticklabels()] == ["64", "128"]
    assert "intervals" in results.get_title("left")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["64", "128"]
    figure.draw_without_rendering()
    epochs = [label for label in figure.axes[0].get_xticklabels() if isinstance(label, Text)]
    assert all(float(label.get_text()).is_integer() for label in epochs if label.get_text())


def test_trials_of_a_tuning_are_named_by_all_settings_in_few_digits(runs: Path) -> None:
    for name, rate in zip(NAMES, (0.0006824078427098838, 1e-3), strict=True):
        config = runs / name / "config.yaml"
        config.write_text(f"{config.read_text()}optimizer: {{lr: {rate}}}\n")
    setting, labels = label_runs([read_run(runs / name) for name in NAMES])
    assert setting == "model.mel.n_mels, optimizer.lr"
    assert labels == ["n_mels=64, lr=0.0006824", "n_mels=128, lr=0.001"]
