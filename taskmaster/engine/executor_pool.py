"""The pool of a slave whose batches run on somebody's executor, each as one call: for workers that
cannot reach the master.

The slave is here, with its leases and reports; a call is guarded by a host in the executor's
worker. Guarantees: a batch whose call is lost is given back with all its jobs as suspects, so that
one that takes a whole machine down is found; a call that has not begun is withdrawn when the slave
is to end.
"""

from __future__ import annotations

import os
import queue
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any

import taskmaster
from taskmaster.engine.batch_call import BatchCall, BatchDone, HostSpec
from taskmaster.engine.batch_host import look_around, run_batch
from taskmaster.engine.executor import make_executor, no_interrupts
from taskmaster.errors import UsageError
from taskmaster.model import Report, ReportEnd, WireBatch
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import one_line
from taskmaster.slave.batch_size import BatchSize
from taskmaster.slave.in_flight import HeldBatch, InFlight
from taskmaster.slave.messages import AboutRun
from taskmaster.slave.pool.buffers import Buffer
from taskmaster.slave.pool.worker_ends import WorkerEnds
from taskmaster.slave.unusable import Cause, Unusable
from taskmaster.units import show_count

__all__ = ["ExecutorPool", "Executors"]

logger = clean_logger(__name__)

PROBE_SECONDS = 30.0  # that a worker has at the start to say what it can do; a queue takes longer
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0  # before another executor is made
IDLE_SECONDS = 60.0
GUARD = "so that a job that takes its process down would take this command with it, and no job could be timed out"


class Executors:
    """Makes an executor, and another one when it has broken.

    Args:
        name: What is called, for people.
        make: Makes one.

    Raises:
        UsageError: What it makes is no executor, or its calls cannot be guarded.
    """

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make
        with no_interrupts():
            self.current = self._made()
            self._check()

    @property
    def workers(self) -> int | None:
        """How many workers it has, None if it does not say."""
        found = getattr(self.current, "_max_workers", None)
        if isinstance(found, int) and found > 0:
            return found
        client = getattr(self.current, "_client", None)  # Dask's
        threads = client.nthreads() if client is not None and hasattr(client, "nthreads") else {}
        return sum(threads.values()) or None

    def renew(self) -> None:
        """Make another one in the place of one that has broken."""
        try:
            self.current.shutdown(wait=False)
        except Exception as exc:  # that of a cluster that is gone
            logger.info("the broken executor was not shut down in good order: %r", exc)
        with no_interrupts():
            self.current = self._made()

    def kill(self) -> None:
        """End its processes, as far as they are children of this one: it would wait for them, and
        so would Python's end.
        """
        for process in list((getattr(self.current, "_processes", None) or {}).values()):
            process.kill()

    def _made(self) -> Any:
        executor = make_executor(self._name, self._make)
        kinds = [kind.__name__ for kind in type(executor).__mro__]
        for kind in ("ThreadPoolExecutor", "InterpreterPoolExecutor"):
            if kind in kinds:
                raise UsageError(
                    f"{self._name} gives a {kind}, whose workers are in this very process, {GUARD}. Use an executor "
                    "with processes, such as ProcessPoolExecutor; or, on this machine, tm-slave --processes=N."
                )
        return executor

    def _check(self) -> None:
        try:
            place = self.current.submit(look_around).result(PROBE_SECONDS)
        except (NotYet, TimeoutError):
            return  # it waits in a queue; whatever is wrong is said with the first batch
        except (Exception, CancelledError) as exc:
            raise UsageError(
                f"The workers of {self._name} cannot run guarded batches, for which each starts a process: "
                f"{type(exc).__name__}: {exc}. Taskmaster has to be installed there."
            ) from None
        if (place.machine, place.process) == (socket.gethostname(), os.getpid()):
            raise UsageError(
                f"{self._name} gives an executor whose workers are in this very process, {GUARD}. Use one with "
                "processes; or, on this machine, tm-slave --processes=N."
            )
        if place.version != taskmaster.__version__:
            raise UsageError(
                f"The workers of {self._name} have Taskmaster {place.version}, and this is {taskmaster.__version__}: "
                "install the same version there."
            )


