"""Where a resumed run goes on, if jobs were changed just there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from taskmaster import keys
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.reading.successor import Expected, said_of
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_record import RunRecord

Rows = list[Any]
Make = Callable[[Rows], Callable[..., Iterator[Any]]]
DAY = date(2026, 1, 1)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def resumed(get_jobs: Callable[..., Any], mark: Any, then: Any) -> tuple[str, Rows]:
    """What a session doubts that goes on after a key, and the jobs that it reads."""
    text = keys.encode(mark)
    record = RunRecord("r", resumed=True, mark=text, settled=3)
    identity, lock = JobIdentity(), threading.Lock()
    broker, checks = Broker("i", Limits(), record), JobChecks(identity, record)
    known = (identity, Dedup(record), record.mark)
    expected = Expected(said_of(text, keys.encode(then)))
    reader = Reader(Source(get_jobs), broker, lock, *known, checks=checks, expected=expected)
    reader.prepare()
    for _ in range(100):
        if broker.intake.exhausted:
            jobs = broker.intake._queue.take(100)
            assert not jobs or checks.check(0, jobs) is None
            return checks.left_out, jobs
        reader.step()
    raise AssertionError("the source has no end")


def exclusive(rows: Rows) -> Callable[..., Iterator[Any]]:
    def get_jobs(last: Any = None) -> Iterator[Any]:
        yield from (row for row in rows if last is None or row > last)

    return get_jobs


def inclusive(rows: Rows) -> Callable[..., Iterator[Any]]:
    def get_jobs(last: Any = None) -> Iterator[Any]:
        yield from (row for row in rows if last is None or row >= last)

    return get_jobs


def descending(rows: Rows) -> Callable[..., Iterator[Any]]:
    def get_jobs(last: Any = None) -> Iterator[Any]:
        yield from (row for row in reversed(rows) if last is None or row < last)

    return get_jobs


NUMBERS = [1, 2, 3, 4, 7, 9]
DAYS = [DAY + timedelta(days=n) for n in NUMBERS]
MOMENTS = [MOMENT + timedelta(hours=n) for n in NUMBERS]
PAIRS = [(1, 2), (1, 5), (2, 1), (2, 2), (3, 1), (3, 3)]


@pytest.mark.parametrize("make", [exclusive, inclusive], ids=lambda one: one.__name__)
@pytest.mark.parametrize("rows", [NUMBERS, DAYS, MOMENTS, PAIRS], ids=["numbers", "days", "moments", "pairs"])
@pytest.mark.parametrize("gone", [1, 2])
def test_a_row_that_was_removed_just_there_is_no_doubt(make: Make, rows: Rows, gone: int) -> None:
    """Nor are several; and those behind it are read once."""
    left = rows[:3] + rows[3 + gone :]
    doubt, read = resumed(make(left), rows[2], rows[3])

    assert doubt == ""
    assert read == left[2 if make is inclusive else 3 :]


def test_rows_are_removed_where_keys_descend() -> None:
    """The key before is the higher one."""
    assert resumed(descending([1, 2, 4, 5]), 4, 3) == ("", [2, 1])


def test_a_row_that_was_added_just_there_is_no_doubt() -> None:
    """It is read with the others."""
    assert resumed(exclusive([1, 2, 4, 5, 6]), 4, 6) == ("", [5, 6])


def test_rows_of_one_key_are_read_once_each() -> None:
    """Also where some come with the watermark's key."""
    doubt, read = resumed(inclusive([1, 3, 3, 3, 5, 5, 6]), 3, 4)

    assert (doubt, read) == ("", [3, 3, 3, 5, 5, 6])


def off_by_one(rows: Rows) -> Callable[..., Iterator[Any]]:
    return lambda last=0: (row for row in rows if row > last + 1)


def offset(rows: Rows) -> Callable[..., Iterator[Any]]:
    return lambda last=0: iter(rows[last:])


def by_group(rows: Rows) -> Callable[..., Iterator[Any]]:
    """Goes on after the ten of the last row, of which there may be more."""
    return lambda last=0: (row for row in rows if row // 10 > last // 10 or not last)


def lookup(rows: Rows) -> Callable[..., Iterator[Any]]:
    return lambda last=None: iter(rows if last is None else rows[rows.index(last) + 1 :])


LEFT_OUT = {
    "off by one": (off_by_one([1, 2, 3, 4, 5, 6]), 3, 4),
    "an offset": (offset([10, 20, 30, 40, *range(100, 200)]), 30, 40),
    "an offset with a gap": (offset([1, 2, 3, 5, 6, 7, 8, 9, 10]), 7, 8),
    "groups": (by_group([10, 11, 12, 13, 20, 21]), 11, 12),
    "another order": (lookup([3, 1, 2, 5, 4, 6]), 2, 3),
    "nothing comes": (exclusive([1, 2, 3]), 3, 4),
    "a text": (exclusive(["a", "b", "d"]), "b", "c"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_leaves_jobs_out_is_doubted(case: str) -> None:
    """And so is what cannot be told from it."""
    doubt, _ = resumed(*LEFT_OUT[case])

    assert "left jobs out" in doubt or "leaves jobs out" in doubt


def test_the_first_iterator_is_closed_before_others_are_opened() -> None:
    """They may share a connection, and a cursor with a name."""
    at_work = 0

    def get_jobs(last: int = 0) -> Iterator[int]:
        nonlocal at_work
        assert at_work == 0
        at_work += 1
        try:
            yield from (row for row in (1, 2, 3, 5, 6) if row > last)
        finally:
            at_work -= 1

    assert resumed(get_jobs, 3, 4) == ("", [5, 6])
