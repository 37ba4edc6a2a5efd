"""Where a run's checkpoints are kept: the contract that every store fulfils, and the values that
pass through it.

Called by ``taskmaster.master``. Keys are text here (``taskmaster.keys.encode``); a store never
looks into them. Fingerprints are 16 bytes each (``taskmaster.keys.fingerprint``), concatenated
where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskmaster.master.job_records import FailedJob
from taskmaster.master.run_record import Checkpoint, RunRecord

__all__ = ["Store"]


class Store(Protocol):
    """Keeps one state; owned by one master at a time."""

    @property
    def place(self) -> str:
        """Where the state is, as a person would name it: the full path of a file."""

    def tell(self, where: str) -> None:
        """Say to whoever finds the state owned where its master serves, ``HOST:PORT``."""

    def load(self) -> RunRecord:
        """The current run."""

    def reset(self) -> RunRecord | None:
        """Begin a new run and return the run that was given up, or None if that one had settled
        nothing.
        """

    def write(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable, in one transaction.

        Raises:
            StateUnwritable: nothing of it was written; the caller tries again.
        """

    def failed(
        self, after: int = 0, most: int = 1000, kind: str | None = None, patience: float = -1
    ) -> Sequence[FailedJob]:
        """A page of the failed jobs of the current run, by their id.

        Args:
            after: ids above this one.
            most: how many at most.
            kind: only those that failed with this class of exception at last.
            patience: seconds to wait for a checkpoint that is being written; below 0: until it has
                been.

        Raises:
            StateBusy: it takes longer, or could not be written; ask again.
        """

    def kinds(self, most: int) -> Sequence[tuple[int, FailedJob]]:
        """The most frequent kinds of failure in the current run, each with their number and an
        example.
        """

    def close(self) -> None:
        """Give the state back to the next master."""
