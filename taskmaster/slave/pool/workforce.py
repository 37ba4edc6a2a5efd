"""The worker processes come and go: started, replaced, ended, and accounted for when they die.

While the slave works, nothing here waits but for the fork server's answer, which takes a moment;
at its end, ``wind_up``, ``finish_output`` and ``close`` wait. What a worker says, and what it
holds, is the pool's business.
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

from taskmaster.records import record
from taskmaster.runtime.child_process import kill_group
from taskmaster.runtime.exhaustion import cure_of
from taskmaster.runtime.log import clean_logger
from taskmaster.slave.ipc.messages import CannotRun, Quit
from taskmaster.slave.ipc.scoreboard import SCOREBOARD_BYTES
from taskmaster.slave.ipc.unusable import Cause, Unusable
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.pool.fork_client import CannotFork, ForkClient, ForkServerGone, how_it_ended
from taskmaster.slave.pool.output import Outputs
from taskmaster.slave.pool.restart_policy import RestartPolicy
from taskmaster.slave.pool.shared_memory import NoSharedMemory, make_memory
from taskmaster.slave.pool.worker_ends import WorkerEnds, wind_up
from taskmaster.slave.pool.worker_process import WorkerProcess

__all__ = ["Death", "Workforce"]

logger = clean_logger(__name__)

RETIRED_SECONDS = 30.0  # for a worker that is replaced to end
SOCKET_BUFFER_BYTES = 512 * 1024  # requested size of a worker's socket buffer: a batch fits in and is sent at once


@record()
class Death:
    """How a worker has ended.

    Attributes:
        how: In words, for the report.
        blame: Whether a job that was running may have caused it.
        beside: How many batches had running jobs when all workers were killed at once, else 0: the
            cause is one of those jobs, or none of them.
    """

    how: str
    blame: bool = True
    beside: int = 0


class Workforce:
    """The worker processes of a slave.

    Args:
        spec: What workers need to know.
        count: How many workers there should be.
        buffers: The descriptor of the memory in which workers find their batches.
        selector: The supervisor's.
        fork_client: Has the workers forked; the workforce closes it.
        stopping: Whether the slave was told to end, so that no worker is replaced.
        heard: Called when a worker has said something.
        account_for: Called with a worker that has died, to settle what it held; returns whether it
            had begun with anything.

    Attributes:
        workers: By process id.
        outputs: What the workers print, on its way to the slave's own output.
        ends: How workers have ended that were told to quit.
        closing: Whether no worker is started any more.
        restart_policy: When the next worker may be started.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        count: int,
        buffers: int,
        selector: selectors.BaseSelector,
        fork_client: ForkClient,
        *,
        stopping: Callable[[], bool],
        heard: Callable[[WorkerProcess], None],
        account_for: Callable[[WorkerProcess, Death], bool],
    ) -> None:
        self.workers: dict[int, WorkerProcess] = {}
        self.outputs = Outputs(selector)
        self.ends = WorkerEnds()
        self.closing = False
        self.restart_policy = RestartPolicy()
        self._spec = spec
        self._count = count
        self._buffers = buffers
        self._selector = selector
        self._fork_client = fork_client
        self._stopping = stopping
        self._heard = heard
        self._account_for = account_for
        self._watch_fork_client()

    def keep_up(self, now: float) -> float:
        """Replace workers that have died; return the seconds until there is something to do."""
        slow = self.outputs.write()
        while len(self.workers) < self._count and not (self.closing or self._stopping()):
            if now < self.restart_policy.until:
                return min(slow, self.restart_policy.until - now)
            try:
                self._spawn()
            except ForkServerGone:
                self._renew_fork_server()
                return min(slow, self.restart_policy.back_off(time.monotonic()))
            except (CannotFork, NoSharedMemory) as exc:
                pause = self.restart_policy.cannot_start(str(exc), time.monotonic())
                logger.warning("%s It is tried again.", exc)
                return min(slow, pause)
            else:
                # The fork server's messages that came before its answer are not announced again.
                self.hear_of_exits()
        return slow

    def _spawn(self) -> None:
        with ExitStack() as undo, ExitStack() as given:
            try:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                given.callback(theirs.close)
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
                memory = make_memory(SCOREBOARD_BYTES)
                undo.callback(os.close, memory)
                out_read, out_write = os.pipe()
                undo.callback(os.close, out_read)
                given.callback(os.close, out_write)
                err_read, err_write = os.pipe()
                undo.callback(os.close, err_read)
                given.callback(os.close, err_write)
                descriptors = [theirs.fileno(), memory, self._buffers, out_write, err_write]
                pid = self._fork_client.spawn(self._spec, descriptors)
            except OSError as exc:
                raise CannotFork(f"No worker can be started: {exc.strerror}. {cure_of(exc, '')}".rstrip()) from exc
            undo.pop_all()
        worker = WorkerProcess(pid, ours, memory, self.outputs.watch(out_read, err_read))
        os.close(memory)
        self.workers[pid] = worker
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._heard(worker))

    # -- their ends --------------------------------------------------------------------------------

    def hear_of_exits(self) -> None:
        """Account for the workers that have ended, as the fork server tells."""
        try:
            exits = self._fork_client.exits()
        except ForkServerGone:
            self._renew_fork_server()
            return
        for pid, status in exits:
            worker = self.workers.get(pid)
            if worker is not None:
                # SIGTERM to all processes of a service reaches a worker whose setup() has its own
                # handler: that is an interrupt.
                interrupted = self._stopping() and os.waitstatus_to_exitcode(status) == -signal.SIGTERM
                how = worker.cut_off or how_it_ended(status)
                self._bury(worker, Death(how, blame=not interrupted))

    def _watch_fork_client(self) -> None:
        self._selector.register(self._fork_client.control, selectors.EVENT_READ, self.hear_of_exits)

    def _renew_fork_server(self) -> None:
        """Start another fork server: the last one was killed, and every worker with it.

        If a job did that, it was one of those that were running: the master finds it by handing
        them out in ever smaller company. None is charged for what may have come from outside.
        """
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._fork_client.control)
        if self.closing:
            return
        self._fork_client.close()
        beside = sum(len({id(held) for held, _ in worker.running()}) for worker in self.workers.values())
        for worker in list(self.workers.values()):
            self._bury(worker, Death("killed together with the process that forks the workers", beside=beside))
        if not self._fork_client.replaceable:
            raise Unusable(
                Cause.FORK_SERVER, "The process that holds the callback was killed, so that no worker can be started."
            )
        self.restart_policy.fork_server_ended(time.monotonic())
        logger.warning("the process that forks the workers has ended; all workers are started again")
        self._fork_client = ForkClient()
        self._watch_fork_client()

    def _bury(self, worker: WorkerProcess, death: Death) -> None:
        """Account for a dead worker, and let go of it."""
        worked = self._account_for(worker, death)
        del self.workers[worker.pid]
        self._let_go(worker)
        if worker.quitting and not worker.closed and death.blame:
            self.ends.note(worker, death.how)
        if worker.quitting or worker.unusable:
            return
        if death.blame and worker.timed_out is None:
            logger.warning("worker %d has died: %s", worker.pid, death.how)
        if not self.closing:
            self.restart_policy.died(death.how, time.monotonic(), worked=worker.ready and worked)

    def unwatch(self, worker: WorkerProcess) -> None:
        """Listen no more to a worker that has closed its end: its socket would be readable all the
        time.
        """
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker.socket)

    def _let_go(self, worker: WorkerProcess) -> None:
        self.unwatch(worker)
        worker.socket.close()
        for pipe in worker.pipes:
            self.outputs.close(pipe)

    def cannot_run(self, worker: WorkerProcess, message: CannotRun) -> None:
        """Note that a worker cannot run jobs and ends.

        Raises:
            Unusable: Another attempt would not help.
        """
        worker.unusable = True
        if not self.closing:
            pause = self.restart_policy.cannot_run(*message, time.monotonic())
            logger.warning("%s It is tried again in %.0f s.", message.sentence, pause)

    def retire(self, worker: WorkerProcess) -> None:
        """Have a worker tear down and end; another one takes its place."""
        if not worker.quitting:
            worker.quitting = True
            logger.log(
                logging.WARNING if worker.exhausted else logging.INFO,
                "worker %d is replaced: %s",
                worker.pid,
                worker.retiring,
            )
            worker.send(Quit(RETIRED_SECONDS))

    # -- the end -----------------------------------------------------------------------------------

    def quit(self, seconds: float) -> None:
        """Have the workers tear down and end once the jobs at hand have ended.

        Args:
            seconds: How long the end of a worker may take.
        """
        for worker in self.workers.values():
            if not worker.quitting:
                worker.quitting = True
                worker.send(Quit(seconds))
        self.closing = True

    def kill(self, *, idle: bool = True) -> None:
        """End the workers now; no job is blamed.

        Args:
            idle: Whether to end those that run nothing, too: what they have not written yet is
                lost.
        """
        self.closing = True
        for worker in list(self.workers.values()):
            if idle or any(held is not None for held in worker.held):
                kill_group(worker.pid)
                self._bury(worker, Death("", blame=False))

    def wind_up(self, seconds: float, *, hurry: Callable[[], bool], orphaned: Callable[[], bool]) -> None:
        """Have the workers tear down and end; see ``worker_ends.wind_up``."""
        wind_up(self, self._selector, seconds, hurry=hurry, orphaned=orphaned)

    def finish_output(self, may_give_up: Callable[[], bool]) -> None:
        """Write what workers have printed, and let ``ends`` know what is lost of it."""
        self.outputs.finish(may_give_up)
        self.ends.lost = self.outputs.problems

    def close(self) -> None:
        """End what is left, the fork server included."""
        self.closing = True
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._fork_client.control)
        self._fork_client.close()
        for worker in self.workers.values():
            self._let_go(worker)
        self.workers.clear()
