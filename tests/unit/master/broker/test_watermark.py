"""The watermark against a naive model: a list of keys and a set of settled positions."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster import keys
from taskmaster.master.broker.watermark import END, Watermark, settled_range


def text_of(job: object) -> str | None:
    return None if job is None else repr(job)


def naive_cut(jobs: list, settled: set[int], start_key: str | None) -> tuple[int, str | None]:
    """The last position up to which all is settled and where the key changes, and the key before
    it.
    """
    low = 0
    while low in settled:
        low += 1
    for position in range(low, 0, -1):
        key = text_of(jobs[position - 1])
        following = END if position == len(jobs) else text_of(jobs[position])
        if key is not None and key != following:
            return position, key
    return 0, start_key


@st.composite
def histories(draw: st.DrawFn) -> tuple[list, list[tuple[int, int]]]:
    """Jobs in key order with equal keys in a row, and the parts in which they are settled, in any
    order.
    """
    steps = draw(st.lists(st.booleans(), max_size=25))
    jobs, key = [], 0
    for step in steps:
        key += step
        jobs.append(key)
    cuts = sorted({0, len(jobs), *draw(st.lists(st.integers(0, len(jobs)), max_size=8))})
    parts = [(a, b) for a, b in itertools.pairwise(cuts) if a < b]
    return jobs, draw(st.permutations(parts))


@given(histories(), st.booleans())
def test_the_cut_is_what_a_naive_model_says_after_each_report(history: tuple, resumed: bool) -> None:
    """Whatever the order of the reports, the mark is the last key before which nothing is open."""
    jobs, parts = history
    start = repr(0) if resumed else None
    watermark = Watermark(start)
    settled: set[int] = set()
    for first, end in parts:
        watermark.settle(settled_range(first, jobs[first:end], text_of))
        settled.update(range(first, end))
        low = watermark.low
        watermark.settle_successor(END if low == len(jobs) else text_of(jobs[low]))

        assert (watermark.cut, watermark.mark) == naive_cut(jobs, settled, start)
        remembered = {at for part in watermark.unwritten() for at in range(part.first, part.end)}
        assert remembered == {at for at in settled if at >= watermark.cut}
        edge = sorted(at for part in watermark.edge() for at in range(part.first, part.end))
        if watermark.cut:
            assert edge == [at for at in range(watermark.cut) if text_of(jobs[at]) == watermark.mark]


def test_without_the_successor_the_last_job_is_not_passed() -> None:
    """A job is passed only when the next one is known to have another key."""
    watermark = Watermark()
    watermark.settle(settled_range(0, [1, 2, 3], text_of))

    assert (watermark.low, watermark.cut, watermark.mark) == (3, 2, "2")

    watermark.settle_successor("3")

    assert (watermark.cut, watermark.mark) == (2, "2")

    watermark.settle_successor("4")

    assert (watermark.cut, watermark.mark) == (3, "3")


THREE = [Decimal("3.0"), Decimal("3.00"), 3]
"""One value in three spellings."""


@pytest.mark.parametrize("parts", [[4], [1, 3], [2, 2], [3, 1], [1, 1, 1, 1]])
def test_a_run_is_not_cut_between_keys_that_compare_equal(parts: list[int]) -> None:
    """Asked to go on after one of them, the source would leave the others out."""
    jobs = [1, *THREE]
    watermark, first = Watermark(), 0
    for length in parts:
        watermark.settle(settled_range(first, jobs[first : first + length], keys.encode))
        first += length
        watermark.settle_successor(keys.encode(jobs[first]) if first < len(jobs) else None)

        assert (watermark.cut, watermark.mark) == (1, "1")

    watermark.settle_successor("4")

    assert (watermark.cut, watermark.mark) == (4, "3")
    assert sum(part.end - part.first for part in watermark.edge()) == len(THREE)


def test_a_key_that_cannot_be_stored_is_never_the_mark() -> None:
    """A job without a key is passed only together with a later one that has a key."""
    watermark = Watermark()
    watermark.settle(settled_range(0, [1, 2, None], text_of))

    assert watermark.cut == 0

    watermark.settle(settled_range(3, [4, 5], text_of))

    assert (watermark.cut, watermark.mark) == (4, "4")


def test_a_hole_is_named() -> None:
    """What holds the watermark back is the range between the settled prefix and the next settled
    part.
    """
    watermark = Watermark()
    watermark.settle(settled_range(0, [1], text_of))
    watermark.settle(settled_range(4, [5], text_of))

    assert watermark.hole() == (1, 4)

    watermark.settle(settled_range(1, [2, 3, 4], text_of))

    assert watermark.hole() == (5, 5)
