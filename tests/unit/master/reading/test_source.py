"""What may serve as a source, and how it is begun and resumed."""

from __future__ import annotations

import collections
import enum
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmaster.errors import SourceError, UsageError
from taskmaster.master.reading.source import Source
from taskmaster.sources import csv_rows, lines


def test_a_list_is_a_source_without_last() -> None:
    """It is read from the start again when a run is resumed, and knows its length."""
    source = Source([1, 2, 3])

    assert list(source.iterate(2, resume=True)) == [1, 2, 3]
    assert not source.resumes_by_key
    assert source.total() == 3


def test_last_is_passed_only_on_a_resume() -> None:
    """A first run uses the function's own default."""
    calls = []

    def get_jobs(last: int = 7) -> Iterator[int]:
        calls.append(last)
        yield last

    source = Source(get_jobs)

    assert list(source.iterate()) == [7]
    assert list(source.iterate(0, resume=True)) == [0]
    assert calls == [7, 0]
    assert source.resumes_by_key


def test_arguments_are_passed_as_text() -> None:
    """Those of the command line are."""

    def get_jobs(last: Any = None, **arguments: str) -> list[Any]:
        return [last, arguments]

    source = Source(get_jobs, {"shard": "3"})

    assert list(source.iterate()) == [None, {"shard": "3"}]
    assert list(source.iterate(5, resume=True)) == [5, {"shard": "3"}]


def test_an_unknown_argument_is_refused_with_those_that_there_are() -> None:
    """Before anything runs."""

    def get_jobs(shard: str = "0", last: int = 0) -> list[int]:
        return []

    with pytest.raises(UsageError, match=r"no argument 'shart'.*shard"):
        Source(get_jobs, {"shart": "3"})


def test_a_missing_argument_is_named() -> None:
    """With the form in which to give it; ``last`` must have a default."""

    def get_jobs(shard: str, last: int = 0) -> list[int]:
        return []

    def demanding(last: int) -> list[int]:
        return []

    with pytest.raises(UsageError, match="shard=VALUE"):
        Source(get_jobs, {})
    with pytest.raises(UsageError, match=r"partial\(get_jobs, shard="):
        Source(get_jobs)  # a script has no command to add it to
    with pytest.raises(UsageError, match="only when a run is resumed"):
        Source(demanding)


def test_a_class_that_demands_an_argument_is_told_of_a_script_s_ways() -> None:
    """It was told of a command, which a script does not have."""

    class Rows:
        def __init__(self, table: str) -> None:
            """Stand for one that would be given an instance of."""

    with pytest.raises(UsageError, match=r"class that demands the argument 'table': give what it returns") as refused:
        Source(Rows)
    assert "command" not in str(refused.value)


def test_an_object_with_iterate_is_a_source() -> None:
    """Tables and querysets are such objects."""

    class Table:
        def iterate(self, last: Any) -> Iterator[Any]:
            yield "from", last

        def total(self) -> int:
            return 12

    source = Source(Table())

    assert list(source.iterate()) == [("from", None)]
    assert list(source.iterate(0, resume=True)) == [("from", 0)]
    assert source.total() == 12


class Numbers:
    """A source like a table or a file."""

    def __init__(self, most: int) -> None:
        self.most = most

    def iterate(self, last: int | None) -> Iterator[int]:
        """All behind ``last``."""
        return iter(range(0 if last is None else last + 1, self.most))

    def total(self) -> int:
        """How many there are."""
        return self.most


def test_a_function_may_return_an_object_with_iterate() -> None:
    """It need not take ``last``, is called when reading begins and not before, and once; what it
    returned is asked for the rest and for the total.
    """
    threads = []

    def get_jobs(most: str) -> Numbers:
        threads.append(threading.current_thread())
        return Numbers(int(most))

    for last, expected in ((None, [0, 1, 2, 3]), (1, [2, 3])):
        source = Source(get_jobs, {"most": "4"})

        assert threads == []
        assert not source.resumes_by_key
        assert not source.reads_again, "this is not known yet"

        totals: list[int | None] = []
        asking = threading.Thread(target=lambda source=source, totals=totals: totals.append(source.total()))
        asking.start()

        assert list(source.iterate(last, resume=last is not None)) == expected

        asking.join()

        assert totals == [4]
        assert source.resumes_by_key
        assert not source.reads_again
        assert threads == [threading.current_thread()]

        threads.clear()


