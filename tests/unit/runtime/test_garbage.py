"""When the garbage collector is held back, and that it is left as it was found."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from taskmaster.runtime.garbage import FREEZE_SECONDS, MANY_BATCHES, Collector, collector_paused


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that has left nothing behind."""
    gc.unfreeze()  # what commands have set aside that another test has called here
    before = gc.get_threshold()
    found = Collector()
    yield found
    found.stop()
    assert gc.get_threshold() == before
    gc.unfreeze()


class Node:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_a_small_run_leaves_the_collector_alone(collector: Collector) -> None:
    """The process may be the user's own."""
    before = gc.get_threshold(), gc.get_freeze_count()
    for now in range(100):
        collector.tick(MANY_BATCHES - 1, float(now))

    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_what_is_alive_is_set_aside_while_there_is_much(collector: Collector) -> None:
    """Again and again, so that no look at all objects is ever long; garbage that is new is not."""
    collector.tick(MANY_BATCHES, 0.0)
    first = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]
    garbage = weakref.ref(Node())
    collector.tick(MANY_BATCHES, FREEZE_SECONDS / 2)

    assert gc.get_freeze_count() <= first

    collector.tick(MANY_BATCHES, FREEZE_SECONDS)

    assert gc.get_freeze_count() >= first + len(kept) - 100
    assert garbage() is None
    assert gc.get_threshold()[2] > 1_000_000


def test_what_a_resumed_run_has_found_is_set_aside_without_a_look(collector: Collector) -> None:
    """However much it is: the slaves that come back would wait meanwhile."""
    collections: list[str] = []
    collector.start(MANY_BATCHES - 1)

    assert gc.get_freeze_count() == 0

    gc.callbacks.append(lambda phase, _: collections.append(phase))
    gc.disable()  # but for what the collector here asks for itself
    try:
        kept = [[] for _ in range(1000)]
        collector.start(MANY_BATCHES)
    finally:
        gc.enable()
        gc.callbacks.pop()

    assert gc.get_freeze_count() >= len(kept)
    assert collections == []


def test_the_collector_is_given_back_when_there_is_little(collector: Collector) -> None:
    """And only then: a number that goes up and down changes nothing."""
    before = gc.get_threshold()
    collector.tick(MANY_BATCHES, 0.0)
    collector.tick(MANY_BATCHES - 1, 1.0)

    assert gc.get_threshold() != before

    collector.tick(MANY_BATCHES // 2 - 1, 2.0)

    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_what_others_have_set_aside_stays_so(collector: Collector) -> None:
    """The process may have frozen its objects before it forks."""
    gc.freeze()
    collector.tick(MANY_BATCHES, 0.0)
    collector.stop()

    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_paused_and_comes_back(was_on: bool) -> None:
    """Also after an error; one that was off stays off."""
    (gc.enable if was_on else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), collector_paused():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() is was_on
    finally:
        gc.enable()


@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_made_in_a_pause_is_not_looked_at_while_it_is_young(*, frozen: bool) -> None:
    """A million jobs would be, three times. What others have set aside stays so."""
    if frozen:
        gc.freeze()
    before = gc.get_freeze_count()
    try:
        with collector_paused():
            kept = [[number] for number in range(5000)]
        young = {id(one) for generation in (0, 1) for one in gc.get_objects(generation)}

        assert any(id(one) in young for one in kept) is frozen
        assert gc.get_freeze_count() == before
        assert gc.isenabled()
    finally:
        gc.unfreeze()
