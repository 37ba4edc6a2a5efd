"""Whom the watch ends, and when; the workers are played, and so is the time."""

from __future__ import annotations

import logging
import os

import pytest

from taskmaster.model import WireBatch
from taskmaster.slave.ipc.scoreboard import OPENING, SCOREBOARD_BYTES, Scoreboard
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.shared_memory import make_memory
from taskmaster.slave.pool.watchdog import (
    BUSY_SILENT_SECONDS,
    CANCEL_SECONDS,
    ENDING_SECONDS,
    IDLE_SILENT_SECONDS,
    STILL_ENDING,
    WITHOUT_SOCKET,
    Watchdog,
)
from taskmaster.slave.pool.worker_process import UNPICKLING, WorkerProcess


class Deaf:
    """Stands for a worker's socket."""

    def setblocking(self, _: bool) -> None:
        pass


class Scene:
    """A watch over workers, and the process ids that it has ended."""

    def __init__(self) -> None:
        self.in_flight = InFlight()
        self.now = 0.0
        self.ended: list[int] = []
        self.watch = Watchdog(self.now, self.ended.append)
        self.workers: list[WorkerProcess] = []
        self.scoreboards: dict[WorkerProcess, Scoreboard] = {}

    def worker(self) -> WorkerProcess:
        """One more, which is ready."""
        memory = make_memory(SCOREBOARD_BYTES)
        worker = WorkerProcess(100 + len(self.workers), Deaf(), memory, [])  # type: ignore[arg-type]
        self.scoreboards[worker] = Scoreboard(memory)
        os.close(memory)
        worker.ready = True
        self.workers.append(worker)
        return worker

    def give(self, worker: WorkerProcess, position: int) -> HeldBatch:
        """A batch that has got so far."""
        held = self.in_flight.take(WireBatch(f"t{len(self.in_flight)}", 5, False, False, 0, b""))
        region = worker.assign(held, b"")
        worker.scoreboard.prepare(region, 5)
        self.scoreboards[worker].heads[region][1] = position
        return held

    def spend(self, seconds: float, limit: float | None = None) -> None:
        """Let time pass, in steps as the supervisor has them."""
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            self.watch.over_jobs(self.workers, limit, self.now)
            self.watch.over_workers(self.workers, self.now)


@pytest.fixture
def scene() -> Scene:
    """One without workers."""
    return Scene()


def test_a_job_that_takes_too_long_is_ended_with_its_worker(scene: Scene) -> None:
    """Once, and no other."""
    late, other = scene.worker(), scene.worker()
    held = scene.give(late, 3)
    scene.give(other, 5)
    scene.spend(2.0, limit=2.0)

    assert scene.ended == []

    scene.spend(5.0, limit=2.0)

    assert scene.ended == [late.pid]
    assert late.timed_out == (held, 3)


@pytest.mark.parametrize("together", [False, True])
def test_the_master_is_told_in_which_worker_a_job_runs_for_long(scene: Scene, together: bool) -> None:
    """Of a call that has all jobs of a batch, too, though none of them can be taken over alone."""
    worker = scene.worker()
    worker.together = together
    scene.give(worker, 1)
    scene.spend(3.0)
    scene.in_flight.reports()
    scene.in_flight.answered()
    scene.spend(1.0)
    (report,) = scene.in_flight.reports()
    scene.in_flight.answered()
    scene.spend(9.0)

    assert report.worker == worker.pid
    assert bool(report.long) is not together
    assert scene.in_flight.reports() == []


@pytest.mark.parametrize("coroutines", [False, True])
def test_a_batch_whose_unpickling_hangs_is_ended_too(scene: Scene, coroutines: bool) -> None:
    """Nobody would cancel that, not even where jobs are coroutines; and no job of it is said to run
    for long.
    """
    worker = scene.worker()
    worker.several = worker.coroutines = coroutines
    held = scene.give(worker, OPENING)
    scene.spend(4.0)

    assert scene.in_flight.reports() == []

    scene.spend(0.25, limit=2.0)

    assert scene.ended == [worker.pid]
    assert worker.timed_out == (held, UNPICKLING)


def test_a_coroutine_is_given_the_time_to_be_cancelled(scene: Scene) -> None:
    """Its worker does that, unless it is blocked."""
    worker = scene.worker()
    worker.several = worker.coroutines = True
    scene.give(worker, 0)
    scene.scoreboards[worker].states[0][0] = 1
    scene.spend(3.0 + CANCEL_SECONDS, limit=2.0)

    assert scene.ended == []

    scene.spend(1.0, limit=2.0)

    assert scene.ended == [worker.pid]


def test_the_warning_names_the_limit_that_was_given(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """And says of a coroutine why its worker is ended, much later than that."""
    caplog.set_level(logging.WARNING)
    late, blocked = scene.worker(), scene.worker()
    blocked.coroutines = True
    scene.give(late, 1)
    scene.give(blocked, 1)
    scene.spend(2 * CANCEL_SECONDS, limit=2.0)

    assert caplog.messages == [
        "a job has run for more than 2 s (--job-timeout); worker 100 is ended",
        "a job has run for more than 2 s (--job-timeout), and cancelling it had no effect; worker 101 is ended",
    ]


def test_a_worker_that_has_lost_its_socket_is_ended(scene: Scene) -> None:
    """Sooner if it runs nothing; and not before the fork server had the time to say that it has
    died.
    """
    idle, busy, well = scene.worker(), scene.worker(), scene.worker()
    scene.give(idle, 5)
    scene.give(busy, 3)
    scene.give(well, 3)
    idle.gone = busy.gone = True
    scene.spend(IDLE_SILENT_SECONDS)

    assert scene.ended == []

    scene.spend(0.5)

    assert scene.ended == [idle.pid]

    scene.spend(2 * BUSY_SILENT_SECONDS)

    assert scene.ended == [idle.pid, busy.pid]
    assert (idle.cut_off, busy.cut_off, well.cut_off) == (WITHOUT_SOCKET, WITHOUT_SOCKET, "")


def test_a_slave_that_stood_still_ends_nobody_at_once(scene: Scene) -> None:
    """What became of a worker meanwhile is told first: its process id may be another's by now."""
    worker = scene.worker()
    scene.give(worker, 3)
    worker.gone = True
    scene.spend(0.25)
    scene.now += 3600.0
    scene.spend(0.25)

    assert scene.ended == []


def test_a_setup_that_takes_long_is_worth_a_word(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """One for all workers, and rarer and rarer."""
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        scene.worker().ready = False
    scene.worker()
    scene.spend(30.0)

    assert caplog.messages == []

    scene.spend(600.0)

    assert caplog.messages == [
        f"setup(), or the import of the target, has been running for {seconds} s in 3 workers, such as 100"
        for seconds in (30, 120, 480)
    ]
    assert scene.ended == []


def test_a_worker_that_is_replaced_has_its_time_to_end(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """And no more: a teardown that hangs would keep its place for ever. It is killed once."""
    ending, well = scene.worker(), scene.worker()
    ending.quitting = True
    scene.spend(ENDING_SECONDS)

    assert scene.ended == []

    scene.spend(ENDING_SECONDS)

    assert scene.ended == [ending.pid]
    assert "teardown has been running for 60 s" in caplog.text
    assert (ending.cut_off, well.cut_off) == (STILL_ENDING, "")
