"""Lanes: fair, bounded, swapped without a failed request, and drained."""

from __future__ import annotations

import http.client
import socket
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.machines import Server, serving
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph
from tests.fixtures.server import busy, running_service

from dawnchorus.errors import AudioDecodeError, InputError, ModelError, OverloadedError
from dawnchorus.identification import Options, identify
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.models.store import ModelStore
from dawnchorus.server.cost_estimate import FIRST_COST_S, LEAST_BYTES
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.settings import Settings
from dawnchorus.server.work import IdentifyResult

EVERYTHING = Options(min_score=0.0)


@pytest.fixture
def other(tmp_path: Path) -> Bundle:
    """The same graph for windows of half a second: another bundle, twice as many rows."""
    graph = level_graph(tmp_path / "half.onnx", window_samples=8_000)
    return wrap_model(graph, tmp_path / "half", labels=LEVEL_LABELS, description=replace(LEVEL, window_s=0.5))


def test_model_switch_under_load_keeps_requests_consistent(
    level_bundle: Bundle, other: Bundle, store: ModelStore, tone: Path
) -> None:
    n_rows = {level_bundle.id: 3 * 3, other.id: 6 * 3}
    with (
        InferencePool(level_bundle, store=store, n_inference_threads=2) as inference_pool,
        ThreadPoolExecutor(4) as pool,
    ):
        requests = []
        for k in range(10):
            requests += [
                pool.submit(lambda: inference_pool.submit(tone, EVERYTHING).result(timeout=60)) for _ in range(6)
            ]
            requests[-3].result()
            inference_pool.activate((other, level_bundle)[k % 2])
        results = [each.result() for each in requests]
    assert {f.bundle.id for f in results} == set(n_rows)
    for each in results:
        assert len(each.table.detections) == n_rows[each.bundle.id]


def test_a_bundle_that_cannot_run_changes_nothing(
    level_bundle: Bundle, store: ModelStore, tone: Path, tmp_path: Path
) -> None:
    with InferencePool(level_bundle, store=store, n_inference_threads=1) as inference_pool:
        before = inference_pool.submit(tone, EVERYTHING).result().table.detections
        broken = replace(level_bundle, folder=tmp_path / "nowhere")
        with pytest.raises(ModelError):
            inference_pool.activate(broken)
        assert inference_pool.bundle is level_bundle
        assert inference_pool.submit(tone, EVERYTHING).result().table.detections == before


def ended_order(futures: Sequence[Future[IdentifyResult]]) -> list[int]:
    """Return positions of the futures in the order in which they are done; filled while they are waited for."""
    order: list[int] = []
    for k, future in enumerate(futures):
        future.add_done_callback(lambda _, k=k: order.append(k))  # type: ignore[misc]
    return order


def test_a_long_recording_lets_short_ones_pass(
    level_bundle: Bundle, store: ModelStore, tone: Path, tmp_path: Path
) -> None:
    """The first round starts the decoders, whose start takes longer than all the rest."""
    soundfile.write(tmp_path / "long.wav", np.full(300 * 16_000, 0.5, np.float32), 16_000)
    with InferencePool(
        level_bundle, store=store, n_inference_threads=1, limits=Limits(max_active_per_thread=10)
    ) as inference_pool:
        for _ in range(2):
            with busy(inference_pool):
                futures = [inference_pool.submit(path, Options()) for path in (tmp_path / "long.wav", *[tone] * 5)]
                order = ended_order(futures)
            assert futures[0].result(timeout=60).table.duration_s == 300
            wait(futures)
    assert order[-1] == 0


def test_what_comes_too_late_is_not_worked_out(level_bundle: Bundle, store: ModelStore, tone: Path) -> None:
    with InferencePool(level_bundle, store=store, n_inference_threads=1, limits=Limits(wait_s=0.0)) as inference_pool:
        with busy(inference_pool):
            late = inference_pool.submit(tone, Options())
        with pytest.raises(OverloadedError, match="has waited"):
            late.result(timeout=60)


def test_what_is_too_much_is_refused(level_bundle: Bundle, store: ModelStore, tone: Path) -> None:
    room_for_one = Limits(max_queue_s=1.5 * FIRST_COST_S * LEAST_BYTES)
    with InferencePool(level_bundle, store=store, n_inference_threads=1, limits=room_for_one) as inference_pool:
        with busy(inference_pool):
            waiting = inference_pool.submit(tone, Options())
            with pytest.raises(OverloadedError) as refused:
                inference_pool.submit(tone, Options())
            with pytest.raises(OverloadedError):
                inference_pool.check_room(1)
            assert refused.value.retry_after_s >= 1
        assert waiting.result(timeout=60).table.duration_s == 3
        inference_pool.check_room(1)


