"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.server import Serve, running

from dawnchorus.server.settings import Settings


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server with some settings, and give a client of it."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(Settings(**{"data": tmp_path / "server", **options})))


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """Three seconds at a mean level of 0.25, at 16 kHz."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.full(3 * 16_000, 0.25, np.float32), 16_000, subtype="FLOAT")
    return path


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    """Five seconds as recorders write them, 480 KB."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 5 * 48_000), 48_000, subtype="PCM_16")
    return path.read_bytes()
