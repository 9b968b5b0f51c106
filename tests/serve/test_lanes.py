"""Lanes: fair, bounded, swapped without a failed request, and drained."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.conftest import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.errors import AudioUnreadable, InputError, ModelError, Overloaded
from dawnchorus.identify import Options
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.models.wrap import wrap_model
from dawnchorus.serve import lanes as lanes_module
from dawnchorus.serve.lanes import Lanes, Limits

EVERYTHING = Options(min_score=0.0)


@pytest.fixture
def other(tmp_path: Path) -> Bundle:
    """The same graph for windows of half a second: another bundle, twice as many rows."""
    graph = level_graph(tmp_path / "half.onnx", n_window=8_000)
    return wrap_model(graph, tmp_path / "half", labels=LEVEL_LABELS, description=replace(LEVEL, window_s=0.5))


def test_swaps_under_load_fail_no_request_and_mix_nothing(
    level_bundle: Bundle, other: Bundle, store: ModelStore, tone: Path
) -> None:
    n_rows = {level_bundle.id: 3 * 3, other.id: 6 * 3}
    stop = threading.Event()
    with Lanes(level_bundle, store=store, n_lanes=2) as lanes:

        def swap() -> int:
            n = 0
            while not stop.is_set():
                lanes.activate((other, level_bundle)[n % 2])
                n += 1
            return n

        with ThreadPoolExecutor(5) as pool:
            swapping = pool.submit(swap)
            found = list(pool.map(lambda _: lanes.submit(tone, EVERYTHING).result(timeout=60), range(300)))
            stop.set()
            assert swapping.result() > 20
    assert {f.bundle.id for f in found} == set(n_rows)
    for each in found:
        assert len(each.table.detections) == n_rows[each.bundle.id]


def test_a_bundle_that_cannot_run_changes_nothing(
    level_bundle: Bundle, store: ModelStore, tone: Path, tmp_path: Path
) -> None:
    with Lanes(level_bundle, store=store, n_lanes=1) as lanes:
        before = lanes.submit(tone, EVERYTHING).result().table.detections
        broken = replace(level_bundle, folder=tmp_path / "nowhere")
        with pytest.raises(ModelError):
            lanes.activate(broken)
        assert lanes.bundle is level_bundle
        assert lanes.submit(tone, EVERYTHING).result().table.detections == before


def test_a_long_recording_lets_short_ones_pass(
    level_bundle: Bundle, store: ModelStore, tone: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "long.wav", np.full(1_800 * 16_000, 0.5, np.float32), 16_000)
    with Lanes(level_bundle, store=store, n_lanes=1) as lanes:
        long = lanes.submit(tmp_path / "long.wav", Options())
        short = [lanes.submit(tone, Options()) for _ in range(5)]
        for future in short:
            future.result(timeout=60)
        assert not long.done()
        assert long.result(timeout=60).table.duration_s == 1_800


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Half an hour; while it is under way, nothing else is begun."""
    soundfile.write(tmp_path / "long.wav", np.full(1_800 * 16_000, 0.5, np.float32), 16_000)
    monkeypatch.setattr(lanes_module, "STARTED_PER_LANE", 1)
    return tmp_path / "long.wav"


def test_what_comes_too_late_is_not_worked_out(level_bundle: Bundle, store: ModelStore, tone: Path, long: Path) -> None:
    with Lanes(level_bundle, store=store, n_lanes=1, limits=Limits(wait_s=0.0)) as lanes:
        lanes.submit(long, Options())
        with pytest.raises(Overloaded, match="has waited"):
            lanes.submit(tone, Options()).result(timeout=60)


def test_what_is_too_much_is_refused(
    level_bundle: Bundle, store: ModelStore, tone: Path, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lanes(level_bundle, store=store, n_lanes=1) as lanes:
        first = lanes.submit(long, Options())
        waiting = lanes.submit(tone, Options())
        monkeypatch.setattr(lanes_module, "QUEUE_S", 0.0)
        with pytest.raises(Overloaded) as refused:
            lanes.submit(tone, Options())
        assert refused.value.retry_after_s >= 1
        assert first.result(timeout=60).table.duration_s == 1_800
        assert waiting.result(timeout=60).table.duration_s == 3


def test_tiny_recordings_do_not_make_others_look_long(
    level_bundle: Bundle, store: ModelStore, tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tmp_path / "tiny.wav"
    soundfile.write(tiny, np.zeros(100, np.float32), 16_000)
    monkeypatch.setattr(lanes_module, "QUEUE_S", 1.0)
    with Lanes(level_bundle, store=store, n_lanes=1) as lanes:
        for _ in range(40):
            lanes.submit(tiny, Options()).result(timeout=60)
        ten = [lanes.submit(tone, Options()) for _ in range(10)]
        assert {future.result(timeout=60).table.duration_s for future in ten} == {3}


def test_who_waits_keeps_the_place(level_bundle: Bundle, store: ModelStore, tone: Path, long: Path) -> None:
    ended: list[int] = []
    with Lanes(level_bundle, store=store, n_lanes=1) as lanes:
        first = lanes.submit(long, Options())
        waiting = [lanes.submit(tone, Options()) for _ in range(12)]
        for k, future in enumerate(waiting):
            future.add_done_callback(lambda _, k=k: ended.append(k))  # type: ignore[misc]
        first.result(timeout=60)
        for future in waiting:
            future.result(timeout=60)
    assert ended == list(range(12))


def test_a_bad_recording_touches_no_other_and_lanes_end_when_all_is_done(
    level_bundle: Bundle, store: ModelStore, tone: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF" + bytes(100))
    lanes = Lanes(level_bundle, store=store, n_lanes=2)
    futures = [lanes.submit(tmp_path / "bad.wav" if k % 3 == 0 else tone, Options()) for k in range(30)]
    with pytest.raises(InputError, match="overlap"):
        lanes.submit(tone, Options(overlap_s=5))
    lanes.close()
    for k, future in enumerate(futures):
        assert future.done()
        if k % 3 == 0:
            assert isinstance(future.exception(), AudioUnreadable)
        else:
            assert future.result().table.duration_s == 3
    assert lanes.n_waiting == 0
