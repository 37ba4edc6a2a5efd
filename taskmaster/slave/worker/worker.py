"""A worker: runs the callback on the jobs of the batches that it is sent, and publishes which one
it is at.

Forked by the fork server. In a run with workers, no other process unpickles jobs or runs the user's
callback. What it says to its supervisor is in ``taskmaster.slave.ipc.messages``.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from taskmaster.django_orm.integration import (
    close_connections,
    failing_if_open,
    note_hooks,
    other_project,
    refresh_connections,
    run_hook,
)
from taskmaster.errors import TargetError
from taskmaster.job_times import NO_TIMES, JobTimer
from taskmaster.redaction import clean_lines
from taskmaster.runtime.context import HERE
from taskmaster.runtime.green_threads import check_slots
from taskmaster.runtime.malloc import keep_freed_memory
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.ipc.messages import AboutRun, BatchEnded, CannotRun, Quit, Ready, to_worker
from taskmaster.slave.ipc.scoreboard import ENDED, NOT_BEGUN, OPENING, RUNNING, Scoreboard
from taskmaster.slave.ipc.unusable import Cause
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.worker.attempts import InTurn
from taskmaster.slave.worker.callbacks import Callbacks, is_async, load, name_of
from taskmaster.slave.worker.ending import WorkerEnding
from taskmaster.slave.worker.event_loop import EventLoop
from taskmaster.slave.worker.forked_children import keep_children_out
from taskmaster.slave.worker.job_lists import JobLists
from taskmaster.slave.worker.message_sender import MessageSender, WorkerBatch, flush
from taskmaster.slave.worker.open_files import Inherited
from taskmaster.slave.worker.results import Calls, NothingRan, Results
from taskmaster.slave.worker.stopwatch import CLOCK, since
from taskmaster.slave.worker.unawaited import Unawaited, count_as_users
from taskmaster.transport.channel import Channel

__all__ = ["main", "read_batches", "run_one_by_one", "run_together", "unpickled", "work"]

# Jobs that take this long are timed one by one: that costs a thousandth of their time, even by a
# slow clock.
TIMED_SECONDS = 1e-3


def work(
    channel: Channel,
    scoreboard: Scoreboard,
    buffers: memoryview,
    callbacks: Callbacks | None,
    spec: WorkerSpec,
    loop: EventLoop,
) -> tuple[list[str], float]:
    """Load, set up, run batches until told to quit, tear down.

    Args:
        channel: the socket to the supervisor.
        scoreboard: the shared memory for the positions.
        buffers: the shared memory of batches that are not sent through the channel.
        callbacks: what the fork server holds, None to load the target of ``spec``.
        spec: what the worker needs to know.
        loop: where things are awaited; this thread's.

    Returns:
        A sentence for each thing that has gone wrong after the last job, and the monotonic time by
        which the worker is to have ended.
    """
    forked = callbacks is not None
    sender = MessageSender(channel, elsewhere=spec.elsewhere)
    sys.path += [folder for folder in spec.path if folder not in sys.path]
    callbacks = callbacks or _loaded(spec, sender)
    note_hooks()
    if callbacks is None or not _set_up(callbacks, sender, loop):
        return [], 0.0
    sender = MessageSender(channel, callbacks.kind, scoreboard, forked=forked, elsewhere=spec.elsewhere)
    coroutines = is_async(callbacks.handle) and not callbacks.together
    slots = 1 if callbacks.together else spec.concurrency if coroutines else spec.threads
    if why := check_slots(slots):
        sender.say(CannotRun(Cause.TARGET, why, ""))
        return [], 0.0
    sender.say(Ready(slots, coroutines or slots > 1 or callbacks.together, callbacks.together, coroutines))
    count_as_users(callbacks.handle)
    loop.begin_jobs()
    batches = read_batches(channel, sender, scoreboard, buffers)
    jobs = Calls(callbacks.handle, Results(name_of(callbacks.handle), loop.run), scoreboard, sender)
    try:
        if callbacks.together:
            run_together(batches, jobs)
        elif coroutines or slots > 1:
            _run_concurrently(batches, jobs, slots, loop if coroutines else None)
        else:
            run_one_by_one(batches, jobs)
    finally:
        with Unawaited():
            problems = _tear_down(callbacks, sender, loop)
    return problems, sender.end_by


def _loaded(spec: WorkerSpec, sender: MessageSender) -> Callbacks | None:
    """Return the callbacks of a target; tell the supervisor where that fails, and return None."""
    try:
        return load(spec.target, spec.definition)
    except TargetError as exc:
        sender.cannot_run(Cause.TARGET, str(exc), exc, exc.user_traceback or "")
        return None


def _run_concurrently(batches: Iterator[WorkerBatch], jobs: Calls, slots: int, loop: EventLoop | None) -> None:
    """Run several jobs at once: as coroutines of a loop, or in threads where there is none."""
    from taskmaster.slave.worker.concurrency import run_coroutines, run_threads

    with Unawaited() as unawaited:
        if loop is not None:
            loop.run(run_coroutines(batches, jobs, slots, unawaited))
        else:
            run_threads(batches, jobs, slots, unawaited)


def _set_up(callbacks: Callbacks, sender: MessageSender, loop: EventLoop) -> bool:
    """Call ``setup``; return False if the worker cannot run jobs, which it has said then."""
    if callbacks.setup is None:
        return True
    try:
        Results("setup()", loop.run).finish(run_hook(callbacks.setup))
    except NothingRan as exc:
        flush()
        sender.say(CannotRun(Cause.TARGET, str(exc), ""))
        return False
    except BaseException as exc:
        sender.end_if_child(exc)
        sentence = f"setup() raised {type(exc).__qualname__} in a worker, so that it cannot run jobs."
        sender.cannot_run(Cause.SETUP, sentence, exc, users_traceback(exc))
        return False
    sender.end_if_child()
    flush()
    return True


def read_batches(
    channel: Channel, sender: MessageSender, scoreboard: Scoreboard, buffers: memoryview
) -> Iterator[WorkerBatch]:
    """Yield the batches that the supervisor sends, unpickled, until it says quit; end the process
    when the supervisor is gone.
    """
    while True:
        try:
            message = to_worker(channel.recv())
        except (EOFError, OSError):
            os._exit(1)
        if isinstance(message, Quit):
            sender.end_by = time.monotonic() + message.seconds
            return
        if isinstance(message, AboutRun):
            HERE.run, HERE.slave, HERE.job_timeout, project = message
            if why := other_project(project):
                sender.say(CannotRun(Cause.TARGET, why, ""))
                return
            continue
        region, separate, alone, timeout, found = message
        scoreboard.heads[region][1] = OPENING
        blob = buffers[found[0] : sum(found)] if isinstance(found, tuple) else found
        try:
            jobs = unpickled(blob)
        except BaseException as exc:
            sender.unreadable(region, exc)
            continue
        if sender.exhausted:
            scoreboard.start_no_more()  # this batch was sent before the supervisor has heard of it
        # It may wait for its turn: until that comes, a death is not of its unpickling.
        scoreboard.heads[region][1] = NOT_BEGUN
        yield WorkerBatch(region, jobs, separate, alone, unpickled if separate else None, timeout)


def unpickled(blob: bytes | memoryview) -> Any:
    """Return what the user's code gets, of bytes that the master has, or has kept."""
    return pickle.loads(blob)


