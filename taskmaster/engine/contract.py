"""What an engine has to do, so that a fleet of slaves can run on it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from taskmaster.engine.ended import Ended
from taskmaster.engine.slave_task import SlaveTask
from taskmaster.records import record

__all__ = ["Engine", "EngineGone", "EngineStanding"]


class EngineGone(Exception):
    """An engine that will not come back; its text says why, and what cures it."""


@record(slots=False)
class EngineStanding:
    """How an engine stands.

    Attributes:
        workers: How many workers it has.
        running: How many of the run's tasks are running, by what the engine reports.
        withdrawable: Names of those of our tasks that certainly run nowhere yet.
        ended: What became of tasks since the last look, by name.
    """

    workers: int
    running: int
    withdrawable: frozenset[str]
    ended: dict[str, Ended]


class Engine(Protocol):
    """Runs tasks on its workers. Every method may take seconds, or raise what the engine raises
    while it is away.

    Attributes:
        scheduler: Address of its scheduler; "" if it is on this machine, or has none.
    """

    scheduler: str

    def poll(self) -> EngineStanding:
        """Return how the engine stands."""

    def submit(self, name: str, task: SlaveTask) -> None:
        """Have a slave started on whichever worker is free."""

    def withdraw(self, name: str) -> None:
        """Forget a task that runs nowhere yet. One that has begun meanwhile is told to end, if the
        engine can tell it.
        """

    def drain(self) -> Collection[str]:
        """Tell all our slaves to let running jobs end, to give the rest back, and to end; withdraw
        what does not run yet. Return the names of the tasks that are still to end.
        """

    def close(self) -> None:
        """Withdraw what is left, and let go of the engine."""
