"""Retraining beside serving: it crashes, is cancelled, or loses its server, and what serves goes on serving."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.disks import small_disk
from tests.fixtures.machines import Server, serving
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.data.synthesis.negatives import make_negatives
from dawnchorus.errors import OutputExistsError
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.graphs.class_extension import can_extend
from dawnchorus.models.runner import open_session

pytestmark = pytest.mark.ops

SONGS = {"Avis gravis_Deep Bird": 400, "Avis media_Middle Bird": 1800, "Avis alta_High Bird": 5000}
RATE_HZ = 16_000
N_EACH = 20


def song(hz: float, k: int) -> np.ndarray:
    rng = np.random.default_rng([round(hz), k])
    seconds = np.arange(RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * hz * (1 + 0.02 * rng.normal()) * seconds) * np.hanning(len(seconds))
    return np.asarray(rng.uniform(0.1, 0.5) * tone + 0.003 * rng.normal(size=len(seconds)), np.float32)


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of three birds, a folder for each: enough that a new model is promoted by the rule."""
    folder = tmp_path_factory.mktemp("songs")
    paths = []
    for name, hz in SONGS.items():
        (folder / name).mkdir()
        for k in range(N_EACH):
            paths.append(folder / name / f"{name.split('_')[0].replace(' ', '_')}_{k}.wav")
            soundfile.write(paths[-1], song(hz, k), RATE_HZ)
    return paths


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sounds that are taught beside lessons; they take a while to make."""
    folder = tmp_path_factory.mktemp("sounds")
    make_negatives(folder)
    return folder


@pytest.fixture(autouse=True)
def with_sounds(recordings: Path, tmp_path: Path) -> None:
    """Make them before the servers of a test look for them."""
    for name in ("server", "server0", "server1"):
        shutil.copytree(recordings, tmp_path / name / "retraining")


def upload_files(client: httpx.Client, paths: list[Path]) -> None:
    files = [("audio", (f"{path.parent.name}/{path.name}", path.read_bytes())) for path in paths]
    reply = client.post("/api/upload_bulk", files=files, data={"new_class": "yes"})
    assert reply.json()["uploaded"] == len(paths)


def ended(client: httpx.Client, job_id: str, within_s: float = 120) -> dict[str, object]:
    def look() -> object:
        job = client.get(f"/api/v1/jobs/{job_id}").json()
        return job if job["status"] in ("done", "failed", "cancelled") else None

    ended_job = wait_for(look, within_s=within_s)
    assert isinstance(ended_job, dict)
    return ended_job


def reaches(client: httpx.Client, job_id: str, stage: str) -> None:
    wait_for(lambda: client.get(f"/api/v1/jobs/{job_id}").json()["stage"] == stage)


def predicted_name(client: httpx.Client, path: Path) -> str:
    return str(client.post("/api/predict", content=path.read_bytes()).json()["predicted_species"])


def trainers(folder: Path) -> list[int]:
    """Return the training processes of servers whose data are in `folder`: others may train on this machine as well."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"dawnchorus.training.job" in words and any(word.startswith(os.fsencode(folder)) for word in words):
            processes.append(int(process.name))
    return processes


