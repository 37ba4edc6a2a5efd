"""Batches are found by their position, whatever their width."""

from __future__ import annotations

import random

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.positions import Positions


def batch(first: int, count: int) -> Batch:
    """A batch of so many jobs."""
    return Batch(first, list(range(count)))


def test_what_covers_a_position_is_found_and_nothing_else() -> None:
    """Above and below 0, at the ends of blocks, one job wide and thousands."""
    chance = random.Random(1)
    positions: Positions[Batch] = Positions()
    batches, at = [], -5000
    while at < 20_000:
        one = batch(at, chance.choice([1, 1, 2, 31, 32, 33, 1000, 4096]))
        batches.append(one)
        at = one.end + chance.choice([0, 0, 1, 50])
    for one in batches:
        positions.add(one)
    gone = set(chance.sample(batches, len(batches) // 2))
    for one in gone:
        positions.remove(one)
    left = [one for one in batches if one not in gone]

    for position in chance.sample(range(-5100, 21_000), 2000):
        holders = [one for one in left if one.first <= position < one.end]
        assert positions.at(position) is (holders[0] if holders else None)
    for low in range(-5100, 20_000, 777):
        high = low + chance.choice([1, 40, 3000])
        wanted = {one for one in left if one.first < high and one.end > low}
        assert set(positions.between(low, high)) == wanted


def test_nothing_is_left_of_what_was_removed() -> None:
    """Positions only grow: of a long run, no block may stay."""
    positions: Positions[Batch] = Positions()
    for first in range(0, 10_000, 10):
        one = batch(first, 10)
        positions.add(one)
        positions.remove(one)

    assert not any(positions._levels.values())
