"""Increase of response times while the server retrains."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
from tests.fixtures.machines import Server, serving

from bench.serving import body, load

N_CLIENTS, IDLE_S, ROUND_S, N_RETRAININGS = 4, 15.0, 5.0, 3


def measure() -> dict[str, Any]:
    """Return p50 and p99 in ms of clients that request BirdNET repeatedly: before, while and after it retrains."""
    latencies: dict[str, list[dict[str, float]]] = {"idle": [], "training": []}
    with tempfile.TemporaryDirectory() as scratch:
        birds = Path(scratch, "birds")
        command = ["synth", str(birds), "--species", "4", "--clips", "8", "--soundscapes", "0"]
        subprocess.run([sys.executable, "-m", "dawnchorus", *command], check=True, capture_output=True)
        server = Server(Path(scratch, "server"))
        with serving(server), server.client() as client:
            files = [
                ("audio", (f"{path.parent.name}/{path.name}", path.read_bytes()))
                for path in sorted((birds / "clips").glob("*/*.*"))
            ]
            client.post("/api/v1/training-data", files=files, data={"new_class": "yes"}).raise_for_status()
            _retrain(client)  # makes what later ones find made
            load(server.port, body(), n_clients=N_CLIENTS, seconds=2)
            for _ in range(N_RETRAININGS):
                latencies["idle"].append(load(server.port, body(), n_clients=N_CLIENTS, seconds=IDLE_S))
                training = threading.Thread(target=_retrain, args=(client,))
                training.start()
                while training.is_alive():
                    latencies["training"].append(load(server.port, body(), n_clients=N_CLIENTS, seconds=ROUND_S))
    summed: dict[str, Any] = {
        name: {key: float(np.median([each[key] for each in rounds])) for key in rounds[0]}
        for name, rounds in latencies.items()
    }
    failed = sum(each["n_failed"] for rounds in latencies.values() for each in rounds)
    return {**summed, "n_clients": N_CLIENTS, "n_failed": failed}


def _retrain(client: httpx.Client) -> None:
    """Retrain, for comparison only, and wait for its end."""
    job = client.post("/api/v1/retrain", json={"require_approval": True}).json()
    with client.stream("GET", job["events"], timeout=None) as stream:
        for _ in stream.iter_lines():
            continue
