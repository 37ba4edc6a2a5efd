"""A store without a file: the contract of a store for runs that are not to be resumed."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence

from taskmaster.master.records.job_records import FailedJob, ParkedJob
from taskmaster.master.records.minute_row import MinuteRow
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.records.steering_records import LiveChange, News, TrailRow

__all__ = ["MemoryStore"]

MOST_MINUTES_KEPT = 1440  # of the history


class MemoryStore:
    """Keeps a run while the process lives."""

    _above: dict[tuple[int, int], tuple[int, bytes]]
    _finished: float | None
    _live: Sequence[LiveChange]
    _history: list[MinuteRow]

    def __init__(self) -> None:
        self._begin()

    @property
    def location(self) -> str:
        """What messages say instead of a path."""
        return "nowhere: this run keeps no state"

    def tell(self, where: str) -> None:
        """Do nothing: no second master can ask for it."""

    def load(self) -> RunRecord:
        """Return the current run, and begin a session of it."""
        record = self._record()
        self._session += 1
        return record

    def reset(self) -> RunRecord | None:
        """Begin a new run; return the former one, None if it had settled nothing."""
        former = self._record()
        self._begin()
        return former if former.settled or former.mark is not None else None

    def write(self, checkpoint: Checkpoint | News) -> None:
        """Keep a checkpoint, or what was steered."""
        self._live = self._live if checkpoint.live is None else checkpoint.live
        self._trail.update({row.seq: row for row in checkpoint.trail})
        over = set(checkpoint.history_over)
        kept = [row for row in self._history if row.at not in over]
        self._history = [*kept, *checkpoint.history][-MOST_MINUTES_KEPT:]
        if isinstance(checkpoint, News):
            return
        if checkpoint.waiting is not None:
            self._waiting = checkpoint.waiting
            self._above = {at: row for at, row in self._above.items() if at[0] == self._session}
        for row in checkpoint.add:
            self._above[self._session, row.first] = (row.end, row.fingerprints)
        for at, (end, _) in list(self._above.items()):
            if at[0] == self._session and end <= checkpoint.forget_below:
                del self._above[at]
        self._parked.update({job.id: job for job in checkpoint.park})
        for number in checkpoint.unpark:
            self._parked.pop(number, None)
        self._failed.update({job.id: job for job in checkpoint.failed})
        for number in checkpoint.cleared:
            self._failed.pop(number, None)
        self._last = checkpoint
        self._finished = (self._finished or time.time()) if checkpoint.finished else None

    def failed(
        self,
        after: int = 0,
        most: int = 1000,
        kind: str | None = None,
        wait: float = -1,  # noqa: ARG002  # nothing here takes time
    ) -> Sequence[FailedJob]:
        """Return a page of the failed jobs."""
        known = [self._failed[number] for number in sorted(self._failed) if number > after]
        return [job for job in known if kind in (None, job.type)][:most]

    def kinds(self, most: int) -> Sequence[tuple[int, FailedJob]]:
        """Return the most frequent kinds of failure."""
        failed = list(self._failed.values())
        counted = Counter(job.type for job in failed).most_common(most)
        return [(count, next(job for job in failed if job.type == kind)) for kind, count in counted]

    def close(self) -> None:
        """Do nothing: nothing is kept."""

    def _begin(self) -> None:
        self._id = secrets.token_hex(6)
        self._session = 0
        self._started = time.time()
        self._finished = None
        self._waiting = b""
        self._above = {}
        self._parked: dict[int, ParkedJob] = {}
        self._failed: dict[int, FailedJob] = {}
        self._live = ()
        self._trail: dict[int, TrailRow] = {}
        self._history = []
        self._last = Checkpoint(mark=None)

    def _record(self) -> RunRecord:
        above = b"".join(self._above[at][1] for at in sorted(self._above))
        return RunRecord(
            id=self._id,
            resumed=self._session > 0,
            mark=self._last.mark,
            bound=self._last.bound,
            edge=self._last.edge,
            remembered=self._waiting + above,
            parked=[self._parked[number] for number in sorted(self._parked)],
            settled=self._last.settled,
            failures=self._last.failures,
            skipped=self._last.skipped,
            next_failed=max(self._failed, default=0) + 1,
            seconds=self._last.seconds,
            started=self._started,
            finished=self._finished,
            live=self._live,
            trail=list(self._trail.values()),
            history=list(self._history),
        )
