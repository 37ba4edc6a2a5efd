"""The way back: what is settled of a report, and what is kept of what failed."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.master import Master

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.verdicts import TRACED_ATTEMPTS
from taskmaster.master.reports import MOST_NAMED_JOBS, Reports
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want


class World:
    """Reports of one slave, whose jobs have all been read."""

    def __init__(self, jobs: list[Any], next_failed: int = 1, **limits: Any) -> None:
        self.broker = Broker("i", Limits(**limits))
        self.broker.intake.add(jobs)
        self.broker.batch_limit.note(1.0)
        self.broker.intake.exhaust()
        self.reports: Reports = Master(self.broker, next_failed=next_failed).reports
        self.slave = ConnectedSlave("s", "web3", 1, 1, 0.0)
        self.broker.slaves.add(self.slave)

    def lent(self, jobs: int) -> Lease:
        lease = self.broker.take(self.slave, Want(1, jobs, jobs, ""))
        assert lease is not None
        return lease

    def end(self, lease: Lease, *failures: Failure) -> bool:
        whole = len(lease.batch)
        return self.reports.take(
            self.slave, Report(lease.token, whole, failures=failures, keep=whole, end=ReportEnd.FINISHED)
        )


def final(index: int, traceback: str = "") -> Failure:
    """A failure after which the job is not tried again."""
    return Failure(index, "ValueError", "bad title", traceback, FailureKind.FINAL)


def test_a_report_is_settled_up_to_the_key_of_its_last_job() -> None:
    """The mark is the last key behind which a job with another key is settled."""
    world = World(["a", "b", "c", "d"])

    assert world.end(world.lent(3))
    assert world.broker.settlement.done == 3
    assert world.broker.watermark.mark == '"b"'


def test_a_report_of_a_lease_that_is_not_the_slaves_settles_nothing() -> None:
    """Of none at all, and of one that has ended."""
    world = World(["a", "b"])
    lease = world.lent(1)

    assert not world.reports.take(world.slave, Report("a stranger's", 1, end=ReportEnd.FINISHED))
    assert world.broker.settlement.settled == 0
    assert world.end(lease)
    assert not world.end(lease)
    assert world.broker.settlement.settled == 1


def test_reports_of_one_exchange_are_settled_together() -> None:
    """One that is said twice counts once, and those that are not the slave's are named in order."""
    world = World(list("abcdef"))
    leases = [world.lent(1) for _ in range(2)]
    said = [Report(lease.token, 1, keep=1, end=ReportEnd.FINISHED) for lease in leases]

    stale = world.reports.take_all(world.slave, [Report("other.1", 1), said[0], said[1], Report("other.2", 1)])
    assert stale == ("other.1", "other.2")
    assert world.broker.settlement.done == 2

    third = world.lent(1)
    report = Report(third.token, 1, keep=1, end=ReportEnd.FINISHED)
    assert world.reports.take_all(world.slave, [report, report]) == (third.token,)
    assert world.broker.settlement.done == 3
    assert len(world.broker.leases) == 0


def test_a_failure_among_the_reports_of_one_exchange_fails_its_job_alone() -> None:
    """The others are settled as they would be without it."""
    world = World(list("ab"), retries=0)
    leases = [world.lent(1) for _ in range(2)]
    said = [Report(lease.token, 1, keep=1, end=ReportEnd.FINISHED) for lease in leases]
    said[1] = said[1]._replace(failures=(final(0),))

    assert world.reports.take_all(world.slave, said) == ()
    assert (world.broker.settlement.done, world.broker.settlement.failures) == (1, 1)


def test_a_failed_job_is_kept_with_its_payload_key_and_slave() -> None:
    """Its number goes on where an earlier session stopped."""
    world = World(["a", {"id": 7, "title": "?"}], next_failed=41)
    world.end(world.lent(2), final(1))
    (failed,) = world.broker.settlement.failed.all()

    assert (failed.id, failed.key, failed.attempts[0].slave) == (41, "7", "web3")
    assert failed.payload is not None
    assert b"title" in failed.payload


def test_a_failed_job_that_cannot_be_pickled_is_kept_without_its_payload() -> None:
    """It is still named, and counted."""

    class Unpicklable:
        id = 5

        def __reduce__(self) -> Any:
            raise SystemExit("it holds a socket")

    world = World([Unpicklable()])
    world.end(world.lent(1), final(0))
    (failed,) = world.broker.settlement.failed.all()

    assert (failed.key, failed.payload) == ("5", None)


def test_texts_of_a_failure_are_cut() -> None:
    """A traceback can be as long as its author likes, and the state is no place for it."""
    world = World(["a"])
    world.end(world.lent(1), final(0, "x" * 1_000_000))

    assert len(world.broker.settlement.failed.all()[0].attempts[0].traceback) == 20_000


def test_every_attempt_of_a_job_is_kept() -> None:
    """Their number says whether it is tried once more; the latest have their whole text."""
    world = World(["a"], retries=200, backoff=0.0, lease=1e9)
    for attempt in range(100):
        world.broker.tick(1000.0 * attempt)
        world.end(world.lent(1), Failure(0, "ValueError", "x" * 500, "trace", FailureKind.ERROR))
    world.broker.tick(1e6)
    world.end(world.lent(1), final(0))
    attempts = world.broker.settlement.failed.all()[0].attempts

    assert len(attempts) == 101
    assert sum(bool(attempt.traceback) for attempt in attempts) == TRACED_ATTEMPTS - 1
    assert len(attempts[0].message) < len(attempts[-2].message)


def test_a_death_names_some_of_the_jobs_that_ran(caplog: pytest.LogCaptureFixture) -> None:
    """And says how many there were more."""
    world = World(list(range(20)))
    lease = world.lent(20)
    suspects = tuple(range(MOST_NAMED_JOBS + 3))
    with caplog.at_level(logging.WARNING):
        world.reports.take(
            world.slave,
            Report(lease.token, 0, end=ReportEnd.CRASHED, suspects=suspects, detail="killed by SIGKILL"),
        )

    assert "web3 died while it ran the jobs with the keys 0, 1, 2, 3, 4 and 3 more: killed by SIGKILL" in caplog.text
