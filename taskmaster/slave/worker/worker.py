"""A worker: runs the callback on the jobs of the batches that it is sent, and publishes which one
it is at.

Forked by the template. The only process that unpickles jobs, and the only one that runs the user's
callback. What it says to its supervisor is in ``taskmaster.slave.messages``.
"""

from __future__ import annotations

import inspect
import mmap
import os
import pickle
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from taskmaster.django_orm.integration import (
    close_connections,
    failing_if_open,
    other_databases,
    refresh_connections,
)
from taskmaster.errors import TargetError
from taskmaster.runtime.context import HERE
from taskmaster.runtime.malloc import keep_freed_memory
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.messages import (
    AboutRun,
    BatchEnded,
    CannotRun,
    MessageSender,
    Quit,
    Ready,
    WorkerBatch,
    capped,
    flush,
    to_worker,
)
from taskmaster.slave.scoreboard import ENDED, NOT_BEGUN, OPENING, RUNNING, Scoreboard
from taskmaster.slave.unusable import Cause
from taskmaster.slave.worker.callbacks import Callbacks, is_async, load
from taskmaster.transport.channel import Channel

__all__ = ["main", "read_batches", "run_one_by_one", "run_together", "work"]


def work(
    channel: Channel, scoreboard: Scoreboard, buffers: memoryview, callbacks: Callbacks | None, spec: dict[str, Any]
) -> None:
    """The life of a worker: load, set up, run batches until told to quit, tear down.

    Args:
        channel: the socket to the supervisor.
        scoreboard: where the position is published.
        buffers: where the batches are that are not sent through the channel.
        callbacks: what the template holds, None to load the target of ``spec``.
        spec: "target", "threads", "concurrency", and "path": where else modules are looked for.
    """
    sender = MessageSender(channel)
    sys.path += [place for place in spec["path"] if place not in sys.path]
    try:
        callbacks = callbacks or load(spec["target"])
    except TargetError as exc:
        flush()
        sender.say(CannotRun(Cause.TARGET, str(exc), capped(exc.user_traceback or "")))
        return
    try:
        if callbacks.setup is not None:
            callbacks.setup()
    except BaseException as exc:
        flush()
        sentence = f"setup() raised {type(exc).__qualname__} in a worker, so that it cannot run jobs."
        sender.say(CannotRun(Cause.SETUP, sentence, capped(users_traceback(exc))))
        return
    flush()
    sender = MessageSender(channel, callbacks.kind, scoreboard)
    coroutines = is_async(callbacks.handle) and not callbacks.together
    slots = 1 if callbacks.together else spec["concurrency"] if coroutines else spec["threads"]
    sender.say(Ready(slots, coroutines or slots > 1 or callbacks.together, callbacks.together, coroutines))
    batches = read_batches(channel, sender, scoreboard, buffers)
    try:
        if callbacks.together:
            run_together(batches, scoreboard, callbacks.handle, sender)
        elif coroutines:
            from taskmaster.slave.worker.concurrency import run_coroutines

            run_coroutines(batches, scoreboard, callbacks.handle, sender, slots)
        elif slots > 1:
            from taskmaster.slave.worker.concurrency import run_threads

            run_threads(batches, scoreboard, callbacks.handle, sender, slots)
        else:
            run_one_by_one(batches, scoreboard, callbacks.handle, sender)
    finally:
        _tear_down(callbacks)


def read_batches(
    channel: Channel, sender: MessageSender, scoreboard: Scoreboard, buffers: memoryview
) -> Iterator[WorkerBatch]:
    """The batches that the supervisor sends, unpickled, until it says quit; ends the process when
    the supervisor is gone.
    """
    while True:
        try:
            message = to_worker(channel.recv())
        except (EOFError, OSError):
            os._exit(1)
        if isinstance(message, Quit):
            return
        if isinstance(message, AboutRun):
            HERE.run, HERE.slave, HERE.job_timeout, project = message
            if why := other_databases(project):
                sender.say(CannotRun(Cause.TARGET, why, ""))
                return
            continue
        region, separate, alone, timeout, found = message
        scoreboard.heads[region][1] = OPENING
        blob = buffers[found[0] : sum(found)] if isinstance(found, tuple) else found
        try:
            jobs = pickle.loads(blob)
        except BaseException as exc:
            sender.unreadable(region, exc)
            continue
        if sender.exhausted:
            scoreboard.start_no_more()  # this batch was sent before the supervisor has heard of it
        # It may wait for its turn: until that comes, a death is not of its unpickling.
        scoreboard.heads[region][1] = NOT_BEGUN
        yield WorkerBatch(region, jobs, separate, alone, pickle.loads if separate else None, timeout)


