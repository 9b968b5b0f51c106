"""Decoders are bounded, shared, and closed when they are not used."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from dawnchorus.audio import decoder_pool
from dawnchorus.audio.decoder_pool import IDLE_S, DecoderPool
from dawnchorus.errors import OverloadedError


class Decoder:
    """Stands in for `DecoderProcess`."""

    def __init__(self) -> None:
        self.is_closed, self.n_abandoned = False, 0

    def abandon(self) -> None:
        self.n_abandoned += 1

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A time in seconds that the test sets."""
    time = [100.0]
    monkeypatch.setattr(decoder_pool, "DecoderProcess", Decoder)
    monkeypatch.setattr(decoder_pool, "time", SimpleNamespace(monotonic=lambda: time[0]))
    return time


def test_surplus_decoders_are_closed_when_they_were_idle_for_long(now: list[float]) -> None:
    pool = DecoderPool(1, n_reserved=3, n_kept=2)
    decoders = [pool.borrow() for _ in range(4)]
    assert len(set(decoders)) == 4
    for decoder in decoders:
        pool.give_back(decoder)
    now[0] += IDLE_S
    assert pool.borrow() is decoders[-1], "the last one used comes first"
    pool.give_back(decoders[-1])
    assert not any(decoder.is_closed for decoder in decoders)  # type: ignore[attr-defined]
    now[0] += 1
    with pool.decoder() as decoder:
        assert decoder is decoders[-1]
    assert [decoder.is_closed for decoder in decoders] == [True, True, False, False]  # type: ignore[attr-defined]
    assert [decoder.n_abandoned for decoder in decoders] == [1, 1, 1, 3]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("now")
def test_decoder_is_waited_for_and_all_are_closed_with_the_pool() -> None:
    pool = DecoderPool(1, n_kept=1)
    borrowed = pool.borrow()
    later: list[object] = []
    thread = threading.Thread(target=lambda: later.append(pool.borrow()))
    thread.start()
    assert not later
    pool.give_back(borrowed)
    thread.join(60)
    assert later == [borrowed]
    pool.close()
    assert borrowed.is_closed  # type: ignore[attr-defined]
    with pytest.raises(OverloadedError):
        pool.borrow()
    pool.give_back(borrowed)
    assert not pool._idle


@pytest.mark.usefixtures("now")
def test_reserved_decoders_are_there_while_all_shared_ones_are_in_use() -> None:
    pool = DecoderPool(1, n_reserved=1, n_kept=1)
    later: list[object] = []

    def share() -> None:
        with pool.decoder() as decoder:
            later.append(decoder)

    with pool.decoder() as shared:
        thread = threading.Thread(target=share)
        thread.start()
        reserved = pool.borrow()
        assert reserved is not shared
        assert not later
    thread.join(60)
    assert later == [shared]
    pool.give_back(reserved)
