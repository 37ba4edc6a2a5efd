"""Several jobs at once in one worker: threads, or coroutines of one event loop.

Jobs are started in their order and across the border of batches, so that no slot is idle while a
batch comes to its end. Which jobs run is in the scoreboard's table, one byte a job.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

from taskmaster.django_orm.integration import (
    close_connections,
    failing_if_open,
    refresh_connections,
    with_activated,
)
from taskmaster.job_times import counted
from taskmaster.slave.ipc.job_clock import JobClock
from taskmaster.slave.ipc.messages import BatchEnded
from taskmaster.slave.ipc.scoreboard import ENDED, RUNNING, Scoreboard
from taskmaster.slave.worker.attempts import begin_attempt
from taskmaster.slave.worker.message_sender import MessageSender, WorkerBatch, flush
from taskmaster.slave.worker.results import Calls
from taskmaster.slave.worker.stopwatch import CLOCK, since
from taskmaster.slave.worker.unawaited import Unawaited

__all__ = ["Overtime", "run_coroutines", "run_threads"]

CANCEL_CHECK_SECONDS = 0.25  # at most, between two checks which coroutines take too long


class ConcurrentJobs:
    """The batches at work and what has become of their jobs. Not thread-safe; no waiting.

    Args:
        scoreboard: the shared memory for the positions.
        sender: sends the end of a batch.
    """

    def __init__(self, scoreboard: Scoreboard, sender: MessageSender) -> None:
        self._scoreboard = scoreboard
        self._sender = sender
        self._queue: deque[WorkerBatch] = deque()
        self._next: dict[int, int] = {}  # by region: the next job to start
        self._open: dict[int, int] = {}  # by region: jobs that run
        self._began: dict[int, float] = {}
        self._started: dict[int, dict[int, float]] = {}  # by region: when each job that runs was started
        self._took: dict[int, list[float]] = {}  # by region: the seconds of each job that has ended

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._queue and not any(self._open.values())

    def add(self, batch: WorkerBatch) -> None:
        """Note that a batch has arrived."""
        self._queue.append(batch)

    def start(self) -> tuple[WorkerBatch, int] | None:
        """Announce the next job as running, and return it; None if there is none to start now."""
        while self._queue:
            batch = self._queue[0]
            region = batch.region
            busy = sum(self._open.values())
            if region not in self._next:
                if batch.alone and busy:
                    return None
                self._next[region] = self._open[region] = 0
                self._began[region] = CLOCK()
                self._started[region], self._took[region] = {}, []
                self._scoreboard.heads[region][1] = 0
            if batch.alone and busy:
                return None
            index = self._next[region]
            if index < len(batch.jobs):
                self._scoreboard.states[region][index] = RUNNING
                if index < self._scoreboard.heads[region][0]:
                    self._next[region] += 1
                    self._open[region] += 1
                    self._started[region][index] = CLOCK()
                    return batch, index
                self._scoreboard.states[region][index] = 0
            if batch.alone and self._open[region]:
                return None
            self._queue.popleft()
            self._end_if_done(region)
        return None

    def end(self, batch: WorkerBatch, index: int, exc: BaseException | None, *, timed_out: bool = False) -> None:
        """Note that a job has ended, with an exception or without."""
        region = batch.region
        self._took[region].append(since(self._started[region].pop(index)))
        if timed_out and batch.timeout is not None:
            self._sender.timed_out(region, index, batch.timeout)
        elif exc is not None:
            self._sender.failed(region, index, exc)
        states, head = self._scoreboard.states[region], self._scoreboard.heads[region]
        states[index] = ENDED
        position = head[1]
        while position < self._next[region] and states[position] == ENDED:
            position += 1
        head[1] = position
        self._open[region] -= 1
        if batch not in self._queue:
            self._end_if_done(region)

    def _end_if_done(self, region: int) -> None:
        if self._open[region] == 0:
            stop = self._next.pop(region)
            del self._open[region], self._started[region]
            flush()
            seconds = since(self._began.pop(region))
            self._sender.say(BatchEnded(region, stop, seconds, counted(self._took.pop(region))))


def run_threads(batches: Iterator[WorkerBatch], calls: Calls, count: int, unawaited: Unawaited) -> None:
    """Run jobs in ``count`` threads; ``unawaited`` knows what they have thrown away."""
    running, changed = ConcurrentJobs(calls.scoreboard, calls.sender), threading.Condition()
    over = False

    def take() -> tuple[WorkerBatch, int] | None:
        with changed:
            started = running.start()
        if started is None:
            refresh_connections()  # it may wait for long
            with changed:
                while (started := running.start()) is None and not over:
                    changed.wait()
        return started

    def loop() -> None:
        at: WorkerBatch | None = None
        while (started := take()) is not None:
            batch, index = started
            if batch is not at:
                refresh_connections()
                at = batch
                call = failing_if_open(batch.opening(calls.handle))
            caught: BaseException | None = None
            attempt = begin_attempt()
            try:
                calls.results.finish(call(batch.jobs[index]))
                unawaited.check()
            except BaseException as exc:
                calls.sender.end_if_child(exc)
                caught = exc
                refresh_connections()
            calls.sender.end_if_child()
            attempt.end(caught)
            with changed:
                running.end(batch, index, caught)
                changed.notify_all()
            caught = None  # what it held is thrown away now
            unawaited.forget()
        close_connections()

    threads = _started(loop, count)
    for batch in batches:
        with changed:
            running.add(batch)
            changed.notify_all()
    with changed:
        changed.wait_for(lambda: running.idle)
        over = True
        changed.notify_all()
    _wait_for(threads)


def _started(loop: Callable[[], None], count: int) -> list[threading.Thread]:
    """Return threads that run a function, which have been started. They are no daemons: the threads
    that a callback starts in them would be daemons, too, and would not be waited for.
    """
    run = with_activated(loop)
    threads = [threading.Thread(target=run, name=f"taskmaster-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def _wait_for(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


class Overtime:
    """Cancels coroutines that take too long, by a clock that stands still while this process does.

    Args:
        now: when it begins.
    """

    def __init__(self, now: float) -> None:
        self._clock = JobClock(now)
        self._limits: dict[asyncio.Task[None], float] = {}
        self._late: set[asyncio.Task[None]] = set()

    def begin(self, job: asyncio.Task[None], limit: float) -> None:
        """Note that a job runs, which may take ``limit`` seconds."""
        self._limits[job] = limit

    def end(self, job: asyncio.Task[None]) -> bool:
        """Note that a job has ended; return whether it was cancelled for its time."""
        late = job in self._late
        self._limits.pop(job, None)
        self._late.discard(job)
        return late

    def cancel_late(self, now: float) -> float:
        """Cancel, once, what takes too long; return the seconds until the next check."""
        self._clock.note(self._limits, now)
        for job, limit in self._limits.items():
            if job not in self._late and self._clock.seconds(job) >= limit:
                self._late.add(job)
                job.cancel()
        return min([CANCEL_CHECK_SECONDS, *(limit / 4 for limit in set(self._limits.values()))])

    async def watch(self) -> None:
        """Cancel what takes too long, again and again."""
        while True:  # noqa: ASYNC110  # nobody sets an event when time has passed
            await asyncio.sleep(self.cancel_late(time.monotonic()))


async def run_coroutines(batches: Iterator[WorkerBatch], calls: Calls, count: int, unawaited: Unawaited) -> None:
    """Run jobs as coroutines, ``count`` at once; ``unawaited`` knows what they have thrown away."""
    running, changed = ConcurrentJobs(calls.scoreboard, calls.sender), asyncio.Event()
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    over = False

    def arrived(batch: WorkerBatch | None) -> None:
        nonlocal over
        if batch is None:
            over = True
        else:
            running.add(batch)
        changed.set()

    def read() -> None:
        for batch in chain(batches, [None]):
            loop.call_soon_threadsafe(arrived, batch)

    async def run(batch: WorkerBatch, index: int) -> None:
        caught: BaseException | None = None
        attempt = begin_attempt()
        job = asyncio.current_task()
        if job is not None and batch.timeout is not None:
            overtime.begin(job, batch.timeout)
        try:
            await calls.results.finish_async(await batch.opening(handle)(batch.jobs[index]))
            unawaited.check()
        except BaseException as exc:
            caught = exc
        calls.sender.end_if_child(caught)
        attempt.end(caught)
        late = job is not None and overtime.end(job)
        running.end(batch, index, caught, timed_out=late and isinstance(caught, asyncio.CancelledError))
        changed.set()
        caught = None  # what it held is thrown away now
        unawaited.forget()

    handle = failing_if_open(calls.handle)
    overtime = Overtime(time.monotonic())
    watching = loop.create_task(overtime.watch())
    threading.Thread(target=read, name="taskmaster-batches", daemon=True).start()
    while not (over and running.idle):
        changed.clear()
        while len(tasks) < count and (started := running.start()) is not None:
            task = loop.create_task(run(*started))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: changed.set())
        await changed.wait()
    watching.cancel()
