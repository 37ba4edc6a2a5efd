"""What a report comes to, before it is applied.

A report is settled in three steps, so that none of the user's code runs under the master's lock::

    prepare (under the lock) ─► fill in keys and records (outside) ─► apply (under the lock)

What was prepared is refused when a job of the batch has moved meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from taskmaster.master.broker.batches import Batch, BatchKind, contiguous
from taskmaster.master.broker.failure_policy import FailurePolicy
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.verdicts import Tried, Verdict
from taskmaster.master.broker.watermark import SettledRange
from taskmaster.model import Failure, FailureKind, Report, ReportEnd

__all__ = ["ORDINARY_ENDS", "Preparation", "Prepared"]

ORDINARY_ENDS = (ReportEnd.FINISHED, ReportEnd.OPEN)
"""Ends of a batch that blame nobody, and of which no job goes back that was running."""
BLAMED = (ReportEnd.CRASHED, ReportEnd.TIMEOUT, ReportEnd.RAISED)


class Prepared(NamedTuple):
    """What a report comes to.

    Attributes:
        lease: what the report speaks for.
        report: what the slave says.
        version: the version of the lease and the parked jobs, when this was prepared.
        ended: index ranges of the jobs that have ended since the last report.
        settled: index ranges of the jobs that the report settles and that the watermark has not
            passed already.
        verdicts: by index, what becomes of each job that has ended and failed.
        suspects: the jobs that were running when the worker died, or that the failed call was
            given.
        fault: what is held against the suspects; None where nothing is.
        blame: the verdict on a suspect that is alone.
        ranges: a settled range for each of ``settled``; filled in outside the lock.
        tried: by index, the records of what failed; filled in outside the lock.
    """

    lease: Lease
    report: Report
    version: tuple[int, int]
    ended: list[tuple[int, int]]
    settled: list[tuple[int, int]]
    verdicts: Mapping[int, tuple[Failure, Verdict]]
    suspects: Sequence[int] = ()
    fault: Failure | None = None
    blame: Verdict = Verdict.AGAIN
    ranges: Sequence[SettledRange] = ()
    tried: Mapping[int, Tried] = MappingProxyType({})

    def with_ranges(self, ranges: Sequence[SettledRange]) -> Prepared:
        """Return the same with settled ranges; twice as fast as ``_replace``."""
        return Prepared(*self[:9], ranges, self.tried)


class Preparation:
    """Says what reports come to; changes nothing.

    Args:
        policy: gives the verdicts.
        parking: what the watermark has passed already.
    """

    def __init__(self, policy: FailurePolicy, parking: Parking) -> None:
        self._policy = policy
        self._parking = parking

    def of(self, lease: Lease, report: Report) -> Prepared:
        """Return what a report comes to."""
        ended = lease.newly_ended(report)
        if not report.failures and report.end in ORDINARY_ENDS:
            # Nearly all reports are like this; of a batch of one job, the rest takes as long again.
            return Prepared(lease, report, self._version(lease), ended, self._newly_settled(lease.batch, ended, {}), {})
        failures = {failure.index: failure for failure in report.failures}  # a job fails once, however often it is said
        verdicts = {
            index: (failures[index], self._policy.verdict(lease.batch, failures[index]))
            for start, end in (ended if failures else ())
            for index in range(start, end)
            if index in failures
        }
        running = report.end in BLAMED or report.end is ReportEnd.LOST
        suspects = _suspects(lease, report) if running else []
        fault = _fault(report, suspects[0]) if suspects and report.end in BLAMED else None
        return Prepared(
            lease,
            report,
            self._version(lease),
            ended,
            self._newly_settled(lease.batch, ended, verdicts),
            verdicts,
            suspects,
            fault,
            self._policy.blame(lease.batch, fault) if fault is not None else Verdict.AGAIN,
        )

    def is_current(self, prepared: Prepared) -> bool:
        """Return whether no job of the batch has moved since its report was prepared."""
        return prepared.version == self._version(prepared.lease)

    def _version(self, lease: Lease) -> tuple[int, int]:
        return lease.version, self._parking.version

    def _newly_settled(
        self, batch: Batch, ended: list[tuple[int, int]], verdicts: Mapping[int, tuple[Failure, Verdict]]
    ) -> list[tuple[int, int]]:
        if batch.kind is not BatchKind.READ or not ended:
            return []  # the watermark has passed what was parked before, and what has failed
        if not verdicts and not len(self._parking):
            return ended
        open_ = {index for index, (_, verdict) in verdicts.items() if not verdict.settles}
        indices = (index for start, end in ended for index in range(start, end))
        return contiguous(i for i in indices if batch.first + i not in self._parking and i not in open_)


def _suspects(lease: Lease, report: Report) -> list[int]:
    """Return the suspects that have not ended, and that the slave keeps."""
    upto = max(lease.upto, min(report.upto, lease.keep))
    keep = max(upto, min(report.keep, lease.keep))
    ended = lease.extra.union(report.extra)
    return sorted(index for index in set(report.suspects) if upto <= index < keep and index not in ended)


def _fault(report: Report, suspect: int) -> Failure:
    """Return what is held against the suspects of a report, the first of which is given."""
    if report.end is ReportEnd.RAISED and report.failures:
        # Before it, there may be those of jobs that could not be unpickled.
        return next((f for f in reversed(report.failures) if f.index == suspect), report.failures[-1])
    name = "TimedOut" if report.end is ReportEnd.TIMEOUT else "WorkerDied"
    return Failure(suspect, name, report.detail, "", FailureKind.TIMEOUT)
