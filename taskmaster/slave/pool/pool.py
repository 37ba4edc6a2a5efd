"""The pool: the worker processes of a slave, what each of them holds, and what becomes of it when
one dies.

Called by ``taskmaster.slave.supervisor`` from its one thread. Nothing here waits: sockets and pipes
are non-blocking, and what a worker does not take at once is kept for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from taskmaster.model import Failure, WireBatch
from taskmaster.runtime.child_process import kill_group
from taskmaster.slave.batch_size import BatchSize
from taskmaster.slave.in_flight import HeldBatch, InFlight
from taskmaster.slave.messages import too_long
from taskmaster.slave.pool.buffers import Buffer, Buffers, make_memory
from taskmaster.slave.pool.fork_client import CannotFork, ForkClient, ForkServerGone, how_it_ended
from taskmaster.slave.pool.output import Outputs
from taskmaster.slave.pool.restart_policy import RestartPolicy, Unusable
from taskmaster.slave.pool.watchdog import Watchdog
from taskmaster.slave.pool.worker_process import WorkerProcess
from taskmaster.slave.scoreboard import REGIONS, SIZE

__all__ = ["Pool", "Unusable"]

logger = logging.getLogger(__name__)

LOST = "ended because its socket to the slave was closed, as by a callback that closes files which are not its own"
SOCKET_BUFFER = 512 * 1024  # bytes that a worker's socket should hold: a batch, so that it is sent at once


class Pool:
    """The workers of a slave.

    Args:
        spec: what workers need to know: target, threads, concurrency.
        count: how many workers.
        in_flight: where what they hold is accounted for.
        batch_size: told what batches took.
        selector: the supervisor's.
        fork_client: of the template that forks the workers; the pool's from here on.

    Attributes:
        workers: by process id.
        job_timeout: seconds that a job may take; None for as long as it likes.
        stopping: whether the slave was told to end: workers are not replaced any more.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        count: int,
        in_flight: InFlight,
        batch_size: BatchSize,
        selector: selectors.BaseSelector,
        fork_client: ForkClient,
    ) -> None:
        self.workers: dict[int, WorkerProcess] = {}
        self.job_timeout: float | None = None
        self.stopping: Callable[[], bool] = lambda: False
        self._watchdog = Watchdog(in_flight, time.monotonic())
        self._spec = spec
        self._count = count
        self._in_flight = in_flight
        self._batch_size = batch_size
        self._selector = selector
        self._buffers = Buffers(count * REGIONS)
        self.outputs = Outputs(selector)
        self._restart_policy = RestartPolicy()
        self._closing = False
        self._about: tuple[Any, ...] | None = None
        self._fork_client = fork_client
        self._watch_launcher()

    def tell(self, run: str, slave: str, job_timeout: float | None) -> None:
        """Let the workers know what they work for; those that come later, too."""
        self.job_timeout = job_timeout
        self._about = ("about", run, slave, job_timeout)
        for worker in self.workers.values():
            if worker.ready:
                worker.send(*self._about)

    # -- workers come and go -----------------------------------------------------------------------

    def keep_up(self, now: float) -> float:
        """Replace workers that have died, and end those that are lost; gives the seconds until
        there is something to do here.
        """
        slow = self.outputs.write()
        self._watchdog.over_workers(self.workers.values(), now)
        while len(self.workers) < self._count and not (self._closing or self.stopping()):
            if now < self._restart_policy.until:
                return min(slow, self._restart_policy.until - now)
            try:
                self._spawn()
            except ForkServerGone:
                self._renew_template()
                self._restart_policy.back_off(time.monotonic())
                return min(slow, self._restart_policy.pause)
            except CannotFork as exc:
                logger.warning("%s It is tried again.", exc)
                self._restart_policy.back_off(time.monotonic())
                return min(slow, self._restart_policy.pause)
            else:
                # Whatever was heard while the template was asked is not heard again.
                self._hear_of_exits()
        return slow

    def _spawn(self) -> None:
        with ExitStack() as undo, ExitStack() as given:
            try:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                given.callback(theirs.close)
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
                memory = make_memory(SIZE)
                undo.callback(os.close, memory)
                out_read, out_write = os.pipe()
                undo.callback(os.close, out_read)
                given.callback(os.close, out_write)
                err_read, err_write = os.pipe()
                undo.callback(os.close, err_read)
                given.callback(os.close, err_write)
                descriptors = [theirs.fileno(), memory, self._buffers.descriptor, out_write, err_write]
                pid = self._fork_client.spawn(self._spec, descriptors)
            except OSError as exc:
                raise CannotFork(f"No worker can be started: {exc.strerror}.") from exc
            undo.pop_all()
        worker = WorkerProcess(pid, ours, memory, self.outputs.watch(out_read, err_read))
        os.close(memory)
        self.workers[pid] = worker
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(worker))

    def _watch_launcher(self) -> None:
        self._selector.register(self._fork_client.control, selectors.EVENT_READ, self._hear_of_exits)

    def _hear_of_exits(self) -> None:
        try:
            exits = self._fork_client.exits()
        except ForkServerGone:
            self._renew_template()
            return
        for pid, status in exits:
            worker = self.workers.get(pid)
            if worker is not None:
                how = LOST if worker.cut_off else how_it_ended(status)
                # Sent to all processes of a service, it comes to one whose setup() does not let it
                # pass, too.
                interrupted = self.stopping() and os.waitstatus_to_exitcode(status) == -signal.SIGTERM
                self._bury(worker, how, blame=not interrupted)

    def _renew_template(self) -> None:
        """The template was killed, and every worker with it.

        If a job did that, it was one of those that were running: each is charged, for the guilty
        one would otherwise be handed out for ever.
        """
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._fork_client.control)
        if self._closing:
            return
        self._fork_client.close()
        for worker in list(self.workers.values()):
            self._bury(worker, "killed together with the process that forks the workers")
        if not self._fork_client.replaceable:
            raise Unusable(
                "template", "The process that holds the callback was killed, so that no worker can be started.", ""
            )
        self._restart_policy.template_ended(time.monotonic())
        logger.warning("the process that forks the workers has ended; all workers are started again")
        self._fork_client = ForkClient()
        self._watch_launcher()

    def _bury(self, worker: WorkerProcess, how: str, *, blame: bool = True) -> None:
        """Account for a dead worker: its last words, what it had ended, and the job that it died
        of.
        """
        self._look(worker)
        worked = any(held is not None and worker.scoreboard.begun(region) for region, held in enumerate(worker.held))
        for region, held in enumerate(worker.held):
            if held is None:
                continue
            worker.release(region)
            if blame and worker.scoreboard.opening(region) and not held.lent.separate:
                # It died while it unpickled the batch: one by one, the guilty job is found.
                self._in_flight.unreadable(held)
                continue
            suspects = worker.scoreboard.running(region, held.keep, several=worker.several) if blame else []
            if worker.timed_out is not None:
                # The job may have ended between the last look and the kill; whatever ran then is
                # not to blame.
                late, guilty = worker.timed_out
                suspects = [i for i in suspects if late is held and (i == guilty or worker.together)]
                self._in_flight.crash(held, suspects, too_long(self.job_timeout or 0.0), timed_out=True)
                continue
            self._in_flight.crash(held, suspects, how)
        del self.workers[worker.pid]
        self._unwatch(worker)
        worker.socket.close()
        for pipe in worker.pipes:
            self.outputs.close(pipe)
        if worker.quitting or worker.unusable:
            return
        if blame and worker.timed_out is None:
            logger.warning("worker %d has died: %s", worker.pid, how)
        if not self._closing:
            self._restart_policy.died(how, time.monotonic(), worked=worker.ready and worked)

    # -- what workers say --------------------------------------------------------------------------

    def _hear(self, worker: WorkerProcess) -> None:
        self._listen(worker)
        if worker.gone:
            # Its end is told by the template; until then this socket would be readable all the
            # time.
            self._unwatch(worker)

    def _unwatch(self, worker: WorkerProcess) -> None:
        try:
            self._selector.unregister(worker.socket)
        except (KeyError, ValueError):
            pass

    def _listen(self, worker: WorkerProcess) -> None:
        for message in worker.messages():
            self._understand(worker, *message)

    def _look(self, worker: WorkerProcess) -> None:
        # What has ended is read before the messages: a failure among it has been said by then.
        scoreboard, ended = worker.scoreboard, []
        for region, held in enumerate(worker.held):
            if held is not None:
                position = scoreboard.position(region)
                extra = scoreboard.ended_beyond(region, position, held.keep) if worker.several else ()
                ended.append((held, position, extra))
        self._listen(worker)
        if worker.behind:
            return  # a failure may be in what is not heard yet: the job would count as done
        for held, position, extra in ended:
            if held in worker.held:
                self._in_flight.progress(held, position, extra)

    def _understand(self, worker: WorkerProcess, kind: str, *rest: Any) -> None:
        if kind == "ready":
            self._welcome(worker, *rest)
        elif kind == "unusable":
            worker.unusable = True
            if not self._closing:
                what, sentence, traceback = rest
                pause = self._restart_policy.unusable(what, sentence, traceback, time.monotonic())
                logger.warning("%s It is tried again in %.0f s.", sentence, pause)
        elif kind == "failed":
            region, *failure = rest
            held = worker.held[region]
            if held is not None:
                self._in_flight.fail(held, Failure.from_wire(failure))
        else:
            region, *what = rest
            held = worker.release(region)
            if held is not None:
                self._end(held, kind, what)

    def _end(self, held: HeldBatch, how: str, what: list[Any]) -> None:
        """A worker has done with a batch."""
        if how == "raised":
            indices, *failure = what
            self._in_flight.raised(held, indices, Failure.from_wire(failure))
        elif how == "unreadable":
            self._in_flight.unreadable(held)
        else:
            stop, seconds = what
            # Of a cause that makes all jobs fail, and quickly, the master should hear before many
            # have failed.
            if 2 * held.failed <= stop:
                self._batch_size.note(stop, seconds)
            self._in_flight.finish(held, stop, seconds)

    def _welcome(self, worker: WorkerProcess, slots: int, *traits: bool) -> None:
        worker.several, worker.together, worker.coroutines = traits
        if self._about is not None:
            worker.send(*self._about)
        if slots < max(self._spec["threads"], self._spec["concurrency"]) and not self._restart_policy.was_ready:
            logger.warning(
                "jobs at once in each worker: %d (--threads is for plain functions, --concurrency for `async def`)",
                slots,
            )
        worker.ready = True
        self._restart_policy.ready()

    # -- batches -----------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """How many batches the workers can take."""
        return sum(worker.free for worker in self.workers.values())

    def place(self, size: int) -> Buffer | None:
        """Where a batch of so many bytes is to be received."""
        return self._buffers.place(size)

    def give(self, lent: WireBatch) -> None:
        """Give a batch to the worker that holds the fewest."""
        others = [worker for worker in self.workers.values() if worker.free and worker.pid != lent.avoid]
        worker = max(others or self.workers.values(), key=lambda worker: worker.free, default=None)
        blob = lent.blob
        held = self._in_flight.take(lent._replace(blob=b""))
        if worker is None or not worker.free:
            self._in_flight.drop(held)  # a worker has died meanwhile
            return
        region = worker.hold(held, blob)
        held.together = worker.together
        worker.scoreboard.prepare(region, lent.count)
        where = (blob.offset, len(blob)) if isinstance(blob, Buffer) else bytes(blob)
        worker.send("batch", region, lent.separate, lent.alone, self.job_timeout, where)
        if worker.pending:
            self._selector.modify(
                worker.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, lambda: self._write_and_hear(worker)
            )

    def _write_and_hear(self, worker: WorkerProcess) -> None:
        if worker.flush():
            self._selector.modify(worker.socket, selectors.EVENT_READ, lambda: self._hear(worker))
        self._hear(worker)

    def look(self) -> None:
        """See how far every worker has got. Not done whenever one of them says something: the
        master would be told of each batch again and again.
        """
        for worker in list(self.workers.values()):
            self._look(worker)

    def enforce(self, now: float) -> float:
        """End workers whose job takes too long; gives the seconds until the next look."""
        return self._watchdog.over_jobs(self.workers.values(), self.job_timeout, now)

    def share(self) -> None:
        """While a worker has nothing to do, give the batches back that wait behind another one's
        running batch.
        """
        idle = sum(1 for worker in self.workers.values() if worker.free == REGIONS)
        for worker in self.workers.values():
            for region, held in enumerate(worker.held):
                if idle and held is not None and held.keep and not worker.free and not worker.scoreboard.begun(region):
                    self.recall(held, 0)
                    idle -= 1

    def recall(self, held: HeldBatch, keep: int) -> None:
        """Give back the jobs of a batch from ``keep`` on that have not been started."""
        for worker in self.workers.values():
            for region, other in enumerate(worker.held):
                if other is held:
                    lowered = worker.scoreboard.lower(region, keep, held.lent.count, several=worker.several)
                    held.keep = min(held.keep, lowered)

    def recall_all(self) -> None:
        """Give back every job that has not been started."""
        for worker in self.workers.values():
            for held in worker.held:
                if held is not None:
                    self.recall(held, 0)

    # -- the end -----------------------------------------------------------------------------------

    def quit(self) -> None:
        """Have the workers tear down and end, as soon as they have done what they are at."""
        for worker in self.workers.values():
            if not worker.quitting:
                worker.quitting = True
                worker.send("quit")
        self._closing = True

    def kill_workers(self) -> None:
        """End the workers now; nobody is blamed."""
        self._closing = True
        for worker in list(self.workers.values()):
            kill_group(worker.pid)
            self._bury(worker, "", blame=False)

    def close(self, may_give_up: Callable[[], bool]) -> None:
        """End everything that is left, the template included.

        Args:
            may_give_up: whether output that nobody reads may be lost.
        """
        self._closing = True
        try:
            self._selector.unregister(self._fork_client.control)
        except (KeyError, ValueError):
            pass
        self._fork_client.close()
        for worker in self.workers.values():
            self._unwatch(worker)
            worker.socket.close()
            for pipe in worker.pipes:
                self.outputs.close(pipe)
        self.workers.clear()
        self._buffers.close()
        self.outputs.finish(may_give_up)