def run_one_by_one(batches: Iterator[WorkerBatch], calls: Calls) -> None:
    """Run jobs in their order, one at a time, and take the time of each, unless they are so short
    that this would slow them down.
    """
    each = TIMED_SECONDS  # that a job of the batch before took
    for batch in batches:
        refresh_connections()  # the worker may have waited for it for hours
        call = failing_if_open(batch.opening(calls.handle))
        timer = JobTimer(call, CLOCK) if each >= TIMED_SECONDS else None
        batch.began = CLOCK()
        stop = _run(batch, calls, call if timer is None else timer.timed)
        calls.sender.end_if_child()
        seconds = since(batch.began)
        times = NO_TIMES if timer is None else timer.times(seconds)
        each = seconds / max(1, stop)
        refresh_connections()
        flush()
        calls.sender.say(BatchEnded(batch.region, stop, seconds, times))


def _run(batch: WorkerBatch, calls: Calls, call: Callable[[Any], Any]) -> int:
    """Run jobs up to the limit; return at which index it stopped. The inner loop is what every job
    pays for.
    """
    finish, plain = calls.results.finish, calls.results.plain
    head, lowered = calls.scoreboard.heads[batch.region], calls.scoreboard.lowered[batch.region]
    numbered = enumerate(batch.jobs)  # after a failure the loop goes on where it was
    failed: set[int] = set()

    def fail(exc: BaseException) -> None:
        if head[1] not in failed:
            failed.add(head[1])
            in_turn.fail(exc)
            calls.sender.failed(batch.region, head[1], exc)

    with InTurn(head) as in_turn, Unawaited(fail):
        while True:
            try:
                # First say which job this is, and only then look whether it is still wanted: see
                # Scoreboard.
                for head[1], job in numbered:
                    if lowered[0] and head[1] >= head[0]:
                        return head[1]
                    result = call(job)
                    if result is not None:
                        if type(result) not in plain:
                            finish(result)
                        result = None  # a coroutine that it holds is thrown away now, and blamed on this job
            except BaseException as exc:
                fail(exc)
                refresh_connections()  # it may have lost one, which the next job would be given
                continue
            head[1] = len(batch.jobs)
            return len(batch.jobs)


