"""The pool of a slave on an executor that is played: its calls end when a test says so."""

from __future__ import annotations

import selectors
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from taskmaster.engine.batch_call import BatchDone
from taskmaster.engine.executor_pool import ExecutorPool
from taskmaster.model import Report, ReportEnd, WireBatch
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.in_flight import InFlight


class Played:
    """An executor of two workers."""

    def __init__(self) -> None:
        self.calls: list[Future[Any]] = []

    def submit(self, *_: Any) -> Future[Any]:
        """Note a call that runs at once."""
        call: Future[Any] = Future()
        call.set_running_or_notify_cancel()
        self.calls.append(call)
        return call

    def shutdown(self, **_: Any) -> None:
        """Do nothing."""


class Scene:
    """A pool, and the executors that were made for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.workers = 2
        self.made = [Played()]
        self.in_flight = InFlight()
        self.given = 0
        self.selector = selectors.DefaultSelector()
        parts: Any = (self, None, 4, self.in_flight, BatchSize(), self.selector)
        self.pool = ExecutorPool(*parts, clock=lambda: self.now)
        self.pool.tell(AboutRun("run", "slave", None, ""), 0.0)

    @property
    def current(self) -> Played:
        """The executor of now."""
        return self.made[-1]

    def renew(self) -> None:
        """Make another executor."""
        self.made.append(Played())

    def give(self, count: int) -> list[Future[Any]]:
        """Have batches of one job each run; return their calls."""
        for _ in range(count):
            self.given += 1
            self.pool.give(WireBatch(f"t{self.given}", 1, separate=False, alone=False, avoid=0, blob=b"x"))
        return self.current.calls[-count:]

    def look(self) -> list[Report]:
        """Hear of what has ended; return what there is to report."""
        for key, _ in self.selector.select(0):
            key.data()
        reports = self.in_flight.reports()
        self.in_flight.answered()
        return reports


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.pool.close(lambda: True)
    scene.selector.close()


def finished(token: str, seconds: float) -> BatchDone:
    """What a call gives whose one job is done."""
    return BatchDone(Report(token, 1, keep=1, end=ReportEnd.FINISHED, seconds=seconds).to_wire())


def test_jobs_that_are_lost_together_say_so(scene: Scene) -> None:
    """None of them was alone, also if the pool's end is heard of one by one: the last one would be
    failed for it.
    """
    first, *others = scene.give(4)
    first.set_exception(BrokenProcessPool("killed"))
    reports = scene.look()
    for call in others:
        call.set_exception(BrokenProcessPool("killed"))

    assert [(report.end, report.beside) for report in reports] == [(ReportEnd.LOST, 4)] * 4
    assert scene.look() == []


def test_what_had_ended_before_the_executor_broke_counts(scene: Scene) -> None:
    """It is done, and nothing of it was lost."""
    done, lost = scene.give(2)
    done.set_result(finished("t1", 0.1))
    lost.set_exception(BrokenProcessPool("killed"))

    assert [(report.token, report.end, report.beside) for report in scene.look()] == [
        ("t1", ReportEnd.FINISHED, 0),
        ("t2", ReportEnd.LOST, 1),
    ]


def test_an_executor_that_breaks_again_and_again_is_made_more_and_more_seldom(scene: Scene) -> None:
    """And one that lasts, at once."""
    made = []
    for _ in range(1000):
        scene.now += 0.1
        scene.pool.keep_up(scene.now)
        if scene.pool.room.batches:
            made.append(scene.now)
            (call,) = scene.give(1)
            call.set_exception(BrokenProcessPool("no worker lives"))
            scene.look()

    assert 5 <= len(made) <= 10
    scene.now += 60
    assert scene.pool.keep_up(scene.now) == 0.0
    assert scene.pool.room.batches == 4


def test_what_an_executor_of_before_has_lost_breaks_no_other_one(scene: Scene) -> None:
    """It is heard of late, when there is another one already."""
    former = scene.current
    scene.give(1)
    scene.pool._break(former, BrokenProcessPool("killed"))
    scene.pool.keep_up(scene.now)
    scene.give(1)
    former.calls[0].set_exception(BrokenProcessPool("killed"))

    assert [(report.token, report.beside) for report in scene.look()] == [("t1", 1)]
    assert scene.pool.room.batches == 3
    assert len(scene.made) == 2


def test_a_worker_that_exits_by_an_exception_does_not_end_the_slave(scene: Scene) -> None:
    """An executor gives it back as it is."""
    (call,) = scene.give(1)
    call.set_exception(SystemExit(0))

    assert [report.end for report in scene.look()] == [ReportEnd.LOST]


def test_workers_rest_by_the_ratio_of_now(scene: Scene) -> None:
    """A rest of a quarter of an hour ends when the pace has risen; meanwhile nothing of it is in
    flight, and each worker has one batch at a time.
    """
    scene.pool.rest(99.0)
    assert scene.pool.room.batches == 2
    scene.give(2)[0].set_result(finished("t1", 10.0))
    scene.look()

    assert scene.pool.resting
    assert scene.pool.room.batches == 0
    assert scene.pool.keep_up(scene.now) == pytest.approx(990.0)
    scene.now += 20
    scene.pool.keep_up(scene.now)
    assert scene.pool.room.batches == 0
    scene.pool.rest(1.0)
    scene.pool.keep_up(scene.now)
    assert not scene.pool.resting
    assert scene.pool.room.batches == 1
