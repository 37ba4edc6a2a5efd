"""What runs in an executor's worker that runs single batches: a host, which keeps one worker
process of Taskmaster's own.

Guarantees: a job that takes its process down, or takes too long, is found and blamed as in a slave,
and the executor's worker never dies of it. The host ends with the executor's worker, or when it has
had nothing to do for a while.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing.util
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace

import taskmaster
from taskmaster.engine.archive import unpack
from taskmaster.engine.batch_call import BatchCall, BatchDone, HostEnd, HostSpec
from taskmaster.engine.child import own_directory, start_a_process
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.ipc.unusable import Unusable
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.fork_client import ForkClient
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.pool import Pool

__all__ = ["BatchHost", "WorkerFacts", "describe_worker", "end_hosts", "run_batch"]

UNUSED_SECONDS = 10.0  # without a batch, after which a host ends its worker
HOST_WAIT_SECONDS = 0.25  # of its loop
TEARDOWN_SECONDS = 5.0  # that the worker has for its teardown, where nobody says how long
NOTHING_TO_END_SECONDS = 0.25  # that a call takes which finds no host: the next one is to come to another worker


@dataclass(frozen=True)
class WorkerFacts:
    """Where calls run.

    Attributes:
        machine: Its name.
        process: Id of the process.
        version: The version of Taskmaster there.
    """

    machine: str
    process: int
    version: str


def describe_worker() -> WorkerFacts:
    """See whether this worker of the executor can start a process; return what it is."""
    start_a_process()
    return WorkerFacts(socket.gethostname(), os.getpid(), taskmaster.__version__)


class BatchHost:
    """A worker process, and what it is fed by.

    Args:
        spec: What it is made of.
    """

    def __init__(self, spec: HostSpec) -> None:
        self.spec = spec
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._in_flight = InFlight()
        self._told: AboutRun | None = None
        self._used_at = time.monotonic()
        self.id = secrets.token_hex(8)
        self.closed = False
        folder = unpack(spec.archive, own_directory())
        worker = spec.worker._replace(path=tuple(sys.path))
        client = ForkClient(directory=folder, environment=spec.environment)
        self._pool = Pool(worker, 1, self._in_flight, BatchSize(), self._selector, client)
        threading.Thread(target=self._end_when_idle, name="taskmaster-host", daemon=True).start()

    def run(self, call: BatchCall) -> BatchDone | None:
        """Run a batch; return what became of it, None if this host has ended."""
        with self._lock:
            if self.closed:
                return None
            try:
                return self._run(call)
            except Unusable as exc:
                self._close()
                return BatchDone(unusable=str(exc), cause=exc.cause, traceback=exc.traceback)
            except BaseException:
                self._close()
                raise
            finally:
                self._used_at = time.monotonic()

    def _run(self, call: BatchCall) -> BatchDone:
        if call.about != self._told:
            self._told = call.about
            self._pool.tell(call.about, 0.0)  # the sender of the calls lets workers rest
        while not self._pool.room.batches:
            self._turn(HOST_WAIT_SECONDS)
        self._pool.give(call.lent)
        while (held := self._in_flight.by_token(call.lent.token)) is not None and not held.end:
            self._turn(self._pool.enforce(time.monotonic()))
        (report,) = self._in_flight.reports()
        self._in_flight.answered()
        return BatchDone(report.to_wire())

    def _turn(self, longest: float) -> None:
        wait = min(self._pool.keep_up(time.monotonic()), longest, HOST_WAIT_SECONDS)
        for key, _ in self._selector.select(max(0.0, wait)):
            key.data()

    def _end_when_idle(self) -> None:
        while not self.closed:
            time.sleep(1.0)
            if time.monotonic() > self._used_at + UNUSED_SECONDS and self._lock.acquire(blocking=False):
                try:
                    self._close()
                finally:
                    self._lock.release()

    def close(self, seconds: float = TEARDOWN_SECONDS) -> None:
        """Have the worker tear down, and end.

        Args:
            seconds: How long that may take.
        """
        with self._lock:
            self._close(seconds)

    def _close(self, seconds: float = TEARDOWN_SECONDS) -> None:
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(Unusable):
            self._pool.workforce.wind_up(seconds, hurry=lambda: False, orphaned=lambda: False)
        self._pool.workforce.finish_output(lambda: True)
        ends = self._pool.workforce.ends
        _tell(self.spec, HostEnd(self.id, _worker_name(), [*ends.unfinished, *ends.lost]))
        self._pool.close(lambda: True)
        self._selector.close()


# A call runs in a thread of the executor's worker: each of these threads has a host of its own.
_here = threading.local()
_hosts: list[BatchHost] = []
_untold: dict[str, list[HostEnd]] = {}  # by the slave that is to hear it
_lock = threading.Lock()  # of the list


def run_batch(call: BatchCall) -> BatchDone:
    """Run a batch, in a worker of an executor."""
    host: BatchHost | None = getattr(_here, "host", None)
    if host is not None and host.spec != call.host:
        host.close()
    done = None if host is None else host.run(call)
    if done is None:
        _here.host = host = BatchHost(call.host)
        _note(host)
        done = host.run(call)
    if done is None:
        raise RuntimeError("a new host has ended at once")
    return replace(done, host=_here.host.id, worker=_worker_name(), ended=tuple(_untold.pop(call.host.slave, ())))


def end_hosts(slave: str, seconds: float) -> tuple[HostEnd, ...]:
    """End the hosts of a slave in this worker of an executor; return how they have ended, with
    those that had ended before.
    """
    found = [host for host in tuple(_hosts) if host.spec.slave == slave and not host.closed]
    for host in found:
        host.close(seconds)
    if not found:
        time.sleep(NOTHING_TO_END_SECONDS)
    return tuple(_untold.pop(slave, ()))


def _worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _tell(spec: HostSpec, end: HostEnd) -> None:
    """Say how a host has ended: in the slave's file, as this may be the end of the executor's
    worker; else with the next answer.
    """
    try:
        file = os.open(spec.told_in, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    except OSError:  # it is on another machine
        _untold.setdefault(spec.slave, []).append(end)
        return
    try:
        os.write(file, json.dumps(end).encode() + b"\n")
    finally:
        os.close(file)


def _note(host: BatchHost) -> None:
    """See to it that a host is closed when this process ends."""
    with _lock:
        if not _hosts:
            # Workers of a process pool run the finalizers of multiprocessing at their end; others
            # run the exit functions.
            multiprocessing.util.Finalize(None, _close_all, exitpriority=100)
            atexit.register(_close_all)
        _hosts[:] = [one for one in _hosts if not one.closed] + [host]


def _close_all() -> None:
    for host in tuple(_hosts):
        host.close()
