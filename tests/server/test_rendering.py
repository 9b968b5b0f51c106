"""Rendered answers: a few at once, the rest waits or is refused, the same is made once, and the cache has a bound."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import OutputError, OverloadedError
from dawnchorus.server.http.responses import while_connected
from dawnchorus.server.rendering import Renderer, Write

SOME, OTHER = "a" * 64, "b" * 64


def writing(content: bytes) -> Write:
    return lambda file: file.write(content)


class Gate:
    """Work that ends when it is let through; counts how much is under way, at most and in all."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.n_begun, self.n_now, self.n_most = 0, 0, 0
        self._lock = threading.Lock()

    def write(self, file: BinaryIO) -> None:
        with self._lock:
            self.n_begun, self.n_now = self.n_begun + 1, self.n_now + 1
            self.n_most = max(self.n_most, self.n_now)
        assert self.is_open.wait(timeout=60)
        with self._lock:
            self.n_now -= 1
        file.write(b"done")


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.is_open.set()


def with_renderer(folder: Path, use: Callable[[Renderer], Coroutine[Any, Any, None]], **bounds: int) -> None:
    renderer = Renderer(folder, **bounds)

    async def run() -> None:
        async with asyncio.timeout(60):
            await use(renderer)

    try:
        asyncio.run(run())
    finally:
        renderer.close()


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_for, condition)


async def content(file: BinaryIO) -> bytes:
    with file:
        return file.read()


def test_rendering_bounds_running_and_waiting_requests(tmp_path: Path, gate: Gate) -> None:
    async def use(renderer: Renderer) -> None:
        tasks = [asyncio.create_task(renderer.get_or_render(SOME, k, gate.write)) for k in range(5)]
        await until(lambda: gate.n_begun == 2)
        for refused in (renderer.get_or_render(OTHER, 0, gate.write), renderer.render_once(gate.write)):
            with pytest.raises(OverloadedError) as error:
                await refused
            assert error.value.retry_after_s >= 1
        gate.is_open.set()
        assert [await content(file) for file in await asyncio.gather(*tasks)] == [b"done"] * 5
        assert (gate.n_begun, gate.n_most) == (5, 2)
        assert await content(await renderer.render_once(writing(b"room again"))) == b"room again"

    with_renderer(tmp_path, use, max_running=2, max_waiting=3)


def test_concurrent_requests_share_one_rendering(tmp_path: Path, gate: Gate) -> None:
    async def use(renderer: Renderer) -> None:
        tasks = [asyncio.create_task(renderer.get_or_render(SOME, "spectrogram", gate.write)) for _ in range(20)]
        await until(lambda: gate.n_begun)
        tasks[0].cancel()
        gate.is_open.set()
        assert [await content(await task) for task in tasks[1:]] == [b"done"] * 19
        assert await content(await renderer.get_or_render(SOME, "spectrogram", gate.write)) == b"done"
        assert gate.n_begun == 1
        renderer.discard(SOME)
        assert not list(tmp_path.iterdir())

    with_renderer(tmp_path, use, max_running=1, max_waiting=0)


def test_disconnected_client_frees_its_queue_slot(tmp_path: Path, gate: Gate) -> None:
    async def use(renderer: Renderer) -> None:
        running = asyncio.create_task(renderer.render_once(gate.write))
        await until(lambda: gate.n_begun == 1)
        waiting = [asyncio.create_task(renderer.get_or_render(SOME, k, gate.write)) for k in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await renderer.get_or_render(SOME, 2, gate.write)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        again = asyncio.create_task(renderer.get_or_render(SOME, 0, writing(b"new")))
        gate.is_open.set()
        assert await content(await again) == b"new"
        await content(await running)
        assert gate.n_begun == 1, "what nobody waited for was not begun"

    with_renderer(tmp_path, use, max_running=1, max_waiting=2)


def test_disconnect_during_rendering_leaves_nothing_behind(tmp_path: Path, gate: Gate) -> None:
    async def use(renderer: Renderer) -> None:
        tasks = [
            asyncio.create_task(renderer.get_or_render(SOME, 0, gate.write)),
            asyncio.create_task(renderer.render_once(gate.write)),
        ]
        await until(lambda: gate.n_begun == 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        gate.is_open.set()
        await until(lambda: not gate.n_now)
        assert not list(tmp_path.iterdir())
        assert await content(await renderer.get_or_render(SOME, 0, writing(b"new"))) == b"new"

    with_renderer(tmp_path, use, max_running=2, max_waiting=0)


def test_the_cache_keeps_the_latest_within_its_bytes(tmp_path: Path) -> None:
    def size() -> int:
        return sum(path.stat().st_size for path in tmp_path.iterdir())

    async def use(renderer: Renderer) -> None:
        for k in range(4):
            assert await content(await renderer.get_or_render(SOME, k, writing(bytes(100)))) == bytes(100)
        assert size() == 300
        unused = writing(b"made again")
        assert await content(await renderer.get_or_render(SOME, 1, unused)) == bytes(100)
        assert await content(await renderer.get_or_render(SOME, 0, unused)) == b"made again"
        assert await content(await renderer.get_or_render(SOME, 1, unused)) == bytes(100), "used later than 2"
        reading = await renderer.get_or_render(SOME, 1, unused)
        await content(await renderer.get_or_render(OTHER, 0, writing(bytes(290))))
        assert size() <= 300
        assert await content(reading) == bytes(100), "what was opened before it was removed"
        renderer.discard(SOME)
        assert size() == 290

    with_renderer(tmp_path, use, max_cache_bytes=300)


def test_rendering_failure_reaches_all_waiting_and_is_not_cached(tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    async def use(renderer: Renderer) -> None:
        asked = [renderer.get_or_render(SOME, 0, fail) for _ in range(3)]
        for error in await asyncio.gather(*asked, renderer.render_once(fail), return_exceptions=True):
            assert isinstance(error, OutputError)
        assert not list(tmp_path.iterdir())
        assert await content(await renderer.get_or_render(SOME, 0, writing(b"whole"))) == b"whole"

    with_renderer(tmp_path, use)


def test_rendering_is_cancelled_when_its_client_disconnects(tmp_path: Path, gate: Gate) -> None:
    messages = iter(({"type": "http.request", "body": b""}, {"type": "http.disconnect"}))

    async def receive() -> dict[str, Any]:
        await until(lambda: gate.n_begun)
        return next(messages)

    async def use(renderer: Renderer) -> None:
        with pytest.raises(ClientDisconnect):
            await while_connected(Request({"type": "http"}, receive), renderer.get_or_render(SOME, 0, gate.write))
        gate.is_open.set()
        await until(lambda: not gate.n_now)
        assert not list(tmp_path.iterdir())

    with_renderer(tmp_path, use, max_running=1, max_waiting=0)
