"""The failure policy: what becomes of a failed job, when it is tried again, when a run should
stop.
"""

from __future__ import annotations

import random

import pytest

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.failure_budget import ALIKE_ATTEMPTS, Budget
from taskmaster.master.broker.failure_policy import LONGEST_BACKOFF_SECONDS, backoff, verdict
from taskmaster.master.broker.verdicts import TRACED_ATTEMPTS, Tried, Verdict, with_attempt
from taskmaster.master.broker.waiting import Waiting
from taskmaster.master.records.job_records import Attempt
from taskmaster.model import Failure, FailureKind

ERROR = Attempt(0.0, "s", "ValueError", "bad", "")
CRASH = Attempt(0.0, "s", "WorkerDied", "killed", "", crash=True)


@pytest.mark.parametrize(
    ("kind", "attempts", "expected"),
    [
        ("error", (), Verdict.AGAIN),
        ("error", (ERROR, ERROR), Verdict.AGAIN),
        ("error", (ERROR, ERROR, ERROR), Verdict.FAILED),
        ("error", (CRASH, CRASH, ERROR, ERROR), Verdict.AGAIN),
        ("retry", (ERROR, ERROR, ERROR), Verdict.FAILED),
        ("retry", (), Verdict.AGAIN),
        ("final", (), Verdict.FAILED),
        ("skip", (ERROR, ERROR, ERROR), Verdict.SKIPPED),
        ("abort", (ERROR, ERROR, ERROR), Verdict.BACK),
        ("timeout", (ERROR, ERROR, ERROR, CRASH), Verdict.AGAIN),
        ("timeout", (CRASH, CRASH), Verdict.FAILED),
    ],
)
def test_exceptions_and_crashes_are_counted_apart(kind: str, attempts: tuple[Attempt, ...], expected: str) -> None:
    """Three retries make four executions; three crashes are enough."""
    batch = Batch(0, [1], attempts=attempts)

    assert verdict(batch, Failure(0, "E", "", "", FailureKind(kind)), retries=3, crashes=3) == expected


def test_back_off_doubles_and_is_spread() -> None:
    """By up to a half in either direction, up to the longest."""
    chance = random.Random(1)
    for attempt in range(1, 40):
        expected = min(LONGEST_BACKOFF_SECONDS, 2.0 ** (attempt - 1))
        found = [backoff(1.0, attempt, chance) for _ in range(50)]

        assert 0.5 * expected <= min(found) < max(found) <= 1.5 * expected
        assert len(set(found)) > 10


def test_what_waits_comes_when_it_is_due() -> None:
    """In the order of their times, and counted while they wait."""
    waiting = Waiting()
    for due in (3.0, 1.0, 2.0, 1.0):
        waiting.add(Batch(int(due), [due, due], due=due))

    assert len(waiting) == 8
    assert waiting.due(0.5) == []
    assert [batch.due for batch in waiting.due(2.0)] == [1.0, 1.0, 2.0]
    assert len(waiting) == 2
    assert [batch.due for batch in waiting] == [3.0]


def test_only_the_last_attempts_keep_their_traceback() -> None:
    """All are written down anew with each of them; how many there were, of which kind, is kept."""
    attempts: tuple[Attempt, ...] = ()
    for number in range(300):
        attempt = Attempt(0.0, "s", "ValueError", "x" * 2000, "y" * 20_000, crash=number % 3 == 0)
        attempts = with_attempt(attempts, attempt)

    assert len(attempts) == 300
    assert sum(attempt.crash for attempt in attempts) == 100
    assert [bool(attempt.traceback) for attempt in attempts] == [False] * (300 - TRACED_ATTEMPTS) + [
        True
    ] * TRACED_ATTEMPTS
    assert sum(len(attempt.message) + len(attempt.traceback) for attempt in attempts) < 300_000


def test_a_run_where_all_fail_alike_stops_early() -> None:
    """After a few tens of jobs; one that goes well, or another kind of failure, shows that it is
    not the cause.
    """
    budget = Budget()
    for _ in range(ALIKE_ATTEMPTS - 1):
        assert budget.failed_first(ERROR, 0) == ""
    assert budget.failed_first(CRASH, 0) == ""
    for _ in range(ALIKE_ATTEMPTS - 1):
        assert budget.failed_first(ERROR, 0) == ""

    assert budget.failed_first(ERROR, 1) == ""
    assert "ValueError: bad" in budget.failed_first(ERROR, 0)


def test_who_says_how_many_may_fail_is_not_stopped_early() -> None:
    """The number counts, and nothing else."""
    budget = Budget(most=40)

    assert [budget.failed_first(ERROR, 0) for _ in range(2 * ALIKE_ATTEMPTS)] == [""] * 2 * ALIKE_ATTEMPTS
    assert budget.over(40, 40) == ""
    assert "41 jobs" in budget.over(41, 41)
    assert "1 job has failed" in Budget(most=0).over(1, 1)


def test_a_share_needs_a_sample() -> None:
    """One bad job among the first ten is not ten per cent of a million."""
    budget = Budget(fraction=0.01)

    assert budget.over(10, 499) == ""
    assert budget.over(5, 500) == ""
    assert "6 of the 500" in budget.over(6, 500)
    assert budget.over(6, 500).endswith("--max-failures allows 1%")
    assert Budget(fraction=0.0).over(0, 100) == ""
    assert Budget(fraction=0.0).over(1, 100) != ""


def test_a_record_that_was_not_made_is_an_error() -> None:
    """No failed job is ever settled without being written down."""
    with pytest.raises(ValueError, match="index 3"):
        _ = Tried(ERROR, Failure(3, "E", "", "")).for_good
