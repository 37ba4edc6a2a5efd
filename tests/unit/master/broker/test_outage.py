"""When a run holds back because everything fails alike, and when it goes on."""

from __future__ import annotations

import pytest
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.outage import (
    ALIKE_AT_ONCE,
    ALIKE_JOBS,
    ALIKE_SECONDS,
    FIRST_TRIAL_PAUSE_SECONDS,
    LONGEST_TRIAL_PAUSE_SECONDS,
    Outage,
)
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.records.job_records import Attempt
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want

REFUSED = Attempt(0.0, "s", "ConnectionRefusedError", "refused", "")
OTHER = Attempt(0.0, "s", "ValueError", "bad row", "")


def outage_after(*attempts: Attempt, seconds: float = ALIKE_SECONDS, well: int = 1) -> Outage:
    """What has been seen of jobs that failed within so many seconds, after some had gone well."""
    outage = Outage(Limits())
    for _ in range(well):
        outage.went_well(trial=False)
    for number, attempt in enumerate(attempts):
        outage.tick(seconds * number / max(1, len(attempts) - 1))
        outage.failed_first(attempt)
    return outage


def test_many_jobs_that_fail_alike_for_some_seconds_are_an_outage() -> None:
    """Fewer are not, nor are those that fail in a moment: a few bad rows may stand together."""
    assert outage_after(*[REFUSED] * ALIKE_JOBS).holding
    assert not outage_after(*[REFUSED] * (ALIKE_JOBS - 1)).holding
    assert not outage_after(*[REFUSED] * ALIKE_JOBS, seconds=ALIKE_SECONDS / 2).holding
    assert outage_after(*[REFUSED] * ALIKE_AT_ONCE, seconds=0.0).holding


def test_a_run_in_which_nothing_has_gone_well_yet_has_no_outage() -> None:
    """There, the first thirty that fail alike stop the run."""
    assert not outage_after(*[REFUSED] * 2 * ALIKE_AT_ONCE, well=0).holding


def test_errors_of_several_classes_are_one_outage_if_one_class_makes_half() -> None:
    """Drivers spell one loss in several ways; rows that are bad in many ways are not an outage."""
    assert outage_after(*[REFUSED, REFUSED, OTHER] * ALIKE_JOBS).holding
    kinds = [Attempt(0.0, "s", f"Error{number % 5}", "bad", "") for number in range(2 * ALIKE_JOBS)]
    assert not outage_after(*kinds).holding


def test_a_job_that_goes_well_ends_it() -> None:
    """And what failed before does not count any more."""
    outage = outage_after(*[REFUSED] * ALIKE_JOBS)
    outage.went_well(trial=True)

    assert (outage.holding, outage.reason, outage.excuses(REFUSED.type)) == (False, "", False)

    for _ in range(ALIKE_JOBS - 1):
        outage.failed_first(REFUSED)

    assert not outage.holding


def test_a_job_that_went_well_before_it_and_is_reported_late_does_not_end_it() -> None:
    """Its slave had no time to say so. All jobs would fail once more, and the second time is not
    noticed: those that have failed before say nothing.
    """
    outage = outage_after(*[REFUSED] * ALIKE_JOBS)
    outage.went_well(trial=False)

    assert outage.holding
    assert outage.excuses(REFUSED.type)


def test_one_job_is_tried_now_and_then() -> None:
    """After one second, two, four, and so on up to the longest; new jobs and old ones in turn."""
    outage = outage_after(*[REFUSED] * ALIKE_JOBS)
    now, waits, fresh = ALIKE_SECONDS, [], []
    for _ in range(8):
        before = now
        while not outage.trial_is_due():
            now += 0.25
            outage.tick(now)
        waits.append(now - before)
        fresh.append(outage.wants_fresh)
        outage.tried_one()

    assert waits[:3] == [FIRST_TRIAL_PAUSE_SECONDS, 2 * FIRST_TRIAL_PAUSE_SECONDS, 4 * FIRST_TRIAL_PAUSE_SECONDS]
    assert waits[-1] == LONGEST_TRIAL_PAUSE_SECONDS
    assert fresh == [False, True] * 4


def test_an_outage_says_why_and_ends_the_run_after_a_while() -> None:
    """With the error, how long it has lasted, and the option."""
    outage = outage_after(*[REFUSED] * ALIKE_JOBS)
    outage.tick(ALIKE_SECONDS + 60.0)

    assert "30 jobs failed alike (ConnectionRefusedError: refused)" in outage.reason
    assert outage.reason.endswith("since 1m")
    assert outage.stop == ""

    outage.tick(ALIKE_SECONDS + Limits().outage)

    assert "--outage" in outage.stop
    assert "for 1h all jobs" in outage.stop


def test_it_can_be_switched_off() -> None:
    """Who says how many jobs may fail has them fail."""
    outage = Outage(Limits(outage=0.0))
    outage.went_well(trial=False)
    for _ in range(2 * ALIKE_AT_ONCE):
        outage.failed_first(REFUSED)

    assert not outage.holding


