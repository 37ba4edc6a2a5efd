"""What a run says that it waits for."""

from __future__ import annotations

from typing import Any

from support.master import settle

from taskmaster import Job
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.standing import Standing
from taskmaster.master.why import LONG_SECONDS
from taskmaster.model import LONG_JOB_SECONDS, Failure, Report, ReportEnd, Want


def broker_with(jobs: list) -> tuple[Broker, ConnectedSlave]:
    """A broker with the last jobs of its source, and a slave with two workers."""
    broker = Broker("i", Limits())
    broker.intake.add(jobs)
    broker.intake.exhaust()
    broker.batch_limit.note(1.0)
    slave = ConnectedSlave("s", "vm:12", 2, 2, 0.0)
    broker.enter(slave, ())
    broker.tick(0.0)
    return broker, slave


def later(broker: Broker, slave: ConnectedSlave, now: float) -> None:
    """Let time pass in which the slave is heard."""
    slave.renewed = now
    broker.tick(now)


def test_the_job_that_keeps_a_run_from_its_end_has_a_name_an_age_and_a_place() -> None:
    """Its key, for how long it has run, its slave and its worker."""
    broker, slave = broker_with([Job("first", 1), Job("hangs", 2), Job("last", 3)])
    standing = Standing(JobIdentity())
    leases = [broker.take(slave, Want(1, 1)) for _ in range(3)]
    settle(broker, leases[0], Report(leases[0].token, 1, end=ReportEnd.FINISHED), JobIdentity().text)
    later(broker, slave, LONG_SECONDS / 2)

    assert standing.running(broker.counts()) == {}
    assert standing.reason(broker.counts()) == ""

    settle(broker, leases[2], Report(leases[2].token, 1, end=ReportEnd.FINISHED), JobIdentity().text)
    settle(broker, leases[1], Report(leases[1].token, 0, long=(0,), worker=4711), JobIdentity().text)
    later(broker, slave, 723.0)

    assert standing.running(broker.counts()) == {
        "running": "'hangs'",
        "running_for": 723.0 - (LONG_SECONDS / 2 - LONG_JOB_SECONDS),  # as of when its slave names it
        "running_on": "vm:12",
        "running_worker": 4711,
    }
    assert standing.reason(broker.counts()) == (
        "waiting for the job 'hangs', which has run for 12m1s on vm:12, worker 4711"
    )


def test_while_others_can_be_handed_out_a_long_job_is_no_reason() -> None:
    """It is named all the same."""
    broker, slave = broker_with(list(range(100)))
    assert broker.take(slave, Want(1, 1)) is not None
    later(broker, slave, 100.0)

    assert Standing(JobIdentity()).reason(broker.counts()) == ""
    assert Standing(JobIdentity()).running(broker.counts())["running"] == "0"


def test_a_batch_that_gets_on_is_not_old() -> None:
    """The age is that since a job of it ended last."""
    broker, slave = broker_with(list(range(10)))
    lease = broker.take(slave, Want(1, 5, 5))
    for done in range(4):
        later(broker, slave, 20.0 * (done + 1))
        settle(broker, lease, Report(lease.token, done + 1))
    later(broker, slave, 85.0)

    assert broker.counts().oldest.seconds == 5.0
    assert broker.counts().oldest.job == 4


def test_a_run_that_waits_for_the_next_attempt_says_when_it_is() -> None:
    """A callback may ask for hours; one that asks for ages gets a year."""
    for after, expected in ((3 * 3600.0, "in 3h"), (1.7e308, "in 366d")):
        broker, slave = broker_with(["later"])
        lease = broker.take(slave, Want(1, 1))
        failure = Failure(0, "Retry", "too many requests", "", after=after)
        settle(broker, lease, Report(lease.token, 1, failures=(failure,), end=ReportEnd.FINISHED))

        reason = Standing(JobIdentity()).reason(broker.counts())

        assert reason == f"waiting for the job that is to be tried again, the next {expected}"


def test_a_job_whose_key_cannot_be_taken_is_shown() -> None:
    """By its repr, whatever the user's code does."""

    def no_key(job: object) -> object:
        raise RuntimeError

    broker, slave = broker_with(["odd"])
    assert broker.take(slave, Want(1, 1)) is not None
    later(broker, slave, 100.0)

    assert Standing(JobIdentity(no_key)).running(broker.counts())["running"] == "'odd'"


def test_two_who_ask_at_once_are_told_each_of_his_job() -> None:
    """The main thread shows the progress while a client asks for the status."""

    class Identity(JobIdentity):
        """Somebody else asks while a key is looked for."""

        def text(self, job: Any) -> str | None:
            if job == "first":
                assert standing.longest(counts["second"])["longest"].startswith("'second'")
            return super().text(job)

    standing, counts = Standing(Identity()), {}
    for name in ("first", "second"):
        broker, slave = broker_with([name])
        assert broker.take(slave, Want(1, 1)) is not None
        counts[name] = broker.counts()

    assert standing.longest(counts["first"])["longest"].startswith("'first'")
