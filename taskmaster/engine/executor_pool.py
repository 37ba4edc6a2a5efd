"""The pool of a slave whose batches run on somebody's executor, each as one call: for workers that
cannot reach the master.

The slave is here, with its leases and reports; a call is guarded by a host in the executor's
worker. Guarantees: a batch whose call is lost is given back with all its jobs as suspects, so that
one that takes a whole machine down is found; a call that has not begun is withdrawn when the slave
is to end.
"""

from __future__ import annotations

import queue
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass
from typing import Any

from taskmaster.engine.batch_call import BatchCall, BatchDone, HostSpec
from taskmaster.engine.batch_executor import Executors
from taskmaster.engine.batch_host import run_batch
from taskmaster.engine.executor import no_interrupts
from taskmaster.engine.executor_shutdown import shut_down
from taskmaster.engine.host_ends import HostEnds
from taskmaster.errors import UsageError
from taskmaster.model import Report, ReportEnd, WireBatch
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import one_line
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.ipc.unusable import Cause, Unusable
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.buffers import Buffer
from taskmaster.slave.pool.contract import Room
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.worker_ends import WORKER_END_SECONDS, WorkerEnds
from taskmaster.units import show_count

__all__ = ["ExecutorPool"]

logger = clean_logger(__name__)

FIRST_RENEW_PAUSE_SECONDS, LONGEST_RENEW_PAUSE_SECONDS = 0.5, 30.0  # before another executor is made
NOTHING_DUE_SECONDS = 60.0
MOST_PLACES_SHOWN = 5  # of the workers of an executor


@dataclass(frozen=True)
class SubmittedBatch:
    """A batch that is with the executor.

    Attributes:
        held: The batch.
        future: The call.
        executor: Which runs it; another one may have been made since.
    """

    held: HeldBatch
    future: Future[BatchDone]
    executor: Any

    @property
    def is_lost(self) -> bool:
        """Whether it gives nothing any more, because its executor has broken."""
        return not self.future.done() or (
            not self.future.cancelled() and isinstance(self.future.exception(0), BrokenExecutor)
        )


