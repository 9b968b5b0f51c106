"""The jobs of `deploy/` that identify in shards: run by SLURM, or as the commands that a cluster would start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures.archives import check_equal_to_table, program_environment, write_sounds
from tests.fixtures.commands import Command
from tests.fixtures.manifest_checkers import check_batch_request, check_kubernetes
from tests.fixtures.slurm import slurm_cluster
from tests.fixtures.waiting import wait_for

from dawnchorus.archive.archive import open_archive
from dawnchorus.archive.maintenance import read_status
from dawnchorus.archive.schemas import RECORDINGS
from dawnchorus.archive.selection import committed_attempts
from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "identify.slurm"
POD = DEPLOY / "identify-job.yaml"
DEFINITION, JOB = DEPLOY / "aws-batch" / "job-definition.json", DEPLOY / "aws-batch" / "job.json"
UNIT_OF_ONE = ("--unit-mb", "0.01")


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def pod_command() -> tuple[list[str], dict[str, str]]:
    """Return the command of the Kubernetes job and its variables."""
    job = yaml.safe_load(POD.read_text())["spec"]
    (container,) = job["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert int(variables["SHARDS"]) == job["completions"]
    return container["command"], variables


def test_shards_of_the_kubernetes_job_are_its_pods() -> None:
    command, variables = pod_command()
    assert command[:2] == ["sh", "-c"]
    assert set(variables) == {"SHARDS", "RECORDINGS", "ARCHIVE"}


@pytest.mark.ops
@pytest.mark.parametrize("cluster", ["kubernetes", "aws"])
def test_commands_of_array_jobs_give_the_rows_of_a_table(
    cluster: str, band_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tasks, counted from 0; a recording that fails is no failure of a task."""
    write_sounds(tmp_path / "recordings")
    environment = program_environment(tmp_path, band_bundle)
    environment |= {"RECORDINGS": "recordings", "ARCHIVE": "results"}
    if cluster == "kubernetes":
        command, _ = pod_command()
        index, environment["SHARDS"] = "JOB_COMPLETION_INDEX", "3"
    else:
        command = read_json(DEFINITION)["containerProperties"]["command"]
        index, environment["AWS_BATCH_JOB_ARRAY_SIZE"] = "AWS_BATCH_JOB_ARRAY_INDEX", "3"
    for k in range(3):
        done = subprocess.run(command, cwd=tmp_path, env={**environment, index: str(k)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    check_equal_to_table(Path("results"), "recordings", band_bundle)
    wrong = {**environment, index: "3"}
    assert subprocess.run(command, cwd=tmp_path, env=wrong, capture_output=True).returncode == 2


@pytest.mark.ops
def test_manifests_fit_the_published_schemas(tmp_path: Path) -> None:
    """Validated, and not run by a cluster."""
    assert check_kubernetes(POD) == ""
    assert check_batch_request("RegisterJobDefinition", DEFINITION) == ""
    assert check_batch_request("SubmitJob", JOB) == ""
    assert read_json(JOB)["jobDefinition"] == read_json(DEFINITION)["jobDefinitionName"]
    # The checkers notice what is wrong.
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(POD.read_text().replace("completions: 50", "completion: 50"))
    assert "completion" in check_kubernetes(wrong)
    request = tmp_path / "wrong.json"
    request.write_text(JOB.read_text().replace('"size": 50', '"size": "fifty"'))
    assert "size" in check_batch_request("SubmitJob", request)


# ---------------------------------------------------------------------- SLURM


@pytest.mark.ops
@pytest.mark.parametrize(
    ("variables", "arguments", "message"),
    [
        ({}, ["recordings", "results"], "Call this script with sbatch"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, ["recordings"], "Expected the recordings and the archive"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "3",
                "SLURM_ARRAY_TASK_MAX": "7",
                "SLURM_ARRAY_TASK_COUNT": "2",
            },
            ["recordings", "results"],
            "Expected tasks without gaps, like --array=1-2",
        ),
    ],
)
def test_slurm_script_refuses_what_would_leave_work_undone(
    variables: dict[str, str], arguments: list[str], message: str, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")} | variables
    done = subprocess.run(
        ["bash", str(SCRIPT), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.ops
def test_slurm_array_is_cancelled_and_finished_by_another(band_bundle: Bundle, tmp_path: Path) -> None:
    """Two tasks that are cancelled in the middle, and then three: these do only what is missing."""
    sounds = write_sounds(tmp_path / "recordings")
    for k in range(60):
        shutil.copy(sounds / "A_20260430_040000.wav", sounds / f"C{k:02d}_20260601_040000.wav")
    archive = tmp_path / "results"
    environment = program_environment(tmp_path, band_bundle)
    task = ("--cpus-per-task=1", "--mem=0", f"--output={tmp_path}/%A-%a.log", SCRIPT, sounds, archive, *UNIT_OF_ONE)
    with slurm_cluster(tmp_path / "slurm") as slurm:
        first = slurm.submit("--array=1-2", *task, **environment)
        wait_for(lambda: n_ended(archive) >= 3 and list_shards(archive) == {"1/2", "2/2"})
        slurm.run("scancel", first)
        slurm.wait(first)
        before = ended_attempts(archive)
        assert 3 <= len(before) < 65
        (state,), _ = read_status(open_archive(archive))
        assert (state.n_units, state.n_ended) == (65, len(before))
        assert list_shards(archive) == {"1/2", "2/2"}
        forget_heartbeats(archive)
        (state,), workers = read_status(open_archive(archive))
        assert all(worker.is_lost for worker in workers)
        assert len(state.lost) > 0
        assert state.n_ended + len(state.lost) + state.n_waiting == 65
        second = slurm.submit("--array=0-2", *task, **environment)
        slurm.wait(second)
        assert slurm.states(second) == {"COMPLETED"}, logs(tmp_path, second)
    check_equal_to_table(archive, sounds, band_bundle)
    after = ended_attempts(archive)
    assert len(after) == 65
    assert before.items() <= after.items(), "what had ended was not done again"
    (state,), _ = read_status(open_archive(archive))
    assert (state.n_ended, state.running, state.lost, state.n_waiting) == (65, (), (), 0)


@pytest.mark.ops
def test_status_says_what_was_lost(band_bundle: Bundle, command: Command, tmp_path: Path) -> None:
    """A process that is killed between two units is lost once it has not been seen for two minutes."""
    sounds = write_sounds(tmp_path / "recordings")
    for k in range(30):
        shutil.copy(sounds / "A_20260430_040000.wav", sounds / f"C{k:02d}_20260601_040000.wav")
    archive = tmp_path / "results"
    line = ["dawnchorus", "identify", sounds, "--archive", archive, *UNIT_OF_ONE, "--workers", "1", "--quiet"]
    process = subprocess.Popen([*map(str, line)], env=program_environment(tmp_path, band_bundle))
    wait_for(lambda: n_ended(archive) >= 2)
    process.kill()
    process.wait()
    forget_heartbeats(archive)
    printed = command("archive", "status", archive).stdout.decode()
    assert "lost: process" in printed
    assert "Units that were lost are done by the same command: start their shards again." in printed


def n_ended(archive: Path) -> int:
    try:
        states, _ = read_status(open_archive(archive))
    except InputError:  # there is none yet
        return 0
    return sum(state.n_ended for state in states)


def list_shards(archive: Path) -> set[str]:
    """Return the shards of the processes that write into an archive, or died."""
    return {worker.shard for worker in read_status(open_archive(archive))[1]}


def ended_attempts(archive: Path) -> dict[str, str]:
    return committed_attempts(open_archive(archive).table(RECORDINGS))


def forget_heartbeats(archive: Path) -> None:
    """Make it look as if the workers had been seen last an hour ago."""
    for path in (archive / "workers").glob("*.json"):
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)


def logs(folder: Path, job: str) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob(f"{job}-*.log")))
