"""What a batch is made of."""

from __future__ import annotations

from taskmaster.master.broker.batches import contiguous


def test_ranges_are_contiguous() -> None:
    """Indices that follow each other become one range."""
    assert contiguous([]) == []
    assert contiguous([3]) == [(3, 4)]
    assert contiguous([0, 1, 2, 4, 5, 9]) == [(0, 3), (4, 6), (9, 10)]