def test_waiting_recording_keeps_its_position_in_the_queue(level_bundle: Bundle, store: ModelStore, tone: Path) -> None:
    with InferencePool(
        level_bundle, store=store, n_inference_threads=1, limits=Limits(max_active_per_thread=1)
    ) as inference_pool:
        with busy(inference_pool):
            waiting = [inference_pool.submit(tone, Options()) for _ in range(12)]
            order = ended_order(waiting)
        for future in waiting:
            future.result(timeout=60)
    assert order == list(range(12))


def test_failed_recording_affects_no_other_and_threads_stop_when_idle(
    level_bundle: Bundle, store: ModelStore, tone: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF" + bytes(100))
    inference_pool = InferencePool(level_bundle, store=store, n_inference_threads=2)
    futures = [inference_pool.submit(tmp_path / "bad.wav" if k % 3 == 0 else tone, Options()) for k in range(30)]
    with pytest.raises(InputError, match="overlap"):
        inference_pool.submit(tone, Options(overlap_s=5))
    inference_pool.close()
    for k, future in enumerate(futures):
        assert future.done()
        if k % 3 == 0:
            assert isinstance(future.exception(), AudioDecodeError)
        else:
            assert future.result().table.duration_s == 3
    assert inference_pool.n_waiting == 0


def test_each_channel_has_the_detections_of_the_command_line(
    level_bundle: Bundle, store: ModelStore, tmp_path: Path
) -> None:
    levels = np.linspace(0.1, 0.9, 30).reshape(10, 3).repeat(16_000, axis=0)
    soundfile.write(tmp_path / "x.wav", levels * np.resize([[1.0], [-1.0]], (160_000, 1)), 16_000, subtype="FLOAT")
    options = Options(min_score=0.0, channel="each", merge=True, top=2)
    with InferencePool(level_bundle, store=store, n_inference_threads=1) as inference_pool:
        future = inference_pool.submit(tmp_path / "x.wav", options)
        results = future.result(timeout=60)
        assert future.work.share_done == 1
    (table,) = identify(tmp_path / "x.wav", options, model=level_bundle.folder).tables()
    assert results.table.detections == table.detections
    assert {d.channel for d in table.detections} == {1, 2, 3}


Replies = Counter[tuple[int, bool]]
"""Number of replies by status, without and with the time to come again."""


def load(server: Server, body: bytes, *, n_clients: int, seconds: float) -> Replies:
    """Clients that ask again as soon as they have an answer, or shortly after a refusal."""

    def request_once(_: int) -> Replies:
        replies: Replies = Counter()
        until = time.monotonic() + seconds
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            while time.monotonic() < until:
                connection.request("POST", "/api/predict", body, {"Content-Type": "audio/wav"})
                reply = connection.getresponse()
                reply.read()
                replies[reply.status, "Retry-After" in reply.headers] += 1
                time.sleep(0.0 if reply.status == 200 else 0.02)
        return replies

    with ThreadPoolExecutor(n_clients) as pool:
        return sum(pool.map(request_once, range(n_clients)), Counter())


@pytest.mark.ops
def test_no_request_is_lost_from_one_client_to_sixty_four(
    birdnet: Bundle, store: ModelStore, clip: bytes, tmp_path: Path
) -> None:
    server = Server(tmp_path / "server", "--model", "birdnet", "--models-folder", store.folder)
    with serving(server), server.client() as client:
        load(server, clip, n_clients=2, seconds=1)
        done = {n: load(server, clip, n_clients=n, seconds=6)[200, False] / 6 for n in (1, 4, 8)}
        assert client.get("/api/metrics").json()["model_version"] == birdnet.id
        many = load(server, clip, n_clients=64, seconds=8)
        assert set(many) <= {(200, False), (503, True), (429, True)}, many
        # A ratio of two rates that were measured one after the other.
        assert many[200, False] / 8 > 0.5 * max(done.values())
        steady = load(server, clip, n_clients=8, seconds=20)
        assert set(steady) == {(200, False)}
        metrics = client.get("/api/metrics").json()
        counted = client.get("/metrics").text
    total = f'{{method="POST",route="/api/predict",status="200"}} {metrics["total_predictions"]}.0'
    assert total in counted
    assert metrics["total_predictions"] > 60


def test_full_queue_returns_503_before_reading_body(level_bundle: Bundle, tone: Path, tmp_path: Path) -> None:
    limits = Limits(max_queue_s=1.5 * FIRST_COST_S * LEAST_BYTES)  # room for one
    settings = Settings(data=tmp_path / "server", model=level_bundle.folder, n_inference_threads=1, limits=limits)
    head = b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 96044\r\n\r\n"
    with running_service(settings) as (client, service):
        with busy(service.pool):
            waiting = service.pool.submit(tone, Options())
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=60) as connection:
                    connection.sendall(head)  # and nothing of the body
                    answer = connection.recv(4096)
                assert b" 503 " in answer
                assert b"retry-after: " in answer.lower()
        assert waiting.result(timeout=60).table.duration_s == 3
        assert client.post("/api/predict", content=tone.read_bytes()).status_code == 200
