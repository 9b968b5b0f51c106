"""People who send clips of five seconds, and now and then look at the pages: `make load`, or with locust's own page,
from any folder

locust -f bench/locustfile.py --host http://127.0.0.1:5000
"""

from __future__ import annotations

import sys
from pathlib import Path

from gevent import get_hub
from locust import FastHttpUser, constant, task

sys.path.insert(0, str(Path(__file__).parents[1]))  # of this folder alone, Locust makes modules
from bench.serving import clip

CLIP = clip()
get_hub().loop.update_now()  # or the seconds that the clip took would be part of Locust's --run-time


class Listener(FastHttpUser):
    """Client that sends the next request as soon as it has a response."""

    wait_time = constant(0)

    @task(50)
    def predict(self) -> None:
        """Send a clip as a form."""
        self.client.post("/api/predict", files={"audio": ("clip.wav", CLIP, "audio/wav")})

    @task(5)
    def identify(self) -> None:
        """Send a clip as the body."""
        self.client.post("/api/v1/identify", data=CLIP, headers={"Content-Type": "audio/wav"})  # type: ignore[arg-type]

    @task(1)
    def look(self) -> None:
        """Request the detections."""
        self.client.get("/api/metrics")
