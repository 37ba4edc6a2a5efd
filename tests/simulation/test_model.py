"""A Hypothesis state machine: the broker against a model that is so simple that it is right by
inspection.

The model knows for each job only whether it is queued, with a slave, waiting, or settled, and how
often it was tried. After each step the broker has to agree, and the watermark has to be the length
of the model's settled prefix.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support import proof
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want

RETRIES, CRASHES = 1, 2
EXAMPLES = proof.size(300, 10_000)
STEPS = proof.size(60, 100)
QUEUED, HELD, WAITING, SETTLED = "queued", "held", "waiting", "settled"


class Model(RuleBasedStateMachine):
    """Two slaves, jobs 0, 1, 2, ... in this order, and whatever can become of them."""

    def __init__(self) -> None:
        super().__init__()
        limits = Limits(size=1000, span=10_000, retries=RETRIES, crashes=CRASHES, backoff=1.0, max_failures=10**9)
        self.broker = Broker("m", limits)
        self.now = 1.0
        self.broker.tick(self.now)
        self.where: list[str] = []
        self.errors: list[int] = []
        self.crashes: list[int] = []
        self.failed: set[int] = set()
        self.skipped: set[int] = set()
        self.slaves: dict[str, ConnectedSlave] = {}
        self.leases: dict[str, Lease] = {}
        self.voided: list[tuple[str, ConnectedSlave]] = []
        for name in ("a", "b"):
            self.enter(name)
        self.read(3)

    # -- what happens ------------------------------------------------------------------------------

    @rule(count=st.integers(1, 12))
    def more(self, count: int) -> None:
        """The source yields jobs, unless there are many already: what matters is what happens to
        each.
        """
        if len(self.where) < 40:
            self.read(count)

    def read(self, count: int) -> None:
        """So many more jobs are queued."""
        first = len(self.where)
        self.broker.intake.add(range(first, first + count))
        self.where += [QUEUED] * count
        self.errors += [0] * count
        self.crashes += [0] * count

    @rule(name=st.sampled_from("ab"), size=st.integers(1, 8))
    def take(self, name: str, size: int) -> None:
        """A slave gets a batch of jobs that nobody has; none only if there are none."""
        session = self.slaves[name]
        full = len(session.leases) >= 2 * session.workers
        lease = self.broker.take(session, Want(1, size, size))
        if lease is None:
            return
        assert not full
        assert len(lease.batch.jobs) <= size
        for job in lease.batch.jobs:
            assert self.where[job] == QUEUED, f"job {job} was {self.where[job]} when it was handed out"
            self.where[job] = HELD
        self.leases[lease.token] = lease

    def jobs_of(self, lease: Lease) -> list[int]:
        """Those that the slave still holds."""
        return [lease.batch.jobs[index] for index in lease.unended()]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        """A slave says how far it has got."""
        self.report_of(self.leases[data.draw(st.sampled_from(sorted(self.leases)))], data)

    @rule(data=st.data(), rounds=st.integers(1, 4))
    def go_on(self, data: st.DataObject, rounds: int) -> None:
        """Both slaves work for a while: what failed comes back and fails again."""
        for _ in range(rounds):
            for name in ("a", "b"):
                self.take(name, 4)
            for lease in list(self.leases.values()):
                self.report_of(lease, data)
            self.time_passes(5.0)

    def report_of(self, lease: Lease, data: st.DataObject) -> None:
        """Some jobs went well, some failed, the rest runs on, or goes back, or died."""
        session = self.slaves[lease.slave]
        upto = data.draw(st.integers(lease.upto, lease.keep))
        ended = [index for index in range(lease.upto, upto) if index not in lease.extra]
        kinds = {i: data.draw(st.sampled_from(["", "", "error", "final", "skip", "timeout"])) for i in ended}
        failures = tuple(Failure(i, "E", "", "", FailureKind(kind)) for i, kind in kinds.items() if kind)
        left = [index for index in lease.unended() if index >= upto]
        end = (
            data.draw(st.sampled_from([ReportEnd.OPEN, ReportEnd.DROPPED, ReportEnd.CRASHED]))
            if left
            else ReportEnd.FINISHED
        )
        suspects = (left[0],) if end == "crashed" else ()
        held = self.jobs_of(lease)
        self.say(session, lease, Report(lease.token, upto, (), failures, lease.keep, end, suspects))
        for index in ended:
            self.ended(lease.batch.jobs[index], kinds[index])
        rest = [lease.batch.jobs[index] for index in left]
        assert sorted(rest + [lease.batch.jobs[index] for index in ended]) == sorted(held)
        if not end:
            return
        for job in rest:
            self.where[job] = QUEUED
        if suspects:
            self.ended(lease.batch.jobs[suspects[0]], "died")
        self.leases.pop(lease.token, None)

    def ended(self, job: int, kind: str) -> None:
        """What the policy says, in the plainest words."""
        if kind in ("error", "final"):
            last = kind == "final" or self.errors[job] == RETRIES
            self.errors[job] += 1
        elif kind in ("timeout", "died"):
            self.crashes[job] += 1
            last = self.crashes[job] == CRASHES
        else:
            last = True
        if not last:
            self.where[job] = QUEUED if kind == "died" else WAITING
            return
        self.where[job] = SETTLED
        if kind == "skip":
            self.skipped.add(job)
        elif kind:
            self.failed.add(job)

    def say(self, session: ConnectedSlave, lease: Lease, report: Report) -> None:
        """What the service does around ``settle``."""
        assert self.broker.leases.held_as(session, lease.token) is lease
        assert settle(self.broker, lease, report, str)

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        """Jobs that have waited long enough can be handed out again; slaves that speak are not
        lost.
        """
        self.now += seconds
        for session in self.slaves.values():
            session.renewed = self.now
        assert self.broker.tick(self.now) == []
        waiting = {batch.first for batch in self.broker.redelivery.waiting}
        for job, where in enumerate(self.where):
            if where == WAITING and job not in waiting:
                self.where[job] = QUEUED

    @rule(name=st.sampled_from("ab"), politely=st.booleans())
    def slave_goes(self, name: str, politely: bool) -> None:
        """With a word or without: what it held can be handed out again, and its reports do not
        count any more.
        """
        session = self.slaves[name]
        for token in list(session.leases):
            lease = self.leases.pop(token)
            for job in self.jobs_of(lease):
                self.where[job] = QUEUED
            self.voided.append((token, session))
        if politely:
            self.broker.leave(session)
        else:
            self.broker.redelivery.lose(session)
        for batch in list(self.broker.redelivery.doomed):  # lost with too many slaves: the caller writes it down
            (job,) = batch.jobs
            self.where[job] = SETTLED
            self.failed.add(job)
            attempt = Attempt(0.0, "", "SlaveLost", "", "", crash=True)
            self.broker.settlement.fail(batch, FailedJob(1, str(job), "", b"", (attempt,)))
        self.enter(name)

    def enter(self, name: str) -> None:
        """A slave of that name comes, with nothing in its hands."""
        session = ConnectedSlave(name, name, 2, 2, self.now)
        self.broker.enter(session, ())
        self.slaves[name] = session

    # -- what must hold ----------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        """Each job is where the model has it, in one place only."""
        settled = self.where.count(SETTLED)
        assert self.broker.settlement.settled == settled
        assert self.broker.settlement.failures == len(self.failed)
        assert self.broker.settlement.skipped == len(self.skipped)
        assert len(self.broker.redelivery.waiting) == self.where.count(WAITING)
        assert self.broker.intake.queued + self.broker.redelivery.jobs == self.where.count(QUEUED)
        assert sum(lease.open for lease in self.broker.leases) == self.where.count(HELD)
        assert {lease.token for lease in self.broker.leases} == set(self.leases)

    @invariant()
    def the_watermark_is_the_settled_prefix(self) -> None:
        """No job before it is open, and the one at it is."""
        low = next((job for job, where in enumerate(self.where) if where != SETTLED), len(self.where))
        assert self.broker.watermark.low == low

    @invariant()
    def void_reports_do_not_count(self) -> None:
        """Whatever a lost slave says later."""
        for token, session in self.voided[-3:]:
            assert self.broker.leases.held_as(session, token) is None

    def teardown(self) -> None:
        """Without further faults, everything is settled in a bounded number of steps."""
        self.broker.intake.exhaust()
        for _ in range(20 * len(self.where) + 200):
            self.time_passes(400.0)
            for name in ("a", "b"):
                self.take(name, 50)
            for lease in list(self.leases.values()):
                for job in self.jobs_of(lease):
                    self.where[job] = SETTLED
                self.say(self.slaves[lease.slave], lease, Report(lease.token, lease.keep, end=ReportEnd.FINISHED))
                del self.leases[lease.token]
            if self.broker.finished:
                break
        self.the_books_agree()
        assert self.where.count(SETTLED) == len(self.where)
        assert self.broker.finished
        assert self.broker.watermark.low == len(self.where)


@pytest.mark.timeout(60)
def test_the_broker_does_what_the_model_does() -> None:
    """In 60 runs of 40 steps, each shrunk to the shortest when it fails."""
    run_state_machine_as_test(Model, settings=limited(60, 40))


@pytest.mark.proof
@pytest.mark.timeout(4 * 3600)
def test_the_broker_does_what_the_model_does_for_long() -> None:
    """The same, more often and for longer."""
    run_state_machine_as_test(Model, settings=limited(EXAMPLES, STEPS))
    proof.record(f"state machine against a naive model, {STEPS} steps each", tried=EXAMPLES, survived=EXAMPLES)


def limited(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