def run_together(batches: Iterator[WorkerBatch], calls: Calls) -> None:
    """Call the callback once with all jobs of a batch."""
    lists = JobLists(name_of(calls.handle))
    with Unawaited() as unawaited:
        for batch in batches:
            with InTurn(calls.scoreboard.heads[batch.region]) as in_turn:
                _run_at_once(batch, calls, unawaited, lists, in_turn)
            unawaited.forget()


def _run_at_once(batch: WorkerBatch, calls: Calls, unawaited: Unawaited, lists: JobLists, in_turn: InTurn) -> None:
    scoreboard, sender = calls.scoreboard, calls.sender
    refresh_connections()
    began = CLOCK()
    region = batch.region
    scoreboard.heads[region][1] = 0
    scoreboard.states[region][: len(batch.jobs)] = bytes([RUNNING]) * len(batch.jobs)
    # All are announced as running; whatever lowers the limit after this gets nothing back.
    stop = min(len(batch.jobs), scoreboard.heads[region][0])
    scoreboard.states[region][stop : len(batch.jobs)] = bytes(len(batch.jobs) - stop)
    indices, jobs = _opened(batch, stop, calls)
    try:
        if indices:
            given = list(jobs)
            result = failing_if_open(calls.handle)(jobs)
            calls.results.finish(result)
            sender.end_if_child()
            unawaited.check()
            lists.check(given, jobs, result)
    except BaseException as exc:
        sender.end_if_child(exc)
        in_turn.fail(exc)
        refresh_connections()
        # The list is the callback's, which may have taken jobs out of it: it says nothing of
        # what was done.
        if len(indices) == 1:
            sender.failed(region, indices[0], exc)
        else:
            sender.raised(region, indices, exc)
            return
    scoreboard.heads[region][1] = stop
    refresh_connections()
    flush()
    sender.say(BatchEnded(region, stop, since(began)))


def _opened(batch: WorkerBatch, stop: int, calls: Calls) -> tuple[list[int], list[Any]]:
    """Return indices and jobs of a batch; those that cannot be unpickled fail alone."""
    if batch.unpickle is None:
        return list(range(stop)), list(batch.jobs[:stop])
    indices, jobs = [], []
    for index in range(stop):
        try:
            jobs.append(batch.unpickle(batch.jobs[index]))
            indices.append(index)
        except BaseException as exc:
            calls.sender.failed(batch.region, index, exc)
            calls.scoreboard.states[batch.region][index] = ENDED
    return indices, jobs


def _tear_down(callbacks: Callbacks, sender: MessageSender, loop: EventLoop) -> list[str]:
    """Call ``teardown``, and let what was begun in the event loop end."""
    problems = []
    loop.end_jobs()
    if callbacks.teardown is not None:
        try:
            Results("teardown()", loop.run).finish(run_hook(callbacks.teardown))
        except BaseException as exc:
            sender.end_if_child(exc)
            problems.append(f"teardown() raised {type(exc).__qualname__}")
            sys.stderr.write(clean_lines(f"{problems[0]}:\n{users_traceback(exc)}"))
        sender.end_if_child()
    left = loop.close(max(0.0, sender.end_by - time.monotonic()))
    problems += loop.problems
    problems += [f"the task {name} was still running at the end, and was cancelled" for name in left]
    close_connections()
    flush()
    return problems


def main(
    sock: int,
    memory: int,
    buffers: int,
    callbacks: Callbacks | None,
    spec: WorkerSpec,
    inherited: Inherited | None = None,
) -> int:
    """Be a worker, in a process that was forked for it.

    Args:
        sock: descriptor of the socket to the supervisor.
        memory: descriptor of the scoreboard.
        buffers: descriptor of the memory in which batches arrive.
        callbacks: what the fork server holds, None to load the target of ``spec``.
        spec: as for ``work``.
        inherited: the files of the script that was forked.

    Returns:
        The exit status.
    """
    keep_freed_memory()
    scoreboard = Scoreboard(memory)
    batches = memoryview(mmap.mmap(buffers, 0, access=mmap.ACCESS_READ))
    os.close(memory)
    os.close(buffers)
    with Channel(socket.socket(fileno=sock)) as channel:
        loop = EventLoop()
        keep_children_out(channel.fileno(), scoreboard, loop)
        ending = WorkerEnding(MessageSender(channel), inherited, lambda: loop.jobs_over)
        problems, end_by = work(channel, scoreboard, batches, callbacks, spec, loop)
        return ending.finish(problems, max(0.5, end_by - time.monotonic()))
