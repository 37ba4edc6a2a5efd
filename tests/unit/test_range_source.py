"""How ranges are drawn, whatever database they are of."""

from __future__ import annotations

import math
from typing import Any

from taskmaster.range_source import RangeSource


class Numbers(RangeSource):
    """Ranges of a sorted list, as a database would sort it: NaN is the highest of all numbers."""

    def __init__(self, keys: list[float], rows: int) -> None:
        super().__init__(rows, None)
        self.keys = keys

    def _between(self, lo: Any, hi: Any) -> list[float]:
        last = len(self.keys) if hi is None or math.isnan(hi) else self.keys.index(hi) + 1
        return self.keys[0 if lo is None else self.keys.index(lo) + 1 : last]

    def _border(self, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        found = self._between(lo, hi)[:: -1 if descending else 1]
        return found[count - 1] if len(found) >= count else None

    def _count(self, lo: Any, hi: Any) -> int:
        return len(self._between(lo, hi))

    def _range(self, lo: Any, hi: Any) -> Any:
        return (lo, hi)

    def _check_end(self, key: Any) -> None:
        assert key in self.keys

    def _reckons(self) -> bool:
        return True


def test_ranges_come_to_their_end():
    """The last one is smaller where the rows do not come out even."""
    five = Numbers([1.0, 2.0, 3.0, 5.0, 8.0], 2)
    assert [job.key for job in five.iterate(None)] == [(None, 2.0), (2.0, 5.0), (5.0, 8.0)]
    assert [job.key for job in Numbers([1.0, 2.0], 2).iterate(None)] == [(None, 2.0)]
    assert list(Numbers([], 2).iterate(None)) == []


def test_a_key_that_is_not_equal_to_itself_ends_them_too():
    """NaN, the highest number of PostgreSQL: the ranges never came to their end."""
    for count in (1, 2, 3, 4):
        jobs = list(Numbers([1.0, 2.0, math.nan], count).iterate(None))

        assert sum(len(Numbers([1.0, 2.0, math.nan], count)._between(*job.key)) for job in jobs) == 3
