"""Trainings of several processes that torchrun or SLURM starts."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from tests.fixtures.machines import free_port
from tests.fixtures.training import MLP, SMALL, Train
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import InputError, TrainingError
from dawnchorus.training.config import TrainerConfig
from dawnchorus.training.processes import ALONE, is_lost_process, join_processes
from dawnchorus.training.runs import TrainingRun, find_runs

DOCUMENT = Path(__file__).parents[2] / "docs" / "TRAINING.md"


def torchrun(node: int, port: int, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start one of two nodes by the command of the document, with other arguments of `train`."""
    match = re.search(r"^ +(torchrun --nnodes=2 .*) train ", DOCUMENT.read_text(), re.MULTILINE)
    assert match is not None
    given = {"--node-rank=0": f"--node-rank={node}", "--master-addr=HOST": "--master-addr=127.0.0.1"}
    program, *options = (given.get(word, word) for word in shlex.split(match[1]))
    assert program == "torchrun"
    options = [f"--master-port={port}" if word.startswith("--master-port=") else word for word in options]
    command = [sys.executable, "-m", "torch.distributed.run", *options, "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_both(nodes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Return exit code, output and messages of each node."""
    outputs = [node.communicate(timeout=120) for node in nodes]
    return [(node.returncode, out, err) for node, (out, err) in zip(nodes, outputs, strict=True)]


def n_steps(run: TrainingRun) -> int:
    steps: int = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    return steps


@pytest.mark.ops
def test_two_nodes_train_the_same_weights_as_one(run_training: Train, birds: Path, tmp_path: Path) -> None:
    settings = (*MLP[:-2], "model.dropout=[0]", "trainer.epochs=3", "trainer.batch_size=8", "trainer.accelerator=cpu")
    one = run_training(*settings)
    port, runs = free_port(), tmp_path / "two"
    more = ("trainer.nodes=2", f"data={birds}", f"paths.runs={runs}")
    first, second = wait_for_both([torchrun(node, port, *settings, *more) for node in range(2)])
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    (two,) = find_runs(runs)
    assert first[1].strip() == str(two.bundle)
    assert second[1] == "", "one process prints"
    assert "epoch" not in second[2]
    assert "2 processes share each batch of 8: 4 clips in each" in first[2]
    assert two.status == "done"
    assert two.metadata["devices"].startswith("2 x CPU")
    assert n_steps(two) == n_steps(one)
    for name in ("loss", "accuracy", "val_loss", "val_auc"):
        assert two.metrics[name] == pytest.approx(one.metrics[name], rel=1e-4), name
    names = [path.relative_to(one.folder).as_posix() for path in one.folder.rglob("*")]
    assert sorted(path.relative_to(two.folder).as_posix() for path in two.folder.rglob("*")) == sorted(names)


@pytest.mark.ops
def test_lost_node_ends_the_others_and_all_resume(birds: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "augment=light", "trainer.epochs=6", "trainer.accelerator=cpu", "trainer.devices=1"]
    settings += ["trainer.nodes=2", f"data={birds}"]
    port = free_port()
    (whole, _) = wait_for_both([torchrun(k, port, *settings, f"paths.runs={tmp_path / 'whole'}") for k in range(2)])
    assert whole[0] == 0, whole[2]
    port, runs = free_port(), tmp_path / "lost"
    first, second = (torchrun(node, port, *settings, f"paths.runs={runs}") for node in range(2))
    wait_for(lambda: any(runs.glob("*/checkpoints/last.ckpt")), within_s=120)
    for worker in psutil.Process(second.pid).children(recursive=True):
        worker.kill()
    ends = wait_for_both([first, second])
    assert all(code for code, _, _ in ends)
    (run,) = find_runs(runs)
    assert run.status == "failed"
    assert "the connection to another process of the training was lost" in run.metadata["reason"]
    port = free_port()
    ends = wait_for_both([torchrun(node, port, "--resume", run.folder) for node in range(2)])
    assert [code for code, _, _ in ends] == [0, 0], ends
    (resumed,), (undisturbed,) = find_runs(runs), find_runs(tmp_path / "whole")
    assert resumed.status == "done"
    for name, value in undisturbed.metrics.items():
        assert resumed.metrics[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.ops
def test_what_the_first_process_refuses_ends_all(tmp_path: Path) -> None:
    port = free_port()
    settings = (*SMALL, "trainer.nodes=2", f"data={tmp_path / 'nothing'}", f"paths.runs={tmp_path / 'runs'}")
    for code, _, messages in wait_for_both([torchrun(node, port, *settings) for node in range(2)]):
        assert code
        assert f"{tmp_path / 'nothing' / 'recordings.parquet'}: no such file" in messages
    assert list(tmp_path.glob("runs/*")) == []


def test_nodes_that_nobody_started_are_refused(run_training: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trainer\.nodes=2 and .*expected 4 processes, started by torchrun.*got 1\."):
        run_training(*SMALL, "trainer.nodes=2", "trainer.devices=2")
    assert list(tmp_path.glob("runs/*")) == []


def test_number_of_slurm_tasks_is_compared_with_nodes_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "training"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="SLURM: .*--ntasks-per-node=4"):
        join_processes(TrainerConfig(nodes=2, devices=2))
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    with pytest.raises(InputError, match=r"expected 2 processes, started by torchrun or srun, got 4\."):
        join_processes(TrainerConfig(nodes=2))
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert join_processes(TrainerConfig(devices=2)) is ALONE, "an interactive shell in a job: processes are forked"


def test_process_alone_does_all_by_itself() -> None:
    assert ALONE.is_first
    assert ALONE.share(lambda: 3) == 3
    with pytest.raises(TrainingError), ALONE.first_in_turn():
        raise TrainingError("the loss became nan.")


def test_lost_connections_are_distinguished_from_other_errors() -> None:
    assert is_lost_process(RuntimeError("[gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"))
    assert not is_lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x3 and 4x2)"))
