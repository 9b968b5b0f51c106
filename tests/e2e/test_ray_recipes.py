"""The files of `deploy/ray`: run by SLURM, or held to the schemas that packages have."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures.archives import check_equal_to_table, program_environment, write_sounds
from tests.fixtures.machines import free_port
from tests.fixtures.manifest_checkers import check_kubernetes
from tests.fixtures.slurm import slurm_cluster

from dawnchorus.models.bundle import Bundle

pytestmark = pytest.mark.ops

if find_spec("ray") is None:
    pytest.skip("Ray is not installed (dawnchorus[ray])", allow_module_level=True)

DEPLOY = Path(__file__).parents[2] / "deploy" / "ray"


def read_yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return content


def test_the_cluster_file_fits_the_schema_of_ray() -> None:
    from jsonschema import validate

    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    cluster = read_yaml("cluster.yaml")
    validate(cluster, schema)
    commands = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in commands if "ray start" in command)


def test_the_pods_of_the_ray_job_fit_the_published_schema(tmp_path: Path) -> None:
    """Its own kind is in no package of PyPI."""
    cluster = read_yaml("rayjob.yaml")["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    for name, group in (("head", cluster["headGroupSpec"]), ("worker", cluster["workerGroupSpecs"][0])):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **group["template"]}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(pod))
        assert check_kubernetes(path) == ""


def test_the_slurm_job_gives_the_rows_of_a_table(band_bundle: Bundle, tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "recordings")
    for k in range(10):
        shutil.copy(sounds / "A_20260430_040000.wav", sounds / f"C{k:02d}_20260601_040000.wav")
    archive, log = tmp_path / "results", tmp_path / "job.log"
    environment = program_environment(tmp_path, band_bundle) | {"RAY_PORT": str(free_port()), "HOME": str(tmp_path)}
    environment["PATH"] += f":{Path(sys.executable).parent}"
    task = ("--mem=0", f"--output={log}", DEPLOY / "identify.slurm", sounds, archive, "--unit-mb", "0.01")
    with slurm_cluster(tmp_path / "slurm") as slurm:
        job = slurm.submit("--nodes=1", *task, **environment)
        slurm.wait(job)
        assert slurm.states(job) == {"COMPLETED"}, log.read_text()
    check_equal_to_table(archive, sounds, band_bundle)
