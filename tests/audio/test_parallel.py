"""Many recordings at once: in order, no further ahead than needed, and nothing left when one fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dawnchorus.audio import decoder_pool
from dawnchorus.audio.parallel import map_recordings


class Decoder:
    """Stands for a decoder process."""

    made: list[Decoder]
    closing = threading.Event()

    def __init__(self) -> None:
        self.is_closed = False
        self.made.append(self)

    def abandon(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        self.is_closed = True
        self.closing.set()


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> type[Decoder]:
    monkeypatch.setattr(decoder_pool, "DecoderProcess", Decoder)
    Decoder.made = []
    Decoder.closing = threading.Event()
    return Decoder


@pytest.mark.parametrize("n_workers", [1, 3])
def test_results_come_in_order_and_decoders_are_closed(n_workers: int, decoder: type[Decoder]) -> None:
    together = threading.Barrier(n_workers, timeout=60)
    users = set()

    def work(own: Decoder, item: int) -> int:
        together.wait()
        users.add(own)
        return item * item

    assert list(map_recordings(work, range(60), n_workers=n_workers)) == [k * k for k in range(60)]  # type: ignore[arg-type]
    assert len(users) == len(decoder.made) == n_workers
    assert all(own.is_closed for own in decoder.made)
    assert list(map_recordings(work, [], n_workers=1)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_workers", "n_taken"), [(1, 4), (2, 8), (3, 12)])
def test_four_items_are_submitted_per_worker(n_workers: int, n_taken: int, decoder: type[Decoder]) -> None:
    accepted = []

    def items() -> Iterator[int]:
        for item in range(100):
            accepted.append(item)
            yield item

    results = map_recordings(lambda _own, item: item, items(), n_workers=n_workers)
    assert next(results) == 0
    assert len(accepted) == n_taken
    assert next(results) == 1
    assert len(accepted) == n_taken + 1
    results.close()  # type: ignore[attr-defined]
    assert decoder.made
    assert all(own.is_closed for own in decoder.made)


def test_a_failure_cancels_what_has_not_begun(decoder: type[Decoder]) -> None:
    started = []

    def work(_own: Decoder, item: int) -> int:
        started.append(item)
        if item == 0:
            raise ValueError("the first")
        decoder.closing.wait(60)
        return item

    with pytest.raises(ValueError, match="the first"):
        list(map_recordings(work, range(3), n_workers=1))  # type: ignore[arg-type]
    assert 2 not in started
    assert len(decoder.made) == 1
    assert decoder.made[0].is_closed
