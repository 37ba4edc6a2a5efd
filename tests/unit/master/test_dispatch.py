"""The way out: what a slave is handed, and when it is to ask again."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from support.master import Master

from taskmaster.errors import UsageError
from taskmaster.master import dispatch
from taskmaster.master.broker.batches import Batch, BatchKind
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.takeover import TRIED_BITS
from taskmaster.master.dispatch import RELAXED_REPORT_SECONDS, REPORT_SECONDS
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.pickling import MAX_JOB_BYTES
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.model import Job, Want, WireBatch


class Unpicklable:
    """A job with a key that no worker can get."""

    def __init__(self, key: int) -> None:
        self.id = key

    def __reduce__(self) -> Any:
        raise SystemExit("it holds a socket")


class World:
    """A dispatch whose jobs have all been read, and one slave of one worker."""

    def __init__(self, jobs: list[Any], **settings: Any) -> None:
        self.broker = Broker("i", Limits())
        self.broker.intake.add(jobs)
        self.broker.batch_limit.note(1.0)
        self.broker.intake.exhaust()
        self.dispatch = Master(self.broker, clock=lambda: 0.0, **settings).dispatch
        self.slave = self.connected("s")

    def connected(self, name: str) -> ConnectedSlave:
        slave = ConnectedSlave(name, name, 1, 1, 0.0)
        self.broker.slaves.add(slave)
        return slave

    def batches(self, batches: int, jobs: int, slave: ConnectedSlave | None = None) -> tuple[WireBatch, ...]:
        return self.dispatch.batches(slave or self.slave, Want(batches, jobs, jobs, ""))

    @property
    def failed(self) -> list[str]:
        return [failed.attempts[-1].type for failed in self.broker.settlement.failed.all()]


def payloads(batch: WireBatch) -> list[Any]:
    """What the worker makes of a batch."""
    jobs = pickle.loads(bytes(batch.blob))
    return [pickle.loads(job) for job in jobs] if batch.separate else jobs


def test_a_slave_gets_at_most_what_it_can_run_and_one_batch_more_for_each_worker() -> None:
    """However many batches it asks for; the rest stays in the queue, in order."""
    world = World(list(range(100)))
    found = world.batches(50, 10)

    assert [payloads(batch) for batch in found] == [list(range(10)), list(range(10, 20))]
    assert world.broker.intake.queued == 80


def test_what_is_lent_at_once_and_turns_out_too_large_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without blame, and to be handed out first: no job is left in the hands of a slave that was
    not told of it.
    """
    monkeypatch.setattr(dispatch, "ANSWER_BYTES", 100)
    world = World(["x" * 200, "y" * 200])

    assert [payloads(batch) for batch in world.batches(2, 1)] == [["x" * 200]]
    assert len(world.broker.leases) == 1
    assert [payloads(batch) for batch in world.batches(2, 1)] == [["y" * 200]]
    assert world.failed == []


