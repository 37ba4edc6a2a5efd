"""Failed jobs that a session runs again: what is known of them, and how far they have got. Pure.

They have positions of their own, below 0: the source is not read in such a
session, and the watermark stays where it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmaster.master.broker.batches import Batch, BatchKind
from taskmaster.master.job_records import FailedJob, ParkedJob

__all__ = ["Replay"]


class Replay:
    """The failed jobs of a session that runs them again.

    Attributes:
        on: this session is one.
        exhausted: all failed jobs have come.
        was_finished: the run was finished before; what failed jobs come to does not change that.
        ended: failed jobs that have come to an end again.
        mended: failed jobs that have gone well when they were run again.
        cleared: ids of jobs that have gone well, until that is written down.
    """

    def __init__(self) -> None:
        self.on = False
        self.exhausted = False
        self.was_finished = False
        self.ended = 0
        self.mended = 0
        self.cleared: list[int] = []
        self._came = 0
        self._jobs: dict[int, FailedJob] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, position: int) -> bool:
        return position in self._jobs

    def get(self, position: int) -> FailedJob | None:
        """Return the record of the failed job at a position, None if there is none."""
        return self._jobs.get(position)

    def start(self, *, was_finished: bool) -> None:
        """Let this session run failed jobs again, of a run that was finished or not."""
        self.on, self.was_finished = True, was_finished

    def add(self, jobs: Sequence[FailedJob], *, last: bool) -> list[Batch]:
        """Return failed jobs as what can be handed out; ``last`` says that no more come."""
        self.exhausted = last
        found = []
        for job in jobs:
            self._came += 1
            self._jobs[-self._came] = job
            again = ParkedJob(job.id, job.key or "", job.payload or b"", b"")
            found.append(Batch(-self._came, [again], BatchKind.REPLAYED, separate=True))
        return found

    def end(self, position: int, *, well: bool) -> None:
        """Note that a failed job has come to an end again."""
        job = self._jobs.pop(position)
        self.ended += 1
        if well:
            self.mended += 1
            self.cleared.append(job.id)

    @property
    def wants_more(self) -> bool:
        """Whether this session runs failed jobs again, and more of them may come."""
        return self.on and not self.exhausted

    @property
    def over(self) -> bool:
        """Whether all failed jobs have come, and come to an end again."""
        return self.on and self.exhausted and not self._jobs
