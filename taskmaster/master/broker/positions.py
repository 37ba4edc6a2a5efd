"""Which batches are where in the order of reading: found by position, without a look at all of
them. Pure.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

__all__ = ["Positions"]

# Least positions of a block, as a power of two: one dictionary for a few single jobs.
LEAST_SHIFT = 5


class _Batch(Protocol):
    @property
    def first(self) -> int:
        """The position of the first job."""

    @property
    def end(self) -> int:
        """The position after the last job."""


Item = TypeVar("Item", bound=_Batch)


class Positions(Generic[Item]):
    """Things that cover a range of positions each; what is added must not change its range before
    it is removed.

    Each lies in one or two blocks that are about as wide as it is.
    """

    def __init__(self) -> None:
        self._levels: dict[int, dict[int, dict[Item, None]]] = {}  # by the width of blocks, by block

    def add(self, item: Item) -> None:
        """Add one, which covers at least one position."""
        first, last = item.first, item.end - 1
        shift = max(LEAST_SHIFT, (last - first).bit_length())
        level = self._levels.get(shift)
        if level is None:
            level = self._levels[shift] = {}
        low, high = first >> shift, last >> shift
        for block in (low,) if low == high else (low, high):
            found = level.get(block)
            if found is None:
                level[block] = {item: None}
            else:
                found[item] = None

    def remove(self, item: Item) -> None:
        """Remove one that was added."""
        first, last = item.first, item.end - 1
        shift = max(LEAST_SHIFT, (last - first).bit_length())
        level = self._levels[shift]
        low, high = first >> shift, last >> shift
        for block in (low,) if low == high else (low, high):
            found = level[block]
            del found[item]
            if not found:
                del level[block]

    def at(self, position: int) -> Item | None:
        """Return one that covers a position, None if none does."""
        for shift, level in self._levels.items():
            for item in level.get(position >> shift, ()):
                if item.first <= position < item.end:
                    return item
        return None

    def between(self, low: int, high: int) -> list[Item]:
        """Return those that cover something from ``low`` to before ``high``."""
        found: dict[Item, None] = {}
        for shift, level in self._levels.items():
            for block in range(low >> shift, (high - 1 >> shift) + 1):
                found.update((item, None) for item in level.get(block, ()) if item.first < high and item.end > low)
        return list(found)
