"""Tiles of spectrograms: what they show, and that they are cached, bounded and deleted."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image
from tests.fixtures.server import Serve
from tests.fixtures.uploads import store_samples

from dawnchorus.models.bundle import Bundle
from dawnchorus.plotting.tiles import STRETCH_LEVEL
from dawnchorus.server.http.routes import spectrogram_tiles


def pixels(reply: httpx.Response) -> np.ndarray:
    """Return the gray levels [frequencies from low to high, columns] of a tile."""
    assert reply.status_code == 200, reply.text
    with Image.open(io.BytesIO(reply.content)) as image:
        assert image.mode == "L"
        return np.asarray(image)[::-1]


def test_tiles_of_slow_and_fast_recordings_show_their_tone(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    for rate_hz, top_khz in ((8_000, 12), (192_000, 96), (384_000, 192)):
        tone = 0.5 * np.sin(2 * np.pi * 3000 * np.arange(rate_hz // 2) / rate_hz)
        tiles = f"{store_samples(client, np.stack([tone, 0 * tone], axis=1), rate_hz)}/spectrogram"
        shown = pixels(client.get(f"{tiles}/{top_khz}/0/0"))
        assert shown.shape == (256, 512)
        assert shown[:, 20].argmax() == 3000 * 256 // (1000 * top_khz)
        assert not shown[:, 60:].any(), "the recording ends after 47 columns"
        clip = client.get(f"{tiles.removesuffix('spectrogram')}clip?start_s=0.1&end_s=0.4")
        assert (clip.status_code, clip.headers["content-type"]) == (200, "audio/mpeg"), "what no browser can play"
        for missing in (f"{top_khz - 1}/0/0", f"{top_khz}/0/1", f"{top_khz}/1/0"):
            assert client.get(f"{tiles}/{missing}").status_code == 404, missing


def test_tiles_are_cached_bounded_and_deleted_with_their_recording(
    level_bundle: Bundle, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(model=level_bundle.folder)
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * 8_000)
    noise[8_000 * 2 :] *= 0.01
    base = store_samples(client, np.tile(noise, 80), 8_000)  # 240 s, the first stretch of a longer recording
    tiles = f"{base}/spectrogram/12"
    first = client.get(f"{tiles}/0/3")
    same = {"If-None-Match": first.headers["etag"]}
    assert client.get(f"{tiles}/0/3", headers=same).status_code == 304
    assert client.get(f"{tiles}/0/4", headers=same).status_code == 200
    coarse = pixels(client.get(f"{tiles}/{STRETCH_LEVEL}/1"))
    finer = pixels(client.get(f"{tiles}/{STRETCH_LEVEL - 1}/2"))
    difference = finer.reshape(256, 256, 2).max(axis=2).astype(int) - coarse[:, :256]
    assert np.abs(difference).mean() < 0.1, "the same, computed from the audio and pooled from stretches"
    monkeypatch.setattr(spectrogram_tiles, "MAX_WAIT_S", -1.0)
    busy = client.get(f"{tiles}/{STRETCH_LEVEL}/0")
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert "0 of 1 parts are ready" in busy.json()["detail"]
    for missing in (f"{STRETCH_LEVEL}/2", f"{STRETCH_LEVEL + 2}/0", "0/44"):
        assert client.get(f"{tiles}/{missing}").status_code == 404
    assert client.get(f"{tiles}/31/0").status_code == 422
    assert list(tmp_path.glob("server/spool-*/response-*"))
    client.delete(base).raise_for_status()
    assert client.get(f"{tiles}/0/3", headers=same).status_code == 404
    assert client.get(f"{tiles}/{STRETCH_LEVEL}/1").status_code == 404
    assert not list(tmp_path.glob("server/spool-*/response-*"))


@pytest.mark.ops
def test_a_client_that_asks_for_every_tile_at_once_gets_all_and_keeps_nobody_out(
    level_bundle: Bundle, serve: Serve
) -> None:
    client = serve(model=level_bundle.folder)
    tiles = f"{store_samples(client, np.random.default_rng(1).normal(0, 0.1, 600 * 8_000), 8_000)}/spectrogram/12"
    wanted = [f"{tiles}/0/{k}" for k in range(109)] + [f"{tiles}/{STRETCH_LEVEL}/{k}" for k in range(4)]
    n_refused = 0
    with ThreadPoolExecutor(len(wanted)) as threads:
        while wanted:
            replies = dict(zip(wanted, threads.map(client.get, wanted), strict=True))
            assert {reply.status_code for reply in replies.values()} <= {200, 503}
            assert client.get("/api/v1/health/ready").status_code == 200
            wanted = [path for path, reply in replies.items() if reply.status_code == 503]
            assert all(int(replies[path].headers["retry-after"]) >= 1 for path in wanted)
            n_refused += len(wanted)
    assert n_refused, "the queue is bounded"
