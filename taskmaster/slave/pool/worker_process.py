"""A worker process as the supervisor sees it: its socket, its scoreboard, what it holds.

Nothing here waits: what the worker does not take at once is kept for it.
"""

from __future__ import annotations

import pickle
import socket
from collections import deque
from typing import Any

from taskmaster.slave.ipc.messages import ToSupervisor, ToWorker, to_plain, to_supervisor
from taskmaster.slave.ipc.scoreboard import REGIONS, Scoreboard
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.output import Forwarder
from taskmaster.transport.frames import FrameReader, frame

__all__ = ["UNPICKLING", "WorkerProcess"]

UNLIMITED_BYTES = 2**40  # limit of a frame from a worker: none, because its socket is not on a network
UNPICKLING = -1  # in place of a job's index: the worker unpickles the batch
MOST_BYTES_AT_ONCE = 1024 * 1024  # most bytes read from one worker before the others have their turn
FIRST_WARNING_SECONDS = 30.0  # a worker that is not ready by then causes a warning


class WorkerProcess:
    """One worker process.

    Args:
        pid: Its process id.
        sock: The socket to it.
        memory: The descriptor of its scoreboard's memory, which stays the caller's.
        pipes: What it prints.

    Attributes:
        ready: Whether it has loaded the target and set up.
        several: Several jobs run at once in it, and its scoreboard's table says which.
        together: One call gets all jobs of a batch.
        coroutines: It cancels by itself the jobs that take too long.
        timed_out: Batch and index (or ``UNPICKLING``) of the job that took too long, for which the
            worker was killed.
        unusable: It has said that it cannot run jobs, and ends.
        quitting: Whether it was told to end.
        closed: It has said how its end went.
        gone: It has closed its end of the socket; the fork server tells how it ended.
        cut_off: Why it was killed although no job took too long, as a part of a sentence; "" if it
            was not.
        behind: Whether it may have said more than was read so far.
        garbled: What it said last made no sense, so that a failure may have been lost.
        warned_after: Seconds after which the next warning says that it is not ready.
        held: The batches that it works on, by region.
        ran: How many jobs have ended in it.
        exhausted: Whether it has said that it has run out of memory or the like.
        retiring: Why it is replaced as soon as its jobs have ended, "" if it is not.
    """

    def __init__(self, pid: int, sock: socket.socket, memory: int, pipes: list[Forwarder]) -> None:
        sock.setblocking(False)
        self.pid = pid
        self.socket = sock
        self.scoreboard = Scoreboard(memory)
        self.pipes = pipes
        self.ready = self.several = self.unusable = self.gone = False
        self.quitting = self.closed = self.together = self.coroutines = False
        self.behind = self.garbled = False
        self.cut_off = ""
        self.ran = 0
        self.exhausted = False
        self.retiring = ""
        self.warned_after = FIRST_WARNING_SECONDS
        self._newest = 0
        self.timed_out: tuple[HeldBatch, int] | None = None
        self.held: list[HeldBatch | None] = [None] * REGIONS
        self._blobs: list[Any] = [None] * REGIONS  # kept where they are until the worker has done with them
        self.reader = FrameReader(UNLIMITED_BYTES)
        self.pending: deque[memoryview] = deque()

    @property
    def free(self) -> int:
        """Return how many more batches it can take."""
        if not self.ready or self.quitting or self.gone or self.retiring:
            return 0
        return self.held.count(None)

    @property
    def has_begun(self) -> bool:
        """Whether it has begun with a batch that it holds."""
        return any(held is not None and self.scoreboard.begun(region) for region, held in enumerate(self.held))

    def assign(self, held: HeldBatch, blob: Any) -> int:
        """Note that the worker has a batch; return the region where it is."""
        region = self.held.index(None)
        self.held[region], self._blobs[region] = held, blob
        self._newest = region
        return region

    @property
    def oldest_first(self) -> list[tuple[int, HeldBatch]]:
        """Return the batches that it works on with their regions, in the order in which it got
        them.
        """
        found = [(region, held) for region, held in enumerate(self.held) if held is not None]
        return sorted(found, key=lambda pair: pair[0] == self._newest)

    def release(self, region: int) -> HeldBatch | None:
        """Note that the worker is done with a region's batch; return the batch."""
        held = self.held[region]
        self.held[region] = self._blobs[region] = None
        return held

    def running(self) -> list[tuple[HeldBatch, int]]:
        """Return batch and index of each job that runs; of the jobs of one call, the first only.

        A batch that is being unpickled has the index ``UNPICKLING``.
        """
        found = []
        for region, held in enumerate(self.held):
            if held is not None:
                indices = self.scoreboard.running(region, held.lent.count, several=self.several)
                found += [(held, index) for index in (indices[:1] if self.together else indices)]
                if self.scoreboard.opening(region):
                    found.append((held, UNPICKLING))
        return found

    def send(self, message: ToWorker) -> None:
        """Send a message as soon as the worker reads."""
        self.pending.extend(memoryview(segment) for segment in frame(to_plain(message), UNLIMITED_BYTES))
        self.flush()

    def flush(self) -> bool:
        """Send what is pending; return False if the worker does not take all of it now."""
        while self.pending:
            try:
                count = self.socket.send(self.pending[0])
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self.pending.clear()  # it is dead, as the fork server will say
                return True
            rest = self.pending.popleft()[count:]
            if rest:
                self.pending.appendleft(rest)
        return True

    def messages(self) -> list[ToSupervisor]:
        """Return what the worker has said since the last call; ``gone`` tells afterwards whether it
        will say more.

        A worker that talks as fast as it is read is interrupted, as ``behind`` tells. No message
        that has arrived whole is kept back then, so that the selector announces the rest.
        """
        found: list[ToSupervisor] = []
        heard = 0
        self.behind = False
        while not self.gone:
            if heard >= MOST_BYTES_AT_ONCE:
                self.behind = True
                return found
            try:
                count = self.socket.recv_into(self.reader.space())
                heard += count
                self.gone = count == 0
                complete, message = self.reader.filled(count)
                while complete:
                    found.append(to_supervisor(message))
                    complete, message = self.reader.more()
            except (BlockingIOError, InterruptedError):
                return found
            except OSError:
                self.gone = True  # it died
            except (ValueError, pickle.UnpicklingError):
                # User code has written to its socket: nothing it says can be believed any more.
                self.gone = self.garbled = True
        return found
