"""Runs on a Ray cluster of several nodes on this machine: nodes that go and come, drivers that die, bad recordings."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.archives import BROKEN, table_rows, write_sounds
from tests.fixtures.heads import write_head
from tests.fixtures.killed_workers import KillCounts, KilledCluster, kill_until_done, start_worker, wait_for_workers
from tests.fixtures.ray_clusters import add_node, ray_cluster
from tests.fixtures.waiting import wait_for

from dawnchorus.archive.archive import open_archive
from dawnchorus.archive.maintenance import check_archive, read_status
from dawnchorus.archive.schemas import RECORDINGS
from dawnchorus.errors import InputError
from dawnchorus.identification import Options, identify
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.identification.rescoring import rescore_archive
from dawnchorus.models.bundle import Bundle

pytest.importorskip("deltalake")
pytestmark = pytest.mark.ops

if find_spec("ray") is None:
    pytest.skip("Ray is not installed (dawnchorus[ray])", allow_module_level=True)

N_COPIES = 60


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_sounds(tmp_path_factory.mktemp("ray") / "sounds")
    for k in range(N_COPIES):
        shutil.copy(folder / "A_20260430_040000.wav", folder / f"C{k:02d}_20260601_040000.wav")
    return folder


@pytest.fixture(scope="module")
def expected(sounds: Path, band_bundle: Bundle) -> list[dict[str, object]]:
    """Rows of the table that `identify` gives."""
    return table_rows(identify(sounds, Options(min_score=0.25), model=band_bundle.folder).to_arrow())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster() as cluster:
        yield cluster


DRIVE = """
import os, signal, sys, time
from contextlib import redirect_stdout
from pathlib import Path
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.identification import ray_node
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.identification.rescoring import rescore_archive

sounds, archive, bundle, address, slow_s, deadly, gate = sys.argv[1:]

class Node(ray_node.RayNode):
    def add(self, units):
        super().add(die_of(units))

    def score(self, units):
        for report in super().score(die_of(units)):
            yield report
            while gate and report.committed_counts.n_done >= 3 and not os.path.exists(gate):
                time.sleep(0.02)

def die_of(units):
    if any(entry.path.name == deadly for unit in units for entry in unit):
        os.kill(os.getpid(), signal.SIGKILL)
    return units

if deadly or gate:
    ray_node.RayNode = Node  # before the driver imports it

def slow(progress):
    time.sleep(float(slow_s))

with redirect_stdout(sys.stderr):  # Ray's messages about nodes
    settings = {"ray": address, "unit_size": UnitSize(max_recordings=1), "report": slow}
    if sounds:
        result = archive_recordings(sounds, archive, model=bundle, **settings)
    else:
        (result,) = rescore_archive(archive, bundle, **settings)
counts = result.counts
print(counts.n_files, counts.n_resumed, counts.n_done, counts.n_failed, result.n_units, result.n_ended,
      result.n_failed_before)
for failure in result.failures:
    print(Path(failure.recording).name, failure.reason)
