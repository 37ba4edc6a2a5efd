"""An outage: everything fails alike, so that the cause is not the jobs' own.

A database that is away for a minute would cost ten thousand jobs all their attempts. So when no job
has gone well for some seconds and many have failed for the first time in the same way, the run
*holds back*: nothing is handed out but one job now and then, jobs that fail in that way go back
without blame, and the first one of those that are tried that goes well ends it. Jobs that are tried
again say nothing: at the end of a run those that fail are all that is left.
"""

from __future__ import annotations

from collections import Counter

from taskmaster.master.broker.limits import Limits
from taskmaster.master.records.job_records import Attempt
from taskmaster.units import show_seconds

__all__ = ["Outage"]

ALIKE_JOBS = 30  # jobs that have failed for the first time, with none in between that went well
ALIKE_SECONDS = 3.0  # least time in which none went well
ALIKE_AT_ONCE = 500  # with this many failed jobs, that time is not waited for
FIRST_TRIAL_PAUSE_SECONDS = 1.0  # until one job is tried; doubled after each failed try
LONGEST_TRIAL_PAUSE_SECONDS = 30.0


class Outage:
    """Whether all jobs fail in the same way, and when one job is tried again.

    Args:
        limits: how long the run may hold back.

    Attributes:
        holding: whether the run holds back.
    """

    def __init__(self, limits: Limits) -> None:
        self.holding = False
        self._limits = limits
        self._now = 0.0
        self._any_went_well = False
        self._began = 0.0  # when the first of the jobs failed that have failed since one has gone well
        self._failed: Counter[str] = Counter()
        self._examples: dict[str, Attempt] = {}  # by class
        self._example: Attempt | None = None
        self._held_since = 0.0
        self._pause = FIRST_TRIAL_PAUSE_SECONDS
        self._trial_at = 0.0
        self._trials = 0

    def tick(self, now: float) -> None:
        """Let time pass. A run that is not to hold back any more goes on."""
        self._now = now
        if self.holding and not self._limits.outage:
            self._end()

    def went_well(self, *, trial: bool) -> None:
        """Note that a job has gone well: whatever it was is over. While the run holds back, only a
        job says so that was handed out since: others may have gone well before it began, and were
        reported late.
        """
        self._any_went_well = True
        if self._failed and (trial or not self.holding):
            self._end()

    def _end(self) -> None:
        self.holding = False
        self._failed.clear()
        self._examples.clear()

    def failed_first(self, attempt: Attempt) -> None:
        """Note that a job, or a call, has failed at its first attempt."""
        if not self._limits.outage or not self._any_went_well or self.holding:
            return
        if not self._failed:
            self._began = self._now
        self._failed[attempt.type] += 1
        self._examples[attempt.type] = attempt
        count, kind = self._failed.total(), self._failed.most_common(1)[0][0]
        long = self._now - self._began >= ALIKE_SECONDS or count >= ALIKE_AT_ONCE
        if count >= ALIKE_JOBS and long and 2 * self._failed[kind] >= count:
            self.holding = True
            self._example = self._examples[kind]
            self._held_since, self._trials = self._now, 0
            self._pause = FIRST_TRIAL_PAUSE_SECONDS
            self._trial_at = self._now + self._pause

    def excuses(self, kind: str) -> bool:
        """Return whether a failure of this class is not held against its job."""
        return self.holding and kind in self._failed

    def trial_is_due(self) -> bool:
        """Return whether one job is to be tried now."""
        return self._now >= self._trial_at

    @property
    def wants_fresh(self) -> bool:
        """Whether the next job to try is one that was not handed out before: those that were may
        all be bad ones.
        """
        return self._trials % 2 == 1

    def tried_one(self) -> None:
        """Note that one job was handed out; the next one follows after a while."""
        self._trials += 1
        self._pause = min(LONGEST_TRIAL_PAUSE_SECONDS, 2 * self._pause)
        self._trial_at = self._now + self._pause

    @property
    def reason(self) -> str:
        """Why the run holds back, as a sentence; "" if it does not."""
        if not self.holding or self._example is None:
            return ""
        return (
            f"the last {self._failed.total()} jobs failed alike ({self._example.type}: {self._example.message}): one "
            f"job is tried now and then, since {self._held_for()}"
        )

    @property
    def stop(self) -> str:
        """Why the run has to stop, "" if it need not: it has held back for too long."""
        if not self.holding or self._example is None or self._now - self._held_since < self._limits.outage:
            return ""
        return (
            f"for {self._held_for()} all jobs have failed alike "
            f"({self._example.type}: {self._example.message}), and --outage allows no more. If it is the jobs' own "
            "fault, say with --max-failures how many may fail"
        )

    def _held_for(self) -> str:
        return show_seconds(float(max(1, round(self._now - self._held_since))))
