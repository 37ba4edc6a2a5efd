"""What a run says of itself while nothing happens, and since when."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave, Quieted
from taskmaster.master.condition import SILENT_SECONDS, Condition
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.standing import Standing
from taskmaster.master.steer_service import SteerService
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.master.why import Why, WhyCode


class World:
    """A run with jobs and a slave, looked at as the progress does it."""

    def __init__(self) -> None:
        self.broker = Broker("i", Limits())
        self.broker.intake.add(range(100))
        self.broker.enter(ConnectedSlave("id1", "web1:1", 2, 2, 0.0), ())
        throttle = Throttle()
        reader: Any = SimpleNamespace(error=None, skipped=None, waits=lambda _: 0.0)
        source: Any = SimpleNamespace(name="get_jobs")
        record = RunRecord("r", resumed=False)
        steers = SteerService(self.broker, threading.Lock(), throttle, record, apply=lambda *_: None)
        standing = Standing(JobIdentity())
        self.condition = Condition(self.broker, throttle, reader, source, standing, steers.steering)

    def look(self, now: float) -> tuple[str, Why]:
        """The reason of the progress, and the whole one."""
        counts = self.broker.counts()
        return self.condition.explain(self.condition.observe(None, counts, now), counts, now, {})


def test_a_run_that_settles_nothing_says_why() -> None:
    """After half a minute, whatever the reason is, until a job is settled again."""
    world = World()
    assert world.look(10.0)[0] == ""
    assert world.look(10.0 + SILENT_SECONDS / 2)[0] == ""

    reason, whole = world.look(10.0 + SILENT_SECONDS)
    assert reason == whole.sentence != ""

    world.broker.settlement.settled += 1
    assert world.look(11.0 + SILENT_SECONDS)[0] == ""
    assert world.look(12.0 + 2 * SILENT_SECONDS)[0] != ""


def test_since_when_it_holds_does_not_move_with_each_job() -> None:
    """As long as the reason is the same, however much is settled meanwhile."""
    world = World()
    world.look(10.0)
    for second in range(11, 15):
        world.broker.settlement.settled += 1
        world.look(float(second))

    assert world.condition.code is WhyCode.FEEDING
    assert world.condition.since == 10.0


def test_a_run_whose_slaves_are_all_quiet_says_who_made_them_so() -> None:
    """At once, in the progress too, with what takes it back; not while another slave gets jobs, nor
    when only one that is away would.
    """
    world = World()
    world.broker.enter(ConnectedSlave("id2", "web2:1", 2, 2, 0.0), ())
    world.broker.slaves.silence("id1", Quieted("web1:1", False, "root", "testing"))
    some = world.look(10.0)[1]
    assert some.code is WhyCode.FEEDING
    assert some.sentence.startswith("0 of 2 workers are busy (2 more are on quiet slaves)")

    world.broker.slaves.drop("id2")
    reason, whole = world.look(11.0)
    assert reason == "no slave takes jobs: web1:1 was made quiet by root (testing); tm-ctl quiet web1:1 --undo"
    assert (whole.code, whole.code.exit_code) == (WhyCode.QUIET, 3)
    assert whole.cure == "`tm-ctl quiet web1:1 --undo` lets it take jobs again."
