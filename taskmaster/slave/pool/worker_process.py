"""A worker process as the supervisor sees it: its socket, its scoreboard, what it holds.

Called by ``taskmaster.slave.pool.pool``. Nothing here waits: what the worker does not take at once
is kept for it.
"""

from __future__ import annotations

import pickle
import socket
from collections import deque
from typing import Any

from taskmaster.slave.in_flight import HeldBatch
from taskmaster.slave.pool.output import Forwarder
from taskmaster.slave.scoreboard import REGIONS, Scoreboard
from taskmaster.transport.frames import FrameReader, frame

__all__ = ["UNPICKLING", "WorkerProcess"]

UNLIMITED = 2**40  # the socket to a worker is not on a network
UNPICKLING = -1  # in place of a job's index: the worker unpickles the batch
AT_ONCE = 1024 * 1024  # bytes that one worker is listened to before the others have their turn


class WorkerProcess:
    """One worker process.

    Args:
        pid: its process id.
        sock: the socket to it.
        memory: its scoreboard's descriptor, which stays the caller's.
        pipes: what it prints.

    Attributes:
        ready: it has loaded the target and set up.
        several: several jobs run at once in it, and its scoreboard's table says which.
        together: one call gets all jobs of a batch.
        coroutines: it cancels by itself what takes too long.
        timed_out: batch and index of a job that it was killed for, because that took too long; or
            ``UNPICKLING``.
        unusable: it has said that it cannot run jobs, and ends.
        quitting: it was told to end.
        gone: it has closed its end; what became of it is told by the template.
        cut_off: it was killed because it had closed its end and lived on.
        behind: it may have said more than was heard so far.
        warned_after: seconds after which it is said that it is not ready.
        held: what it works on, by region.
    """

    def __init__(self, pid: int, sock: socket.socket, memory: int, pipes: list[Forwarder]) -> None:
        sock.setblocking(False)
        self.pid = pid
        self.socket = sock
        self.scoreboard = Scoreboard(memory)
        self.pipes = pipes
        self.ready = self.several = self.unusable = self.gone = False
        self.quitting = self.together = self.coroutines = self.behind = self.cut_off = False
        self.warned_after = 30.0
        self.timed_out: tuple[HeldBatch, int] | None = None
        self.held: list[HeldBatch | None] = [None] * REGIONS
        self._blobs: list[Any] = [None] * REGIONS  # kept where they are until the worker has done with them
        self.reader = FrameReader(UNLIMITED)
        self.pending: deque[memoryview] = deque()

    @property
    def free(self) -> int:
        """How many more batches it can take."""
        return self.held.count(None) if self.ready and not (self.quitting or self.gone) else 0

    def hold(self, held: HeldBatch, blob: Any) -> int:
        """Note that the worker has a batch; gives the region where it is."""
        region = self.held.index(None)
        self.held[region], self._blobs[region] = held, blob
        return region

    def release(self, region: int) -> HeldBatch | None:
        """The worker has done with the batch of a region; gives what was there."""
        held = self.held[region]
        self.held[region] = self._blobs[region] = None
        return held

    def running(self) -> list[tuple[HeldBatch, int]]:
        """Batch and index of each job that runs; of those that one call is given, the first alone.
        A batch that is being unpickled has ``UNPICKLING`` in their place.
        """
        found = []
        for region, held in enumerate(self.held):
            if held is not None:
                indices = self.scoreboard.running(region, held.lent.count, several=self.several)
                found += [(held, index) for index in (indices[:1] if self.together else indices)]
                if self.scoreboard.opening(region):
                    found.append((held, UNPICKLING))
        return found

    def send(self, *message: Any) -> None:
        """Send as soon as the worker reads."""
        self.pending.extend(memoryview(piece) for piece in frame(message, UNLIMITED))
        self.flush()

    def flush(self) -> bool:
        """Send what is pending; False if the worker does not take all of it now."""
        while self.pending:
            try:
                count = self.socket.send(self.pending[0])
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self.pending.clear()  # it is dead, which is heard of elsewhere
                return True
            rest = self.pending.popleft()[count:]
            if rest:
                self.pending.appendleft(rest)
        return True

    def messages(self) -> list[tuple[Any, ...]]:
        """What the worker has said since the last call; ``gone`` tells afterwards whether it will
        say more.

        One that talks as fast as it is heard is interrupted, which ``behind`` tells; nothing that
        arrived whole is kept back then, so that the rest is still announced by the socket.
        """
        found: list[tuple[Any, ...]] = []
        heard = 0
        self.behind = False
        while not self.gone:
            if heard >= AT_ONCE:
                self.behind = True
                return found
            try:
                count = self.socket.recv_into(self.reader.space())
                heard += count
                self.gone = count == 0
                complete, message = self.reader.filled(count)
                while complete:
                    found.append(message)
                    complete, message = self.reader.more()
            except (BlockingIOError, InterruptedError):
                return found
            except (OSError, pickle.UnpicklingError):
                self.gone = True  # it died, perhaps in the middle of a sentence
        return found
