"""A thousand hot swaps during a hundred thousand requests: none fails, and each reply is from exactly one model."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tests.fixtures.models import level_graph

from bench.serving import _wait_for
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.taxonomy.labels import Label

PORT, N_CLIENTS = 5881, 4
N_REQUESTS, N_SWAPS = 100_000, 1_000


def _model(folder: Path, names: tuple[str, str, str]) -> Bundle:
    """Return a model that scores the level; the names of its classes tell which one it is."""
    folder.mkdir()
    labels = tuple(Label(name, f"{name} of {folder.name}") for name in names)
    # Another window makes it another graph, and so another id.
    window_samples = 16_000 if folder.name == "one" else 8_000
    metadata = ModelDescription(
        name=folder.name,
        version="1",
        sample_rate_hz=16_000,
        window_s=window_samples / 16_000,
        activation="identity",
        license="CC0-1.0",
    )
    return wrap_model(
        level_graph(folder / "x.onnx", window_samples=window_samples),
        folder / "bundle",
        labels=labels,
        description=metadata,
    )


def measure() -> dict[str, Any]:
    """Count replies by what is wrong with them."""
    with tempfile.TemporaryDirectory() as scratch:
        one, two = (_model(Path(scratch, name), ("loud", "quiet", "engine")) for name in ("one", "two"))
        audio = Path(scratch, "x.wav")
        soundfile.write(audio, np.full(16_000, 0.25, np.float32), 16_000)
        data = Path(scratch, "server")
        _register(data, one, two)
        command = [
            "-m",
            "dawnchorus",
            "serve",
            "--data-dir",
            str(data),
            "--model",
            str(one.folder),
            "--port",
            str(PORT),
        ]
        log = Path(scratch, "log").open("wb")
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)
        try:
            _wait_for(PORT)
            return _measure_swaps(audio.read_bytes(), {one.id: "one", two.id: "two"})
        finally:
            process.terminate()
            process.wait()


def _register(data: Path, one: Bundle, two: Bundle) -> None:
    """Register the second model, as one of an earlier start."""
    from dawnchorus.server.service import open_service
    from dawnchorus.server.settings import Settings

    for bundle in (two, one):
        with open_service(Settings(data=data, model=bundle.folder)):
            pass


def _measure_swaps(body: bytes, names: dict[str, str]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    lock, left = threading.Lock(), [N_REQUESTS]
    done = threading.Event()

    def request_once() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        while True:
            with lock:
                if not left[0]:
                    return
                left[0] -= 1
            try:
                connection.request("POST", "/api/predict", body, {"Content-Type": "audio/wav"})
                reply = connection.getresponse()
                text = reply.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                with lock:
                    counts["status none"] += 1
                continue
            verdict = f"status {reply.status}" if reply.status != 200 else _verdict(json.loads(text), names)
            with lock:
                counts[verdict] += 1

    def swap() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        ids = sorted(names)
        while not done.is_set():
            with lock:
                n_sent = N_REQUESTS - left[0]
            if counts["swaps"] >= n_sent * N_SWAPS / N_REQUESTS:
                time.sleep(0.005)
                continue
            connection.request("POST", f"/api/v1/models/{ids[counts['swaps'] % 2]}/activate")
            reply = connection.getresponse()
            reply.read()
            with lock:
                counts["swaps" if reply.status == 200 else f"swap {reply.status}"] += 1

    begin = time.perf_counter()
    threads = [threading.Thread(target=request_once) for _ in range(N_CLIENTS)]
    swapper = threading.Thread(target=swap)
    for thread in (swapper, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    swapper.join()
    return {**counts, "seconds": round(time.perf_counter() - begin, 1)}


def _verdict(result: dict[str, Any], names: dict[str, str]) -> str:
    """Check that names and scores are those of the model that the reply names."""
    name = names[result["model_version"]]
    is_right = result["predicted_species"] == f"quiet of {name}" and abs(result["confidence"] - 0.75) < 1e-3
    is_whole = all(species.endswith(f" of {name}") for species in result["top_5_predictions"])
    return f"from {name}" if is_right and is_whole else "mixed"
