"""The job files of `deploy/`: the same command on a cluster, and what happens when a job is queued again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dawnchorus.training.compose import compose_config
from dawnchorus.training.runs import find_runs

DEPLOY = Path(__file__).parents[2] / "deploy"
SETTINGS = (
    "model=acoustic_mlp",
    "model.window_s=2",
    "model.hidden=[8]",
    "model.dropout=[0]",
    "trainer.accelerator=cpu",
)


@pytest.mark.ops
def test_requeued_slurm_job_resumes(birds: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "17",
        "DAWNCHORUS_RUNS": str(tmp_path / "my runs"),
    }
    script = [
        "bash",
        str(DEPLOY / "train.slurm"),
        *SETTINGS,
        f"data={birds}",
        "trainer.epochs=40",
        "trainer.batch_size=2",
    ]
    process = subprocess.Popen(script, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   2"):
            break
    process.kill()
    process.wait()
    process.stderr.close()
    again = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "epoch   1 of" not in again.stderr
    (run,) = find_runs(tmp_path / "my runs" / "slurm-17")
    assert run.metadata["status"] == "done"
    without = subprocess.run(["bash", script[1]], env={"PATH": environment["PATH"]}, capture_output=True, text=True)
    assert without.returncode != 0
    assert "Call this script with sbatch." in without.stderr


def test_the_azure_job_is_a_command_that_composes() -> None:
    job = yaml.safe_load((DEPLOY / "azure-train.yaml").read_text())
    values = {"inputs.data": "/mnt/my set", "outputs.runs": "/mnt/runs"}
    command = re.sub(r"\$\{\{(.*?)\}\}", lambda match: values[match[1]], job["command"])
    command = command.partition("dawnchorus train")[2].replace("$MLFLOW_TRACKING_URI", "azureml://somewhere/mlflow")
    arguments = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    config = compose_config(arguments.stdout.splitlines())
    assert config.data.path == "/mnt/my set"
    assert (config.paths.runs, config.paths.clips) == ("/mnt/runs", "clips")
    assert config.tracker.uri == "azureml://somewhere/mlflow"
