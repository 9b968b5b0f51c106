"""The life of a model of each source project's recipe, from a folder of recordings to a rolled back one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.server import running
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.settings import Settings
from dawnchorus.training.clip_recipes import known_recipes
from dawnchorus.training.runs import find_runs

pytestmark = pytest.mark.ops

RATE_HZ = 16_000
SPECIES = {"Avis gravis": ("Deep Bird", 700), "Avis alta": ("High Bird", 4000)}
N_EACH = 20

SMALL: dict[str, tuple[str, ...]] = {
    "autobird": ("model.layers=1", "model.units=32", "model.heads=2", "model.channels=16", "optimizer.lr=1e-3"),
    "birdclef-yamnet": ("model.hidden=[16,8]", "trainer.monitor=val_loss"),
    "birdsong-kapre": ("model.channels=[8]", "model.mel.n_mels=32"),
    "birdclef-2024": ("model.weights=null", "model.mel.n_mels=32", "model.window_s=1.0"),
    "acoustic-95": ("model.hidden=[16]", "model.dropout=[0]"),
}
"""Settings that make each recipe's network small; its data, loss and schedule are the recipe's."""

KILLED = """
import os, signal, sys
from datetime import datetime
from dawnchorus.training.compose import compose_config
from dawnchorus.training.trainer import train
settings = sys.argv[1:]
end = lambda progress: progress.done == 2 and os.kill(os.getpid(), signal.SIGKILL)
train(compose_config(settings), started=datetime(2026, 5, 1), overrides=settings, report=end)
"""


def sing(hz: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    seconds = np.arange(round(1.6 * RATE_HZ)) / RATE_HZ
    song = np.sin(2 * np.pi * hz * (1 + 0.02 * rng.normal()) * seconds) * (np.sin(12 * seconds) > 0)
    return np.asarray(rng.uniform(0.2, 0.5) * song + 0.003 * rng.normal(size=len(seconds)), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two species, in a folder for each."""
    folder = tmp_path_factory.mktemp("singers")
    for k, (name, (common_name, hz)) in enumerate(SPECIES.items()):
        (folder / f"{name}_{common_name}").mkdir()
        for n in range(N_EACH):
            path = folder / f"{name}_{common_name}" / f"{common_name.split()[0].lower()}{n}.wav"
            soundfile.write(path, sing(hz, 100 * k + n), RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def data_set(folder: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """The same, imported, checked and split."""
    made = tmp_path_factory.mktemp("data") / "set"
    for arguments in (("import", folder, made), ("check", made), ("split", made)):
        done = command("data", *arguments)
        assert done.returncode == 0, done.stderr
    return made


def test_the_five_recipes_are_tried_here() -> None:
    assert set(SMALL) <= set(known_recipes())


@pytest.mark.parametrize("recipe", list(SMALL))
def test_a_model_from_recordings_to_roll_back(
    recipe: str, data_set: Path, folder: Path, band_bundle: Bundle, tmp_path: Path, store: ModelStore, command: Command
) -> None:
    if recipe == "birdclef-yamnet":
        pytest.importorskip("noisereduce")
    own = (f"model.backbone={band_bundle.folder}",) if recipe == "birdclef-yamnet" else ()
    settings = [f"experiment={recipe}", *SMALL[recipe], *own, "trainer.epochs=3", "trainer.batch_size=8"]
    here = [f"data={data_set}", f"paths.runs={tmp_path / 'runs'}", f"paths.models={store.folder}"]
    here += ["trainer.accelerator=cpu"]

    # Train, killed by the system after the second epoch, and go on.
    killed = subprocess.run([sys.executable, "-c", KILLED, *settings, *here], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    (run,) = find_runs(tmp_path / "runs")
    done = command("train", "--resume", run.folder)
    assert done.returncode == 0, done.stderr
    bundle = read_bundle(Path(done.stdout.decode().strip()))
    assert bundle.info.training is not None
    assert bundle.info.training.recipe is not None
    cleaning = known_recipes()[recipe][1].cleaning
    assert (bundle.info.cleaning or type(cleaning)()) == cleaning, "the bundle names the recipe's cleaning"

    # Tune two trials, beside it.
    fixed = [setting for setting in settings if not setting.startswith("optimizer.lr=")]
    tuned = command("tune", *fixed, *here[:1], f"paths.runs={tmp_path / 'trials'}", f"paths.models={store.folder}",
                    "trainer.accelerator=cpu", "optimizer.lr=1e-3,1e-2", "--trials", "2")  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    assert len(list(find_runs(tmp_path / "trials"))) == 2

    # Evaluate, and identify by the same bundle.
    report = command("evaluate", run.folder, data_set, "--json")
    assert report.returncode == 0, report.stderr
    (evaluation,) = json.loads(report.stdout)["evaluations"]
    assert {"top_1", "macro_roc_auc"} <= set(evaluation["by_recording"])
    recording = next(iter(sorted(folder.rglob("*.wav"))))
    done = command("identify", recording, "--model", bundle.folder, "--min-score", "0.01", "--json", "-q")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["detections"]
    assert rows
    assert {row["scientific_name"] for row in rows} <= set(SPECIES)

    # Serve it, teach it, compare, promote, roll back, and find that again after a restart.
    server = Settings(data=tmp_path / "server", model=bundle.folder, models_folder=store.folder, n_inference_threads=1,
                      retrain_overrides=("trainer.epochs=2",))  # fmt: skip
    with running(server) as client:
        served = client.post("/api/v1/identify?min_score=0.01", content=recording.read_bytes()).json()["detections"]
        assert [row["score"] for row in served] == pytest.approx([row["score"] for row in rows], abs=1e-3)
        assert [row["start_s"] for row in served] == pytest.approx([row["start_s"] for row in rows])
        result = _retrain(client, folder)
        new = result["bundle_id"]
        assert result["report"]["top_1"].keys() == {"active", "new"}
        card = client.get(f"/api/v1/models/{new}/card").text
        assert f"`{bundle.info.family}`" in card, "the family that serves is what was trained"
        assert client.post(f"/api/v1/models/{new}/activate").json() == {"active": new}
        assert client.post("/api/v1/models/rollback").json() == {"active": bundle.id}
    with running(server) as client:
        assert client.get("/api/v1/models/active").json()["bundle_id"] == bundle.id
        assert client.post(f"/api/v1/models/{new}/activate").json() == {"active": new}


def _retrain(client: httpx.Client, folder: Path) -> dict[str, object]:
    paths = sorted(folder.rglob("*.wav"))
    files = [("audio", (f"{path.parent.name}/{path.name}", path.read_bytes())) for path in paths]
    assert client.post("/api/upload_bulk", files=files).json()["uploaded"] == len(paths)
    job_id = client.post("/api/trigger_retrain").json()["job_id"]
    seen: set[object] = set()

    def job() -> dict[str, object] | None:
        status: dict[str, object] = client.get(f"/api/v1/jobs/{job_id}").json()
        seen.add(status["stage"])
        return status if status["status"] in ("done", "failed", "cancelled") else None

    done = wait_for(job, within_s=300)
    assert isinstance(done, dict)
    assert done["status"] == "done", done["error"]
    events = client.get(f"/api/v1/jobs/{job_id}").json()
    assert events["progress"] in (1.0, 100)
    result = done["result"]
    assert isinstance(result, dict)
    return result
