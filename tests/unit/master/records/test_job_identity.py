"""Keys of jobs, taken with the user's function."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.errors import KeyUnstorable
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.model import Job

COUNTER = itertools.count()

CHANGING: dict[str, Callable[[Any], Any]] = {
    "takes it out of the job": lambda job: job.pop("id"),
    "changes the job": lambda job: job.update(id=job["id"] + 1) or job["id"],
    "counts": lambda _: next(COUNTER),
    "is random": lambda _: random.random(),
    "is of no object twice": lambda _: repr(object()) + str(next(COUNTER)),
}


@pytest.mark.parametrize("how", CHANGING)
def test_a_key_that_is_another_one_each_time_is_refused(how: str) -> None:
    """A run that is resumed would never find its place; at the first job, with the cure."""
    with pytest.raises(KeyUnstorable, match="the same key each time"):
        JobIdentity(CHANGING[how]).check({"id": 7})


@pytest.mark.parametrize("key", [7, "a", (1, "b"), float("nan"), None, b"x"])
def test_a_key_that_stays_the_same_is_taken(key: Any) -> None:
    """NaN is no equal of its own, and one key all the same."""
    identity = JobIdentity(lambda _: key)

    assert identity.check({"id": 1}) == identity.text({"id": 1})


def test_a_key_that_a_job_has_of_its_own_is_not_asked_for() -> None:
    """``Job(key, payload)`` goes before ``job_key``."""
    asked: list[Any] = []

    assert JobIdentity(asked.append).check(Job(5, "x")) == "5"
    assert asked == []


@pytest.mark.parametrize("job_key", [None, lambda job: job["id"]])
@pytest.mark.parametrize(
    "job", [{"id": 7}, Job((1, 2), (1, 2)), Job("a", [1]), ParkedJob(3, "5", b"p", b"f" * 16)], ids=repr
)
def test_what_is_parked_has_the_key_and_the_fingerprint_of_its_job(job: Any, job_key: Any) -> None:
    """They are found together, for a resumed run to find them one by one."""
    identity = JobIdentity(job_key)

    assert identity.check_for_parking(job) == (identity.check(job), identity.fingerprint(job))
