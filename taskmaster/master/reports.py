"""The way back: what slaves report is settled, with the records of what did not end well.

Keys, reprs and pickling run the user's code, so they never happen under the master's lock.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from taskmaster import keys
from taskmaster.master.broker.batches import Batch, BatchKind
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.prepared import ORDINARY_ENDS, Prepared
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.verdicts import Tried, Verdict, with_attempt
from taskmaster.master.broker.watermark import settled_range
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.records.pickling import pickled
from taskmaster.master.slave_figures import SlaveFigures
from taskmaster.master.tally.attempts import Attempts
from taskmaster.master.tally.failure_kinds import FailureKinds
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.model import Failure, FailureKind, Report, ReportEnd
from taskmaster.runtime.log import clean_logger

__all__ = ["Reports"]

logger = clean_logger(__name__)

MOST_NAMED_JOBS = 5  # jobs whose keys a log line has
REPORTS_AT_ONCE = 64  # under the lock, so that nobody waits for long for it
MAX_ATTEMPTS = 50  # newest attempts kept of a failed job that is run again


class Reports:
    """Settles what slaves report.

    Args:
        broker: which job is where.
        lock: guards the broker.
        identity: tells jobs apart.
        next_failed: an id for the first job that fails.
        throttle: is given back what was handed out and not begun.
        kinds: Kinds of failure of earlier sessions, each with its number and an example.

    Attributes:
        figures: What each slave has done.
        kinds: What jobs have failed with.
        attempts: How attempts have ended.
    """

    def __init__(
        self,
        broker: Broker,
        lock: threading.Lock,
        identity: JobIdentity,
        next_failed: int = 1,
        throttle: Throttle | None = None,
        kinds: Sequence[tuple[int, FailedJob]] = (),
    ) -> None:
        self._broker = broker
        self._lock = lock
        self._identity = identity
        self._ids = itertools.count(next_failed)
        self._throttle = throttle or Throttle()
        self.figures = SlaveFigures(broker, identity.text)
        self.kinds = FailureKinds(kinds)
        self.attempts = Attempts()

    def take(self, slave: ConnectedSlave, report: Report) -> bool:
        """Settle what a report says.

        Returns:
            False if its lease is no longer the slave's.
        """
        while True:
            with self._lock:
                prepared = self._broker.prepare(slave, report)
            if prepared is None:
                return False
            prepared = self._fill_in(prepared, slave.name)
            with self._lock:
                if self._apply(slave, prepared):
                    break
        if prepared.suspects and report.end in (ReportEnd.CRASHED, ReportEnd.TIMEOUT):
            self._log_death(prepared, slave.name)
        return True

    def take_all(self, slave: ConnectedSlave, reports: Sequence[Report]) -> tuple[str, ...]:
        """Settle what reports say, one after the other; return the tokens whose leases are no
        longer the slave's.
        """
        if len(reports) == 1:  # of most slaves, whose jobs take long; what follows is for many
            return () if self.take(slave, reports[0]) else (reports[0].token,)
        stale: list[str] = []
        for start in range(0, len(reports), REPORTS_AT_ONCE):
            some = reports[start : start + REPORTS_AT_ONCE]
            if len(some) > 1 and not any(report.failures or report.end not in ORDINARY_ENDS for report in some):
                stale += self._take_together(slave, some)
            else:
                stale += [report.token for report in some if not self.take(slave, report)]
        return tuple(stale)

    def _take_together(self, slave: ConnectedSlave, reports: Sequence[Report]) -> list[str]:
        """Settle reports of which none changes what another one comes to, with the lock taken twice
        for all of them.
        """
        stale: list[str] = []
        moved: list[Report] = []
        with self._lock:
            prepared = [self._broker.prepare(slave, report) for report in reports]
        filled = [None if one is None else self._fill_in(one, slave.name) for one in prepared]
        with self._lock:
            for report, one in zip(reports, filled, strict=True):
                if one is None:
                    stale.append(report.token)
                elif not self._apply(slave, one):
                    moved.append(report)
        return stale + [report.token for report in moved if not self.take(slave, report)]

    def _apply(self, slave: ConnectedSlave, prepared: Prepared) -> bool:
        """Apply a report, under the lock; False if a job of the batch has moved since it was
        prepared, and nothing was changed.
        """
        lease = prepared.lease
        kept = lease.keep
        former = self._broker.replay.get(lease.batch.first) if lease.batch.kind is BatchKind.REPLAYED else None
        if not self._broker.apply(prepared):
            return False
        if lease.keep != kept:
            self._throttle.spend(lease.keep - kept)  # what was not begun
        self.figures.note(slave, prepared)
        if prepared.verdicts or prepared.suspects or former is not None:
            self._tally(prepared, former)
        return True

    def _tally(self, prepared: Prepared, former: FailedJob | None) -> None:
        """Count attempts that did not end well, and what failed; a failed job that was run again is
        counted anew.
        """
        self.attempts.ended(failure for failure, _ in prepared.verdicts.values())
        if prepared.suspects:
            self.attempts.killed(prepared.report.end, len(prepared.suspects))
        alone = prepared.fault is not None and len(prepared.suspects) == 1
        verdicts = [verdict for _, verdict in prepared.verdicts.values()] + ([prepared.blame] if alone else [])
        self.attempts.retries += sum(verdict in (Verdict.AGAIN, Verdict.SPLIT, Verdict.HELD) for verdict in verdicts)
        if former is not None and prepared.lease.batch.first not in self._broker.replay:
            self.kinds.remove(former)
        for failed in {id(tried): tried.failed for tried in prepared.tried.values()}.values():
            if failed is not None:
                self.kinds.add(failed)

    def _log_death(self, prepared: Prepared, slave: str) -> None:
        """Name the jobs that were running when their worker died, or was killed for its time."""
        jobs, suspects = prepared.lease.batch.jobs, prepared.suspects
        shown = [keys.show(self._identity.text(jobs[index]) or "") for index in suspects[:MOST_NAMED_JOBS]]
        more = len(suspects) - len(shown)
        logger.warning(
            "a worker of the slave %s died while it ran the %s %s%s: %s",
            slave,
            "job with the key" if len(suspects) == 1 else "jobs with the keys",
            ", ".join(shown),
            f" and {more} more" if more else "",
            prepared.report.detail,
        )

    def fail_doomed(self) -> None:
        """Write down as failed the jobs with which slave after slave was lost."""
        for batch in list(self._broker.redelivery.doomed):
            why = (
                f"{batch.solo} times in a row its slave, or all workers of it at once, were killed while nothing but "
                "this job ran there"
            )
            attempt = _attempt(Failure(0, "SlaveLost", why, "", FailureKind.TIMEOUT), "")
            failed = self._failed(batch, 0, attempt)
            with self._lock:
                self._broker.settlement.fail(batch, failed)
                self.kinds.add(failed)

    def _fill_in(self, prepared: Prepared, slave: str) -> Prepared:
        """Return what was prepared, with the keys of what is settled, and the records of what
        failed.
        """
        batch = prepared.lease.batch
        ranges = []
        if batch.kind is BatchKind.READ and prepared.settled:
            whole = [(0, len(batch))]
            ranges = [
                settled_range(
                    batch.first + start,
                    batch.jobs if prepared.settled == whole else batch.jobs[start:end],
                    self._identity.text,
                )
                for start, end in prepared.settled
            ]
        if not prepared.verdicts and prepared.fault is None:
            return prepared.with_ranges(ranges)
        tried = {
            index: self._tried(batch, index, failure, verdict, slave)
            for index, (failure, verdict) in prepared.verdicts.items()
        }
        if prepared.fault is not None:
            alone = len(prepared.suspects) == 1
            verdict = prepared.blame if alone else Verdict.AGAIN
            fault = self._tried(batch, prepared.suspects[0], prepared.fault, verdict, slave)
            tried.update(dict.fromkeys(prepared.suspects, fault))
        return prepared._replace(ranges=ranges, tried=tried)

    def _tried(self, batch: Batch, index: int, failure: Failure, verdict: Verdict, slave: str) -> Tried:
        """Return what is to be known of a failure; the record of a failed job is only made where it
        is needed.
        """
        attempt = _attempt(failure, slave)
        failed = self._failed(batch, index, attempt) if verdict is Verdict.FAILED else None
        return Tried(attempt, failure, failed)

    def _failed(self, batch: Batch, index: int, attempt: Attempt) -> FailedJob:
        job = batch.jobs[index] if index < len(batch) else None
        try:
            payload: bytes | None = pickled(job)
        except BaseException:
            payload = None
        former = self._broker.replay.get(batch.first + index)
        if former is not None:
            tried = (*former.attempts, *batch.attempts, attempt)
            return replace(former, attempts=tried[-MAX_ATTEMPTS:])
        return FailedJob(
            id=next(self._ids),
            key=self._identity.text(job),
            job=self._identity.show(job),
            payload=payload,
            attempts=with_attempt(batch.attempts, attempt),
        )


def _attempt(failure: Failure, slave: str) -> Attempt:
    crash = failure.kind is FailureKind.TIMEOUT
    texts = failure.type[:200], failure.message[:2000], failure.traceback[:20_000]
    return Attempt(time.time(), slave, *texts, crash)
