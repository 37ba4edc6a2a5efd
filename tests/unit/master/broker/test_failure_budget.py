"""How many failed jobs stop a run."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from support.broker import enter, fail
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.failure_budget import Budget
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.watermark import SettledRange
from taskmaster.master.records.run_record import RunRecord
from taskmaster.model import Failure, Report, ReportEnd, Want


def lists_of(jobs: Collection[int], bad: Collection[int], record: RunRecord | None = None, **limits: float) -> Broker:
    """Run a callback that gets lists of fifty, and raises where one of them is bad, until the run
    is over or has to stop.
    """
    broker = Broker("i", Limits(backoff=0.01, **limits), record)  # type: ignore[arg-type]
    broker.intake.add(jobs)
    broker.intake.exhaust()
    broker.batch_limit.note(1.0)
    slave = enter(broker, workers=3)
    for step in range(100_000):
        if broker.over or broker.settlement.stop:
            return broker
        slave.renewed = now = step * 0.01
        broker.tick(now)
        lease = broker.take(slave, Want(1, 50, 50))
        if lease is None:
            continue
        count = len(lease.batch)
        failure = (Failure(0, "ValueError", "bad row", ""),)
        report = Report(lease.token, count, end=ReportEnd.FINISHED)
        if any(job in bad for job in lease.batch.jobs):
            report = Report(
                lease.token, 0, (), failure, end=ReportEnd.RAISED, suspects=tuple(range(count)), together=True
            )
            if count == 1:
                report = Report(lease.token, 1, failures=failure, end=ReportEnd.FINISHED)
        settle(broker, lease, report)
    raise AssertionError(f"the run does not end: {broker.counts()}")


@pytest.mark.parametrize("limits", [{}, {"max_failed_fraction": 0.1}])
def test_lists_with_bad_rows_do_not_stop_a_run_that_gets_on(limits: dict[str, float]) -> None:
    """Every list that a resumed session has left over holds a bad row: that is no reason to stop,
    for none of the rules.
    """
    jobs = range(3000)
    bad = [job for job in jobs if job % 50 == 7]

    broker = lists_of(jobs, bad, RunRecord("run", resumed=True, settled=5000, failures=250), **limits)

    assert (broker.settlement.stop, broker.finished) == ("", True)
    assert (broker.settlement.settled, broker.settlement.failures) == (3000, 60)


def test_lists_that_all_fail_stop_the_run_soon() -> None:
    """A call of several jobs says nothing of one of them, so that single ones are tried at once."""
    calls = lists_of(range(10_000), range(10_000))

    assert "all of the first 30 attempts have failed" in calls.settlement.stop
    assert calls.leases.lent < 600


def test_jobs_that_earlier_sessions_settled_count_as_gone_well() -> None:
    """What such a session has left over are the bad ones, and those around them."""
    broker = Broker("i", Limits(max_failed_fraction=0.1, retries=0))
    for number in range(1000):
        if number % 20:
            at = broker.intake.read
            broker.intake.add_known(number, SettledRange(at, at + 1, str(number), 1, None, 0, [number], b"p" * 16))
        else:
            broker.intake.add([number])
    slave = enter(broker)
    while (lease := broker.take(slave, Want(1, 1))) is not None:
        fail(broker, lease, "final")

    assert (broker.settlement.stop, broker.settlement.failures, broker.intake.known) == ("", 50, 950)


def test_a_budget_that_was_changed_is_in_force() -> None:
    """As a number, as a share, and none at all."""
    budget = Budget()
    budget.allow(None, 0.01)

    assert "allows" in budget.over(500, 1000)

    budget.allow(600, None)

    assert budget.over(500, 1000) == ""
    assert "allows 600" in budget.over(601, 1000)

    budget.allow(None, None)

    assert budget.over(601, 1000) == ""


def test_what_is_used_of_a_budget_is_a_part_of_it() -> None:
    """Of a number of jobs, or of a share as soon as it is judged; above 1 the run stops."""
    assert Budget().used(5, 100) is None
    assert Budget(20).used(5, 100) == (0.25, "20 failed jobs")
    assert Budget(0).used(1, 1) == (1.0, "0 failed jobs")
    used, allows = Budget(fraction=0.01).used(3, 100) or (0.0, "")
    assert (used, allows) == (3 / 5, "1% of the jobs")
    assert (Budget(fraction=0.01).used(11, 1000) or (0.0,))[0] > 1
    assert Budget(fraction=0.01).over(11, 1000)
