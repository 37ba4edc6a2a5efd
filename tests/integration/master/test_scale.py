"""What the master does under its lock takes as many steps for a thousand slaves as for fifty: not
one of the calls looks at all leases, all slaves, or all that was lost.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.broker import enter
from support.master import Master, settle
from support.steps import steps

from taskmaster import keys
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.takeover import TRIED_BITS
from taskmaster.master.completion import Completion
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.skew import Skew
from taskmaster.model import PROTOCOL, Report, ReportEnd, Want

FEW, MANY = 50, 1000
WORKERS = 2
ONE = Want(1, 1)
SLACK = 1.5  # a search in a sorted place may take a step more among more; a walk would take twenty times as many


class Fleet:
    """A master whose slaves hold two batches of one job for each worker.

    Args:
        slaves: How many.
    """

    def __init__(self, slaves: int) -> None:
        each = 2 * WORKERS
        self.jobs = each * slaves
        self.broker = Broker("i", Limits(size=10**9, span=10**9))
        self.broker.batch_limit.note(1.0)
        self.slaves = [enter(self.broker, f"s{number}", WORKERS) for number in range(slaves)]
        self.broker.intake.add(range(self.jobs + 1000))
        for slave in self.slaves:
            for _ in range(each):
                assert self.broker.take(slave, ONE)
        self.broker.tick(1.0)

    def settle_above(self, first: int) -> None:
        """Settle every second job from a position on, and write that down."""
        for lease in list(self.broker.leases):
            if lease.batch.first >= first and lease.batch.first % 2:
                settle(self.broker, lease, Report(lease.token, 1, keep=1, end=ReportEnd.FINISHED))
        self.broker.confirm(self.broker.collect())
        self.broker.collect()

    def starve(self) -> None:
        """Let one slave have nothing, and nothing be there for it."""
        self.broker.intake.take(10_000)
        for lease in self.broker.leases.held_by(self.slaves[0]):
            settle(self.broker, lease, Report(lease.token, 1, keep=1, end=ReportEnd.FINISHED))
        self.broker.slaves.unfed.add(self.slaves[0].id)

    def lose(self) -> None:
        """Lose all slaves but one."""
        for slave in self.slaves[1:]:
            self.broker.redelivery.lose(slave)


def counts(fleet: Fleet) -> Callable[[], object]:
    """The numbers of the progress line."""
    return fleet.broker.counts


def asks_back_for_a_starving_worker(fleet: Fleet) -> Callable[[], object]:
    """Of single jobs that wait behind another one."""
    fleet.starve()
    return fleet.broker.recalls.ask_back


def asks_back_what_holds_the_watermark(fleet: Fleet) -> Callable[[], object]:
    """As the span fills up."""
    fleet.settle_above(100)
    fleet.broker.limits.span = 2 * fleet.broker.intake.span
    return fleet.broker.recalls.ask_back


def asks_all_back(fleet: Fleet) -> Callable[[], object]:
    """As in an outage."""
    return lambda: fleet.broker.recalls.ask_back(all_unstarted=True)


def finds_what_to_park(fleet: Fleet) -> Callable[[], object]:
    """As the span is half full."""
    fleet.settle_above(20)
    fleet.broker.limits.span = int(1.5 * fleet.broker.intake.span)
    assert fleet.broker.relief.wanted()
    return fleet.broker.relief.wanted


def finds_what_to_park_of_what_was_lost(fleet: Fleet) -> Callable[[], object]:
    """The same when slaves were lost."""
    fleet.settle_above(20)
    fleet.lose()
    fleet.broker.limits.span = int(1.5 * fleet.broker.intake.span)
    assert fleet.broker.relief.wanted()
    return fleet.broker.relief.wanted


def collects_a_checkpoint(fleet: Fleet) -> Callable[[], object]:
    """When half of all is settled above the watermark, and written."""
    fleet.settle_above(20)
    return fleet.broker.collect


def says_hello(fleet: Fleet) -> Callable[[], object]:
    """After all others have."""
    skew = Skew(code="c", callback="m")
    service = Master(fleet.broker, skew=skew).service
    about = {"protocol": PROTOCOL, "workers": WORKERS, "slots": WORKERS, "code": "c", "callback": "m", "target": "m"}
    for slave in fleet.slaves:
        skew.compare({**about, "session": slave.id}, slave.name, fleet.broker.slaves.is_connected)
    return lambda: service.hello({**about, "session": "new", "name": "new"})


def says_hello_with_other_code(fleet: Fleet) -> Callable[[], object]:
    """After all others have, of which some are gone."""
    service_hello = says_hello(fleet)
    service_hello()
    for slave in fleet.slaves[:10]:
        fleet.broker.slaves.closed(slave.id, 1.0)
    return service_hello


def hands_out_what_was_lost(fleet: Fleet) -> Callable[[], object]:
    """To a slave that has room."""
    fleet.lose()
    fleet.broker.leave(fleet.slaves[0])
    slave = enter(fleet.broker, "new", WORKERS)
    return lambda: fleet.broker.take(slave, ONE)


def hands_out_what_killed_slaves(fleet: Fleet) -> Callable[[], object]:
    """Although no slave may have what was lost with others three times."""
    for batch in [lease.batch for lease in fleet.broker.leases]:
        batch.losses = 2
    fleet.lose()
    fleet.broker.leave(fleet.slaves[0])
    slave = enter(fleet.broker, "new", WORKERS)
    for _ in range(2 * WORKERS - 1):
        fleet.broker.leases.lend(slave, fleet.broker.intake.take(1))  # type: ignore[arg-type]
    return lambda: fleet.broker.take(slave, ONE)


def reads(fleet: Fleet) -> Callable[[], object]:
    """With much that was lost."""
    fleet.lose()
    return fleet.broker.intake.room


@pytest.mark.parametrize(
    "prepare",
    [
        counts, asks_back_for_a_starving_worker, asks_back_what_holds_the_watermark, asks_all_back, finds_what_to_park,
        finds_what_to_park_of_what_was_lost, collects_a_checkpoint, says_hello, says_hello_with_other_code,
        hands_out_what_was_lost, hands_out_what_killed_slaves, reads,
    ],
    ids=lambda prepare: prepare.__name__,
)  # fmt: skip
def test_it_takes_no_more_steps_among_many_slaves(prepare: Callable[[Fleet], Callable[[], object]]) -> None:
    """Twenty times the slaves, leases and returned jobs."""
    few, many = (steps(prepare(Fleet(slaves))) for slaves in (FEW, MANY))

    assert many <= SLACK * few


class Resumed:
    """A master that was restarted, with what its slaves have been running."""

    def __init__(self, jobs: int) -> None:
        self.parked = [
            ParkedJob(number, keys.encode(number), b"", number.to_bytes(16, "big")) for number in range(jobs)
        ]
        self.record = RunRecord("run", resumed=True, mark=keys.encode(jobs), parked=self.parked)
        self.broker = Broker("i", Limits(size=10**9, reclaim=5.0), self.record)
        self.tickets = [self.broker.parking.ticket(number - jobs) for number in range(jobs)]

    def slave(self, workers: int = 64) -> ConnectedSlave:
        """A slave that comes back."""
        return enter(self.broker, "s", workers)


def takes_a_running_job_over(resumed: Resumed) -> Callable[[], object]:
    """One of all that was parked."""
    slave, ticket = resumed.slave(), resumed.tickets[1500]
    assert ticket is not None
    return lambda: resumed.broker.takeover.reclaim(slave, (ticket or 0) << TRIED_BITS)


def takes_the_last_one_over(resumed: Resumed) -> Callable[[], object]:
    """When every second one has been."""
    slave = resumed.slave()
    for ticket in resumed.tickets[:2000:2]:
        resumed.broker.takeover.reclaim(slave, (ticket or 0) << TRIED_BITS)
    return lambda: resumed.broker.takeover.reclaim(slave, (resumed.tickets[1501] or 0) << TRIED_BITS)


def hands_nothing_out_meanwhile(resumed: Resumed) -> Callable[[], object]:
    """What is kept for those that may come back is not looked at."""
    slave = resumed.slave()
    resumed.broker.tick(1.0)
    return lambda: resumed.broker.take(slave, ONE)


def notes_what_was_written(resumed: Resumed) -> Callable[[], object]:
    """Of a few that were parked since."""
    return lambda: resumed.broker.parking.written(resumed.parked[:10], [])


def knows_how_many_wait(resumed: Resumed) -> Callable[[], object]:
    """While half of them run."""
    for position in range(-2000, 0, 2):
        resumed.broker.parking._running.add(position)
    return lambda: resumed.broker.intake.plan_room(10)


class Extents:
    """A source that knows what its jobs are of the whole."""

    def position(self, _: object) -> float:
        return 0.5

    def extent(self, _: object) -> float:
        return 1e-6


def updates_the_share_that_is_done(resumed: Resumed) -> Callable[[], object]:
    """One job more is settled."""
    completion = Completion(Extents(), resumed.record)
    completion.update(Checkpoint(mark=resumed.record.mark))
    return lambda: completion.update(Checkpoint(mark=resumed.record.mark, unpark=[3]))


@pytest.mark.parametrize(
    "prepare",
    [
        takes_a_running_job_over, takes_the_last_one_over, hands_nothing_out_meanwhile, notes_what_was_written,
        knows_how_many_wait, updates_the_share_that_is_done,
    ],
    ids=lambda prepare: prepare.__name__,
)  # fmt: skip
def test_a_restarted_master_takes_no_more_steps_for_many_jobs(
    prepare: Callable[[Resumed], Callable[[], object]],
) -> None:
    """Ten times the parked jobs."""
    few, many = (steps(prepare(Resumed(jobs))) for jobs in (2000, 20_000))

    assert many <= SLACK * few
