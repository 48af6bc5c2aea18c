"""The collector and the allocator: out of the way in rounds, and nothing is kept for ever."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from forebay.runtime.heap import Heap


class Node:
    """Refers to itself: only the collector can free it."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_lives_on_is_not_looked_at_again_until_everything_is() -> None:
    heap = Heap(every=1, full_every=3)
    heap.set_up()
    node = Node()
    gone = weakref.ref(node)
    heap.after_round()
    assert gc.get_freeze_count() > 0
    del node
    gc.collect()
    assert gone() is not None
    heap.after_round()
    heap.after_round()
    heap.after_round()
    assert gone() is None


def test_the_first_rounds_are_tidied_up_after_and_then_every_so_many() -> None:
    heap = Heap(every=5, full_every=100)
    tidied = []
    for _ in range(10):
        gc.unfreeze()
        heap.after_round()
        tidied.append(gc.get_freeze_count() > 0)
    assert tidied == [True, True, True, False, True, False, False, False, False, True]


def test_rounds_do_not_trigger_collections() -> None:
    Heap().set_up()
    before = [generation["collections"] for generation in gc.get_stats()]
    kept = [[number] for number in range(300_000)]
    assert len(kept) == 300_000
    assert [generation["collections"] for generation in gc.get_stats()] == before


def test_cycles_of_one_round_are_gone_after_it() -> None:
    heap = Heap(every=1000)
    heap.set_up()
    for _ in range(5):
        node = Node()
        gone = weakref.ref(node)
        del node
        heap.after_round()
        assert gone() is None