def test_a_function_that_takes_last_gets_it_also_if_it_returns_an_object_with_iterate() -> None:
    """Both are told, and a function that raises keeps nobody waiting for the total."""
    calls = []

    def get_jobs(last: int = -1) -> Numbers:
        calls.append(last)
        if last == 7:
            raise OSError
        return Numbers(4)

    source = Source(get_jobs)

    assert list(source.iterate(2, resume=True)) == [3]
    assert calls == [2]

    source = Source(get_jobs)
    with pytest.raises(OSError):  # noqa: PT011
        source.iterate(7, resume=True)

    assert source.total() is None


def test_what_a_function_without_last_returns_is_read_again() -> None:
    """A generator or a list; a list of another type is not asked how long it is, for that may read
    it all.
    """

    class Lazy(list[int]):
        def __len__(self) -> int:
            raise AssertionError("this would have been a query over the whole table")

    for returned, total in (([1], 1), (iter([1]), None), (Lazy([1]), None)):
        source = Source(lambda returned=returned: returned)
        source.iterate(1, resume=True)

        assert source.reads_again
        assert source.total() == total


def test_a_callback_in_the_place_of_get_jobs_is_told_where_it_belongs() -> None:
    """``tm-run mod.py:handle_job`` was told to add i=VALUE."""

    def handle_job(i: int) -> None:
        """Stand for a callback."""

    with pytest.raises(UsageError, match=r"TARGET names the function that yields jobs.*--handle-job-callback"):
        Source(handle_job, {}, name="handle_job")


@pytest.mark.parametrize("make", [csv_rows, lines])
def test_a_source_that_is_given_last_is_told_that_it_needs_none(make: Callable[..., Any]) -> None:
    """It was an invalid keyword argument for this function."""
    source = Source(lambda last=None: make("x.csv", last=last), {})
    with pytest.raises(TypeError) as raised:
        make("x.csv", last=None)

    assert "goes on after it by itself" in source.hint(raised.value)
    assert source.hint(TypeError("unsupported operand")) == ""


def test_arguments_for_what_is_no_function_are_refused() -> None:
    """They would belong to the run's identity, and change nothing."""
    for jobs in (Numbers(4), [1, 2]):
        with pytest.raises(UsageError, match=r"takes no arguments.*path=x.*def get_jobs\(path\)"):
            Source(jobs, {"path": "x"})


def test_what_is_no_source_is_refused() -> None:
    """At once where that shows, else when it has returned something else."""
    with pytest.raises(UsageError, match="int"):
        Source(5)
    with pytest.raises(SourceError, match="yield"):
        Source(lambda: 5).iterate()


def test_count_jobs_gets_the_arguments_that_it_takes() -> None:
    """Counting rarely needs them all."""
    source = Source(lambda shard, table: [], {"shard": "3", "table": "post"}, count=lambda shard: int(shard) * 10)

    assert source.total() == 30
    assert Source(list, count=lambda: None).total() is None  # type: ignore[arg-type, return-value]


class Table:
    """What a module's ``get_jobs`` may return."""

    def __init__(self) -> None:
        self.asked: list = []

    def iterate(self, last):
        """After the key."""
        self.asked.append(last)
        return iter([7, 8])

    def total(self):
        """Two."""
        return 2

    def job_key(self, job):
        """Another key than the job itself."""
        return f"k{job}"


def test_what_the_function_returns_may_be_a_source() -> None:
    """It then takes the place of the function, which need not take ``last``; it is called once."""
    table, calls = Table(), []

    def get_jobs():
        calls.append(1)
        return table

    source = Source(get_jobs)
    source.resolve(5, resume=True)

    assert source.resumes_by_key
    assert source.job_key == table.job_key
    assert list(source.iterate(5, resume=True)) == [7, 8]
    assert (table.asked, source.total(), len(calls)) == ([5], 2, 1)


def test_what_the_function_returns_is_iterated_over_once() -> None:
    """The function is called again for another pass, and not twice for one."""
    calls = []

    def get_jobs():
        calls.append(1)
        return [len(calls)]

    source = Source(get_jobs)
    source.resolve()

    assert list(source.iterate()) == [1]
    assert list(source.iterate()) == [2]
    assert len(calls) == 2


def test_what_the_function_returns_is_closed_with_the_source() -> None:
    """A generator runs its ``finally`` blocks, wherever it is; then the object that it comes from
    is told.
    """
    closed = []

    class Table:
        def iterate(self, last: Any) -> Iterator[Any]:
            try:
                yield last
                yield last
            finally:
                closed.append("rows")

        def close(self) -> None:
            closed.append("table")

    def get_jobs() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append("generator")

    table = Table()
    for jobs, expected in (
        (table, ["rows", "table"]),
        (lambda: table, ["rows", "table"]),
        (get_jobs, ["generator"]),
    ):
        source = Source(jobs)
        next(source.iterate())
        source.close()

        assert closed == expected
        closed.clear()