def run_one_by_one(
    batches: Iterator[WorkerBatch], scoreboard: Scoreboard, handle: Callable[[Any], Any], sender: MessageSender
) -> None:
    """Run jobs in their order, one at a time."""
    for batch in batches:
        refresh_connections()  # the worker may have waited for it for hours
        batch.began = time.perf_counter()
        stop = _run(batch, scoreboard, failing_if_open(batch.opening(handle)), sender)
        seconds = time.perf_counter() - batch.began
        refresh_connections()
        flush()
        sender.say(BatchEnded(batch.region, stop, seconds))


def _run(batch: WorkerBatch, scoreboard: Scoreboard, call: Callable[[Any], Any], sender: MessageSender) -> int:
    """Run jobs up to the limit; returns at which index it stopped. The inner loop is what every job
    pays for.
    """
    head, lowered = scoreboard.heads[batch.region], scoreboard.lowered[batch.region]
    numbered = enumerate(batch.jobs)  # after a failure the loop goes on where it was
    while True:
        try:
            # First say which job this is, and only then look whether it is still wanted: see
            # Scoreboard.
            for head[1], job in numbered:
                if lowered[0] and head[1] >= head[0]:
                    return head[1]
                call(job)
        except BaseException as exc:
            sender.failed(batch.region, head[1], exc)
            refresh_connections()  # it may have lost one, which the next job would be given
            continue
        head[1] = len(batch.jobs)
        return len(batch.jobs)


def run_together(
    batches: Iterator[WorkerBatch], scoreboard: Scoreboard, handle: Callable[[list[Any]], Any], sender: MessageSender
) -> None:
    """Call the callback once with all jobs of a batch."""
    for batch in batches:
        refresh_connections()
        began = time.perf_counter()
        region = batch.region
        scoreboard.heads[region][1] = 0
        scoreboard.states[region][: len(batch.jobs)] = bytes([RUNNING]) * len(batch.jobs)
        # All are announced as running; whoever lowers the limit after this gets nothing back.
        stop = min(len(batch.jobs), scoreboard.heads[region][0])
        scoreboard.states[region][stop : len(batch.jobs)] = bytes(len(batch.jobs) - stop)
        indices, jobs = _opened(batch, stop, sender, scoreboard)
        try:
            if jobs:
                result = failing_if_open(handle)(jobs)
                if inspect.isawaitable(result):
                    import asyncio

                    asyncio.run(_await(result))
        except BaseException as exc:
            refresh_connections()
            if len(jobs) == 1:
                sender.failed(region, indices[0], exc)
            else:
                sender.raised(region, indices, exc)
                continue
        scoreboard.heads[region][1] = stop
        refresh_connections()
        flush()
        sender.say(BatchEnded(region, stop, time.perf_counter() - began))


def _opened(
    batch: WorkerBatch, stop: int, sender: MessageSender, scoreboard: Scoreboard
) -> tuple[list[int], list[Any]]:
    """Indices and jobs of a batch; those that cannot be unpickled fail alone."""
    if batch.unpickle is None:
        return list(range(stop)), list(batch.jobs[:stop])
    indices, jobs = [], []
    for index in range(stop):
        try:
            jobs.append(batch.unpickle(batch.jobs[index]))
            indices.append(index)
        except BaseException as exc:
            sender.failed(batch.region, index, exc)
            scoreboard.states[batch.region][index] = ENDED
    return indices, jobs


async def _await(result: Awaitable[Any]) -> Any:
    return await result


def _tear_down(callbacks: Callbacks) -> None:
    if callbacks.teardown is not None:
        try:
            callbacks.teardown()
        except BaseException as exc:
            sys.stderr.write(f"teardown() raised {type(exc).__qualname__}:\n{users_traceback(exc)}")
    close_connections()
    flush()


def main(sock: int, memory: int, buffers: int, callbacks: Callbacks | None, spec: dict[str, Any]) -> None:
    """What the template calls in the forked process."""
    keep_freed_memory()
    scoreboard = Scoreboard(memory)
    batches = memoryview(mmap.mmap(buffers, 0, access=mmap.ACCESS_READ))
    os.close(memory)
    os.close(buffers)
    with Channel(socket.socket(fileno=sock)) as channel:
        work(channel, scoreboard, batches, callbacks, spec)