@dataclass(frozen=True)
class Flight:
    """A batch on its way.

    Attributes:
        held: The batch.
        future: The call.
    """

    held: HeldBatch
    future: Future[BatchDone]


class ExecutorPool:
    """A ``SlavePool``, and its ``SlaveWorkforce``: there are no processes of its own.

    Args:
        executors: Gives the executor.
        host: What each worker's host is made of.
        most: Batches in flight, at most.
        in_flight: Accounts for what is held.
        batch_size: Is told what batches took.
        selector: The supervisor's.

    Attributes:
        ends: What workers could not do at their end: nobody hears of it here.
    """

    resting = False
    place = "on the executor"

    def __init__(
        self,
        executors: Executors,
        host: HostSpec,
        most: int,
        in_flight: InFlight,
        batch_size: BatchSize,
        selector: selectors.BaseSelector,
    ) -> None:
        self.ends = WorkerEnds()
        self._executors = executors
        self._host = host
        self._most = most
        self._workers = executors.workers or -(-most // 2)
        self._in_flight = in_flight
        self._batch_size = batch_size
        self._selector = selector
        self._about: AboutRun | None = None
        self._nice = 0.0
        self._flights: dict[str, Flight] = {}
        self._arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        selector.register(self._wake_in, selectors.EVENT_READ, self._collect)
        self._broken = self._closing = self._abandoned = False
        self._renew_at = 0.0
        self._pause = SHORTEST_PAUSE_SECONDS

    @property
    def workforce(self) -> ExecutorPool:
        """Itself: it knows of no process."""
        return self

    @property
    def free(self) -> int:
        """How many more batches it can take."""
        return 0 if self._broken or self._closing or self._about is None else self._most - len(self._flights)

    def rest(self, ratio: float) -> None:
        """Let workers rest so long after a batch from now on, in multiples of its time."""
        self._nice = ratio

    def tell(self, about: AboutRun, nice: float) -> None:
        """Let the workers know what they work for; those that come later, too."""
        self._about, self._nice = about, nice

    def keep_up(self, now: float) -> float:
        """Make another executor, if this one has broken; return the seconds until there is
        something to do here.
        """
        if not self._broken or self._closing:
            return IDLE_SECONDS
        if now < self._renew_at:
            return self._renew_at - now
        self._renew_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        try:
            self._executors.renew()
        except UsageError as exc:
            logger.warning("there is no other executor yet: %s It is tried again.", exc)
            return self._renew_at - now
        self._broken = False
        return 0.0

    def buffer(self, size: int) -> Buffer | None:  # noqa: ARG002
        """Return None: a batch goes on with its call."""
        return None

    def give(self, lent: WireBatch) -> None:
        """Submit a batch."""
        held = self._in_flight.take(lent._replace(blob=b""))
        if not self.free or self._about is None:
            self._in_flight.drop(held)
            return
        call = BatchCall(self._host, self._about, self._nice, lent._replace(blob=bytes(lent.blob)))
        try:
            with no_interrupts():
                future = self._executors.current.submit(run_batch, call)
        except Exception as exc:
            self._break(exc)
            self._in_flight.drop(held)
            return
        self._flights[lent.token] = Flight(held, future)
        future.add_done_callback(lambda _: self._notify(lent.token))

    def read_progress(self) -> None:
        """Do nothing: how far a batch has got is known when it has ended."""

    def enforce(self, now: float) -> float:  # noqa: ARG002
        """Do nothing: the host in the executor's worker sees that no job takes too long."""
        return IDLE_SECONDS

    def give_back_waiting(self) -> None:
        """Do nothing: whether a call waits for a worker is the executor's business."""

    def recall(self, held: HeldBatch, keep: int) -> None:  # noqa: ARG002
        """Withdraw the call of a batch, if it has not begun.

        Dask lets a call be cancelled that runs, and runs it on: as many as there are workers, the
        first ones, are taken to have begun.
        """
        token = held.lent.token
        flight = self._flights.get(token)
        if flight is not None and token not in self._begun() and flight.future.cancel():
            self._settle(token)

    def recall_all(self) -> None:
        """Withdraw every call that has not begun."""
        for flight in reversed(list(self._flights.values())):
            self.recall(flight.held, 0)

    def kill(self, *, idle: bool = True) -> None:
        """Wait for no call any more; those that run end with their executor, where that is of
        processes of this machine.
        """
        self._closing = self._closing or idle
        for token in list(self._flights):
            flight = self._flights.pop(token)
            self._abandoned = not (flight.future.cancel() or flight.future.done()) or self._abandoned
            self._in_flight.drop(flight.held)

    def wind_up(self, seconds: float, *, hurry: Callable[[], bool], orphaned: Callable[[], bool]) -> None:  # noqa: ARG002
        """End: hosts have their workers tear down by themselves."""
        self.kill()

    def finish_output(self, may_give_up: Callable[[], bool]) -> None:
        """Do nothing: what workers print stays where they run."""

    def close(self, may_give_up: Callable[[], bool]) -> None:
        """Let go of the executor; a pool of processes ends with its workers' teardown."""
        self._closing = True
        if self._abandoned:
            self._executors.kill()
        self._executors.current.shutdown(wait=not (self._abandoned or may_give_up()))
        self._selector.unregister(self._wake_in)
        self._wake_in.close()
        self._wake_out.close()

    # -- inside ------------------------------------------------------------------------------------

    def _begun(self) -> list[str]:
        """Return the tokens of the batches that may run."""
        under_way = [token for token, flight in self._flights.items() if not flight.future.done()]
        return under_way[: self._workers]

    def _notify(self, token: str) -> None:
        """Note, in whatever thread, that a call has ended."""
        self._arrived.put(token)
        try:
            self._wake_out.send(b".")
        except OSError:
            pass  # it is full, so that it wakes; or closed

    def _collect(self) -> None:
        try:
            self._wake_in.recv(4096)
        except BlockingIOError:
            pass
        while not self._arrived.empty():
            self._settle(self._arrived.get())

    def _settle(self, token: str) -> None:
        flight = self._flights.get(token)
        if flight is None or not flight.future.done():
            return
        del self._flights[token]
        held = flight.held
        try:
            done = flight.future.result(0)
        except CancelledError:  # by us, or by an executor that has lost it: no job is to blame
            self._in_flight.drop(held)
        except BrokenExecutor as exc:
            broken = 1 + sum(1 for other in self._flights.values() if other.future.done())
            self._break(exc)
            self._in_flight.crash(held, range(held.lent.count), self._how(exc), beside=broken)
        except Exception as exc:
            logger.warning("a batch of %s was lost: %s", show_count(held.lent.count, "job"), one_line(exc))
            self._in_flight.crash(held, range(held.lent.count), self._how(exc), beside=1)
        else:
            self._pause = SHORTEST_PAUSE_SECONDS
            self._take(held, done)

    def _take(self, held: HeldBatch, done: BatchDone) -> None:
        if done.unusable:
            self._in_flight.drop(held)
            raise Unusable(Cause(done.cause), done.unusable, done.traceback)
        report = Report.from_wire(done.report)
        failures = list(report.failures)
        # The one that a call of many jobs has raised belongs to all of them.
        of_all = failures.pop() if report.end is ReportEnd.RAISED and failures else None
        for failure in failures:
            held.fail(failure)
        held.keep = min(held.keep, report.keep)
        held.together = report.together
        self._in_flight.progress(held, report.upto, report.extra)
        if report.end is ReportEnd.FINISHED:
            if 2 * held.failed <= report.upto:
                self._batch_size.note(report.upto, report.seconds)
            self._in_flight.finish(held, report.upto, report.seconds)
        elif of_all is not None:
            self._in_flight.raised(held, report.suspects, of_all)
        elif report.end is ReportEnd.UNREADABLE:
            self._in_flight.unreadable(held)
        else:
            late = report.end is ReportEnd.TIMEOUT
            self._in_flight.crash(held, report.suspects, report.detail, timed_out=late, beside=report.beside)

    def _break(self, exc: BaseException) -> None:
        if not self._broken:
            self._broken = True
            self._renew_at = time.monotonic()
            logger.warning("the executor has broken, and another one is made: %s", one_line(exc))

    @staticmethod
    def _how(exc: BaseException) -> str:
        return f"lost with its worker on the executor ({type(exc).__name__}: {one_line(exc)})"[:1000]
