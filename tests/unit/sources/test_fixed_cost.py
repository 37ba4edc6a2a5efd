"""What a range takes beside its rows, as ranges of different sizes tell it."""

from __future__ import annotations

import random

import pytest

from taskmaster.sources.fixed_cost import FixedCost


@pytest.mark.parametrize("fixed", [0.0, 0.007, 0.05])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_found_from_ranges_that_grow(fixed: float, seed: int) -> None:
    """Though times scatter, and one of eight waits for a lock or opens a connection."""
    chance = random.Random(seed)
    cost = FixedCost()
    for step in range(20):
        rows = 100 * 1.25**step
        waits = 0.5 if step % 8 == 0 else 0.0
        cost.note(rows, (fixed + 3e-6 * rows) * chance.uniform(0.95, 1.05) + waits)

    assert fixed * 0.7 - 0.001 <= cost.seconds <= fixed * 1.3 + 0.001


def test_ranges_of_one_size_tell_nothing_and_what_is_known_stays() -> None:
    """Their times are their rows' as much as anything else."""
    cost = FixedCost()
    for _ in range(30):
        cost.note(100, 0.01)
    assert cost.seconds == 0.0

    for rows in range(200, 1000, 50):
        cost.note(rows, 0.005 + rows * 1e-6)
    assert cost.seconds == pytest.approx(0.005, rel=0.2)
    for _ in range(30):
        cost.note(1000, 0.006)
    assert cost.seconds == pytest.approx(0.005, rel=0.2)


def test_rows_that_take_no_time_leave_all_of_it() -> None:
    """Up to a hundred rows are read with one page, say."""
    cost = FixedCost()
    for rows in (1, 2, 4, 8, 16, 32):
        cost.note(rows, 0.02 - rows * 1e-6)

    assert cost.seconds == pytest.approx(0.02, rel=0.01)
