"""Trackers that are away, refuse, or fail on the way: training goes on, and says so."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.http_server import QuietHandler, serving_http
from tests.fixtures.training import SMALL, Train

from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.training.config import TrackerConfig
from dawnchorus.training.operators import declare_vision_operators
from dawnchorus.training.runs import find_runs, read_config

IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
RUN = {"run_id": "1", "run_uuid": "1", "experiment_id": "1", "status": "RUNNING", "artifact_uri": "file:///nowhere"}
ANSWERS: dict[str, dict[str, object]] = {
    "experiments/get-by-name": {"experiment": {"experiment_id": "1", "name": "birds", "lifecycle_stage": "active"}},
    "runs/create": {"run": {"info": RUN, "data": {}}},
}
"""Replies of an MLflow server before it breaks."""

Check = Callable[[TrackerConfig], TrackerConfig]


@pytest.fixture(scope="module")
def check_tracker() -> Check:
    """`check_tracker`; its import takes seconds."""
    declare_vision_operators()
    from dawnchorus.training import trackers

    return trackers.check_tracker


@pytest.fixture
def breaking_server() -> Iterator[str]:
    """An MLflow server that begins a run, and fails when anything is to be logged."""

    class Handler(QuietHandler, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer()

        def _answer(self) -> None:
            answer = ANSWERS.get(self.path.partition("?")[0].removeprefix("/api/2.0/mlflow/"))
            content = json.dumps(answer or {"error_code": "INTERNAL_ERROR", "message": "the disk is full"}).encode()
            self.send_response(200 if answer else 500)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serving_http(Handler) as url:
        yield url


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_azure_needs_its_package_before_anything_is_prepared(
    check_tracker: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    missing = "azureml.mlflow"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name))
    config = TrackerConfig(name="mlflow", uri="azureml://westeurope.api.azureml.ms/mlflow/v1.0/subscriptions/1")
    with pytest.raises(MissingExtraError, match=r"'azureml-mlflow', which is not installed.*dawnchorus\[azureml\]"):
        check_tracker(config)


def test_a_tracker_without_its_package_is_named(check_tracker: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"The tracker wandb needs .*dawnchorus\[wandb\]"):
        check_tracker(TrackerConfig(name="wandb"))


@pytest.mark.parametrize("url", ["nonsense://x", "http://[bad"])
def test_an_invalid_uri_is_refused_or_named(check_tracker: Check, url: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("mlflow")
    config = TrackerConfig(name="mlflow", uri=url)
    if url.startswith("http"):
        assert check_tracker(config).name == "none"
        assert "Invalid IPv6 URL" in caplog.messages[0]
    else:
        with pytest.raises(InputError, match=r"tracker\.uri: nonsense://x cannot be used by MLflow"):
            check_tracker(config)


def test_wandb_that_does_not_answer_is_logged_offline(
    check_tracker: Check, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("wandb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    checked = check_tracker(TrackerConfig(name="wandb", offline=False))
    assert checked.offline
    assert "W&B does not answer" in caplog.messages[0]


@pytest.mark.ops
@pytest.mark.parametrize("server", ["breaking_server", "silent_server"])
def test_a_server_that_fails_does_not_end_the_run(
    server: str, request: pytest.FixtureRequest, birds: Path, tmp_path: Path, program: Command
) -> None:
    pytest.importorskip("mlflow")
    url = request.getfixturevalue(server)
    settings = ["model=acoustic_mlp", "model.window_s=2", "model.hidden=[8]", "model.dropout=[0]", "trainer.epochs=1"]
    settings += [f"data={birds}", f"paths.runs={tmp_path}", "trainer.accelerator=cpu"]
    # MLflow leaves threads and handlers behind: a process of its own.
    done = program("train", *settings, "tracker=mlflow", f"tracker.uri={url}", env={**os.environ, **IMPATIENT})
    assert done.returncode == 0, done.stderr
    expected = b"MLflow failed (" if server == "breaking_server" else b"no MLflow server answers at http://127.0.0.1"
    assert expected in done.stderr
    assert done.stderr.count(b"The run continues, and its curves are in its own metrics.csv") == 1
    (run,) = find_runs(tmp_path)
    assert run.metadata["status"] == "done"
    assert (run.folder / "metrics.csv").is_file()


def test_trackers_and_profilers_write_into_the_run(run_training: Train) -> None:
    pytest.importorskip("tensorboard")
    run = run_training(*SMALL, "trainer.epochs=1", "tracker=tensorboard", "profiler=simple")
    assert list((run.folder / "tensorboard").glob("events*"))
    assert list((run.folder / "reports").glob("*profile*"))
    assert (run.folder / "metrics.csv").read_text().startswith("epoch")


@pytest.mark.ops
def test_wandb_writes_offline_into_the_run_and_mlflow_next_to_it(run_training: Train, program: Command) -> None:
    pytest.importorskip("wandb", reason="pip install 'dawnchorus[track]'")
    pytest.importorskip("mlflow", reason="pip install 'dawnchorus[track]'")
    settings = [*SMALL, "trainer.epochs=1", "trainer.accelerator=cpu", "optimizer.lr=0.0123"]
    first = run_training("seed=5", *settings)
    settings += [f"data={read_config(first)['data']['path']}", f"paths.runs={first.folder.parent}"]
    # Both leave threads and handlers behind, so each has a process of its own.
    for tracker in ("wandb", "mlflow"):
        done = program("train", *settings, f"tracker={tracker}", f"name={tracker}")
        assert done.returncode == 0, done.stderr
    (logged,) = first.folder.parent.glob("*-wandb/wandb/offline-run-*/*.wandb")
    assert logged.stat().st_size > 1000
    with closing(sqlite3.connect(first.folder.parent / "mlflow.db")) as tracked:
        assert dict(tracked.execute("SELECT key, value FROM params"))["optimizer/lr"] == "0.0123"
        metrics = dict(tracked.execute("SELECT key, value FROM metrics"))
    assert {"loss", "val_auc"} <= set(metrics)
