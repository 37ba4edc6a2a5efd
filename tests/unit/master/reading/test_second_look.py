"""Sources that end although they have more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.key_order import KeyOrder
from taskmaster.master.reading.second_look import has_round_number, what_comes_after
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity

ROWS = 35


def limited(last: int = 0) -> Iterator[int]:
    """``WHERE id > last ORDER BY id LIMIT 10``, without a loop."""
    yield from range(last + 1, min(last + 10, ROWS) + 1)


def limited_with_last(last: int = 1) -> Iterator[int]:
    """``WHERE id >= last``."""
    yield from range(last, min(last + 9, ROWS) + 1)


def limited_descending(last: int = 101) -> Iterator[int]:
    """``ORDER BY id DESC``."""
    yield from range(last - 1, last - 11, -1)


def limited_texts(last: str = "k00") -> Iterator[str]:
    yield from (f"k{number:02}" for number in limited(int(last[1:])))


def whole(last: int = 0) -> Iterator[int]:
    yield from range(last + 1, 31)


def whole_with_last(last: int = 1) -> Iterator[int]:
    yield from range(last, 31)


def begins_anew(last: int = 0) -> Iterator[int]:  # that is its fault, and another one
    yield from range(1, 31)


def fails_then(last: int = 0) -> Iterator[int]:
    if last:
        raise ConnectionError
    yield from range(1, 31)


def read(get_jobs: Callable[..., Iterator[Any]], first: Any = None) -> str:
    """Read it as a run does, and say what the end says."""
    source, checks = Source(get_jobs), JobChecks(JobIdentity())
    resumed = first is not None
    checks.follow_order("get_jobs", KeyOrder(first) if resumed else KeyOrder())
    jobs = list(source.iterate(first, resume=resumed))
    source.close()
    checks.check(0, jobs)
    return what_comes_after(source, checks)


@pytest.mark.parametrize(
    ("get_jobs", "last", "following"),
    [
        (limited, 10, "11"),
        (limited_with_last, 10, "11"),
        (limited_descending, 91, "90"),
        (limited_texts, "k10", "'k11'"),
    ],
)
def test_a_limit_without_a_loop_is_noticed(get_jobs: Callable[..., Iterator[Any]], last: Any, following: str) -> None:
    """With the key where it ended, the next one, and the cure."""
    said = read(get_jobs)

    assert "get_jobs" in said or "limited" in said
    assert "after 10 jobs" in said
    assert f"{last!r}: the next one is {following}" in said
    assert "LIMIT" in said


def test_a_resumed_run_is_looked_at_as_well() -> None:
    """Its page begins elsewhere."""
    assert "the next one is 31" in read(limited, 20)


@pytest.mark.parametrize("get_jobs", [whole, whole_with_last, begins_anew, fails_then])
def test_a_source_that_has_no_more_is_not_spoken_of(get_jobs: Callable[..., Iterator[Any]]) -> None:
    """Nor one that begins before the key, or fails: that is not what was asked."""
    assert read(get_jobs) == ""


def test_a_number_that_is_not_round_costs_no_look() -> None:
    """The source is the user's, and to ask it can take long."""
    asked: list[int] = []

    def get_jobs(last: int = 0) -> Iterator[int]:
        asked.append(last)
        yield from range(last + 1, last + 14)

    assert read(get_jobs) == ""
    assert asked == [0]


@pytest.mark.parametrize(
    ("jobs", "round_one"),
    [
        (10, True),
        (500, True),
        (1024, True),
        (16, True),
        (1_000_000, True),
        (8, False),
        (0, False),
        (13, False),
        (1023, False),
    ],
)
def test_round_numbers_are_those_that_people_write(jobs: int, round_one: bool) -> None:
    """Tens, and powers of two."""
    assert has_round_number(jobs) == round_one