def test_upload_retrain_activate_and_roll_back(band_bundle: Bundle, serve: Serve, songs: list[Path]) -> None:
    client = serve(model=band_bundle.folder)
    assert client.get("/api/retrain_status").json()["status"] == "idle"
    assert client.post("/api/trigger_retrain").status_code == 400
    upload_files(client, songs)
    job = client.post("/api/trigger_retrain").json()
    assert client.post("/api/trigger_retrain").status_code == 409
    assert client.get("/api/retrain_status").json()["is_training"]
    done = ended(client, job["job_id"])
    assert done["status"] == "done", done
    result = done["result"]
    assert isinstance(result, dict)
    assert result["is_promoted"], result["reasons"]
    assert result["report"]["average_precision"]["new"] == 1.0
    state = client.get("/api/retrain_status").json()
    assert (state["progress"], state["is_retraining"], state["model_version"]) == (100, False, result["bundle_id"])
    assert state["last_retrain"]
    new = result["bundle_id"]
    active = client.get("/api/v1/models/active").json()
    assert (active["bundle_id"], active["n_classes"]) == (new, 4)
    assert {predicted_name(client, path): path.parent.name.split("_")[1] for path in songs} == {
        name: name for name in ("Deep Bird", "Middle Bird", "High Bird")
    }
    assert "Middle Bird" in client.get("/api/classes").json()["classes"]
    assert "Avis media" in client.get(f"/api/v1/models/{new}/card").text
    assert client.get(f"/jobs/{job['job_id']}").status_code == 200
    before = client.post("/api/predict", content=songs[0].read_bytes()).json()["top_5_predictions"]

    # back, within a second; and forth, to the same numbers
    begin = time.monotonic()
    assert client.post("/api/v1/models/rollback").json() == {"active": band_bundle.id}
    assert time.monotonic() - begin < 5
    assert predicted_name(client, songs[N_EACH]) != "Middle Bird"
    assert client.post(f"/api/v1/models/{new}/activate").json() == {"active": new}
    assert client.post("/api/predict", content=songs[0].read_bytes()).json()["top_5_predictions"] == before
    client.post("/api/v1/identify?store=true", files={"audio": ("x.wav", songs[N_EACH].read_bytes())})
    comparison = client.post("/api/v1/models/compare", json={"first": band_bundle.id, "second": new}).json()
    assert comparison["recordings"][0]["only_second"] == ["Middle Bird"]

    # a second one knows what the first knew; a model that has learned nothing is kept, and not promoted
    job = client.post("/api/v1/retrain", json={"overrides": ["optimizer.lr=1e-9", "seed=2"]}).json()
    done = ended(client, job["id"])
    result = done["result"]
    assert isinstance(result, dict)
    assert not result["is_promoted"]
    assert any("it names" in reason for reason in result["reasons"]), result["reasons"]
    assert client.get("/api/v1/models/active").json()["bundle_id"] == new
    assert result["bundle_id"] in {row["bundle_id"] for row in client.get("/api/v1/models").json()["models"]}


def test_same_training_data_makes_the_same_model(
    band_bundle: Bundle, songs: list[Path], serve: Serve, tmp_path: Path
) -> None:
    models = []
    for k in range(2):
        client = serve(model=band_bundle.folder, data=tmp_path / f"server{k}")
        upload_files(client, songs)
        result = ended(client, client.post("/api/v1/retrain").json()["id"])["result"]
        assert isinstance(result, dict)
        models.append(result["bundle_id"])
    assert models[0] == models[1]


@pytest.mark.parametrize("stage", ["checking", "training", "comparing"])
def test_killed_trainer_keeps_the_active_model_and_its_log(
    stage: str, band_bundle: Bundle, serve: Serve, songs: list[Path], tmp_path: Path
) -> None:
    client = serve(model=band_bundle.folder)
    upload_files(client, songs)
    job = client.post("/api/v1/retrain").json()
    reaches(client, job["id"], stage)
    with (tmp_path / "server" / "retraining" / job["id"] / "log.txt").open("a") as log:
        log.write("as the trainer wrote it\n")
    for pid in trainers(tmp_path):
        os.kill(pid, signal.SIGKILL)
    done = ended(client, job["id"])
    assert done["status"] == "failed"
    assert "training ended with status -9. The active model is unchanged" in str(done["error"])
    path = f"/api/v1/jobs/{job['id']}/log"
    assert path in str(done["error"])
    assert client.get(path).json()["lines"][-1] == "as the trainer wrote it"
    assert client.get("/api/v1/models/active").json()["bundle_id"] == band_bundle.id
    assert predicted_name(client, songs[0]) == "Deep Bird"
    assert ended(client, client.post("/api/v1/retrain").json()["id"])["status"] == "done"


@pytest.mark.parametrize("stage", ["waiting", "checking", "training"])
def test_cancelling_ends_all_processes_within_seconds(
    stage: str, band_bundle: Bundle, serve: Serve, songs: list[Path], tmp_path: Path
) -> None:
    client = serve(model=band_bundle.folder)
    upload_files(client, songs)
    job = client.post("/api/v1/retrain").json()
    if stage != "waiting":
        reaches(client, job["id"], stage)
    client.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert ended(client, job["id"], within_s=30)["status"] == "cancelled"
    wait_for(lambda: not trainers(tmp_path), within_s=20)
    assert client.get("/api/v1/models/active").json()["bundle_id"] == band_bundle.id
    assert len(client.get("/api/v1/models").json()["models"]) == 1