def test_what_the_user_has_handed_over_stays_open() -> None:
    """A generator or a file that a script has opened may be read further by it."""
    numbers = (n for n in range(10))
    source = Source(numbers)
    next(source.iterate())
    source.close()

    assert next(numbers) == 1


class DataFrame:
    """Stands in for pandas' class: known by its name and its package."""

    def __iter__(self) -> Iterator[str]:
        return iter(["name", "email"])


DataFrame.__module__ = "pandas.core.frame"


class Colours(enum.Enum):
    """A class that is iterable itself."""

    RED = "red"


class Tags(set[str]):
    """A set by inheritance."""


async def agen() -> AsyncIterator[int]:
    yield 1


UNSUITABLE = {
    "a set": ({"a", "b"}, r"no order.*sorted"),
    "a frozenset": (frozenset({1}), r"no order.*sorted"),
    "a set's subclass": (Tags({"a"}), "no order"),
    "what set operations of views give": ({"a": 1}.keys() | {"b": 2}.keys(), "no order"),
    "an iterator over a set": (iter({"a"}), "no order"),
    "an iterator over a text": (iter("users.csv"), "each character"),
    "an iterator over a text that is not ASCII": (iter("\u00fcsers.csv"), "each character"),
    "an iterator over bytes": (iter(b"users.csv"), "each byte"),
    "an iterator over a bytearray": (iter(bytearray(b"users.csv")), "each byte"),
    "a text": ("users.csv", r"sources\.lines\('users\.csv'\)"),
    "a path": (Path("users.csv"), r"sources\.lines\('users\.csv'\)"),
    "bytes": (b"users", r"sources\.lines"),
    "a bytearray": (bytearray(b"users"), r"sources\.lines"),
    "a view of memory": (memoryview(b"users"), r"sources\.lines"),
    "a table of pandas'": (DataFrame(), "its columns.*itertuples"),
    "an asynchronous generator": (agen(), "plain function"),
}


@pytest.mark.parametrize("kind", UNSUITABLE)
def test_what_would_run_something_else_than_was_meant_is_no_source(kind: str) -> None:
    """Given as the jobs, or returned by get_jobs: refused, with what to give instead."""
    jobs, why = UNSUITABLE[kind]

    with pytest.raises(UsageError, match=why):
        Source(jobs)
    with pytest.raises(SourceError, match=why):
        Source(lambda: jobs).iterate()


@pytest.mark.parametrize(
    "jobs",
    [{"b": 1, "a": 2}, {"b": 1}.keys(), {"b": 1}.items(), collections.deque([1]), Colours, collections.Counter("ab")],
)
def test_what_keeps_its_order_is_a_source(jobs: Any) -> None:
    """Views of dicts are sets for Python, and have an order; a class may be iterable itself."""
    assert list(Source(jobs).iterate()) == list(jobs)


def test_a_target_that_was_lent_before_the_source_was_known_is_told_to_it() -> None:
    """Its first ranges were as long as ever; one that makes nothing to measure is left alone."""

    class Ranges:
        def __init__(self) -> None:
            self.lent: list[float | None] = []

        def iterate(self, last: object) -> Iterator[int]:
            yield 1

        def lend_target(self, seconds: float | None) -> None:
            self.lent.append(seconds)

    ranges = Ranges()
    source = Source(lambda: ranges)
    source.tell("lend_target", 0.02)
    assert ranges.lent == []
    source.resolve()
    source.tell("lend_target", None)
    assert ranges.lent == [0.02, None]
    Source([1]).tell("lend_target", 0.02)


def test_the_length_of_what_a_function_returns_is_its_total_if_that_is_all() -> None:
    """Not where it was asked for what comes after a key."""

    def get_jobs(last: int = 0) -> list[int]:
        return list(range(last + 1, 31))

    new, resumed, skipping = Source(get_jobs), Source(get_jobs), Source(lambda: [1, 2, 3])
    begun = [new.iterate(), resumed.iterate(10, resume=True), skipping.iterate(2, resume=True)]

    assert [source.total() for source in (new, resumed, skipping)] == [30, None, 3]
    assert [source.counted for source in (new, resumed, skipping)] == [True, False, True]
    assert [len(list(jobs)) for jobs in begun] == [30, 20, 3]