def test_what_goes_back_before_it_was_sent_is_not_counted_by_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a job an hour, it would have had to wait for another one."""
    monkeypatch.setattr(dispatch, "ANSWER_BYTES", 100)
    throttle = Throttle(rate=2.0)
    assert throttle.allow(Want(1, 1), -1.0)  # two jobs are saved up until now
    world = World(["x" * 200, "y" * 200], throttle=throttle)

    assert len(world.batches(2, 1)) == 1
    assert [payloads(batch) for batch in world.batches(2, 1)] == [["y" * 200]]
    assert world.batches(2, 1) == ()


def test_what_is_lent_with_a_batch_whose_pickling_ends_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the answer that is not made is free again."""
    world = World(list(range(4)))

    def pickle_none(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as broken, pytest.raises(MemoryError):
        broken.setattr(dispatch.Dispatch, "_pickle", pickle_none)
        world.batches(2, 1)

    assert len(world.broker.leases) == 0
    assert [payloads(batch) for batch in world.batches(2, 2)] == [[0], [1]]


def test_no_further_batch_goes_into_an_answer_that_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is one frame, which has a limit."""
    monkeypatch.setattr(dispatch, "ANSWER_BYTES", 100)
    world = World(["x" * 200, "y" * 200, "z" * 200])

    assert [payloads(batch) for batch in world.batches(2, 1)] == [["x" * 200]]


def test_jobs_that_cannot_be_pickled_fail_alone_and_the_others_are_handed_out() -> None:
    """Whatever pickling raises, SystemExit too; positions of a batch are fixed when it is sent."""
    world = World([1, Unpicklable(2), 3, Unpicklable(4), 5])
    found = [*world.batches(2, 5), *world.batches(2, 5, world.connected("another"))]

    assert [job for batch in found for job in payloads(batch)] == [1, 3, 5]
    assert world.failed == ["SystemExit", "SystemExit"]
    assert world.broker.settlement.failures == 2


@pytest.mark.parametrize("job", [memoryview(b"x"), (number for number in ()), lambda: 1])
def test_a_job_that_cannot_be_pickled_says_what_to_yield_instead(job: object) -> None:
    """Without a traceback: no line of it would be the user's."""
    world = World([Job(1, job)])
    world.batches(2, 5)
    (failed,) = world.broker.settlement.failed.all()

    assert failed.attempts[0].traceback == ""
    assert "cannot be pickled" in failed.attempts[0].message
    assert "dict(row)" in failed.attempts[0].message


def test_a_job_that_is_too_large_fails_with_the_cure() -> None:
    """The others of its batch are handed out, once the failed job is in the state."""
    world = World([b"x" * (MAX_JOB_BYTES + 1), 2])

    assert world.batches(2, 2) == ()
    (failed,) = world.broker.settlement.failed.all()
    assert failed.attempts[0].type == "JobTooLarge"
    assert "yield a key or a file name" in failed.attempts[0].message

    world.broker.settlement.failed.written(1)

    assert [payloads(batch) for batch in world.batches(2, 2)] == [[2]]


def test_jobs_that_are_too_large_together_are_sent_apart() -> None:
    """What does not fit into one blob goes back, and comes with the next batch."""
    half = MAX_JOB_BYTES // 2 + 1
    world = World([b"a" * half, b"b" * half])
    world.broker.batch_limit.bytes_per_job = 1.0
    (first,) = world.batches(1, 2)
    (second,) = world.batches(1, 2)

    assert [job[:1] for job in (*payloads(first), *payloads(second))] == [b"a", b"b"]
    assert world.broker.settlement.failures == 0


def test_a_batch_with_a_job_without_key_is_not_run_and_nothing_is_handed_out_any_more() -> None:
    """Also what stands before that job: a resumed run could not tell it from what comes behind."""
    checks = JobChecks(JobIdentity())
    world = World([1, 2, object(), 4], checks=checks)

    assert world.batches(2, 3) == ()
    assert isinstance(checks.error, UsageError)
    assert world.broker.intake.refused
    assert world.batches(2, 3) == ()


def test_what_the_throttle_holds_back_is_not_handed_out() -> None:
    """And the slave is told when it is worth asking again: not at once."""
    world = World(list(range(10)), throttle=Throttle(rate=1.0))
    want = Want(1, 5, 5, "")

    assert [payloads(batch) for batch in world.dispatch.batches(world.slave, want)] == [[0]]
    assert world.dispatch.batches(world.slave, want) == ()
    assert world.dispatch.pause(world.slave, want, fed=False) == pytest.approx(1.0)


def test_a_slave_that_waits_for_its_turn_learns_soon_of_a_higher_rate() -> None:
    """It asks once more before its turn comes, and keeps it; after ``rate off`` it has jobs."""
    throttle = Throttle(rate=0.1)
    world = World(list(range(10)), throttle=throttle)
    want = Want(1, 5, 5, "")
    assert [payloads(batch) for batch in world.dispatch.batches(world.slave, want)] == [[0]]

    assert world.dispatch.batches(world.slave, want) == ()
    assert world.dispatch.pause(world.slave, want, fed=False) == 1.0
    turn = world.slave.turn
    assert turn > 5.0
    assert world.dispatch.pause(world.slave, want, fed=False) == 1.0
    assert world.slave.turn == pytest.approx(turn, abs=0.1)
    throttle.set_rate(None, "")
    assert [payloads(batch) for batch in world.dispatch.batches(world.slave, want)] == [[1, 2, 3, 4, 5]]


def test_a_busy_slave_reports_more_seldom_while_much_is_queued() -> None:
    """Its words take time from its jobs; but soon as the queue runs out, and while another one has
    nothing.
    """
    world = World(list(range(25)))
    want = Want(1, 10, 10, "")
    pauses = []
    for _ in range(2):
        fed = bool(world.dispatch.batches(world.slave, want))
        pauses.append(world.dispatch.pause(world.slave, want, fed=fed))

    assert pauses == [RELAXED_REPORT_SECONDS, REPORT_SECONDS]

    world.broker.intake.add(range(1000))
    nothing = Want(0, 1, 1, "")

    assert world.dispatch.pause(world.slave, nothing, fed=False) == RELAXED_REPORT_SECONDS

    world.broker.recalls.starve(world.connected("hungry"))

    assert world.dispatch.pause(world.slave, nothing, fed=False) == REPORT_SECONDS


@pytest.mark.parametrize(
    ("workers", "seconds"), [(0, 0.5), (4000, 0.5), (16_000, 2.0), (640_000, 80.0), (10**8, 300.0)]
)
def test_batches_are_the_longer_the_more_workers_there_are(workers: int, seconds: float) -> None:
    """So that they do not ask for more of them than a master can hand out."""
    world = World([])
    world.broker.slaves.workers = world.broker.slaves.fed_workers = workers

    assert world.dispatch.work == pytest.approx(seconds)


def test_a_job_that_is_parked_is_named_with_its_batch() -> None:
    """In the same answer, so that a slave whose master ends can show it to the next one."""
    world = World([])
    world.broker.parking.take_over([(-1, ParkedJob(4, "1", pickle.dumps(1), b"f" * 16))])
    world.broker.redelivery.append(Batch(-1, [ParkedJob(4, "1", pickle.dumps(1), b"f" * 16)], BatchKind.PARKED))
    (batch,) = world.batches(1, 1)

    ((token, index, number),) = world.broker.takeover.tickets(world.slave)
    assert (token, index, number >> TRIED_BITS) == (batch.token, 0, world.broker.parking.ticket(-1))
