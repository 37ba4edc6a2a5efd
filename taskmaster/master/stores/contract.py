"""Where a run's checkpoints are kept: the contract that every store fulfils.

Keys are text here (``taskmaster.keys.encode``); a store never looks into them. The values that pass
through it are those of ``taskmaster.master.records.run_record`` and
``taskmaster.master.records.job_records``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskmaster.master.records.job_records import FailedJob
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.records.steering_records import News

__all__ = ["Store"]


class Store(Protocol):
    """Keeps one state; owned by one master at a time."""

    @property
    def location(self) -> str:
        """Where the state is, as a person would name it: the full path of a file."""

    def tell(self, where: str) -> None:
        """Name the address where the master serves (``HOST:PORT``), for the refusal of a second
        master.
        """

    def load(self) -> RunRecord:
        """Return the current run."""

    def reset(self) -> RunRecord | None:
        """Begin a new run and return the run that was given up, or None if that one had settled
        nothing.
        """

    def write(self, checkpoint: Checkpoint | News) -> None:
        """Make a checkpoint durable, in one transaction; or only what was steered and the trail
        (``News``), where the run stays as it is.

        Raises:
            StateUnwritable: nothing of it was written; the caller tries again.
        """

    def failed(
        self, after: int = 0, most: int = 1000, kind: str | None = None, wait: float = -1
    ) -> Sequence[FailedJob]:
        """Return a page of the failed jobs of the current run, by their id.

        Args:
            after: ids above this one.
            most: how many at most.
            kind: only those that failed with this class of exception at last.
            wait: seconds to wait for a checkpoint that is being written; below 0: until it has
                been.

        Raises:
            StateBusy: it takes longer, or could not be written; ask again.
        """

    def kinds(self, most: int) -> Sequence[tuple[int, FailedJob]]:
        """Return the most frequent kinds of failure in the current run, each with its number and an
        example.
        """

    def close(self) -> None:
        """Give the state back to the next master."""