class ExecutorPool:
    """A ``SlavePool``, and its ``SlaveWorkforce``: there are no processes of its own.

    Args:
        executors: Gives the executor.
        host: The spec of the host process in each worker.
        host_ends: Hears how hosts end.
        most: Batches that the executor has at once, at most.
        in_flight: Accounts for what is held.
        batch_size: Is told what batches took.
        selector: The supervisor's.
        clock: Gives monotonic seconds.

    Attributes:
        ends: What workers could not do at their end, as far as it was said.
    """

    where = "on the executor"

    def __init__(
        self,
        executors: Executors,
        host: HostSpec,
        host_ends: HostEnds,
        most: int,
        in_flight: InFlight,
        batch_size: BatchSize,
        selector: selectors.BaseSelector,
        clock: Callable[[], float] = time.monotonic,
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
        self._clock = clock
        self._nice = 0.0
        self._rests: list[tuple[float, float]] = []  # since when, and after how much work
        self._submitted: dict[str, SubmittedBatch] = {}
        self._arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        selector.register(self._wake_in, selectors.EVENT_READ, self._collect)
        self._broken = self._closing = self._abandoned = self._shut_down = False
        self._host_ends = host_ends
        self._renew_at = 0.0
        self._pause = FIRST_RENEW_PAUSE_SECONDS

    @property
    def workforce(self) -> ExecutorPool:
        """Itself: it knows of no process."""
        return self

    @property
    def room(self) -> Room:
        """How many more batches it can take, and whether one of them would not have to wait."""
        if self._broken or self._closing or self._about is None:
            return Room(0, idle=False)
        # While there are rests, each worker has one batch at a time: a second one would begin as
        # soon as the first ends.
        most = min(self._most, self._workers) if self._nice else self._most
        free = max(0, most - len(self._submitted) - len(self._rests))
        return Room(free, idle=free > 0 and len(self._submitted) < self._workers)

    @property
    def resting(self) -> bool:
        """Whether a worker gets no batch for a while, so that it rests. The slave keeps the pause,
        and not the worker, so that a change of ``--nice`` is in force at once.
        """
        return bool(self._rests)

    def rest(self, ratio: float) -> None:
        """Let workers rest after each batch from now on, for ``ratio`` times as long as it took."""
        self._nice = ratio

    def tell(self, about: AboutRun, nice: float) -> None:
        """Let the workers know what they work for; those that come later, too."""
        self._about, self._nice = about, nice

    def keep_up(self, now: float) -> float:
        """Make another executor, if this one has broken; return the seconds until there is
        something to do here.
        """
        self._rests = [(since, worked) for since, worked in self._rests if since + self._nice * worked > now]
        if not self._broken or self._closing:
            return min(
                (since + self._nice * worked - now for since, worked in self._rests), default=NOTHING_DUE_SECONDS
            )
        if now < self._renew_at:
            return self._renew_at - now
        self._renew_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_RENEW_PAUSE_SECONDS)
        try:
            self._executors.renew()
        except UsageError as exc:
            logger.warning("there is no other executor yet: %s It is tried again.", exc)
            return self._renew_at - now
        self._broken = False
        self._note_ends(self._host_ends.read())
        self._host_ends.lost()
        return 0.0

    def buffer(self, size: int) -> Buffer | None:  # noqa: ARG002
        """Return None: a batch goes on with its call."""
        return None

    def give(self, lent: WireBatch) -> None:
        """Submit a batch."""
        held = self._in_flight.take(lent._replace(blob=b""))
        if self._broken or self._closing or self._about is None:
            self._in_flight.drop(held)
            return
        call = BatchCall(self._host, self._about, lent._replace(blob=bytes(lent.blob)))
        executor = self._executors.current
        try:
            with no_interrupts():
                future = executor.submit(run_batch, call)
        except Exception as exc:
            self._break(executor, exc)
            self._in_flight.drop(held)
            return
        self._submitted[lent.token] = SubmittedBatch(held, future, executor)
        future.add_done_callback(lambda _: self._notify(lent.token))

    def read_progress(self) -> None:
        """Do nothing: how far a batch has got is known when it has ended."""

    def enforce(self, now: float) -> float:  # noqa: ARG002
        """Do nothing: the host in the executor's worker sees that no job takes too long."""
        return NOTHING_DUE_SECONDS

    def give_back_waiting(self) -> None:
        """Do nothing: whether a call waits for a worker is the executor's business."""

    def recall(self, held: HeldBatch, keep: int) -> None:  # noqa: ARG002
        """Withdraw the call of a batch, if it has not begun.

        Dask lets a call be cancelled that runs, and runs it on: as many as there are workers, the
        first ones, are taken to have begun.
        """
        token = (held.origin or held).lent.token
        sent = self._submitted.get(token)
        begun = [one for one, sent in self._submitted.items() if not sent.future.done()][: self._workers]
        if sent is not None and token not in begun and sent.future.cancel():
            self._settle(token)

    def recall_all(self) -> None:
        """Withdraw every call that has not begun."""
        for sent in reversed(list(self._submitted.values())):
            self.recall(sent.held, 0)

    def kill(self, *, idle: bool = True) -> None:
        """Stop waiting for calls; those that run end with their executor, if its workers are
        processes of this machine.
        """
        self._closing = self._closing or idle
        for token in list(self._submitted):
            sent = self._submitted.pop(token)
            self._abandoned = not (sent.future.cancel() or sent.future.done()) or self._abandoned
            self._in_flight.drop(sent.held)

    def wind_up(self, seconds: float, *, hurry: Callable[[], bool], orphaned: Callable[[], bool]) -> None:
        """Have the hosts end, with their workers' teardown, and the executor; ``ends`` is told what
        they could not do.
        """
        self.kill()

        def give_up() -> bool:
            return hurry() or orphaned()

        if self._abandoned or self._broken or self._shut_down or give_up():
            return
        seconds = max(seconds, WORKER_END_SECONDS)
        executor = self._executors.current
        self._note_ends(self._host_ends.ask(executor, self._host.slave, self._workers, seconds, give_up))
        self._shut_down = True
        problem = shut_down(executor, seconds, give_up)
        self._abandoned = bool(problem)
        self._note_ends(self._host_ends.read())
        if give_up():
            return
        self._note_ends([problem] * self._abandoned)
        if unheard := self._host_ends.unheard:
            logger.warning(
                "it is not known how %s on the executor ended, which were gone before: in %s",
                show_count(len(unheard), "worker"),
                ", ".join(sorted(set(unheard.values()))[:MOST_PLACES_SHOWN]),
            )

    def finish_output(self, may_give_up: Callable[[], bool]) -> None:
        """Do nothing: what workers print stays where they run."""

    def close(self, may_give_up: Callable[[], bool]) -> None:
        """Let go of the executor; a pool of processes ends with its workers' teardown."""
        self._closing = True
        if self._abandoned:
            self._executors.kill()
        if not self._shut_down:
            self._executors.current.shutdown(wait=not (self._abandoned or may_give_up()))
        self._host_ends.close()
        self._selector.unregister(self._wake_in)
        self._wake_in.close()
        self._wake_out.close()

    # -- inside ------------------------------------------------------------------------------------

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
        sent = self._submitted.get(token)
        if sent is None or not sent.future.done():
            return
        del self._submitted[token]
        held = sent.held
        try:
            done = sent.future.result(0)
        except CancelledError:  # by us, or by an executor that has lost it: no job is to blame
            self._in_flight.drop(held)
        except BrokenExecutor as exc:
            self._break(sent.executor, exc)
            self._lose(sent, exc)
        except BaseException as exc:  # a worker's SystemExit comes back as it is
            logger.warning("a batch of %s was lost: %s", show_count(held.lent.count, "job"), one_line(exc))
            self._in_flight.crash(held, range(held.lent.count), _how_lost(exc), beside=1)
        else:
            self._pause = FIRST_RENEW_PAUSE_SECONDS
            self._take(held, done)

    def _lose(self, sent: SubmittedBatch, exc: BaseException) -> None:
        """Give back every batch that was lost with an executor. The master is told how many were
        lost at once, so that it knows whether a job was alone.
        """
        others = {
            token: other
            for token, other in self._submitted.items()
            if other.executor is sent.executor and other.is_lost
        }
        for token in others:
            del self._submitted[token]
        for lost in (sent, *others.values()):
            jobs = range(lost.held.lent.count)
            self._in_flight.crash(lost.held, jobs, _how_lost(exc), beside=1 + len(others))

    def _note_ends(self, problems: Sequence[str]) -> None:
        self.ends.unfinished += problems
        for problem in problems:
            logger.warning("a worker on the executor could not end well: %s", problem)

    def _take(self, held: HeldBatch, done: BatchDone) -> None:
        self._host_ends.begun(done.host, done.worker)
        self._note_ends(self._host_ends.hear(done.ended))
        if done.unusable:
            self._in_flight.drop(held)
            raise Unusable(Cause(done.cause), done.unusable, done.traceback)
        report = Report.from_wire(done.report)
        if self._nice and report.seconds > 0:
            self._rests.append((self._clock(), report.seconds))
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
            self._in_flight.finish(held, report.upto, report.seconds, report.times)
        elif of_all is not None:
            self._in_flight.raised(held, report.suspects, of_all)
        elif report.end is ReportEnd.UNREADABLE:
            self._in_flight.unreadable(held)
        else:
            late = report.end is ReportEnd.TIMEOUT
            self._in_flight.crash(held, report.suspects, report.detail, timed_out=late, beside=report.beside)

    def _break(self, executor: Any, exc: BaseException) -> None:
        """Have another executor made, unless that is done: some of what an executor ran is heard of
        late.
        """
        if not self._broken and executor is self._executors.current:
            self._broken = True
            logger.warning("the executor has broken, and another one is made: %s", one_line(exc))


def _how_lost(exc: BaseException) -> str:
    return f"lost with its worker on the executor ({type(exc).__name__}: {one_line(exc)})"[:1000]
