"""Lists of jobs that a callback has changed, or given back in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.slave.worker.job_lists import JobLists, JobsLeft

JOBS = [{"id": number} for number in range(10)]


def taken_out_in_a_loop(jobs: list[Any]) -> None:
    for job in jobs:
        jobs.remove(job)


def what_is_left_to_do(jobs: list[Any]) -> None:
    jobs[:] = jobs[:3]


def the_first_ones(jobs: list[Any]) -> None:
    for _ in range(4):
        jobs.pop(0)


@pytest.mark.parametrize("change", [taken_out_in_a_loop, what_is_left_to_do, the_first_ones])
def test_jobs_that_a_call_has_left_in_its_list_are_not_done(
    change: Callable[[list[Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """It fails, so that they are run alone at last; that is said once, with the cure."""
    lists = JobLists("handle_jobs()")
    for _ in range(2):
        left = list(JOBS)
        change(left)
        with pytest.raises(JobsLeft, match="of its 10 jobs"):
            lists.check(JOBS, left, None)

    said = capsys.readouterr().err
    assert said.count("handle_jobs() has left") == 1
    assert "list(jobs)" in said


@pytest.mark.parametrize(
    "change",
    [
        list.clear,
        list.reverse,
        lambda jobs: jobs.append(1),
        lambda jobs: jobs.extend(jobs),
        lambda jobs: jobs.__setitem__(slice(None), [job["id"] for job in jobs]),
    ],
)
def test_a_list_that_says_nothing_of_jobs_that_are_left_is_the_callbacks_own(
    change: Callable[[list[Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Emptied, sorted, made longer, or filled with something else."""
    left = list(JOBS)
    change(left)
    JobLists("handle_jobs()").check(JOBS, left, None)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", [list, tuple])
def test_some_of_the_jobs_given_back_say_nothing_and_that_is_said(
    kind: type, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once: whether they are those that are done or those that are left cannot be known."""
    lists = JobLists("handle_jobs()")
    for _ in range(2):
        lists.check(JOBS, JOBS, kind(JOBS[6:]))

    said = capsys.readouterr().err
    assert said.count("has returned 4 of the 10 jobs") == 1
    assert "raise an exception" in said


@pytest.mark.parametrize("result", [None, [], JOBS, [1, 2], [*JOBS[:3], 1], {"done": 3}, 10])
def test_any_other_result_is_not_spoken_of(result: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers, all jobs, or things that are no jobs."""
    JobLists("handle_jobs()").check(JOBS, JOBS, result)

    assert capsys.readouterr().err == ""


def test_a_list_of_one_job_cannot_have_some_of_them_left() -> None:
    """So that a call that takes jobs out comes to an end, however it does it."""
    for left in ([], JOBS[:1]):
        JobLists("handle_jobs()").check(JOBS[:1], left, None)
