"""What a server counts, for people (`/api/metrics`) and for Prometheus (`/metrics`)."""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

N_LATEST = 50


@dataclass(frozen=True)
class Prediction:
    """The best species of an upload."""

    species: str
    confidence: float
    at: datetime
    bundle_id: str


class Meters:
    """Counts of one server; safe to use from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "dawnchorus_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "dawnchorus_request_seconds", "From request to reply.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self._sound = Counter("dawnchorus_sound_seconds", "Seconds of sound identified.", registry=self.registry)
        self.waiting = Gauge("dawnchorus_recordings_waiting", "Recordings that wait.", registry=self.registry)
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._n = 0
        self._confidence = 0.0
        self._species: Tally[str] = Tally()
        self._latest: deque[Prediction] = deque(maxlen=N_LATEST)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def sound(self, seconds: float) -> None:
        """So much sound was identified."""
        self._sound.inc(seconds)

    def prediction(self, found: Prediction) -> None:
        """A best species was told."""
        with self._lock:
            self._n += 1
            self._confidence += found.confidence
            self._species[found.species] += 1
            self._latest.append(found)

    def summary(self) -> dict[str, object]:
        """For people."""
        with self._lock:
            return {
                "uptime_seconds": round(time.monotonic() - self._begin, 3),
                "total_predictions": self._n,
                "average_confidence": self._confidence / self._n if self._n else None,
                "species_distribution": dict(self._species.most_common(10)),
                "latest": [
                    {
                        "species": p.species,
                        "confidence": p.confidence,
                        "timestamp": p.at.isoformat(timespec="milliseconds"),
                        "bundle_id": p.bundle_id,
                    }
                    for p in reversed(self._latest)
                ],
            }

    def exposition(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


def now() -> datetime:
    """The clock, in UTC."""
    return datetime.now(UTC)
