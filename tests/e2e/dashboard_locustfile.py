"""A load test as the users of the Bird Sound dashboard have it: only its own addresses, fields and keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust import HttpUser, between, task

SOUND = Path(os.environ["SAMPLE_BIRD"])


class DashboardUser(HttpUser):
    """Sends recordings, and looks at what the page shows."""

    wait_time = between(0.01, 0.05)

    @task(10)
    def predict(self) -> None:
        """Send a recording."""
        with SOUND.open("rb") as sound:
            files = {"audio": (SOUND.name, sound, "audio/wav")}
            with self.client.post("/api/predict", files=files, catch_response=True) as reply:
                prediction = reply.json()
                best = next(iter(prediction["top_5_predictions"].items()))
                if best != (prediction["predicted_species"], prediction["confidence"]):
                    reply.failure("the first of the five is not the best")

    @task(2)
    def health(self) -> None:
        """Ask for the state."""
        self._get("/api/health", lambda reply: reply["status"] == "healthy" and reply["uptime_seconds"] >= 0)

    @task(2)
    def metrics(self) -> None:
        """Ask for the numbers that the page draws."""
        self._get("/api/metrics", lambda reply: reply["avg_confidence"] >= 0 and len(reply["recent_predictions"]) <= 20)

    @task(1)
    def classes(self) -> None:
        """Ask for the species."""
        self._get("/api/classes", lambda reply: len(reply["classes"]) == reply["num_classes"])

    @task(1)
    def retrain_status(self) -> None:
        """Ask how retraining goes."""
        self._get("/api/retrain_status", lambda reply: reply["is_retraining"] is False)

    def _get(self, path: str, is_right: Callable[[Any], bool]) -> None:
        with self.client.get(path, catch_response=True) as reply:
            if not is_right(reply.json()):
                reply.failure(f"unexpected: {reply.text[:200]}")
