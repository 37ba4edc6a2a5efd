"""The pool of a slave on an executor that is played: its calls end when a test says so."""

from __future__ import annotations

import json
import selectors
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from taskmaster.engine.batch_call import BatchDone, HostEnd, HostSpec
from taskmaster.engine.batch_host import end_hosts
from taskmaster.engine.executor_pool import ExecutorPool
from taskmaster.engine.host_ends import HostEnds
from taskmaster.engine.slave_task import Archive
from taskmaster.model import Report, ReportEnd, WireBatch
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.in_flight import InFlight

SPEC = HostSpec("vm:1:ab", WorkerSpec("jobs.py"), Archive("d", b""), ())


class Played:
    """An executor of two workers."""

    def __init__(self) -> None:
        self.calls: list[Future[Any]] = []
        self.ends: list[tuple[HostEnd, ...]] = []  # what calls give that have hosts end
        self.shut = 0
        self.raises: Exception | None = None

    def submit(self, function: Any, *_: Any) -> Future[Any]:
        """Note a call that runs at once."""
        call: Future[Any] = Future()
        call.set_running_or_notify_cancel()
        if function is end_hosts:
            call.set_result(self.ends.pop() if self.ends else ())
        self.calls.append(call)
        return call

    def shutdown(self, **_: Any) -> None:
        """Note it, and raise what there is to be raised."""
        self.shut += 1
        if self.raises is not None:
            raise self.raises


class Scene:
    """A pool, and the executors that were made for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.workers = 2
        self.made = [Played()]
        self.in_flight = InFlight()
        self.given = 0
        self.selector = selectors.DefaultSelector()
        self.host_ends = HostEnds()
        parts: Any = (self, SPEC, self.host_ends, 4, self.in_flight, BatchSize(), self.selector)
        self.pool = ExecutorPool(*parts, clock=lambda: self.now)
        self.pool.tell(AboutRun("run", "slave", None, ""), 0.0)

    @property
    def current(self) -> Played:
        """The executor of now."""
        return self.made[-1]

    def renew(self) -> None:
        """Make another executor."""
        self.made.append(Played())

    def kill(self) -> None:
        """There is no process."""

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


def wind_up(scene: Scene) -> list[str]:
    """End; return what could not be done."""
    scene.pool.wind_up(1.0, hurry=lambda: False, orphaned=lambda: False)
    return scene.pool.ends.unfinished


def test_what_hosts_could_not_do_at_their_end_is_known(scene: Scene) -> None:
    """It comes with a later batch, in the file, or when they are asked; each is heard of once."""
    calls = scene.give(4)
    for number, call in enumerate(calls):
        told = (HostEnd("h0", "vm:1", ["teardown() raised OSError"]),) if number == 3 else ()
        done = finished(f"t{number + 1}", 0.1)
        call.set_result(BatchDone(done.report, host=f"h{number}", worker=f"vm:{number}", ended=told))
    scene.look()
    assert scene.pool.ends.unfinished == ["teardown() raised OSError (on vm:1)"]

    said = ["h1", "vm:1", ["teardown() raised KeyError"]]
    scene.host_ends.path.write_text(
        json.dumps(said) + "\n" + json.dumps(said) + "\n" + json.dumps(["h0", "vm:0", []])[:5]
    )
    scene.current.ends = [(HostEnd("h2", "vm:2", []), HostEnd("h3", "vm:3", ["it hung"]))]
    assert wind_up(scene) == [
        "teardown() raised OSError (on vm:1)",
        "teardown() raised KeyError (on vm:1)",
        "it hung (on vm:3)",
    ]
    assert len(scene.current.calls) == 4 + 2
    assert scene.current.shut == 1
    assert scene.pool.ends.loss == "it hung (on vm:3)"


def test_a_host_that_is_gone_is_waited_for_no_longer_than_others_answer(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is said."""
    (call,) = scene.give(1)
    call.set_result(BatchDone(finished("t1", 0.1).report, host="h", worker="vm:7"))
    scene.look()

    assert wind_up(scene) == []
    assert "it is not known how 1 worker on the executor ended, which were gone before: in vm:7" in caplog.text


def test_an_executor_that_cannot_be_shut_down_is_a_bad_end(scene: Scene) -> None:
    """The master is told of it, as of what workers could not do."""
    scene.current.raises = OSError("no licence")

    assert wind_up(scene) == ["the executor could not be shut down: OSError: no licence"]
