"""What the checkpointer does about a state that cannot be written, or not in time."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.master import settle

from taskmaster import keys
from taskmaster.errors import StateUnwritable
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.replay import Selection
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.watermark import settled_range
from taskmaster.master.checkpointer import SLOW_SECONDS, Checkpointer
from taskmaster.master.completion import Completion
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.early_pickles import EarlyPickles
from taskmaster.master.reading.source import Source
from taskmaster.master.records.fingerprints import FINGERPRINT_BYTES
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.steering.steering import News
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


def checkpointer_of(disk: Disk, clock: Clock, identity: JobIdentity | None = None) -> tuple[Checkpointer, Broker]:
    record = RunRecord("run", resumed=False)
    broker = Broker("i", Limits())
    lock = threading.Lock()
    return Checkpointer(disk, broker, lock, identity or JobIdentity(), Dedup(record), record, clock), broker


def attempt(checkpointer: Checkpointer) -> None:
    """What the thread does each time."""
    try:
        checkpointer.checkpoint()
    except StateUnwritable as exc:
        checkpointer._pause(str(exc))
    else:
        checkpointer._pause("")


def test_a_state_that_cannot_be_written_pauses_the_run_until_it_can() -> None:
    """With the reason, and for how long; then it goes on by itself."""
    disk, clock = Disk(), Clock()
    checkpointer, broker = checkpointer_of(disk, clock)

    assert checkpointer.trouble() == (0.0, "")

    disk.full = True
    attempt(checkpointer)
    clock.now += 7.0
    attempt(checkpointer)
    clock.now += 3.0

    assert checkpointer.trouble() == (10.0, "The disk is full.")
    assert broker.paused == "The disk is full."

    disk.full = False
    attempt(checkpointer)

    assert checkpointer.trouble() == (0.0, "")
    assert broker.paused == ""


def test_a_write_that_hangs_pauses_the_run_too() -> None:
    """Its thread cannot say so; when it is through, the run goes on."""
    disk, clock = Disk(), Clock()
    checkpointer, broker = checkpointer_of(disk, clock)
    disk.may_end.clear()
    thread = threading.Thread(target=attempt, args=(checkpointer,))
    thread.start()

    assert disk.inside.wait(10)

    clock.now += SLOW_SECONDS

    assert checkpointer.trouble() == (0.0, "")

    clock.now += 3.0
    seconds, why = checkpointer.trouble()

    assert seconds == checkpointer.failing_seconds == SLOW_SECONDS + 3.0
    assert "8 s" in why
    assert broker.paused == why

    clock.now += 1.0

    assert checkpointer.trouble()[0] == SLOW_SECONDS + 4.0

    disk.may_end.set()
    thread.join(10)

    assert checkpointer.trouble() == (0.0, "")
    assert broker.paused == ""


def test_a_write_that_ends_while_it_is_looked_at_pauses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its thread has said that all is well: nobody else would end the pause with a word."""
    disk, clock = Disk(), Clock()
    checkpointer, broker = checkpointer_of(disk, clock)
    checkpointer._writing = clock.now
    attempted = []

    class Late(Clock):
        """The write ends between two looks at it."""

        def __call__(self) -> float:
            if attempted == ["looked"]:
                checkpointer._writing = None
                attempted.append("ended")
                checkpointer._pause("")
            elif not attempted:
                attempted.append("looked")
            return self.now

    late = Late()
    late.now = clock.now + SLOW_SECONDS + 3.0
    checkpointer._clock = late

    assert checkpointer.trouble() == (0.0, "")
    assert attempted == ["looked", "ended"]
    assert broker.paused == ""
    assert "paused" not in caplog.text


def test_what_is_settled_out_of_order_is_kept_as_fingerprints_and_nothing_else() -> None:
    """A job without a key has none, and is not mistaken for another one; the jobs themselves are
    let go.
    """
    disk = Disk()
    checkpointer, broker = checkpointer_of(disk, Clock())
    identity = JobIdentity()
    jobs = [1, object(), 2, 2]
    settled = settled_range(5, jobs, identity.text)
    broker.watermark.settle(settled)
    checkpointer.checkpoint()

    assert disk.load().remembered == b"".join(identity.fingerprint(job) for job in jobs)
    assert len(disk.load().remembered) == 3 * FINGERPRINT_BYTES
    assert settled.jobs is None
    assert settled.part(8, 9, "2").prints == identity.fingerprint(2)


