"""Records of attempts and of failed jobs, made from what slaves say.

Called by the service. Runs the user's code (keys, reprs, pickling), so never under the master's
lock.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.failure_policy import Tried, Verdict, with_attempt
from taskmaster.master.broker.leases import Lease, Stretch
from taskmaster.master.job_identity import Identity
from taskmaster.master.job_records import Attempt, FailedJob
from taskmaster.master.pickling import pickled
from taskmaster.model import Failure, FailureKind, Report, ReportEnd

__all__ = ["Records"]

MAX_ATTEMPTS = 50  # that are kept of a failed job; beyond, the oldest are forgotten


class Records:
    """Makes records.

    Args:
        broker: knows what was tried before.
        identity: tells jobs apart.
        next_failed: an id for the first job that fails.
    """

    def __init__(self, broker: Broker, identity: Identity, next_failed: int) -> None:
        self._broker = broker
        self._identity = identity
        self._ids = itertools.count(next_failed)

    def tried(self, lease: Lease, failure: Failure, slave: str) -> Tried:
        """What the books have to know of a failure; the record of a failed job is only made where
        it is needed.
        """
        attempt = _attempt(failure, slave)
        if self._broker.verdict(lease, failure) is not Verdict.FAILED:
            return Tried(attempt, failure)
        return Tried(attempt, failure, self._failed(lease.stretch, failure.index, attempt))

    def suspects(self, lease: Lease, report: Report, slave: str) -> dict[int, Tried]:
        """The same for jobs that were running when their worker died, or that were given to a call
        that raised.
        """
        first = report.suspects[0]
        if report.end is ReportEnd.RAISED and report.failures:
            # Before it, there may be those of jobs that could not be unpickled.
            what = next((f for f in reversed(report.failures) if f.index == first), report.failures[-1])
        elif report.end is ReportEnd.TIMEOUT:
            what = Failure(first, "TimedOut", report.detail, "", FailureKind.TIMEOUT)
        else:
            what = Failure(first, "WorkerDied", report.detail, "", FailureKind.TIMEOUT)
        attempt = _attempt(what, slave)
        alone = len(report.suspects) == 1
        failed = self._failed(lease.stretch, first, attempt) if alone else None
        return dict.fromkeys(report.suspects, Tried(attempt, what, failed))

    def _failed(self, stretch: Stretch, index: int, attempt: Attempt) -> FailedJob:
        job = stretch.jobs[index] if index < len(stretch.jobs) else None
        try:
            payload: bytes | None = pickled(job)
        except BaseException:
            payload = None
        former = self._broker.replay.get(stretch.first + index)
        if former is not None:
            tried = (*former.attempts, *stretch.attempts, attempt)
            return replace(former, attempts=tried[-MAX_ATTEMPTS:])
        return FailedJob(
            id=next(self._ids),
            key=self._identity.text(job),
            job=self._identity.show(job),
            payload=payload,
            attempts=with_attempt(stretch.attempts, attempt),
        )

    def lost(self, stretch: Stretch) -> FailedJob:
        """The record of a job with which slave after slave was lost."""
        why = f"{stretch.solo} slaves were lost while they held nothing but this job"
        return self._failed(stretch, 0, _attempt(Failure(0, "SlaveLost", why, "", FailureKind.TIMEOUT), ""))


def _attempt(failure: Failure, slave: str) -> Attempt:
    crash = failure.kind is FailureKind.TIMEOUT
    texts = failure.type[:200], failure.message[:2000], failure.traceback[:20_000]
    return Attempt(time.time(), slave, *texts, crash)