def test_full_disk_fails_only_the_training(
    band_bundle: Bundle, recordings: Path, songs: list[Path], tmp_path: Path
) -> None:
    """The disk of what training writes; the database and the sounds are on another."""
    small = tmp_path / "server" / "retraining"
    shutil.rmtree(small)
    with small_disk(small, "64m"):
        shutil.copytree(recordings, small, dirs_exist_ok=True)
        server = Server(tmp_path / "server", "--model", band_bundle.folder)
        with serving(server), server.client() as client:
            upload_files(client, songs)
            job = client.post("/api/v1/retrain").json()
            reaches(client, job["id"], "training")
            ballast = small / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            done = ended(client, job["id"])
            assert done["status"] == "failed", done
            assert "space" in str(done["error"]).lower(), done
            assert "/tmp" not in str(done["error"])
            assert client.get("/api/v1/models/active").json()["bundle_id"] == band_bundle.id
            assert predicted_name(client, songs[0]) == "Deep Bird"
            ballast.unlink()
            assert ended(client, client.post("/api/v1/retrain").json()["id"])["status"] == "done"
            assert predicted_name(client, songs[N_EACH]) == "Middle Bird"


READ_ONLY = """
set -e
for folder in "$1" "$2"; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /
shift 2
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def test_server_serves_and_trains_unprivileged_on_read_only_system(
    band_bundle: Bundle, songs: list[Path], tmp_path: Path
) -> None:
    """As in a container: only its data and a folder for temporary files can be written to."""
    data, scratch = tmp_path / "server", tmp_path / "scratch"
    scratch.mkdir()
    through = ("unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(data), str(scratch))
    tried = subprocess.run([*through, "sh", "-c", 'test ! -w /usr && ! touch "$0"', str(tmp_path / "x")])
    if tried.returncode:
        pytest.skip("this user may not make file systems read-only")
    folders = {"HOME": "/nonexistent", "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    server = Server(data, "--model", band_bundle.folder, through=through, **folders)
    with serving(server), server.client() as client:
        upload_files(client, songs)
        done = ended(client, client.post("/api/v1/retrain").json()["id"])
        assert done["status"] == "done", done
        assert predicted_name(client, songs[N_EACH]) == "Middle Bird"
        kept = client.post("/api/v1/identify?store=true", content=songs[N_EACH].read_bytes())
        assert kept.status_code == 200
        assert server.end() == 0


def test_retraining_names_species_with_too_few_recordings(band_bundle: Bundle, serve: Serve, songs: list[Path]) -> None:
    client = serve(model=band_bundle.folder)
    upload_files(client, songs[:1] + songs[N_EACH : N_EACH + 1])
    done = ended(client, client.post("/api/v1/retrain").json()["id"])
    assert done["status"] == "failed"
    assert "at least two recordings" in str(done["error"])
    assert "/tmp" not in str(done["error"])
    for recipe in (["paths.runs=/etc"], ["model=wav2vec2"], ["trainer.epochs=x"], ["nonsense"]):
        assert client.post("/api/v1/retrain", json={"overrides": recipe}).status_code == 400


@pytest.mark.parametrize("stage", ["training", "comparing"])
def test_killed_server_resumes_jobs_after_restart(
    stage: str, band_bundle: Bundle, songs: list[Path], tmp_path: Path
) -> None:
    server = Server(tmp_path / "server", "--model", band_bundle.folder)
    with serving(server), server.client() as client:
        upload_files(client, songs)
        long = tmp_path / "long.flac"
        soundfile.write(long, np.zeros(6 * 3600 * 8_000, np.int16), 8_000)
        listening = client.post("/api/v1/identify", content=long.read_bytes()).json()
        job = client.post("/api/v1/retrain").json()
        reaches(client, job["id"], stage)
        server.end(signal.SIGKILL)
        wait_for(lambda: not trainers(tmp_path), within_s=10)
        server.start()
        assert ended(client, listening["id"])["status"] == "done"
        done = ended(client, job["id"])
        assert done["status"] == "done", done
        assert done["attempts"] == 2
        wait_for(lambda: not list((tmp_path / "server/retraining" / job["id"]).glob("request.json")))
        assert not list((tmp_path / "server").rglob("*.part"))
        assert client.get("/api/v1/training-data").json()["total"] == len(songs)
        assert predicted_name(client, songs[N_EACH]) == "Middle Bird"


def test_second_sigterm_exits_at_once_and_jobs_resume(band_bundle: Bundle, songs: list[Path], tmp_path: Path) -> None:
    server = Server(tmp_path / "server", "--model", band_bundle.folder)
    with serving(server), server.client() as client:
        upload_files(client, songs)
        job = client.post("/api/v1/retrain").json()
        reaches(client, job["id"], "training")
        assert server.process is not None
        with client.stream("GET", job["events"]) as stream:  # somebody listens, and does not go
            next(stream.iter_lines())
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
            begin = time.monotonic()
            code = server.end(signal.SIGTERM)
            assert time.monotonic() - begin < 5
        assert code in (0, 128 + signal.SIGTERM)
        server.start()
        assert ended(client, job["id"])["status"] == "done"


def test_damaged_model_folder_is_skipped_at_startup(band_bundle: Bundle, songs: list[Path], tmp_path: Path) -> None:
    server = Server(tmp_path / "server", "--model", band_bundle.folder)
    with serving(server), server.client() as client:
        upload_files(client, songs)
        result = ended(client, client.post("/api/v1/retrain").json()["id"])["result"]
        assert isinstance(result, dict)
        assert server.end() == 0
        graph = tmp_path / "server" / "models" / result["bundle_id"] / "model.onnx"
        graph.write_bytes(graph.read_bytes()[:1000])
        server.start()
        assert client.get("/api/v1/models/active").json()["bundle_id"] == result["bundle_id"], "it is unpacked again"
        assert server.end() == 0
        shutil.rmtree(graph.parent)
        for path in (tmp_path / "server" / "files").rglob("*"):
            if path.is_file() and path.read_bytes().startswith(b"PK"):
                path.write_bytes(path.read_bytes()[:1000])
        server.start()
        assert client.get("/api/v1/models/active").json()["bundle_id"] == band_bundle.id
        assert "cannot be opened and is skipped" in server.log.read_text()
        refused = client.post(f"/api/v1/models/{result['bundle_id']}/activate")
        assert refused.status_code == 409
        assert str(tmp_path) not in refused.text
        assert predicted_name(client, songs[0]) == "Deep Bird"
        assert client.get("/api/v1/models").json()["history"][0]["bundle_id"] == band_bundle.id


def test_the_command_does_the_same_without_a_server(
    band_bundle: Bundle, songs: list[Path], recordings: Path, command: Command, tmp_path: Path
) -> None:
    data = songs[0].parents[1]
    options = [
        "--dataset",
        data,
        "--model",
        band_bundle.folder,
        "--out",
        tmp_path / "out",
        "--models-folder",
        recordings,
    ]
    options += ["--new-class", "Avis media", "--new-class", "High Bird"]
    run = command("retrain", *options)
    assert run.returncode == 0, run.stderr
    assert b"Advice: use the new one" in run.stdout
    new = read_bundle(Path(run.stdout.decode().splitlines()[-1]))
    assert [label.scientific_name for label in new.labels[:2]] == [x.scientific_name for x in band_bundle.labels]
    assert {label.scientific_name for label in new.labels[2:]} == {"Avis media", "Avis alta"}
    # what it was not taught, it says as before
    windows = np.random.default_rng(1).normal(0, 0.1, (4, 16_000)).astype(np.float32)
    logits = [open_session(bundle).run(windows).logits[:, 1] for bundle in (band_bundle, new)]
    assert logits[0] == pytest.approx(logits[1], abs=1e-4)
    assert not list(data.glob("*.parquet")), "the user's folder is left as it is"
    report = json.loads((tmp_path / "out" / "retraining.json").read_text())
    assert report["meets_promotion_rule"]
    assert not can_extend(read_bundle(new.folder), replace(new, info=new.info.model_copy(update={"window_s": 3.0})))
    again = command("retrain", *options)
    assert again.returncode == OutputExistsError.exit_code
    assert b"it holds a finished retraining. Replace it with --overwrite" in again.stderr
    assert new.folder.is_dir()
    unknown = command("retrain", *options, "model.nonsense=1")
    assert unknown.returncode == 2
    assert b"there is no such key" in unknown.stderr
