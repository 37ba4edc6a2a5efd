"""What a supervisor needs of a pool: its own workers, or those of somebody's executor."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import NamedTuple, Protocol

from taskmaster.model import WireBatch
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.pool.buffers import Buffer
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.slave.pool.worker_ends import WorkerEnds

__all__ = ["MakePool", "Room", "SlavePool", "SlaveWorkforce"]


class SlaveWorkforce(Protocol):
    """The processes of a pool, at their end.

    Attributes:
        ends: What workers could not do then.
    """

    ends: WorkerEnds

    def kill(self, *, idle: bool = True) -> None:
        """End the workers that run something, and with ``idle`` the others, too."""

    def wind_up(self, seconds: float, *, hurry: Callable[[], bool], orphaned: Callable[[], bool]) -> None:
        """Have the workers tear down and end; see ``worker_ends.wind_up``."""

    def finish_output(self, may_give_up: Callable[[], bool]) -> None:
        """Write what workers have printed, and let ``ends`` know what is lost of it."""


class Room(NamedTuple):
    """What a pool can take.

    Attributes:
        batches: How many more batches.
        idle: Whether a worker could begin with one of them at once.
    """

    batches: int
    idle: bool


class SlavePool(Protocol):
    """Runs the batches of a slave. Nothing here waits but ``close``; the ``workforce`` waits at its
    end.

    Attributes:
        where: Where the worker processes are, for people.
    """

    where: str

    @property
    def workforce(self) -> SlaveWorkforce:
        """The processes."""

    @property
    def room(self) -> Room:
        """What it can take."""

    @property
    def resting(self) -> bool:
        """Whether a worker rests."""

    def rest(self, ratio: float) -> None:
        """Let workers rest after each batch from now on, for ``ratio`` times as long as it took."""

    def tell(self, about: AboutRun, nice: float) -> None:
        """Let the workers know what they work for; those that come later, too."""

    def keep_up(self, now: float) -> float:
        """Replace what has died; return the seconds until there is something to do here."""

    def buffer(self, size: int) -> Buffer | None:
        """Return where a batch of ``size`` bytes is to be received, None for anywhere."""

    def give(self, lent: WireBatch) -> None:
        """Have a batch run."""

    def read_progress(self) -> None:
        """Note how far the batches have got."""

    def enforce(self, now: float) -> float:
        """End workers whose job takes too long; return the seconds until the next check."""

    def give_back_waiting(self) -> None:
        """Give back batches that wait, for workers that have nothing to do."""

    def recall(self, held: HeldBatch, keep: int) -> None:
        """Give back the jobs of a batch from ``keep`` on that have not been started."""

    def recall_all(self) -> None:
        """Give back every job that has not been started."""

    def close(self, may_give_up: Callable[[], bool]) -> None:
        """End everything that is left."""


MakePool = Callable[[InFlight, BatchSize, selectors.BaseSelector], SlavePool]
