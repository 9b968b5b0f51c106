"""Requests per second over HTTP, against what bare sessions do in the same minute and a handler of the usual kind."""

from __future__ import annotations

import http.client
import io
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dawnchorus.cores import usable_cores
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus
from dawnchorus.models.runner import open_session
from dawnchorus.models.store import ModelStore, default_folder

N_CLIENTS, ROUND_S, N_ROUNDS = 8, 8.0, 3
CLIP_S = 5
BOUNDARY = "recording"
SMALL = ("model.rate_hz=16000", "model.window_s=5", "model.channels=[16,32,48,64]", "model.mel.n_mels=64")

SEED = """
import sys, tempfile, warnings
import numpy as np, uvicorn
from fastapi import FastAPI, UploadFile
warnings.simplefilter("ignore")
import librosa
from bench.acoustic import _librosas

app, rng = FastAPI(), np.random.default_rng(1)
layers = [rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((95, 512), (512, 256), (256, 128), (128, 64))]

@app.get("/api/health")
def health():
    return {}

@app.post("/api/predict")
async def predict(audio: UploadFile):
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(await audio.read())
        file.flush()
        sound, _ = librosa.load(file.name, sr=22050, duration=5)
    x = _librosas(librosa, sound)
    for layer in layers:
        x = np.maximum(x @ layer, 0)
    return {"best": int(x.argmax())}

uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""
"""A handler as in the replaced dashboard: a temporary file, librosa's features and the model in the event loop."""


def clip() -> bytes:
    """Return five seconds of the dawn chorus as a WAV file of 480 KB."""
    scene = dawn_chorus(seed=1)
    out = io.BytesIO()
    audio = scene.samples[40 * scene.rate_hz :][: CLIP_S * scene.rate_hz]
    soundfile.write(out, audio, scene.rate_hz, format="WAV", subtype="PCM_16")
    return out.getvalue()


def body() -> bytes:
    """Return a form with the clip."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'.encode()
    return head + clip() + f"\r\n--{BOUNDARY}--\r\n".encode()


def _small_model(folder: Path) -> Path:
    """Return a small model, trained for a moment on synthetic birds: one window of 5 s, 100,000 parameters."""
    data, runs = folder / "birds", folder / "runs"
    commands = (
        ["synth", str(data), "--species", "8", "--clips", "6", "--soundscapes", "0"],
        ["data", "import", str(data / "clips"), str(data / "set")],
        ["data", "split", str(data / "set")],
        ["train", "model=mel_cnn", *SMALL, f"data={data / 'set'}", "trainer.epochs=2", f"paths.runs={runs}"],
    )
    for command in commands:
        subprocess.run([sys.executable, "-m", "dawnchorus", *command], check=True, capture_output=True)
    return next(runs.glob("*/bundle"))


def load(port: int, body: bytes, *, n_clients: int = N_CLIENTS, seconds: float = ROUND_S) -> dict[str, float]:
    """Return requests per second of clients that repeat as soon as they have a response, and their waits in ms."""
    until = time.perf_counter() + seconds
    waits: list[float] = []
    failures: list[int] = []
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() < until:
            begin = time.perf_counter()
            connection.request("POST", "/api/predict", body, headers)
            reply = connection.getresponse()
            reply.read()
            waits.append(1000 * (time.perf_counter() - begin))
            if reply.status != 200:
                failures.append(reply.status)

    threads = [threading.Thread(target=client) for _ in range(n_clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed_s = time.perf_counter() - begin
    p50, p99 = np.percentile(waits, [50, 99])
    return {"per_s": len(waits) / elapsed_s, "p50_ms": float(p50), "p99_ms": float(p99), "n_failed": len(failures)}


def _bare(name: str | Path) -> float:
    """Return clips per second of one bare session for each core, on windows that lie ready."""
    bundle = ModelStore(default_folder()).open(name)
    sessions = [open_session(bundle) for _ in range(usable_cores())]
    n = -(-CLIP_S // int(bundle.info.window_s))
    windows = np.random.default_rng(1).normal(0, 0.05, (n, bundle.window_samples)).astype(np.float32)
    counts = [0] * len(sessions)
    until = time.perf_counter() + ROUND_S / 2

    def run(k: int) -> None:
        while time.perf_counter() < until:
            sessions[k].run(windows)
            counts[k] += 1

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (ROUND_S / 2)


def measure() -> dict[str, Any]:
    """Run the rounds in turn and return their medians."""
    form = body()
    rounds: dict[str, list[dict[str, float]]] = {"birdnet": [], "small": [], "seed": []}
    bare: dict[str, list[float]] = {"birdnet": [], "small": []}
    with tempfile.TemporaryDirectory() as scratch:
        models: dict[str, str | Path] = {"birdnet": "birdnet", "small": _small_model(Path(scratch))}
        servers = {"seed": (5870, [sys.executable, "-c", SEED, "5870"])}
        for k, (name, model) in enumerate(models.items()):
            options = ["--data-dir", f"{scratch}/{name}", "--model", str(model), "--port", str(5871 + k)]
            servers[name] = (5871 + k, [sys.executable, "-m", "dawnchorus", "serve", *options])
        processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _, command in servers.values()
        ]
        try:
            for port, _ in servers.values():
                _wait_for(port)
                _load_once(port, form)
            for _ in range(N_ROUNDS):
                for name, (port, _) in servers.items():
                    rounds[name].append(load(port, form))
                for name, model in models.items():
                    bare[name].append(_bare(model))
        finally:
            for process in processes:
                process.terminate()
                process.wait()
    medians: dict[str, Any] = {
        name: {key: statistics.median(each[key] for each in values) for key in values[0]}
        for name, values in rounds.items()
    }
    return {
        **medians,
        "bare_per_s": {name: statistics.median(values) for name, values in bare.items()},
        "n_clients": N_CLIENTS,
    }


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/api/health")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers on port {port}")


def _load_once(port: int, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/api/predict", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    connection.getresponse().read()
