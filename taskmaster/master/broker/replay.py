"""Failed jobs that are run again: what is known of them, and how far they have got. Pure.

A session that was started for that runs nothing else. In any other one they are run beside the
other jobs when an operator asks for it. They have positions of their own, below all others, and the
watermark does not know them.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence

from taskmaster import keys
from taskmaster.master.broker.batches import Batch, BatchKind
from taskmaster.master.records.job_records import FailedJob, ParkedJob
from taskmaster.records import changing

__all__ = ["Replay", "Selection"]

# Failed jobs that are run again beside others have positions below those of all that is parked.
BELOW_PARKED = 1 << 60


@changing(compared=True)
class Selection:
    """Failed jobs that somebody wants to be run again while the run goes on.

    Attributes:
        left: How many failed jobs are looked at, at most: those that have failed when it was asked
            for, and no job without end.
        kind: Only those that failed with this class of exception at last; None: all.
        key: Only those with this key, as it is shown or stored; None: all.
        after: Id of the last failed job that was examined.
        found: How many were meant and are run again.
        without: How many were meant and cannot be run: they could not be pickled.
    """

    left: int
    kind: str | None = None
    key: str | None = None
    after: int = 0
    found: int = 0
    without: int = 0

    def chosen(self, page: Sequence[FailedJob]) -> list[FailedJob]:
        """Return which jobs of a page are meant, and move on behind it."""
        self.left -= len(page)
        if page:
            self.after = page[-1].id
        wanted = [job for job in page if self.key is None or self.key in keys.spellings(job.key)]
        found = [job for job in wanted if job.payload is not None]
        self.found += len(found)
        self.without += len(wanted) - len(found)
        return found

    def came_to_nothing(self) -> str:
        """Return what is to be said when all were looked at and some, or all, are not run again; ""
        for nothing.
        """
        kind = "" if self.kind is None else f" failed with {self.kind}"
        key = "" if self.key is None else f" has the key {self.key}"
        if self.without:
            return f"{self.without} of the failed jobs cannot be run again: they could not be pickled"
        return "" if self.found else f"no failed job{' that' if kind and key else ''}{kind}{key}"


class Replay:
    """Failed jobs that are run again.

    Attributes:
        on: Whether this session runs failed jobs again and nothing else.
        exhausted: whether all failed jobs were read from the state.
        was_finished: whether the run was finished before; what failed jobs come to does not change
            that.
        ended: failed jobs that have come to an end again.
        mended: failed jobs that have gone well when they were run again.
        cleared: ids of jobs that have gone well, until that is written down.
        asked: What somebody wants to be run again beside other jobs, and has not all come yet.
    """

    def __init__(self) -> None:
        self.on = False
        self.exhausted = False
        self.was_finished = False
        self.ended = 0
        self.mended = 0
        self.cleared: list[int] = []
        self.asked: deque[Selection] = deque()
        self._all = Selection(sys.maxsize)
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

    def ask(self, selection: Selection) -> None:
        """Let failed jobs be run again beside others."""
        self.asked.append(selection)

    @property
    def selection(self) -> Selection:
        """What is to be brought from the store next."""
        return self.asked[0] if self.asked else self._all

    def room(self, size: int, there: int) -> int:
        """Return how many failed jobs to bring now; 0 while enough are there, and while nobody
        wants them to be run again.

        Args:
            size: How many jobs may wait at all.
            there: How many wait to be handed out again.
        """
        room = size - there
        return max(1, room) if self.wants_more and 2 * room >= size else 0

    def add(self, jobs: Sequence[FailedJob], *, last: bool) -> list[Batch]:
        """Return failed jobs as what can be handed out, but for those that are run again already;
        ``last`` says that no more of the selection come.
        """
        if self.asked:
            if last:
                self.asked.popleft()
        else:
            self.exhausted = last
        # What has gone well is still in the store until the next checkpoint.
        known = {job.id for job in self._jobs.values()}.union(self.cleared)
        return [self._batch(job) for job in jobs if job.id not in known]

    def _batch(self, job: FailedJob) -> Batch:
        self._came += 1
        position = -BELOW_PARKED - self._came
        self._jobs[position] = job
        again = ParkedJob(job.id, job.key or "", job.payload or b"", b"")
        # It is never split: its parts would be new jobs, and this one would count as mended.
        return Batch(position, [again], BatchKind.REPLAYED, separate=True, whole=True)

    def end(self, position: int, *, well: bool) -> None:
        """Note that a failed job has come to an end again."""
        job = self._jobs.pop(position)
        self.ended += 1
        if well:
            self.mended += 1
            self.cleared.append(job.id)

    @property
    def wants_more(self) -> bool:
        """Whether failed jobs are to be run again, and more of them may come."""
        return bool(self.asked) or (self.on and not self.exhausted)

    @property
    def over(self) -> bool:
        """Whether all failed jobs have come, and come to an end again."""
        return self.on and self.exhausted and not self._jobs
