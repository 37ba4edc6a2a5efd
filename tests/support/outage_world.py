"""A world with outages: for a while each job fails alike, then all is well again.

Held against an independent look at what is handed out and what fails: while the run holds back, one
job is tried now and then, and none fails for good because of the outage.
"""

from __future__ import annotations

from dataclasses import replace

from support.world import Disk, Violation, World
from taskmaster.master.broker.limits import Limits

TRIAL_PAUSE_SECONDS = 1.0  # between two jobs that are tried, at least


class Everything:
    """The set of all jobs."""

    def __contains__(self, payload: object) -> bool:
        return True

    def intersection(self, payloads: list) -> list:
        return payloads


class OutageWorld(World):
    """See the module.

    Attributes:
        outages: How many there were.
        holds: How often the run began to hold back.
        trials: Jobs that were tried meanwhile.
        went_on: How often it went on by itself.
        stops: How often it stopped because of ``--outage``, or because the first thirty jobs of a
            session had failed alike; somebody starts it again.
        spared: Failures that were not held against their jobs.
    """

    def __init__(self, seed: int, disk: Disk | None = None) -> None:
        self.outages = self.holds = self.trials = self.went_on = self.stops = self.spared = 0
        self.own_bad: set | None = None  # the jobs that fail by themselves, while all do
        self.away_until = 0.0
        self.was_holding = False
        self.tried_at = 0.0
        super().__init__(seed, disk)

    # -- the master --------------------------------------------------------------------------------

    def start_master(self) -> None:
        if not self.generation:
            more = self.random.choice([60, 120, 200])
            key = self.rows[-1][0] if self.rows else 0
            self.rows += [(key + number, 10_000 + number) for number in range(1, more + 1)]
            size = self.random.choice([40, 200])
            limits: Limits = replace(
                self.limits, size=size, span=max(self.limits.span, 2 * size),
                outage=self.random.choice([0.0, 40.0, 40.0, 300.0, 300.0, 1800.0, 1800.0, 3600.0]), max_failures=None,
            )  # fmt: skip
            self.limits = limits
        super().start_master()
        self.was_holding = False
        self.done_before = self.ledger.total()
        self._watch_hand_out()
        self._watch_reports()

    def _watch_hand_out(self) -> None:
        broker, take = self.broker, self.broker.hand_out.take

        def watched(slave, want):
            holding = broker.outage.holding
            self._note_hold(holding=holding)
            lease = take(slave, want)
            if lease is not None and holding:
                if len(lease.batch) != 1:
                    raise Violation(f"{len(lease.batch)} jobs are tried at once while everything fails")
                if self.now - self.tried_at < TRIAL_PAUSE_SECONDS:
                    raise Violation(f"jobs are tried {self.now - self.tried_at:g} s apart while everything fails")
                self.tried_at = self.now
                self.trials += 1
            return lease

        broker.hand_out.take = watched

    def _watch_reports(self) -> None:
        broker, prepare, apply = self.broker, self.broker.prepare, self.broker.apply
        judged: dict[int, bool] = {}  # a report that was judged while the run held back

        def prepared(slave, report):
            found = prepare(slave, report)
            judged[id(found)] = broker.outage.holding
            return found

        def applied(found):
            before = broker.counts()
            holding = broker.outage.holding and judged.pop(id(found), False)
            done = apply(found)
            self._note_hold(holding=broker.outage.holding)
            after = broker.counts()
            plain = done and found.fault is None and holding
            if plain and after.failed > before.failed:
                raise Violation("a job has failed for good because of an outage")
            if plain and after.waiting > before.waiting:
                raise Violation("an outage is held against a job")
            self.spared += plain and bool(found.verdicts)
            return done

        broker.prepare, broker.apply = prepared, applied

    def _note_hold(self, *, holding: bool) -> None:
        if holding and not self.was_holding:
            self.holds += 1
            if not self.limits.outage:
                raise Violation("the run holds back although --outage allows none")
            self.tried_at = self.now
        elif self.was_holding and not holding:
            self.went_on += 1
        self.was_holding = holding

    # -- time --------------------------------------------------------------------------------------

    def step(self) -> None:
        r = self.random
        if self.own_bad is None and self.ledger.total() > self.done_before and r.random() < 0.1:
            self.outages += 1
            self.own_bad, self.bad = self.bad, Everything()
            self.away_until = self.now + r.uniform(5.0, 600.0)
        for slave in [slave for slave in self.slaves if slave.alive]:
            for _ in range(r.choice([0, 0, 1, 6])):
                self.work(slave)
            self.post(slave)
        if r.random() < 0.5:
            self.pass_time(r.choice([0.1, 1.0, 3.0]))
        super().step()

    def read(self) -> None:
        """Read, as in any world; and what ends at some time ends, also when the faults have
        stopped.
        """
        stopped = bool(self.broker.settlement.stop) and not self.busy
        if self.own_bad is not None and (self.now >= self.away_until or stopped):
            self.bad, self.own_bad = self.own_bad, None
        if stopped:
            self.stops += 1
            self.start_master()
        super().read()
