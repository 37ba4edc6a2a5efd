"""A batch: contiguous jobs that are handed out at once, and what is known of them.

Values with a little arithmetic. Only the parts of the broker change them, under the master's lock;
``separate`` alone is also set by ``master/dispatch.py``, which pickles them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from taskmaster.master.records.job_records import Attempt
from taskmaster.records import changing

__all__ = ["Batch", "BatchKind", "contiguous"]


def contiguous(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Return ascending indices as half-open contiguous ranges.

    Example::

        contiguous([1, 2, 5]) == [(1, 3), (5, 6)]
    """
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found


class BatchKind(StrEnum):
    """Where the jobs of a batch come from."""

    READ = "read"
    """The source has yielded them in this session: their positions are those of the watermark."""
    PARKED = "parked"
    """An earlier session parked them: their positions are below 0, as are those of all below."""
    PLANNED = "planned"
    """They were parked before anybody got them; see ``write_ahead``."""
    REPLAYED = "replayed"
    """They have failed before, and this session runs them again; see ``replay``."""


@changing()
class Batch:
    """Contiguous jobs that are not settled.

    Attributes:
        first: position of the first job.
        jobs: the jobs as the source yielded them, or a ``ParkedJob`` each where they were not read.
        kind: the origin of the jobs.
        separate: whether they are pickled one by one, because pickling or unpickling them together
            failed.
        alone: whether the job was running among others when its worker died: it runs with nothing
            beside it.
        attempts: what was tried, oldest first; of a single job only.
        tries: how often a call that was given all these jobs at once has failed.
        losses: how often a slave, or all its workers at once, were lost with these jobs.
        solo: how many of those slaves held nothing but this one job.
        company: how many batches a slave may hold at most while it holds this one; 0: as many as it
            likes.
        avoid: id of the slave that failed last at this job.
        worker: process id of the worker that failed last at this job.
        due: when it may be handed out again.
        origin: token of the lease that the jobs were last in, while nobody else has been given
            them.
        whole: whether the source has said that it cannot split the job, or is not asked to.
        trial: whether it was handed out while everything failed, to see whether that is over.
    """

    first: int
    jobs: list[Any]
    kind: BatchKind = BatchKind.READ
    separate: bool = False
    alone: bool = False
    attempts: tuple[Attempt, ...] = ()
    tries: int = 0
    losses: int = 0
    solo: int = 0
    company: int = 0
    avoid: str = ""
    worker: int = 0
    due: float = 0.0
    origin: str | None = None
    whole: bool = False
    trial: bool = False

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def end(self) -> int:
        """The position after the last job."""
        return self.first + len(self.jobs)

    def part(self, start: int, stop: int) -> Batch:
        """Return the jobs from index ``start`` to ``stop``, with all that is known of them but
        ``origin`` and ``trial``.
        """
        # Written out, it takes a fifth of the time of ``replace``: a lost rack has thousands.
        return Batch(
            self.first + start, self.jobs[start:stop], self.kind, self.separate, self.alone, self.attempts, self.tries,
            self.losses, self.solo, self.company, self.avoid, self.worker, self.due, None, self.whole,
        )  # fmt: skip

    def split(self, count: int) -> Batch:
        """Take the first ``count`` jobs off, and return them."""
        head = self.part(0, count)
        self.first += count
        self.jobs = self.jobs[count:]
        return head

    @property
    def texts(self) -> int:
        """About how many characters of what was tried it holds."""
        return sum(len(attempt.message) + len(attempt.traceback) for attempt in self.attempts)

    @property
    def crashes(self) -> int:
        """Attempts that ended with the worker's death or a time-out."""
        return sum(attempt.crash for attempt in self.attempts)

    @property
    def errors(self) -> int:
        """Attempts that ended with an exception."""
        return len(self.attempts) - self.crashes
