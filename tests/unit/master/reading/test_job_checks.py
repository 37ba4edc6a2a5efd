"""What is looked at in each job before it is handed out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from taskmaster import Job
from taskmaster.master.reading.job_checks import JobChecks, take_keys
from taskmaster.master.reading.key_order import KeyOrder
from taskmaster.master.records.job_identity import JobIdentity


class Row(NamedTuple):
    """A row as a named tuple."""

    id: Any
    name: str


@dataclass
class Thing:
    """A row as an object."""

    pk: int | None
    id: int = 0


class Zone(tzinfo):
    """A time zone without a name."""


GOOD: dict[str, tuple[list[Any], list[Any]]] = {
    "ints": ([1, 2, 3], [1, 2, 3]),
    "ints in any order": ([3, 1, 2], [3, 1, 2]),
    "plain values of several types": ([None, 1, "a", 2.5], [None, 1, "a", 2.5]),
    "tuples": ([(1, "a"), (2, None)], [(1, "a"), (2, None)]),
    "tuples in tuples": ([(1, (2, 3)), (2, (3, 4))], [(1, (2, 3)), (2, (3, 4))]),
    "Jobs": ([Job(1, {}), Job("b", {})], [1, "b"]),
    "Jobs whose keys are tuples": ([Job((1, 2), {}), Job((1, 3), {})], [(1, 2), (1, 3)]),
    "dicts": ([{"id": 1}, {"id": 2}], [1, 2]),
    "dicts with pk": ([{"pk": 1, "id": 7}, {"pk": 2, "id": 8}], [1, 2]),
    "rows": ([Row(1, "a"), Row(2, "b")], [1, 2]),
    "objects": ([Thing(1), Thing(2)], [1, 2]),
    "objects one of which has no pk": ([Thing(1), Thing(None, 5)], [1, 5]),
    "moments": ([datetime(2026, 1, 1, tzinfo=UTC)], [datetime(2026, 1, 1, tzinfo=UTC)]),
    "paths": ([Path("/a"), Path("/b")], ["/a", "/b"]),
    "a mixture": ([Job(1, {}), 2, {"id": 3}], [1, 2, 3]),
}
BAD: dict[str, list[Any]] = {
    "a tuple that holds a dict": [(1, None), (2, {"a": 1}), (3, None)],
    "a dict without an id": [{"id": 1}, {"name": 5}, {"id": 3}],
    "a dict whose id cannot be stored": [{"id": 1}, {"id": {2}}, {"id": 3}],
    "a dict whose id is None": [{"id": 1}, {"id": None}, {"id": 3}],
    "an object among numbers": [1, SimpleNamespace(), 3],
    "a number of another kind": [1, Fraction(2), 3],
    "a Job whose key cannot be stored": [Job(1, 1), Job({}, 2), Job(3, 3)],
    "a moment in a zone without a name": [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=Zone()), 3],
    "an object without pk or id": [Thing(1), SimpleNamespace(), Thing(3)],
    "a row whose id is a list of objects": [Row(1, ""), Row([object()], ""), Row(3, "")],
}


@pytest.mark.parametrize("kind", GOOD)
def test_the_keys_of_a_batch_are_those_of_its_jobs(kind: str) -> None:
    """Taken all at once or one by one, they are the same."""
    jobs, expected = GOOD[kind]

    assert take_keys(jobs, JobIdentity()) == expected
    assert [JobIdentity().key(job) for job in jobs] == expected
    assert JobChecks(JobIdentity()).check(0, jobs) is None


@pytest.mark.parametrize("kind", BAD)
def test_a_job_without_a_key_is_found_wherever_it_stands(kind: str) -> None:
    """At the beginning, in the middle or at the end of a batch; the error shows it."""
    first, bad, last = BAD[kind]

    for jobs in ([first, bad, last], [bad, first], [first, bad], [first] * 50 + [bad] + [last] * 50, [bad]):
        error = JobChecks(JobIdentity()).check(0, jobs)
        assert error is not None, jobs
        assert "Give it one" in str(error)


def test_what_is_nested_in_a_tuple_is_named_as_the_reason() -> None:
    """A tuple would do; the dict in it is what does not."""
    error = JobChecks(JobIdentity()).check(0, [(2, (3, {"a": 1}))])

    assert "if it did not hold a dict" in str(error)


def test_a_job_key_that_raises_is_an_error_at_that_job() -> None:
    """Always, and not only where a checkpoint happens to fall; with the user's traceback."""

    def job_key(job: int) -> int:
        return 1 // (job - 50)

    error = JobChecks(JobIdentity(job_key)).check(0, list(range(100)))

    assert error is not None
    assert "50" in str(error)
    assert "ZeroDivisionError" in str(error)
    assert error.user_traceback is not None
    assert "job_key" in error.user_traceback


def test_a_batch_is_looked_at_once() -> None:
    """What comes back from a slave is known; so is what an earlier session has parked."""
    checks = JobChecks(JobIdentity())

    assert checks.check(-5, [object()]) is None
    assert checks.check(0, [1, 2, 3]) is None
    assert checks.check(1, [object()]) is None
    assert checks.check(3, [object()]) is not None


def test_disorder_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the keys, what it means, and what to do."""
    checks = JobChecks(JobIdentity())
    checks.follow_order("get_jobs", KeyOrder())
    with caplog.at_level(logging.WARNING, "taskmaster"):
        for at, jobs in enumerate([[Job(1, "a"), Job(3, "b")], [Job(2, "c"), Job(9, "d")], [Job(0, "e"), Job(4, "f")]]):
            checks.check(2 * at, jobs)

    (said,) = [record.getMessage() for record in caplog.records]
    assert "2 came after 3" in said
    assert "leave jobs out" in said
    assert "sorted by their key" in said
    assert checks.fault


def test_the_order_of_a_source_that_is_read_again_is_its_own_affair(caplog: pytest.LogCaptureFixture) -> None:
    """A list needs none."""
    checks = JobChecks(JobIdentity())
    checks.check(0, [3, 1, 2])

    assert not caplog.records
    assert not checks.fault


def test_a_source_of_our_own_is_looked_at_by_the_batch() -> None:
    """It has made the keys; its job_key is asked once for each batch."""
    asked = []

    def job_key(job: int) -> Any:
        asked.append(job)
        return job

    checks = JobChecks(JobIdentity(job_key))
    checks.trust()

    assert checks.check(0, [3, 1, 2]) is None
    assert len(asked) == 1


def test_decimals_and_timezones_of_the_standard_library_are_keys() -> None:
    """Moments are looked at one by one: their zone decides."""
    jobs = [datetime(2026, 1, 1, tzinfo=timezone.utc), Decimal("1.50")]  # noqa: UP017  # the class is what is meant

    assert take_keys(jobs, JobIdentity()) == jobs


@pytest.mark.parametrize("raised", [SystemExit, GeneratorExit, KeyboardInterrupt, StopIteration, MemoryError])
def test_a_job_key_may_raise_anything(raised: type[BaseException]) -> None:
    """One that calls ``sys.exit`` for a job left the batch with nobody, and the run never ended."""

    def job_key(job: int) -> int:
        if job == 2:
            raise raised
        return job

    error = JobChecks(JobIdentity(job_key)).check(0, [1, 2, 3])

    assert error is not None
    assert f"The key of the job 2 cannot be taken: {raised.__name__}" in str(error)
