"""How long workers rest after a batch; the workers are played, and so is the time."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.slave.pool.rests import Rests


class Worker:
    """Stands for a worker's process."""

    def __init__(self) -> None:
        self.held: list[Any] = [None, None]


@pytest.fixture
def rests() -> Rests:
    """Rests of half the time."""
    made = Rests()
    made.ratio = 0.5
    return made


def test_a_worker_rests_in_proportion_to_its_work(rests: Rests) -> None:
    """After a batch of 4 s for 2 s, and not a moment longer."""
    worker: Any = Worker()
    rests.begin(worker, 10.0)
    rests.end(worker, 14.0)

    assert not rests.allow(worker)
    assert rests.keep_up([worker], 15.5) == 0.5
    assert not rests.allow(worker)
    assert rests.keep_up([worker], 16.0) == math.inf
    assert rests.allow(worker)


def test_a_worker_has_one_batch_at_a_time(rests: Rests) -> None:
    """A second one would begin without a rest."""
    worker: Any = Worker()
    assert rests.allow(worker)

    worker.held[1] = object()

    assert not rests.allow(worker)


def test_without_a_ratio_nobody_rests() -> None:
    """And nothing is kept of any worker."""
    rests = Rests()
    worker: Any = Worker()
    worker.held[0] = object()
    rests.begin(worker, 10.0)
    rests.end(worker, 14.0)

    assert rests.allow(worker)
    assert rests.keep_up([worker], 14.0) == math.inf


def test_workers_that_have_gone_are_forgotten(rests: Rests) -> None:
    """A rest of theirs wakes nobody."""
    worker: Any = Worker()
    rests.begin(worker, 10.0)
    rests.end(worker, 14.0)

    assert rests.keep_up([], 14.5) == math.inf
    assert rests.allow(worker)


@given(st.floats(0.01, 10), st.lists(st.floats(0.001, 100), min_size=1, max_size=20))
def test_work_has_its_share_of_the_time_and_no_more(ratio: float, batches: list[float]) -> None:
    """Of each batch with its rest, 1 / (1 + ratio), whatever the batches take."""
    rests = Rests()
    rests.ratio = ratio
    worker: Any = Worker()
    now = 0.0
    for seconds in batches:
        assert rests.allow(worker)
        rests.begin(worker, now)
        now += seconds
        rests.end(worker, now)
        left = rests.keep_up([worker], now)
        assert left == pytest.approx(ratio * seconds)
        now += left
        while rests.keep_up([worker], now) != math.inf:  # rounding
            now = math.nextafter(now, math.inf)

    assert sum(batches) == pytest.approx(now / (1 + ratio))
