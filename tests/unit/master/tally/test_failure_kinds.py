"""Failed jobs by class and place; whatever fails, and however often, it is bounded."""

from __future__ import annotations

from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.tally.failure_kinds import MOST_KINDS_COUNTED, FailureKinds, location_of

TRACE = 'Traceback (most recent call last):\n  File "/srv/jobs.py", line {}, in {}\n    x()\n{}: no\n'


def failed(
    number: int, kind: str = "ValueError", line: int = 31, function: str = "clean", at: float = 5.0
) -> FailedJob:
    """A job that failed in a line."""
    attempt = Attempt(at, "web1:1", kind, f"no {number}", TRACE.format(line, function, kind))
    return FailedJob(number, f"{number}", f"{number}", None, (attempt,))


def test_jobs_are_grouped_by_class_and_last_place() -> None:
    """The most frequent first, each with its newest example."""
    kinds = FailureKinds()
    for number in range(5):
        kinds.add(failed(number, at=float(number)))
    kinds.add(failed(9, line=40))
    kinds.add(failed(7, "KeyError"))
    first, *others = kinds.top(10)

    assert (first.type, first.where, first.count) == ("ValueError", "jobs.py:31 clean()", 5)
    assert (first.first_at, first.last_at, first.key, first.message) == (0.0, 4.0, "4", "no 4")
    assert {(one.type, one.where, one.count) for one in others} == {
        ("ValueError", "jobs.py:40 clean()", 1),
        ("KeyError", "jobs.py:31 clean()", 1),
    }
    assert kinds.top(1, after=1) == [others[0]]


def test_the_place_is_the_last_one_that_a_traceback_names() -> None:
    """Also in a lambda, and where there is none."""
    assert location_of(TRACE.format(3, "<lambda>", "X") + TRACE.format(9, "run", "X")) == "jobs.py:9 run()"
    assert location_of(TRACE.format(3, "<lambda>", "X")) == "jobs.py:3"
    assert location_of("") == ""


def test_kinds_without_end_stay_bounded() -> None:
    """50,000 failures of as many kinds: what is not told apart is counted."""
    kinds = FailureKinds()
    for number in range(50_000):
        kinds.add(failed(number, line=number))

    assert len(kinds) == MOST_KINDS_COUNTED
    assert kinds.others == 50_000 - MOST_KINDS_COUNTED


def test_what_is_run_again_is_counted_no_longer() -> None:
    """Also what failed in an earlier session, of which only an example of each class is known."""
    kinds = FailureKinds([(3, failed(1))])
    kinds.add(failed(8, "KeyError"))
    kinds.remove(failed(2, line=77))
    kinds.remove(failed(8, "KeyError"))
    kinds.remove(failed(4, "OSError"))

    assert [(one.type, one.count) for one in kinds.top(9)] == [("ValueError", 2)]
    assert kinds.others == 0
