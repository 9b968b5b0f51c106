"""Wav2Vec2 from a folder as transformers writes it, and from a hub that speaks Hugging Face's protocol."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.fixtures.http_server import QuietHandler, serving_http
from tests.fixtures.training import Train

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.training.compose import compose_config, family_config
from dawnchorus.training.config import OptimizerConfig
from dawnchorus.training.families import Context
from dawnchorus.training.operators import declare_vision_operators
from dawnchorus.training.runs import read_run
from dawnchorus.training.schedules import build_optimizer

COMMIT = "5b6d2e3f" * 5
REPOSITORY = "birds/tiny-wav2vec2"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Wav2Vec2 with a head for speech, as `save_pretrained` writes it."""
    declare_vision_operators()
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(3)
    sizes = Wav2Vec2Config(
        num_hidden_layers=1, hidden_size=32, intermediate_size=64, num_attention_heads=2, conv_dim=(16,) * 7,
        num_conv_pos_embedding_groups=16, vocab_size=32,
    )  # fmt: skip
    Wav2Vec2ForCTC(sizes).save_pretrained(folder)
    return folder


def test_weights_of_a_folder_are_what_is_trained_on(published: Path, run_training: Train, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    settings = ("model=wav2vec2", f"model.source={published}", "model.window_s=2", "model.freeze_transformer=true")
    run = run_training(*settings, "trainer.epochs=1", "trainer.batch_size=8")
    last = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    given = load_file(published / "model.safetensors")
    name = "feature_extractor.conv_layers.0.conv.weight"
    assert torch.equal(last[f"network.body.{name}"], given[f"wav2vec2.{name}"])
    name = "encoder.layers.0.attention.k_proj.weight"
    assert torch.equal(last[f"network.body.{name}"], given[f"wav2vec2.{name}"])
    assert str(published) in read_bundle(run.bundle).info.attribution
    with pytest.raises(InputError, match="no such folder"):
        run_training("model=wav2vec2", f"model.source={tmp_path / 'none'}", "model.window_s=2")


def test_weights_missing_from_the_folder_are_trained_and_named(published: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "partly"
    shutil.copytree(published, folder)
    weights = load_file(folder / "model.safetensors")
    lacking = "feature_extractor.conv_layers.6.conv.weight"
    del weights[f"wav2vec2.{lacking}"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    store = ModelStore(tmp_path)
    config = compose_config(["data=x", "model=wav2vec2", f"model.source={folder}", "model.freeze_transformer=true"])
    family, shape = family_config(config, store)
    lines: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = lines.append  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    network = family.build(shape, Context(("Avis a", "Avis b"), store))
    logging.getLogger("transformers").removeHandler(handler)
    trained_on = {name for name, weights in network.named_parameters() if weights.requires_grad}
    assert f"body.{lacking}" in trained_on
    assert "body.feature_extractor.conv_layers.5.conv.weight" not in trained_on
    body = network.get_parameter("body.encoder.layer_norm.weight").requires_grad_()
    optimizer = build_optimizer(OptimizerConfig(lr=1e-3, head_lr_multiplier=10), network)
    rates = {weights: group["lr"] for group in optimizer.param_groups for weights in group["params"]}
    begun_at_random = [rates[network.get_parameter(name)] for name in ("head.weight", f"body.{lacking}")]
    assert (rates[body], begun_at_random) == (1e-3, [1e-2, 1e-2])
    assert f"lacks 1 weights of Wav2Vec2 ({lacking}, ...)" in (network.start_note or "")
    assert lines == [], "transformers' own table of the same"


@pytest.fixture
def hub(published: Path) -> Iterator[str]:
    """Hugging Face's hub as its client sees it: /REPOSITORY/resolve/REVISION/FILE, and the list of files."""

    class Handler(QuietHandler, http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/api/"):
                files = [{"rfilename": file.name} for file in published.iterdir()]
                content = json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": files}).encode()
                self._send(200, content if "/tree/" not in path else b"[]", body=body)
                return
            file = published / path.rpartition("/")[2]
            if not path.startswith(f"/{REPOSITORY}/resolve/") or not file.is_file():
                self._send(404, b"Entry not found", body=body, **{"X-Error-Code": "EntryNotFound"})
                return
            content = file.read_bytes()
            self._send(200, content, body=body, ETag=f'"{hashlib.sha256(content).hexdigest()}"')

        def _send(self, code: int, content: bytes, *, body: bool, **headers: str) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    with serving_http(Handler) as url:
        yield url


@pytest.mark.ops
def test_a_name_is_fetched_from_the_hub(hub: str, birds: Path, tmp_path: Path) -> None:
    settings = [
        f"data={birds}", "model=wav2vec2", f"model.source={REPOSITORY}", "model.window_s=2", "trainer.epochs=1",
        "trainer.batch_size=8", "trainer.accelerator=cpu", f"paths.runs={tmp_path / 'runs'}",
    ]  # fmt: skip
    # The hub's client reads its address and cache when it is imported: a process of its own.
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-m", "dawnchorus", "train", *settings], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = read_run(Path(done.stdout.strip()).parent)
    assert run.metadata["status"] == "done"
    assert REPOSITORY in read_bundle(run.bundle).info.attribution
    assert list((tmp_path / "hf").rglob("model.safetensors"))
