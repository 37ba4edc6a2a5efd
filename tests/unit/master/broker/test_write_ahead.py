"""Jobs that are parked before they are handed out."""

from __future__ import annotations

import pytest

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.verdicts import Verdict
from taskmaster.master.broker.write_ahead import LEAST_AHEAD, WriteAhead
from taskmaster.master.records.job_records import Attempt, ParkedJob
from taskmaster.model import Failure, FailureKind

TRIED = Attempt(0.0, "s", "ValueError", "bad", "")


def job(number: int, *attempts: Attempt) -> ParkedJob:
    """A parked job."""
    return ParkedJob(number, str(number), b"", b"", attempts)


def test_nothing_is_handed_out_that_the_store_does_not_have() -> None:
    """What was planned after a checkpoint was collected waits for the next one."""
    plan = WriteAhead(-3)
    first = plan.add([job(0), job(1)])
    second = plan.add([job(2)])
    known = {first.first: 7, first.first + 1: 8}

    assert plan.written(known.get) == [first]
    assert plan.written(known.get) == []
    assert len(plan) == 1
    assert plan.written({second.first: 9}.get) == [second]


def test_positions_go_down_from_what_an_earlier_session_parked() -> None:
    """No two jobs have the same."""
    plan = WriteAhead(-3)

    assert plan.add([job(0), job(1)]).first == -5
    assert plan.add([job(2)]).first == -6


def test_a_part_of_what_killed_its_worker_runs_alone() -> None:
    """As a job that an earlier session parked does."""
    plan = WriteAhead(0)

    assert plan.add([job(0, TRIED._replace(crash=True))]).alone
    assert not plan.add([job(0, TRIED)]).alone


def test_few_are_planned_at_the_beginning_and_as_many_as_are_used_later() -> None:
    """A source that learns from times is not far ahead of them."""
    plan = WriteAhead(0)

    assert plan.room(slots=0, waiting=0) == LEAST_AHEAD
    assert plan.room(slots=4, waiting=3) == LEAST_AHEAD + 8 - 3
    plan.tick(10.0)
    plan.handed_out(100)
    plan.tick(10.2)
    assert plan.room(slots=4, waiting=0) == LEAST_AHEAD + 8
    plan.tick(11.0)
    assert plan.room(slots=4, waiting=0) == LEAST_AHEAD + 8 + 100
    plan.tick(12.0)
    assert plan.room(slots=4, waiting=0) == LEAST_AHEAD + 8


@pytest.mark.parametrize(
    ("plain", "kind", "attempts", "expected"),
    [
        (Verdict.AGAIN, "error", (), Verdict.AGAIN),
        (Verdict.AGAIN, "error", (TRIED,), Verdict.SPLIT),
        (Verdict.AGAIN, "retry", (TRIED,), Verdict.AGAIN),
        (Verdict.FAILED, "final", (), Verdict.SPLIT),
        (Verdict.FAILED, "retry", (TRIED,), Verdict.SPLIT),
        (Verdict.SKIPPED, "skip", (TRIED,), Verdict.SKIPPED),
        (Verdict.BACK, "abort", (TRIED,), Verdict.BACK),
    ],
)
def test_what_fails_twice_or_for_good_is_split(plain: str, kind: str, attempts: tuple, expected: str) -> None:
    """And nothing else; and nothing where the source cannot, or has said that it is as small as can
    be.
    """
    plan = WriteAhead(0)
    batch = Batch(-1, [job(0)], attempts=attempts)
    failure = Failure(0, "ValueError", "bad", "", FailureKind(kind))

    assert plan.verdict(batch, failure, plain) == plain
    plan.splits = True
    assert plan.verdict(batch, failure, plain) == expected
    batch.whole = True
    assert plan.verdict(batch, failure, plain) == plain
