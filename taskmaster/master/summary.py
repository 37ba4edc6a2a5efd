"""What a run comes to, and what it is shown by and brings along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from taskmaster.view.snapshot import Snapshot

__all__ = ["OwnSlave", "SlaveServer", "Summary", "View"]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        run: id of the run.
        exit_code: as a command would exit: 0 all done, 1 at its end although it has left jobs out
            or a worker could not write what it had left, 3 finished with failed jobs, 75 stopped by
            ``--limit`` or ``--run-time``, or only failed jobs were run again of a run that is not
            over: to be resumed.
        settled: jobs done or failed, over the whole run.
        failed: those of them that failed.
        settled_here: jobs settled in this session.
        elapsed: seconds of this session.
        state: the path of the state.
        left_out: why the run, which was resumed, leaves jobs out; "" if nothing speaks for that.
        expected: how many jobs were expected; None if they were not counted.
    """

    run: str
    exit_code: int
    settled: int
    failed: int
    settled_here: int
    elapsed: float
    state: str
    left_out: str = ""
    expected: int | None = None


class View(Protocol):
    """What shows the progress; see ``taskmaster.view.progress``."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the run as it is now."""

    def close(self, snapshot: Snapshot) -> None:
        """Show it for the last time."""

    def say(self, line: str) -> None:
        """Print a line of Taskmaster's own."""


class SlaveServer(Protocol):
    """The server that slaves connect to; see ``taskmaster.transport.server``."""

    @property
    def where(self) -> object:
        """The address, for people."""

    def serve(self, service: Any) -> None:
        """Name what is served."""

    def start(self) -> None:
        """Answer slaves from now on."""

    def tell_all(self, message: Any) -> None:
        """Send a message to every slave that waits."""

    def stop(self) -> None:
        """Answer nobody any more."""


class OwnSlave(Protocol):
    """The slave that was started together with the run."""

    @property
    def name(self) -> str:
        """What it calls itself, "host:pid"; "" while that is not known."""

    @property
    def pause(self) -> float:
        """Seconds after which the run calls ``check`` again, if nothing happens before."""

    @property
    def engine(self) -> str:
        """How the engine that runs it stands, for people; "" if there is none."""

    def check(self) -> None:
        """Raise the error with which the slave ended, if it did."""

    def dismiss(self, hurry: Callable[[], bool]) -> None:
        """Let the slave end now, while the master still answers, if it would wait for the master
        later. Give up waiting for that as soon as ``hurry`` returns True.
        """

    def stop(self, hurry: Callable[[], bool]) -> int | None:
        """See to its end: on its own in its time, else by force; return its exit code."""
