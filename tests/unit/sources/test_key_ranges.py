"""How ranges are drawn, whatever database they are of."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.model import Job
from taskmaster.sources.key_ranges import RangeSource


class Numbers(RangeSource):
    """Ranges of keys, as a database would sort them: NaN is the highest of all numbers, and case
    does not count.
    """

    def __init__(self, keys: list[Any], rows: int, target: float | None = None) -> None:
        super().__init__(rows, target)
        self.keys = sorted(keys, key=_rank)

    def _between(self, lo: Any, hi: Any) -> list[Any]:
        return [
            key
            for key in self.keys
            if (lo is None or _rank(key) > _rank(lo)) and (hi is None or _rank(key) <= _rank(hi))
        ]

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


def _rank(key: Any) -> Any:
    return key.casefold() if isinstance(key, str) else (math.isnan(key), 0 if math.isnan(key) else key)


def parts_of(source: Numbers, job: Job) -> list[list[Any]]:
    """The rows of the parts that are left when a range was split until that is not possible any
    more.
    """
    parts = source.split(job.key)
    if not parts:
        return [source._between(*job.key)]
    first, second = parts
    assert (first.key[0], second.key[1]) == job.key
    for part in parts:
        assert 0 < len(source._between(*part.key)) < len(source._between(*job.key))
        assert source._open[part.key] == len(source._between(*part.key))
    return parts_of(source, first) + parts_of(source, second)


@given(
    st.one_of(
        st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, math.inf, math.nan]), min_size=1, max_size=12),
        st.lists(st.sampled_from("aAbBcC"), min_size=1, max_size=12),
    )
)
def test_a_range_is_split_until_all_keys_of_each_part_are_equal(keys: list[Any]):
    """Whatever they are, and however often: no row is lost, and none is in two parts."""
    source = Numbers(keys, 100)
    (job,) = source.iterate(None)
    parts = parts_of(source, job)

    assert [key for part in parts for key in part] == source.keys
    assert [len({_rank(key) for key in part}) for part in parts] == [1] * len({_rank(key) for key in keys})


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([1, 2, 2, 2], [(None, 1), (1, 2)]),
        ([1, 1, 1, 2], [(None, 1), (1, 2)]),
        ([1, 2, 3, 4], [(None, 2), (2, 4)]),
        ([1, 2, 3, 4, 5] * 2 + [6] * 5000, [(None, 5), (5, 6)]),
        ([1, 2, 3, 4, 4, 4, 4, 4, 4], [(None, 2), (2, 4)]),
        ([7, 7, 7], []),
        ([7], []),
    ],
)
def test_a_key_that_many_rows_have_does_not_keep_a_range_whole(keys: list[int], expected: list[Any]):
    """Those with other keys are told apart from them: near the middle, if that can be."""
    source = Numbers(keys, 10_000)
    (job,) = source.iterate(None)

    assert [part.key for part in source.split(job.key)] == expected


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


def test_ranges_are_short_while_a_shorter_target_is_lent() -> None:
    """And as long as their user has said when it is not; never longer, and those of a fixed size
    stay.
    """
    source = Numbers(list(range(10_000)), 100, 1.0)
    jobs = source.iterate(None)
    for lent, wanted in ((None, 100), (0.02, 100), (0.02, 2), (5.0, 2), (None, 4), (None, 8)):
        key = next(jobs).key
        assert len(source._between(*key)) == wanted
        source.lend_target(lent)
        source.took([key], wanted / 100)  # a hundred rows a second

    fixed = Numbers(list(range(100)), 10)
    fixed.lend_target(0.001)
    jobs = fixed.iterate(None)
    fixed.took([next(jobs).key], 10.0)
    assert len(fixed._between(*next(jobs).key)) == 10


def test_ranges_are_short_from_the_first_one_on_where_that_is_lent_before() -> None:
    """In proportion to the target, while nothing says how many rows take it; fixed ones stay."""
    for lent, target, wanted in ((0.02, 1.0, 2), (0.001, 1.0, 1), (5.0, 1.0, 100), (None, 1.0, 100), (0.02, None, 100)):
        source = Numbers(list(range(10_000)), 100, target)
        source.lend_target(lent)
        assert len(source._between(*next(source.iterate(None)).key)) == wanted


def test_ranges_grow_fast_though_small_ones_are_slow_for_each_row() -> None:
    """A range costs 4 ms and 4 us a row; its first one opens a connection. The sixth has the rows
    that take 12 ms: each doubles, as far as is allowed. One that waited for a lock makes no change.
    """
    source = Numbers(list(range(200_000)), 100, 0.012)
    jobs = source.iterate(None)
    rows = []
    for cost in (0.030, *8 * [0.004], 0.5, 0.004, 0.004):
        key = next(jobs).key
        rows.append(len(source._between(*key)))
        source.took([key], cost + 0.000_004 * rows[-1])

    assert max(rows[1:3]) <= 200
    assert min(rows[7:]) > 1_200
    assert max(rows) <= 2_400


class ManyNumbers(Numbers):
    """A billion keys, none of which is looked at."""

    def _between(self, lo: Any, hi: Any) -> Any:
        return range(0 if lo is None else lo + 1, 1_000_000_000 if hi is None else hi + 1)


@pytest.mark.parametrize("fixed", [0.0, 0.007, 0.02, 0.1])
def test_ranges_that_are_short_to_spare_others_still_have_rows(fixed: float) -> None:
    """A database that is far away takes longer for an empty range than a range is to take: ranges
    of one row would be felt as much, and the run would never end.
    """
    source = ManyNumbers([], 10_000, 1.0)
    source.lend_target(0.01)
    jobs = source.iterate(None)
    rows = []
    for _ in range(60):
        key = next(jobs).key
        rows.append(len(source._between(*key)))
        source.took([key], fixed + 0.000_004 * rows[-1])

    wanted = (max(0.01, 2 * fixed) - fixed) / 0.000_004
    assert min(rows[-10:]) > 0.75 * wanted
    assert max(rows[-10:]) < 1.25 * wanted


def test_a_probe_is_told_of_whole_numbers_alone() -> None:
    """A subclass that names no table of PostgreSQL tells of none."""

    class Named(Numbers):
        def _end(self, *, descending: bool) -> Any:
            return self._border(None, None, 1, descending=descending)

        def _names_in_sql(self) -> tuple[str, str] | None:
            return "t", "k"

    for source, told in (
        (Named([3, 7], 1), ("t", "k", 3, 7)), (Named(["a", "b"], 1), None), (Named([1.5, math.inf], 1), None),
        (Named([1, 2**64], 1), None), (Numbers([3, 7], 1), None),
    ):  # fmt: skip
        assert source.probed() is None
        source.bounds(None)
        assert source.probed() == told
