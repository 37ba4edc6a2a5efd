"""When a slave speaks to its master; the commands themselves are in tests/process."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.model import Answer, AnswerState, Report, ReportEnd, Want, WireBatch
from taskmaster.runtime.command_log import CommandLog
from taskmaster.runtime.signals import Signals
from taskmaster.slave import supervisor as module
from taskmaster.slave.config import SlaveConfig
from taskmaster.slave.pool.contract import Room
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.supervisor import Supervisor
from taskmaster.transport.address import Address

WORKERS = 64
BATCH_SECONDS = 8.0  # so that a slave gathers for one second


class Link:
    """A link to a master that answers when the test does."""

    up, lease = True, 60.0

    def __init__(self, *_: Any) -> None:
        self.posted: list[tuple[list[Report], Want]] = []

    def post(self, reports: list[Report], want: Want) -> None:
        """Note what would be sent."""
        self.posted.append((reports, want))

    def close(self) -> None:
        """There is nothing to close."""


class Slave:
    """A supervisor with workers and a link that exist for the test alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MasterLink", Link)
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.pool: Any = SimpleNamespace(
            room=Room(0, idle=False), resting=False, rest=lambda _: None, close=lambda _: None, give=self.give,
            read_progress=lambda: None, recall=lambda *_: None, give_back_waiting=lambda: None,
        )  # fmt: skip
        self.held: list[HeldBatch] = []
        config = SlaveConfig("jobs", Address("127.0.0.1", 1), WORKERS)
        self.supervisor = Supervisor(config, lambda: "key", Signals(), CommandLog(), self.made)

    def made(self, in_flight: InFlight, *_: Any) -> Any:
        """Make the pool."""
        self.in_flight = in_flight
        return self.pool

    def give(self, lent: WireBatch) -> None:
        """Take a batch."""
        self.held.append(self.in_flight.take(lent))

    def answer(self, batches: int = 0, pause: float = 30.0, work: float = BATCH_SECONDS) -> None:
        """Let the master answer."""
        lent = tuple(WireBatch(f"{self.now}.{number}", 1, False, False, 0, b"") for number in range(batches))
        self.supervisor.answered(Answer(AnswerState.RUN, pause, lent, work=work))

    def turns(self, seconds: float) -> int:
        """Let time pass, with a master that answers at once and has nothing; return how often the
        slave's loop has turned.
        """
        end, turns = self.now + seconds, 0
        while self.now < end and turns < 1000:
            turns += 1
            if self.posts(0.0):
                self.answer(0, pause=5.0)
            self.now += max(0.0, self.supervisor._until_next(self.now))
        return turns

    def posts(self, after: float) -> list[tuple[list[Report], Want]]:
        """Let time pass, and return what is said then."""
        self.now += after
        link = self.supervisor._link
        link.posted.clear()
        self.supervisor._exchange(self.now)
        return list(link.posted)


@pytest.fixture
def slave(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slave]:
    """A slave all of whose workers have something to do."""
    made = Slave(monkeypatch)
    made.pool.room = Room(3, idle=True)
    assert len(made.posts(0.0)) == 1
    made.answer(3)
    made.pool.room = Room(0, idle=False)
    assert made.posts(0.0) == []  # how far they have got is read from now on as the master has said
    yield made
    made.supervisor.close()


def test_ends_of_batches_are_told_together_while_every_worker_has_another_one(slave: Slave):
    """An exchange costs the master more than the batch that it is for."""
    slave.in_flight.finish(slave.held[0], 1)
    slave.pool.room = Room(1, idle=False)

    assert slave.posts(0.3) == []

    slave.in_flight.finish(slave.held[1], 1)
    slave.pool.room = Room(2, idle=False)

    assert slave.posts(0.3) == []

    ((reports, want),) = slave.posts(0.5)

    assert [report.end for report in reports] == [ReportEnd.FINISHED] * 2
    assert want.batches == 2


def test_the_end_of_a_batch_is_told_at_once_where_its_worker_has_no_other_one(slave: Slave):
    """A worker that has nothing to do is a reason to ask."""
    slave.posts(1.0)
    slave.answer(0, work=0.5)
    slave.in_flight.finish(slave.held[0], 1)
    slave.pool.room = Room(2, idle=True)

    ((reports, want),) = slave.posts(0.01)

    assert len(reports) == 1
    assert want.batches == 2


def test_workers_of_a_very_large_fleet_ask_together_also_where_they_have_nothing(slave: Slave):
    """Else a master that is behind is asked for single batches, and falls behind further."""
    slave.in_flight.finish(slave.held[0], 1)
    slave.pool.room = Room(2, idle=True)

    assert slave.posts(0.5) == []

    slave.in_flight.finish(slave.held[1], 1)
    slave.pool.room = Room(3, idle=True)
    ((reports, want),) = slave.posts(0.5)

    assert len(reports) == 2
    assert want.batches == 3


def test_a_slave_that_is_told_when_to_ask_again_tells_no_end_of_a_batch_before_it_has_gathered(slave: Slave):
    """The master has no batch for it: to say each end at once would keep it from handing out."""
    slave.in_flight.finish(slave.held[0], 1)
    slave.pool.room = Room(2, idle=True)
    slave.posts(0.1)
    slave.answer(0, pause=5.0)
    slave.in_flight.finish(slave.held[1], 1)

    assert slave.posts(0.5) == []
    assert len(slave.posts(0.5)) == 1


@pytest.mark.parametrize("end", ["crash", "drop"])
def test_what_did_not_end_well_is_told_at_once(slave: Slave, end: str):
    """Others may be waiting for the jobs that go back."""
    if end == "crash":
        slave.in_flight.crash(slave.held[0], [0], "crashed by SIGSEGV")
    else:
        slave.in_flight.drop(slave.held[0])
    slave.pool.room = Room(1, idle=False)

    assert len(slave.posts(0.01)) == 1


@pytest.mark.parametrize("resting", [False, True])
@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("held", [0, 3])
@pytest.mark.parametrize("room", [Room(0, idle=False), Room(3, idle=False), Room(3, idle=True)])
def test_a_slave_waits_for_what_is_due(slave: Slave, room: Room, held: int, stopping: bool, resting: bool):
    """Else its loop turns without a rest, and takes the processor that its workers are to have."""
    slave.pool.room, slave.pool.resting = room, resting
    for batch in slave.held[held:]:
        slave.in_flight.finish(batch, 1)
    slave.posts(0.0)
    slave.answer(0, pause=5.0)
    assert len(slave.in_flight) == held
    slave.supervisor._stop_by = slave.now + 3600 if stopping else None

    assert slave.turns(60.0) <= 60 * 2 / 5 + 60 / module.LOOP_WAIT_SECONDS + 4
