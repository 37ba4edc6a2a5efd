"""What the keeper does about a state that cannot be written, or not in time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from taskmaster import keys
from taskmaster.errors import StateUnwritable
from taskmaster.master.broker.broker import Broker, Limits
from taskmaster.master.broker.leases import Session
from taskmaster.master.broker.watermark import settled_piece
from taskmaster.master.checkpointer import SLOW, Keeper
from taskmaster.master.completion import Share
from taskmaster.master.job_identity import Identity
from taskmaster.master.job_records import ParkedJob
from taskmaster.master.reading.dedup import Earlier
from taskmaster.master.reading.source import Source
from taskmaster.master.stores.contract import Checkpoint, RunRecord
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.model import Job, Report, ReportEnd, Want


class Clock:
    """Shows what it was set to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Disk(MemoryStore):
    """A store that fails, or stands still in the middle of a write."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.inside = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def write(self, checkpoint: Checkpoint) -> None:
        self.inside.set()
        assert self.may_end.wait(10)
        if self.full:
            raise StateUnwritable("The disk is full.")
        super().write(checkpoint)


def keeper_of(disk: Disk, clock: Clock, identity: Identity | None = None) -> tuple[Keeper, Broker]:
    record = RunRecord("run", resumed=False)
    broker = Broker("i", Limits())
    lock = threading.Lock()
    return Keeper(disk, broker, lock, identity or Identity(), Earlier(record), record, clock), broker


def attempt(keeper: Keeper) -> None:
    """What the thread does each time."""
    try:
        keeper.checkpoint()
    except StateUnwritable as exc:
        keeper._pause(str(exc))
    else:
        keeper._pause("")


def test_a_state_that_cannot_be_written_pauses_the_run_until_it_can() -> None:
    """With the reason, and for how long; then it goes on by itself."""
    disk, clock = Disk(), Clock()
    keeper, broker = keeper_of(disk, clock)

    assert keeper.trouble() == (0.0, "")

    disk.full = True
    attempt(keeper)
    clock.now += 7.0
    attempt(keeper)
    clock.now += 3.0

    assert keeper.trouble() == (10.0, "The disk is full.")
    assert broker.paused == "The disk is full."

    disk.full = False
    attempt(keeper)

    assert keeper.trouble() == (0.0, "")
    assert broker.paused == ""


def test_a_write_that_hangs_pauses_the_run_too() -> None:
    """Its thread cannot say so; when it is through, the run goes on."""
    disk, clock = Disk(), Clock()
    keeper, broker = keeper_of(disk, clock)
    disk.may_end.clear()
    thread = threading.Thread(target=attempt, args=(keeper,))
    thread.start()

    assert disk.inside.wait(10)

    clock.now += SLOW

    assert keeper.trouble() == (0.0, "")

    clock.now += 3.0
    seconds, why = keeper.trouble()

    assert seconds == SLOW + 3.0
    assert "8 s" in why
    assert broker.paused == why

    clock.now += 1.0

    assert keeper.trouble()[0] == SLOW + 4.0

    disk.may_end.set()
    thread.join(10)

    assert keeper.trouble() == (0.0, "")
    assert broker.paused == ""


def test_a_write_that_ends_while_it_is_looked_at_pauses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its thread has said that all is well: nobody else would end the pause with a word."""
    disk, clock = Disk(), Clock()
    keeper, broker = keeper_of(disk, clock)
    keeper._writing = clock.now
    attempted = []

    class Late(Clock):
        """The write ends between two looks at it."""

        def __call__(self) -> float:
            if attempted == ["looked"]:
                keeper._writing = None
                attempted.append("ended")
                keeper._pause("")
            elif not attempted:
                attempted.append("looked")
            return self.now

    late = Late()
    late.now = clock.now + SLOW + 3.0
    keeper._clock = late

    assert keeper.trouble() == (0.0, "")
    assert attempted == ["looked", "ended"]
    assert broker.paused == ""
    assert "paused" not in caplog.text


