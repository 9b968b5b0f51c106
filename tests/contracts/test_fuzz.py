"""The seeds of fuzzing and its earlier findings, without a fuzzer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fuzz import decoders
from fuzz.regressions import REGRESSIONS
from fuzz.targets import TARGETS

from dawnchorus.errors import AudioError, DawnChorusError

SEEDS = [
    pytest.param(reader.read, seed, id=f"{name}, {reader.name} {k}")
    for name, target in TARGETS.items()
    for reader in target.readers
    for k, seed in enumerate(reader.seeds)
]


@pytest.mark.parametrize(("read", "content"), SEEDS)
def test_a_seed_is_read_or_refused(read: Callable[[bytes], object], content: bytes) -> None:
    with suppress(DawnChorusError):
        read(content)


@pytest.mark.parametrize(("target", "reader", "content"), REGRESSIONS)
def test_a_former_finding_is_read_or_refused(target: str, reader: str, content: bytes) -> None:
    TARGETS[target].run(TARGETS[target].input_for(reader, content))


def test_damaged_audio_files_are_decoded_or_rejected(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, content in enumerate(list(decoders.sound_files().values()) * 10):
        path = tmp_path / str(number)
        path.write_bytes(decoders.damaged(content, rng))
        with suppress(AudioError):
            decoders.decode_here(path)