"""


def drive(
    sounds: Path | None,
    archive: str | Path,
    bundle: Bundle,
    address: str,
    *,
    slow_s: float = 0.0,
    deadly: str = "",
    gate: Path | None = None,
) -> subprocess.Popen[str]:
    """Start a driver: slow to hand out units, with nodes that die of a recording, or that wait for the file `gate`.

    Without `sounds`, it scores the stored embeddings.
    """
    arguments = (sounds or "", archive, bundle.folder, address, slow_s, deadly, gate or "")
    command = [sys.executable, "-c", DRIVE, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def n_ended(archive: str | Path) -> int:
    try:
        (state,), _ = read_status(open_archive(archive))
    except (ValueError, InputError):
        return 0
    return state.n_ended


def attempts(archive: str | Path, runs: str | None = None) -> set[str]:
    """Return the processes whose rows are in the archive."""
    try:
        rows = open_archive(archive).recordings(runs=runs).read_all()
    except InputError:
        return set()
    return {attempt.partition("-")[0] for attempt in rows["attempt"].to_pylist()}


def test_rows_equal_those_of_one_process_though_nodes_go_and_come(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, tmp_path: Path, cluster: Any
) -> None:
    nodes = [add_node(cluster), add_node(cluster)]
    archive = tmp_path / "archive"
    driver = drive(sounds, archive, band_bundle, cluster.address, gate=tmp_path / "gate")
    wait_for(lambda: len(attempts(archive)) == 2 or driver.poll() is not None)
    hosts = {worker.host for worker in read_status(open_archive(archive))[1]}
    cluster.remove_node(nodes[0], allow_graceful=False)
    nodes[0] = add_node(cluster)
    wait_for(lambda: len(attempts(archive)) == 3 or driver.poll() is not None)
    (tmp_path / "gate").touch()
    output, errors = driver.communicate(timeout=300)
    for node in nodes:
        cluster.remove_node(node)
    assert driver.returncode == 0, errors
    assert len(hosts) == 1, "the driver and its nodes are listed by the name of this machine"
    first, *failures = output.splitlines()
    n_files, _n_resumed, _n_done, n_failed, n_units, n_committed, n_failed_before = map(int, first.split())
    n_all = N_COPIES + 5
    assert (n_files, n_failed, n_units, n_committed) == (n_all, 1, n_all, n_all)
    # The node that was removed may have committed the broken recording and not reported it any more.
    assert [line.split()[0] for line in failures] == [BROKEN] * (1 - n_failed_before)
    assert "lost; its" in errors
    opened = open_archive(archive)
    assert len(attempts(archive)) == 3, "the new node has worked as well"
    assert table_rows(opened.detections(min_score=0.25)) == expected
    assert check_archive(opened).is_whole


def test_shards_that_were_killed_are_finished_by_a_cluster_that_loses_a_node(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, place: str, tmp_path: Path, cluster: Any
) -> None:
    first = [start_worker(sounds, place, band_bundle.folder, f"{k}/2", RECORDINGS, 5) for k in (1, 2)]
    assert wait_for_workers(*first) == [-signal.SIGKILL] * 2
    second = [start_worker(sounds, place, band_bundle.folder, f"{k}/3", RECORDINGS, 4) for k in (1, 2, 3)]
    assert wait_for_workers(*second) == [-signal.SIGKILL] * 3
    before = attempts(place)
    assert n_ended(place) == 2 * 5 + 3 * 4
    nodes = [add_node(cluster), add_node(cluster)]
    driver = drive(sounds, place, band_bundle, cluster.address, gate=tmp_path / "gate")
    wait_for(lambda: len(attempts(place) - before) == 2 or driver.poll() is not None)
    cluster.remove_node(nodes[0], allow_graceful=False)
    (tmp_path / "gate").touch()
    output, errors = driver.communicate(timeout=300)
    cluster.remove_node(nodes[1])
    assert driver.returncode == 0, errors
    n_files, n_resumed, _n_done, n_failed, n_units, n_committed, _ = map(int, output.splitlines()[0].split())
    n_all = N_COPIES + 5
    assert (n_files, n_failed, n_units, n_committed) == (n_all, 1, n_all, n_all)
    assert n_resumed >= 2 * 5 + 3 * 4 - 1, "the broken recording may be one of them"
    opened = open_archive(place)
    assert table_rows(opened.detections(min_score=0.25)) == expected
    assert check_archive(opened).is_whole


def test_embeddings_are_scored_on_a_cluster_that_loses_a_node(
    sounds: Path, band_bundle: Bundle, place: str, tmp_path: Path, cluster: Any
) -> None:
    archive_recordings(sounds, place, model=band_bundle.folder, keep=["embeddings"])
    head = write_head(band_bundle, tmp_path / "head")
    nodes = [add_node(cluster), add_node(cluster)]
    driver = drive(None, place, head, cluster.address, gate=tmp_path / "gate")
    (run,) = wait_for(lambda: find_runs(place, "head") or (driver.poll() is not None and [""]))  # type: ignore[var-annotated]
    wait_for(lambda: len(attempts(place, run)) == 2 or driver.poll() is not None)
    cluster.remove_node(nodes[0], allow_graceful=False)
    (tmp_path / "gate").touch()
    output, errors = driver.communicate(timeout=300)
    cluster.remove_node(nodes[1])
    assert driver.returncode == 0, errors
    assert "lost; its" in errors
    n_files, *_, n_units, n_committed, _ = map(int, output.splitlines()[0].split())
    n_all = N_COPIES + 4  # the broken recording has no embeddings
    assert (n_files, n_units, n_committed) == (n_all, n_all, n_all)
    opened = open_archive(place)
    assert check_archive(opened).is_whole
    alone = archive_recordings(sounds, tmp_path / "alone", model=band_bundle.folder, keep=["embeddings"]).archive
    rescore_archive(tmp_path / "alone", head.folder)
    assert table_rows(opened.detections(runs=run)) == table_rows(alone.detections(runs=run))


def find_runs(archive: str, model: str) -> list[str]:
    """Return the ids of the runs with a model that have rows."""
    return [each.id for each in open_archive(archive).runs() if each.run.model == model]


def test_a_killed_driver_is_started_again_and_a_shard_ends_what_is_left(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, tmp_path: Path, cluster: Any
) -> None:
    node = add_node(cluster)
    archive = tmp_path / "archive"
    for n_before in (0, 10):
        driver = drive(sounds, archive, band_bundle, cluster.address, slow_s=0.05)
        wait_for(lambda n=n_before, driver=driver: n_ended(archive) > n + 4 or driver.poll() is not None)  # type: ignore[misc]
        driver.kill()
        assert driver.wait() == -signal.SIGKILL
        driver.communicate()
    kept = n_ended(archive)
    cluster.remove_node(node)
    command = ["identify", str(sounds), "--archive", str(archive), "--model", str(band_bundle.folder), "--json"]
    done = subprocess.run([sys.executable, "-m", "dawnchorus", *command], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert kept >= 10
    opened = open_archive(archive)
    assert table_rows(opened.detections(min_score=0.25)) == expected
    assert len(opened.recordings().read_all()) == N_COPIES + 5
    assert check_archive(opened).is_whole


def test_kills_of_actors_nodes_and_drivers_lose_and_double_nothing(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, tmp_path: Path, cluster: Any
) -> None:
    """`make kills` does more of it."""
    rng, counts, killed = random.Random(1), KillCounts(), KilledCluster(cluster)
    while min(counts.of_actors, counts.of_nodes, counts.of_drivers) < 1:
        archive = tmp_path / f"archive-{counts.n_archives}"
        kill_until_done(sounds, archive, band_bundle.folder, rng, counts, killed)
        opened = open_archive(archive)
        assert table_rows(opened.detections(min_score=0.25)) == expected
        assert len(opened.recordings().read_all()) == N_COPIES + 5
    killed.remove_nodes()
    assert counts.faults == []


def test_a_unit_that_ends_its_processes_is_given_up_and_the_others_end(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, tmp_path: Path, cluster: Any
) -> None:
    node = add_node(cluster)
    archive = tmp_path / "archive"
    deadly = "C05_20260601_040000.wav"
    driver = drive(sounds, archive, band_bundle, cluster.address, deadly=deadly)
    output, errors = driver.communicate(timeout=300)
    cluster.remove_node(node)
    assert driver.returncode == 0, errors
    first, *failures = output.splitlines()
    n_all = N_COPIES + 5
    assert list(map(int, first.split())) == [n_all, 0, n_all - 2, 2, n_all, n_all - 1, 0]
    assert sorted(line.split()[0] for line in failures) == sorted([BROKEN, deadly])
    assert "was not finished, since processes ended at it" in output
    opened = open_archive(archive)
    others = [row for row in expected if Path(str(row["recording"])).name != deadly]
    assert table_rows(opened.detections(min_score=0.25)) == others
    assert check_archive(opened).is_whole


def test_a_cluster_of_this_machine_alone(sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    paths = [sounds / BROKEN, sounds / "A_20260430_040000.wav"]
    command = ["identify", *map(str, paths), "--archive", str(tmp_path / "archive"), "--json", "--ray", "local"]
    command += ["--model", str(band_bundle.folder), "--workers", "1"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "dawnchorus", *command], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    assert (result["n_files"], result["n_done"], result["n_failed"]) == (2, 1, 1)
    assert [Path(failure["recording"]).name for failure in result["failures"]] == [BROKEN]
