"""Units that workers take: shares, workers that end, and units that end their workers."""

from __future__ import annotations

import random

from dawnchorus.identification.unit_queue import MAX_ATTEMPTS, UnitQueue

TEN = {f"1-{number:06d}": 5 for number in range(10)}


def test_workers_get_what_they_ask_for_in_the_order_of_the_listing() -> None:
    queue = UnitQueue(TEN)
    names = list(TEN)
    assert queue.take(1, n_workers=1) == names[:1]
    assert queue.take(11, n_workers=1, held=names[:1]) == names[1:4], "three units have fifteen recordings"
    assert queue.take(0, n_workers=1) == []
    assert (queue.n_left, queue.n_waiting) == (10, 6)
    queue.finish(names[:4])
    assert queue.n_left == 6


def test_nobody_takes_more_than_a_share_of_what_is_left() -> None:
    queue = UnitQueue(TEN)
    taken = [len(queue.take(1_000, n_workers=2)) for _ in range(9)]
    assert taken == [2, 2, 1, 1, 1, 1, 1, 1, 0]


def test_units_of_a_lost_worker_are_given_alone_after_the_others() -> None:
    queue = UnitQueue(dict.fromkeys("abcd", 1))
    assert queue.take(9, n_workers=1) == ["a", "b"]
    assert queue.requeue_lost("ab") == []
    assert queue.take(9, n_workers=1) == ["c"]
    assert queue.take(9, n_workers=1, held="c") == ["d"]
    assert queue.take(9, n_workers=1, held="cd") == [], "it would not be alone"
    queue.finish("cd")
    assert queue.take(9, n_workers=1) == ["a"]
    assert queue.take(9, n_workers=1, held="a") == []
    queue.put_back("a")
    assert queue.take(9, n_workers=1) == ["b"], "what was not begun is no further attempt"


def test_a_unit_that_ends_its_workers_is_given_up() -> None:
    queue = UnitQueue({"a": 1, "b": 1})
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert queue.take(1, n_workers=1) == (["a"] if attempt == 1 else ["b"] if attempt == 2 else ["a"])
        if attempt == 2:
            queue.finish("b")
            assert queue.take(1, n_workers=1) == ["a"]
        assert queue.requeue_lost("a") == (["a"] if attempt == MAX_ATTEMPTS else [])
    assert (queue.abandoned, queue.n_left) == (["a"], 0)


def test_all_units_end_whichever_workers_are_lost() -> None:
    draw = random.Random(22)
    for _ in range(50):
        queue = UnitQueue({str(number): draw.randint(1, 5) for number in range(30)})
        held: list[list[str]] = [[] for _ in range(4)]
        ended: list[str] = []
        while queue.n_left:
            own = held[draw.randrange(4)]
            own += queue.take(draw.randint(0, 9), n_workers=4, held=own)
            if own and draw.random() < 0.05:
                queue.requeue_lost(own)
                own.clear()
            elif own:
                queue.finish(own[:1])
                ended.append(own.pop(0))
        assert sorted([*ended, *queue.abandoned]) == sorted(map(str, range(30)))
        assert not any(held)
