"""What a slow run does more slowly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.master.throttle.moves import at_once, batch_seconds, rest_ratio, share_left

SHARES = st.floats(0.01, 1.0)


@given(SHARES)
def test_a_worker_that_rests_works_its_share_of_the_time(share: float) -> None:
    """Work and rest together are the whole."""
    assert 1 / (1 + rest_ratio(share)) == pytest.approx(share, abs=0.006)


def test_at_full_speed_nothing_is_moved() -> None:
    """No rest, no bound, and batches as long as ever; nor is there a rest for ever."""
    assert rest_ratio(1.0) == rest_ratio(0.0) == 0.0
    assert at_once(1.0, 4) == math.inf
    assert batch_seconds(1.0, 0.5) == 0.5


@given(SHARES, SHARES, st.integers(1, 1000))
def test_slower_means_shorter_batches_and_fewer_at_once(one: float, other: float, workers: int) -> None:
    """And never none, and never so short that they cost more than they do."""
    slow, fast = sorted((one, other))

    assert 1 <= at_once(slow, workers) <= at_once(fast, workers)
    assert batch_seconds(slow, 1.0) + 1e-9 >= 0.01
    assert batch_seconds(slow, 1.0) <= batch_seconds(fast, 1.0) <= 1.0
    assert batch_seconds(slow, 0.005) == 0.005


def test_a_guard_slows_the_run_before_it_stops_it() -> None:
    """From half of its limit on, down to a twentieth at the limit."""
    assert share_left(0.0) == share_left(0.5) == 1.0
    assert share_left(0.75) == pytest.approx(0.5)
    assert share_left(1.0) == share_left(float("inf")) == 0.05