def test_a_run_that_is_told_not_to_hold_back_goes_on() -> None:
    """It recommends that itself: --max-failures says how many jobs may fail."""
    limits = Limits()
    outage = Outage(limits)
    outage.went_well(trial=False)
    for _ in range(ALIKE_AT_ONCE):
        outage.failed_first(REFUSED)
    assert outage.holding
    limits.outage = 0.0
    outage.tick(1.0)

    assert not outage.holding
    assert outage.stop == ""


class World:
    """A broker and a slave, before, in and after an outage of some seconds; a call takes 10 ms."""

    def __init__(self, jobs: int, *, together: bool = False, **limits: float) -> None:
        self.broker = Broker("i", Limits(**limits))  # type: ignore[arg-type]
        self.broker.intake.add(range(jobs))
        self.broker.intake.exhaust()
        self.broker.batch_limit.note(1.0)
        self.slave = ConnectedSlave("s", "s", 2, 2, 0.0)
        self.broker.enter(self.slave, ())
        self.together = together
        self.now = 0.0
        self.executions = 0

    def run(self, until: float, *, down: bool, kind: FailureKind = FailureKind.ERROR) -> None:
        """Let time pass in which all jobs go well, or fail."""
        while self.now < until and not self.broker.over and not self.broker.settlement.stop:
            self.now += 0.01
            self.slave.renewed = self.now
            self.broker.tick(self.now)
            lease = self.broker.take(self.slave, Want(1, 20, 20))
            if lease is None:
                continue
            count = len(lease.batch)
            self.executions += count
            failures = tuple(Failure(index, "Refused", "refused", "", kind) for index in range(count)) if down else ()
            report = Report(lease.token, count, failures=failures, end=ReportEnd.FINISHED)
            if down and self.together and count > 1:
                everyone = tuple(range(count))
                report = Report(
                    lease.token, 0, (), failures[:1], end=ReportEnd.RAISED, suspects=everyone, together=True
                )
            settle(self.broker, lease, report)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", [FailureKind.ERROR, FailureKind.RETRY, FailureKind.TIMEOUT])
def test_an_outage_in_the_middle_fails_no_job(kind: FailureKind, together: bool) -> None:
    """While it lasts, little is tried; when it is over, the run goes on by itself and all is
    done.
    """
    world = World(60_000, together=together)
    world.run(5.0, down=False)
    done = world.broker.settlement.settled
    before = world.executions
    world.run(65.0, down=True, kind=kind)

    assert done > 1000
    assert world.broker.settlement.settled == done
    assert "failed alike (Refused: refused)" in world.broker.outage.reason
    in_the_outage = world.executions - before

    assert in_the_outage < 8000  # all of them in the seconds until it was known; 120,000 without

    world.run(1000.0, down=False)

    assert world.broker.finished
    assert (world.broker.settlement.settled, world.broker.settlement.failures) == (60_000, 0)


def test_an_outage_that_does_not_end_stops_the_run() -> None:
    """Where it can be resumed: no job has failed."""
    world = World(60_000, outage=30.0)
    world.run(5.0, down=False)
    world.run(100.0, down=True)

    assert "--outage" in world.broker.settlement.stop
    assert world.broker.settlement.failures == 0
    assert 5.0 + 30.0 < world.now < 5.0 + ALIKE_SECONDS + 32.0


def test_bad_rows_at_the_end_of_a_run_are_no_outage() -> None:
    """They are tried again until they have failed: nothing else is left that could go well."""
    world = World(2000)
    bad = 60
    while not world.broker.over:
        world.now += 0.01
        world.slave.renewed = world.now
        world.broker.tick(world.now)
        lease = world.broker.take(world.slave, Want(1, 20, 20))
        if lease is not None:
            jobs = lease.batch.jobs
            failures = tuple(Failure(i, "ValueError", "bad", "") for i, job in enumerate(jobs) if job % 33 == 0)[:bad]
            settle(world.broker, lease, Report(lease.token, len(jobs), failures=failures, end=ReportEnd.FINISHED))
        assert not world.broker.outage.holding

    assert world.broker.settlement.failures == 61
    assert world.now < 30.0


def test_an_error_that_is_final_is_charged_in_an_outage_too() -> None:
    """A row of which the callback says that it is hopeless has nothing to do with it."""
    world = World(60_000)
    world.run(5.0, down=False)
    world.run(10.0, down=True)
    assert world.broker.outage.holding
    while (lease := world.broker.take(world.slave, Want(1, 1))) is None:
        world.now += 0.5
        world.slave.renewed = world.now
        world.broker.tick(world.now)
    hopeless = Failure(0, "Refused", "refused", "", FailureKind.FINAL)
    settle(world.broker, lease, Report(lease.token, 1, failures=(hopeless,), end=ReportEnd.FINISHED))

    assert world.broker.settlement.failures == 1
