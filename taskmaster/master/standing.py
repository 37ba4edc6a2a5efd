"""What a run waits for, in words: the job that runs for longest, the next that is tried again."""

from __future__ import annotations

from typing import Any

from taskmaster import keys
from taskmaster.master.broker.counts import Counts, RunningJob
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.why import LONG_SECONDS
from taskmaster.units import show_rounded

__all__ = ["Standing"]


class Standing:
    """Names what a run waits for. Call it without a lock: to find a key runs the user's code.

    Args:
        identity: gives the keys of jobs.
    """

    def __init__(self, identity: JobIdentity) -> None:
        self._identity = identity
        self._known: tuple[Any, str] = (None, "")  # the last job that was named, and its key

    def running(self, counts: Counts) -> dict[str, Any]:
        """Return what a snapshot says of the job that has been running for longest."""
        oldest = counts.oldest
        if oldest is None or oldest.seconds < LONG_SECONDS:
            return {}
        return {
            "running": self._key(oldest),
            "running_for": oldest.seconds,
            "running_on": oldest.slave,
            "running_worker": oldest.worker,
        }

    def longest(self, counts: Counts) -> dict[str, Any]:
        """Return the facts of the job that has been running for longest, for ``why``."""
        oldest = counts.oldest
        if oldest is None:
            return {}
        where = f" on {oldest.slave}" if oldest.slave else ""
        return {"longest": f"{self._key(oldest)}{where}", "longest_seconds": oldest.seconds}

    def reason(self, counts: Counts) -> str:
        """Return what the end of the run waits for, "" while there is anything else to do."""
        oldest = counts.oldest
        if not counts.alone:
            return ""
        if oldest is not None:
            if oldest.seconds < LONG_SECONDS:
                return ""
            worker = f", worker {oldest.worker}" if oldest.worker else ""
            return (
                f"waiting for the job {self._key(oldest)}, which has run for {show_rounded(oldest.seconds)} on "
                f"{oldest.slave}{worker}"
            )
        if counts.waiting and counts.next_due is not None and counts.next_due >= LONG_SECONDS:
            jobs = "the job that is" if counts.waiting == 1 else f"the {counts.waiting} jobs that are"
            return f"waiting for {jobs} to be tried again, the next in {show_rounded(counts.next_due)}"
        return ""

    def _key(self, oldest: RunningJob) -> str:
        known = self._known  # once: others ask meanwhile, of another job perhaps
        if known[0] is not oldest.job:
            text = self._identity.text(oldest.job)
            known = (oldest.job, self._identity.show(oldest.job) if text is None else keys.show(text))
            self._known = known
        return known[1]
