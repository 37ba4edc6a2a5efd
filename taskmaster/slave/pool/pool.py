"""The pool: what a slave's workers hold and say, and what becomes of it when one dies.

The supervisor uses it from its one thread. Nothing here waits before ``close``: sockets and pipes
are non-blocking, and what a worker does not take at once is kept for it.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable

from taskmaster.model import WireBatch
from taskmaster.runtime.log import clean_logger
from taskmaster.slave.ipc.messages import (
    AboutRun,
    BatchEnded,
    CallRaised,
    CannotRun,
    Exhausted,
    JobFailed,
    Ready,
    RunBatch,
    ToSupervisor,
    WorkerClosed,
    too_long,
)
from taskmaster.slave.ipc.scoreboard import REGIONS
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.buffers import Buffer, Buffers
from taskmaster.slave.pool.contract import Room
from taskmaster.slave.pool.fork_client import ForkClient
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.rests import Rests
from taskmaster.slave.pool.retirement import Retirement
from taskmaster.slave.pool.watchdog import Watchdog
from taskmaster.slave.pool.worker_process import WorkerProcess
from taskmaster.slave.pool.workforce import Death, Workforce

__all__ = ["Pool"]

logger = clean_logger(__name__)


class Pool:
    """The workers of a slave, and their batches.

    Args:
        spec: What workers need to know.
        count: How many workers there should be.
        in_flight: Accounts for what the workers hold.
        batch_size: Is told what batches took.
        selector: The supervisor's.
        fork_client: Has the workers forked; the pool closes it.
        retirement: Says which workers are replaced.
        stopping: Whether the slave was told to end, so that no worker is replaced.

    Attributes:
        workforce: The processes.
        job_timeout: Seconds that a job may take, None for any time.
        where: Where the processes are, for people.
    """

    where = "here"

    def __init__(
        self,
        spec: WorkerSpec,
        count: int,
        in_flight: InFlight,
        batch_size: BatchSize,
        selector: selectors.BaseSelector,
        fork_client: ForkClient,
        retirement: Retirement | None = None,
        *,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.job_timeout: float | None = None
        self._rests = Rests()
        self._slots = spec.slots
        self._watchdog = Watchdog(time.monotonic())
        self._in_flight = in_flight
        self._batch_size = batch_size
        self._selector = selector
        self._buffers = Buffers(count * REGIONS)
        self._retirement = retirement or Retirement(None, None)
        self._about: AboutRun | None = None
        self.workforce = Workforce(
            spec,
            count,
            self._buffers.descriptor,
            selector,
            fork_client,
            stopping=stopping,
            heard=self._hear,
            account_for=self._account_for,
        )

    @property
    def workers(self) -> dict[int, WorkerProcess]:
        """The workers by process id."""
        return self.workforce.workers

    def tell(self, about: AboutRun, nice: float) -> None:
        """Let the workers know what they work for; those that come later, too.

        Args:
            about: The run.
            nice: How long a worker rests after a batch, as in ``Welcome``.
        """
        self._rests.ratio = nice
        self.job_timeout = about.job_timeout
        self._about = about
        for worker in self.workers.values():
            if worker.ready:
                worker.send(self._about)

    def rest(self, ratio: float) -> None:
        """Let workers rest after each batch from now on, for ``ratio`` times as long as it took."""
        self._rests.ratio = ratio

    @property
    def resting(self) -> bool:
        """Whether a worker rests."""
        return bool(self._rests)

    def keep_up(self, now: float) -> float:
        """Replace workers that have died, and end those that are lost; return the seconds until
        there is something to do here.
        """
        self._watchdog.over_workers(self.workers.values(), now)
        return min(self._rests.keep_up(self.workers.values(), now), self.workforce.keep_up(now))

    # -- what workers say --------------------------------------------------------------------------

    def _hear(self, worker: WorkerProcess) -> None:
        self._listen(worker)
        if worker.gone:
            self.workforce.unwatch(worker)  # the fork server tells how it has ended

    def _listen(self, worker: WorkerProcess) -> None:
        for message in worker.messages():
            self._understand(worker, message)

    def _read_progress_of(self, worker: WorkerProcess, *, dead: bool = False) -> None:
        # The positions are read before the messages: a worker says that a job has failed before it
        # moves on.
        scoreboard, ended = worker.scoreboard, []
        for region, held in enumerate(worker.held):
            if held is not None:
                position = scoreboard.position(region)
                extra = scoreboard.ended_beyond(region, position, held.keep) if worker.several else ()
                ended.append((held, position, extra))
        self._listen(worker)
        if worker.behind or worker.garbled:
            # A failure may be in what is not heard yet, or was lost: the job would count as done.
            return
        for held, position, extra in ended:
            # With its last job, a batch ends: then the worker says how long its jobs took. The
            # master may end the run at the last job of all, and would not hear that any more.
            if held in worker.held and (dead or position < held.keep):
                self._in_flight.progress(held, position, extra)

    def _understand(self, worker: WorkerProcess, message: ToSupervisor) -> None:
        if isinstance(message, Ready):
            self._welcome(worker, message)
        elif isinstance(message, CannotRun):
            self.workforce.cannot_run(worker, message)
        elif isinstance(message, WorkerClosed):
            worker.closed = True
            self.workforce.ends.note(worker, message.problems)
            self.workforce.ends.remark(worker, message.remarks)
        elif isinstance(message, JobFailed):
            held = worker.held[message.region]
            if held is not None:
                held.fail(message.failure)
        elif isinstance(message, Exhausted):
            worker.exhausted = True
            self._retire(worker, message.why)
        elif (held := worker.release(message.region)) is not None:
            self._rests.end(worker, time.monotonic())
            if isinstance(message, BatchEnded):
                worker.ran += message.stop
                # Of a cause that makes all jobs fail, and quickly, the master should hear before
                # many have failed.
                if 2 * held.failed <= message.stop:
                    self._batch_size.note(message.stop, message.seconds)
                self._in_flight.finish(held, message.stop, message.seconds, message.times)
            elif isinstance(message, CallRaised):
                worker.ran += len(message.indices)
                self._in_flight.raised(held, message.indices, message.failure)
            else:
                self._in_flight.unreadable(held)
            self._retire(worker, worker.retiring or self._retirement.worn_out(worker))

    def _retire(self, worker: WorkerProcess, why: str) -> None:
        """Replace a worker, if there is a reason, as soon as the jobs that run in it have ended."""
        if not why:
            return
        if not worker.retiring:
            worker.retiring = why
            for held in worker.held:
                if held is not None:
                    self.recall(held, 0)
        if not any(worker.held):
            self.workforce.retire(worker)

    def _welcome(self, worker: WorkerProcess, message: Ready) -> None:
        worker.several, worker.together, worker.coroutines = message.several, message.together, message.coroutines
        if self._about is not None:
            worker.send(self._about)
        if message.slots < self._slots and not self.workforce.restart_policy.was_ready:
            logger.warning(
                "jobs at once in each worker: %d (--threads is for plain functions, --concurrency for `async def`)",
                message.slots,
            )
        self._batch_size.note_slots(message.slots)
        worker.ready = True
        self.workforce.restart_policy.ready()

    def _account_for(self, worker: WorkerProcess, death: Death) -> bool:
        """Settle what a dead worker held: its last words, what it had ended, and the job that it
        died of; return whether it had begun with anything.
        """
        self._read_progress_of(worker, dead=True)
        worked = any(held is not None and worker.scoreboard.begun(region) for region, held in enumerate(worker.held))
        blame = death.blame
        for region, held in worker.oldest_first:
            worker.release(region)
            if death.blame and worker.scoreboard.opening(region) and not held.lent.separate:
                # It died while it unpickled the batch: sent job by job, the guilty one is found.
                self._in_flight.unreadable(held)
                continue
            suspects = self._suspects(worker, region, held) if blame else []
            # What it did after it wrote to its socket is not to blame for that.
            blame = blame and not (worker.garbled and suspects)
            if worker.timed_out is None:
                self._in_flight.crash(held, suspects, death.how, beside=death.beside)
                continue
            # The job may have ended before the worker was killed for it; what ran then is not to
            # blame.
            late, guilty = worker.timed_out
            suspects = [index for index in suspects if late is held and (index == guilty or worker.together)]
            self._in_flight.crash(held, suspects, too_long(self.job_timeout or 0.0), timed_out=True)
        return worked

    @staticmethod
    def _suspects(worker: WorkerProcess, region: int, held: HeldBatch) -> list[int]:
        """Return the jobs of which the worker may have died."""
        running = worker.scoreboard.running(region, held.keep, several=worker.several)
        if not worker.garbled:
            return running
        # Any job that has ended since the worker last made sense may have written to its socket.
        position = worker.scoreboard.position(region)
        ended = {*range(held.upto, position), *worker.scoreboard.ended_beyond(region, position, held.keep)}
        return sorted((ended | set(running)).difference(held.extra))

    # -- batches -----------------------------------------------------------------------------------

    @property
    def room(self) -> Room:
        """Return how many more batches the workers can take, and whether one of them has none."""
        found = [(self._room(worker), worker.free == REGIONS) for worker in self.workers.values()]
        return Room(sum(free for free, _ in found), idle=any(free and empty for free, empty in found))

    def _room(self, worker: WorkerProcess) -> int:
        """Return how many more batches a worker can take."""
        free = worker.free if self._retirement.allowance(worker) > 0 and self._rests.allow(worker) else 0
        return min(free, 1) if self._rests.ratio else free

    def buffer(self, size: int) -> Buffer | None:
        """Return where a batch of ``size`` bytes is to be received."""
        return self._buffers.take(size)

    def give(self, lent: WireBatch) -> None:
        """Give a batch to the worker that holds the fewest."""
        others = [worker for worker in self.workers.values() if self._room(worker) and worker.pid != lent.avoid]
        worker = max(others or self.workers.values(), key=self._room, default=None)
        blob = lent.blob
        held = self._in_flight.take(lent._replace(blob=b""))
        if worker is None or not self._room(worker):
            self._in_flight.drop(held)  # a worker has died meanwhile
            return
        allowance = self._retirement.allowance(worker)
        region = worker.assign(held, blob)
        self._rests.begin(worker, time.monotonic())
        held.together = worker.together
        worker.scoreboard.prepare(region, lent.count)
        if allowance < lent.count:  # the rest goes back at once
            held.keep = worker.scoreboard.lower(region, allowance, lent.count, several=worker.several)
        where = (blob.offset, len(blob)) if isinstance(blob, Buffer) else bytes(blob)
        worker.send(RunBatch(region, lent.separate, lent.alone, self.job_timeout, where))
        if worker.pending:
            self._selector.modify(
                worker.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, lambda: self._write_and_hear(worker)
            )

    def _write_and_hear(self, worker: WorkerProcess) -> None:
        if worker.flush():
            self._selector.modify(worker.socket, selectors.EVENT_READ, lambda: self._hear(worker))
        self._hear(worker)

    def read_progress(self) -> None:
        """Note how far every worker has got.

        This is not done each time that a worker says something: the master would be told of each
        batch again and again.
        """
        for worker in list(self.workers.values()):
            self._read_progress_of(worker)

    def enforce(self, now: float) -> float:
        """End workers whose job takes too long; return the seconds until the next check."""
        for worker, why in self._retirement.too_large(self.workers.values()):
            self._retire(worker, why)
        return self._watchdog.over_jobs(self.workers.values(), self.job_timeout, now)

    def give_back_waiting(self) -> None:
        """Give back a batch that waits behind another one, for each worker that has nothing to do:
        the master hands them out anew.
        """
        idle = sum(1 for worker in self.workers.values() if worker.free == REGIONS)
        for worker in self.workers.values():
            for region, held in enumerate(worker.held):
                if idle and held is not None and held.keep and not worker.free and not worker.scoreboard.begun(region):
                    self.recall(held, 0)
                    idle -= 1

    def recall(self, held: HeldBatch, keep: int) -> None:
        """Give back the jobs of a batch from ``keep`` on that have not been started."""
        origin = held.origin or held
        for worker in self.workers.values():
            for region, other in enumerate(worker.held):
                if other is origin:
                    lowered = worker.scoreboard.lower(region, keep, origin.lent.count, several=worker.several)
                    self._in_flight.gave_back(origin, lowered)

    def recall_all(self) -> None:
        """Give back every job that has not been started."""
        for worker in self.workers.values():
            for held in worker.held:
                if held is not None:
                    self.recall(held, 0)

    # -- the end -----------------------------------------------------------------------------------

    def close(self, may_give_up: Callable[[], bool]) -> None:
        """End everything that is left, the fork server included.

        Args:
            may_give_up: Whether output may be lost if it is not read.
        """
        self.workforce.close()
        self._buffers.close()
        self.workforce.outputs.finish(may_give_up)
