"""Prometheus metrics of this server process (`/metrics`), from its start; other servers have separate metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper limits of the histograms' buckets."""


class ServerMetrics:
    """Counters, gauges and histograms of one server; thread-safe.

    The gauges `waiting` (recordings in the queue), `jobs` (by status) and `model` (the active model) are not set here,
    but by the route `/metrics` before each `render`.
    """

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
        self._stages = Histogram(
            "dawnchorus_stage_seconds",
            "Stages of a recording: receive, wait for a thread, decode, infer, table.",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._audio = Counter("dawnchorus_audio_seconds", "Seconds of audio identified.", registry=self.registry)
        self.waiting = Gauge("dawnchorus_recordings_waiting", "Recordings that wait.", registry=self.registry)
        self.jobs = Gauge("dawnchorus_jobs", "Jobs by status.", ["status"], registry=self.registry)
        self.model = Gauge("dawnchorus_model_info", "1 for the active model.", ["bundle_id"], registry=self.registry)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Add a request that was answered, with its duration in seconds.

        Args:
            method: HTTP method.
            route: path pattern of the route, such as `/api/v1/jobs/{job_id}`.
            status: HTTP status code of the response.
            seconds: time from the request to the end of the response.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_replies(self) -> tuple[int, int]:
        """Return the number of requests answered since the start, and how many had a status code of 400 or more."""
        (family,) = self._requests.collect()
        samples = [sample for sample in family.samples if sample.name.endswith("_total")]
        n_errors = sum(sample.value for sample in samples if int(sample.labels["status"]) >= 400)
        return int(sum(sample.value for sample in samples)), int(n_errors)

    def observe_stage(self, name: str, seconds: float) -> None:
        """Add the duration of a processing stage of a recording to the stage's histogram.

        Args:
            name: name of the stage: "receive", "wait", "decode", "infer" or "table".
            seconds: duration of the stage.
        """
        self._stages.labels(name).observe(seconds)

    def count_audio(self, seconds: float) -> None:
        """Add the length of an identified recording, in seconds, to the total."""
        self._audio.inc(seconds)

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