def test_the_watermark_passes_no_equal_key_while_the_keeper_looks_at_the_one_before_it() -> None:
    """Meanwhile the jobs that it looks at are handed out and settled: what follows is not what it
    knows.
    """

    class Watched(JobIdentity):
        """The user's function for keys takes long enough for two jobs to be done."""

        def text(self, job: Any) -> str | None:
            if job == jobs[1] and broker.watermark.low == 1:
                do(2)
            return super().text(job)

    def do(count: int) -> None:
        lease = broker.take(session, Want(1, count))
        assert lease is not None
        assert settle(broker, lease, Report(lease.token, count, end=ReportEnd.FINISHED), JobIdentity().text)

    jobs = [Job(1, "a"), Job(2, "b"), Job(3, "c"), Job(3, "d")]
    checkpointer, broker = checkpointer_of(Disk(), Clock(), Watched())
    broker.intake.add(jobs)
    broker.batch_limit.note(1.0)
    session = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(session, ())
    do(1)
    checkpointer.checkpoint()

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
    broker, share = Broker("i", Limits()), Completion(Source(Broken()), record)
    checkpointer = Checkpointer(disk, broker, threading.Lock(), JobIdentity(), Dedup(record), record, Clock(), share)
    for mark in (1, 2):
        broker.watermark.jump(keys.encode(mark))
        checkpointer.checkpoint()

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

    checkpointer, _ = checkpointer_of(Hanging(), Clock())
    with pytest.raises(StateUnwritable, match="It hangs"):
        checkpointer.last_checkpoint(give_up)

    assert not checkpointer.stop(0.0)

    writes.set()
    checkpointer.last_checkpoint(lambda: None)

    assert checkpointer.stop(0.0)


def test_who_waits_for_a_checkpoint_gets_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planned is handed out as soon as the store has it: workers do not wait for the next
    interval.
    """
    monkeypatch.setattr("taskmaster.master.checkpointer.INTERVAL_SECONDS", 3600.0)
    disk = Disk()
    checkpointer, broker = checkpointer_of(disk, Clock())
    broker.intake.write_ahead.on = True
    broker.intake.add_planned([ParkedJob(-1, "1", b"a job", b"its print")])
    checkpointer.start()
    assert not disk.inside.is_set()

    checkpointer.hurry()

    assert disk.inside.wait(10.0)
    assert checkpointer.stop(10.0)
    assert broker.redelivery.jobs == 1


def test_a_job_that_was_pickled_as_it_was_read_is_parked_like_any_other() -> None:
    """A row that could change: a slow one would hold the watermark back for ever."""
    checkpointer, broker = checkpointer_of(Disk(), Clock())
    early = EarlyPickles("get_jobs", JobIdentity())
    broker.intake.add([early.take({"id": number}) for number in range(3)])
    slave = ConnectedSlave("s", "s", 2, 2, 0.0)
    broker.enter(slave, ())
    lease = broker.take(slave, Want(1, 1, 1, ""))
    assert lease is not None
    settle(broker, lease, Report(lease.token, 0, long=(0,)), keys.encode)
    checkpointer.checkpoint()

    assert len(broker.parking) == 1
    assert broker.takeover.tickets(slave)


def test_an_order_that_no_failed_job_could_follow_is_said() -> None:
    """In the trail, where who gave it looks: it was answered before the jobs were looked at."""
    said: list[tuple[str, str]] = []

    class Steers:
        note = staticmethod(lambda command, reason: said.append((command, reason)))

    record = RunRecord("run", resumed=True, settled=3, failures=1)
    broker, disk = Broker("i", Limits(), record), Disk()
    disk.write(Checkpoint(mark=None, failed=[FailedJob(1, "1", "1", b"x", (Attempt(0.0, "s", "E", "bad", ""),))]))
    checkpointer = Checkpointer(
        disk,
        broker,
        threading.Lock(),
        JobIdentity(),
        Dedup(record),
        record,
        Clock(),
        steers=Steers(),  # type: ignore[arg-type]
    )
    for key in ("7", "1"):
        broker.replay.ask(Selection(1, key=key))
        checkpointer.refill()
        while broker.replay.asked:
            checkpointer.refill()

    assert said == [("retry", "no failed job has the key 7")]
    assert len(broker.replay) == 1


def test_what_an_operator_changed_stays_while_failed_jobs_of_a_finished_run_are_run_again() -> None:
    """Else a pause would be forgotten, and could not be lifted."""
    told: list[bool] = []

    class Steers:
        def news(self, *, finished: bool, successor: str) -> News:
            del successor
            told.append(finished)
            return News([], None, 0)

        def written(self, news: News) -> None:
            """Nothing to do."""

    record = RunRecord("run", resumed=True, settled=3, failures=1, finished=5.0)
    broker = Broker("i", Limits(), record)
    broker.replay_only()
    broker.add_failed([FailedJob(1, "1", "1", b"x", ())], last=True)
    checkpointer = Checkpointer(
        Disk(),
        broker,
        threading.Lock(),
        JobIdentity(),
        Dedup(record),
        record,
        Clock(),
        steers=Steers(),  # type: ignore[arg-type]
    )
    checkpointer.checkpoint()

    assert told == [False]
