"""The job files of `deploy/`: the same command on a cluster, and what happens when a job is queued again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.fixtures.slurm import slurm_cluster

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


@pytest.mark.ops
def test_tasks_of_a_slurm_job_train_one_run(birds: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DAWNCHORUS_RUNS": str(tmp_path / "runs"),
    }
    log = tmp_path / "job.log"
    tasks = ("--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--mem=0", f"--output={log}")
    settings = (*SETTINGS, f"data={birds}", "trainer.epochs=2", "trainer.batch_size=8", "trainer.devices=2")
    with slurm_cluster(tmp_path / "slurm") as slurm:
        job = slurm.submit(*tasks, DEPLOY / "train.slurm", *settings, **environment)
        slurm.wait(job)
        assert slurm.states(job) == {"COMPLETED"}, log.read_text()
    (run,) = find_runs(tmp_path / "runs" / f"slurm-{job}")
    assert run.status == "done"
    assert run.metadata["devices"].startswith("2 x CPU")
    assert log.read_text().count("epoch   2 of 2") == 1


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