def test_what_is_settled_out_of_order_is_kept_as_fingerprints_and_nothing_else() -> None:
    """A job without a key has none, and is not mistaken for another one; the jobs themselves are
    let go.
    """
    disk = Disk()
    keeper, broker = keeper_of(disk, Clock())
    identity = Identity()
    jobs = [1, object(), 2, 2]
    piece = settled_piece(5, jobs, identity.text)
    broker.watermark.settle(piece)
    keeper.checkpoint()

    assert disk.load().remembered == b"".join(identity.fingerprint(job) for job in jobs)
    assert len(disk.load().remembered) == 3 * keys.FINGERPRINT
    assert piece.jobs is None
    assert piece.part(8, 9, "2").prints == identity.fingerprint(2)


def test_the_watermark_passes_no_equal_key_while_the_keeper_looks_at_the_one_before_it() -> None:
    """Meanwhile the jobs that it looks at are handed out and settled: what follows is not what it
    knows.
    """

    class Watched(Identity):
        """The user's function for keys takes long enough for two jobs to be done."""

        def text(self, job: Any) -> str | None:
            if job == jobs[1] and broker.watermark.low == 1:
                do(2)
            return super().text(job)

    def do(count: int) -> None:
        lease = broker.take(session, Want(1, count))
        assert lease is not None
        piece = settled_piece(lease.stretch.first, lease.stretch.jobs, Identity().text)
        assert broker.settle(lease, Report(lease.token, count, end=ReportEnd.FINISHED), [piece], {})

    jobs = [Job(1, "a"), Job(2, "b"), Job(3, "c"), Job(3, "d")]
    keeper, broker = keeper_of(Disk(), Clock(), Watched())
    broker.queue.extend(jobs)
    broker.bytes_per_job = 1.0
    session = Session("s", "s", 1, 1, 0.0)
    broker.enter(session, ())
    do(1)
    keeper.checkpoint()

    assert broker.watermark.low == 3
    assert broker.watermark.mark == "2"  # a source that goes on after 3 would leave the last job out


def test_a_source_that_cannot_place_its_keys_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Checkpoints are written as ever, the share is not known any more, and the traceback is logged
    once.
    """

    class Broken:
        def iterate(self, last: object) -> list[int]:
            del last
            return []

        def position(self, key: int) -> float:
            raise ValueError(key)

    disk, record = Disk(), RunRecord("run", resumed=False)
    broker, share = Broker("i", Limits()), Share(Source(Broken()), record)
    keeper = Keeper(disk, broker, threading.Lock(), Identity(), Earlier(record), record, Clock(), share)
    for mark in (1, 2):
        broker.watermark.jump(keys.encode(mark))
        keeper.checkpoint()

    assert disk.load().mark == "2"
    assert share.settled is None
    assert len([entry for entry in caplog.records if "position(key)" in entry.message]) == 1


def test_a_last_checkpoint_that_hangs_does_not_hold_the_run() -> None:
    """The run gives up, and nobody else writes as long as it hangs."""
    hangs, writes = threading.Event(), threading.Event()

    class Hanging(Disk):
        def write(self, checkpoint: Checkpoint) -> None:
            hangs.set()
            writes.wait(10.0)
            super().write(checkpoint)

    def give_up() -> None:
        if hangs.is_set():
            raise StateUnwritable("It hangs.")

    keeper, _ = keeper_of(Hanging(), Clock())
    with pytest.raises(StateUnwritable, match="It hangs"):
        keeper.last_checkpoint(give_up)

    assert not keeper.stop(0.0)

    writes.set()
    keeper.last_checkpoint(lambda: None)

    assert keeper.stop(0.0)


def test_who_waits_for_a_checkpoint_gets_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planned is handed out as soon as the store has it: workers do not wait for the next
    interval.
    """
    monkeypatch.setattr("taskmaster.master.checkpointer.INTERVAL", 3600.0)
    disk = Disk()
    keeper, broker = keeper_of(disk, Clock())
    broker.plan.on = True
    broker.add_planned([ParkedJob(-1, "1", b"a job", b"its print")])
    keeper.start()
    assert not disk.inside.is_set()

    keeper.hurry()

    assert disk.inside.wait(10.0)
    assert keeper.stop(10.0)
    assert broker.returned == 1
