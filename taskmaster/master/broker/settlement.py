"""The settlement: what a report comes to, and the counters of the session.

A report is settled in three steps, so that none of the user's code runs under the master's lock::

    prepare (under the lock) ─► fill in keys and records (outside) ─► apply (under the lock)

``apply`` refuses what was prepared when the books have moved meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskmaster.master.broker.batches import Batch, BatchKind, contiguous
from taskmaster.master.broker.failure_policy import Budget, Tried, Verdict, backoff, verdict, with_attempt
from taskmaster.master.broker.leases import Lease, LeaseTable
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.replay import Replay
from taskmaster.master.broker.watermark import SettledRange, Watermark
from taskmaster.master.broker.write_ahead import WriteAhead
from taskmaster.master.job_records import Attempt, FailedJob
from taskmaster.model import Failure, FailureKind, Report, ReportEnd

__all__ = ["Prepared", "Settlement"]

BLAMED = (ReportEnd.CRASHED, ReportEnd.TIMEOUT, ReportEnd.RAISED)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a report comes to.

    Attributes:
        lease: what the report speaks for.
        report: what the slave says.
        version: of the books that this was read from.
        ended: index ranges of the jobs that have ended since the last report.
        settled: index ranges of the jobs that the report settles and that the watermark has not
            passed already.
        verdicts: by index, what becomes of each job that has ended and failed.
        suspects: the jobs that were running when the worker died, or that the failed call was
            given.
        fault: what is held against the suspects; None where there are none.
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
    tried: Mapping[int, Tried] = field(default_factory=dict)


class Settlement:
    """See the module.

    Args:
        limits: the caps.
        watermark: is told what is settled.
        leases: what slaves hold.
        redelivery: takes what goes out again.
        parking: what is parked.
        replay: failed jobs that are run again.
        write_ahead: is asked to have jobs split.
        chance: spreads the waits of jobs that failed together.

    Attributes:
        settled: jobs settled in this session.
        failures: those of them that failed.
        skipped: those of them that the callback left out.
        stop: why the run has to stop, to be resumed later; "" if it need not.
        failed: failed jobs that the store does not have.
    """

    def __init__(
        self,
        limits: Limits,
        watermark: Watermark,
        leases: LeaseTable,
        redelivery: Redelivery,
        parking: Parking,
        replay: Replay,
        write_ahead: WriteAhead,
        chance: random.Random,
    ) -> None:
        self.settled = 0
        self.failures = 0
        self.skipped = 0
        self.stop = ""
        self.failed: list[FailedJob] = []
        self._limits = limits
        self._watermark = watermark
        self._leases = leases
        self._redelivery = redelivery
        self._parking = parking
        self._replay = replay
        self._write_ahead = write_ahead
        self._chance = chance
        self._budget = Budget(limits.max_failures, limits.max_share)

    @property
    def done(self) -> int:
        """Jobs that went well in this session."""
        return self.settled - self.failures - self.skipped

    @property
    def example(self) -> Attempt | None:
        """An attempt that has failed in this session."""
        return self._budget.example

    # -- what a report comes to --------------------------------------------------------------------

    def prepare(self, lease: Lease, report: Report) -> Prepared:
        """Return what a report comes to; nothing is changed."""
        ended = lease.newly_ended(report)
        failures = {failure.index: failure for failure in report.failures}  # a job fails once, however often it is said
        verdicts = {
            index: (failures[index], self._verdict(lease.batch, failures[index]))
            for start, end in (ended if failures else ())
            for index in range(start, end)
            if index in failures
        }
        suspects = self._suspects(lease, report) if report.end in BLAMED else []
        fault = _fault(report, suspects[0]) if suspects else None
        return Prepared(
            lease,
            report,
            self._version(lease),
            ended,
            self._newly_settled(lease.batch, ended, verdicts),
            verdicts,
            suspects,
            fault,
            self._blame_verdict(lease.batch, fault) if fault is not None else Verdict.AGAIN,
        )

    def _version(self, lease: Lease) -> tuple[int, int]:
        return lease.version, self._parking.version

    def _verdict(self, batch: Batch, failure: Failure) -> Verdict:
        plain = verdict(batch, failure, self._limits.retries, self._limits.crashes)
        return self._write_ahead.verdict(batch, failure, plain)

    def _blame_verdict(self, batch: Batch, fault: Failure) -> Verdict:
        crashes = batch.crashes + (fault.kind is FailureKind.TIMEOUT)
        plain = Verdict.FAILED if crashes >= self._limits.crashes else Verdict.AGAIN
        return self._write_ahead.verdict(batch, fault, plain)

    def _newly_settled(
        self, batch: Batch, ended: list[tuple[int, int]], verdicts: Mapping[int, tuple[Failure, Verdict]]
    ) -> list[tuple[int, int]]:
        if batch.kind is BatchKind.REPLAYED:
            return []
        open_ = {index for index, (_, verdict_) in verdicts.items() if not verdict_.settles}
        if not len(self._parking) and not open_:
            return ended
        indices = (index for start, end in ended for index in range(start, end))
        return contiguous(i for i in indices if batch.first + i not in self._parking and i not in open_)

    def _suspects(self, lease: Lease, report: Report) -> list[int]:
        """Return the suspects that have not ended, and that the slave keeps."""
        upto = max(lease.upto, min(report.upto, lease.keep))
        keep = max(upto, min(report.keep, lease.keep))
        ended = lease.extra.union(report.extra)
        return sorted(index for index in set(report.suspects) if upto <= index < keep and index not in ended)

    def apply(self, prepared: Prepared) -> bool:
        """Apply a report.

        Returns:
            False if the books have moved since it was prepared; nothing was changed then.
        """
        lease, report = prepared.lease, prepared.report
        if not self._leases.is_current(lease) or prepared.version != self._version(lease):
            return False
        if lease.batch.kind is BatchKind.REPLAYED:
            self._count_again(prepared)
        else:
            self._count(prepared)
        given_back = self._leases.note(lease, report)
        for settled in prepared.ranges:
            self._watermark.settle(settled)
        self._redelivery.give_back(lease.batch, given_back)
        if report.end:
            self._end(prepared)
        elif lease.open == 0:
            self._leases.close(lease)
        if self.failures and not self.stop:
            self.stop = self._budget.over(self.failures, self.settled)
        return True

    def _end(self, prepared: Prepared) -> None:
        """End a lease whose batch the slave has done with."""
        lease, suspects = prepared.lease, prepared.suspects
        self._leases.close(lease)
        rest = [index for index in lease.unended() if index not in suspects]
        separate = prepared.report.end is ReportEnd.UNREADABLE
        self._redelivery.give_back(lease.batch, rest, separate=separate)
        if prepared.report.together and len(suspects) > 1:
            self._blame_together(prepared)
        else:
            self._blame(prepared)
        if prepared.report.end is ReportEnd.FINISHED and not prepared.report.failures:
            self._write_ahead.took(lease.batch.jobs[: prepared.report.keep], prepared.report.seconds)

    def fail(self, batch: Batch, failed: FailedJob) -> None:
        """Settle a job as failed that no worker has brought to an end."""
        if batch in self._redelivery.doomed:
            self._redelivery.doomed.remove(batch)
        if batch.kind is BatchKind.REPLAYED:
            self._replay.end(batch.first, well=False)
            self.failed.append(failed)
            return
        self.settled += 1
        self.failures += 1
        self.failed.append(failed)
        self.stop = self.stop or self._budget.over(self.failures, self.settled)
        if not self._parking.settle(batch.first):
            self._watermark.settle(SettledRange(batch.first, batch.end, failed.key, 1, None, 0, batch.jobs))

    # -- jobs that have ended ----------------------------------------------------------------------

    def _count(self, prepared: Prepared) -> None:
        batch = prepared.lease.batch
        self.settled += sum(end - start for start, end in prepared.ended)
        for index, (_, verdict_) in prepared.verdicts.items():
            self.settled -= not verdict_.settles
            self._judge(prepared.lease, verdict_, prepared.tried[index])
        for index, (failure, verdict_) in prepared.verdicts.items():  # now that it is known how many went well
            if verdict_ not in (Verdict.BACK, Verdict.SKIPPED) and failure.kind is not FailureKind.RETRY:
                self._note_first(batch, prepared.tried[index].attempt)
        if self._parking.pending:
            for start, end in prepared.ended:
                for index in range(start, end):
                    if index not in prepared.verdicts or prepared.verdicts[index][1].settles:
                        self._parking.settle(batch.first + index)

    def _count_again(self, prepared: Prepared) -> None:
        """Note that a failed job that was run again has ended: it counts as settled already."""
        if not prepared.ended:
            return
        _, verdict_ = prepared.verdicts.get(0, (None, None))
        if verdict_ in (Verdict.AGAIN, Verdict.BACK):
            self._judge(prepared.lease, verdict_, prepared.tried[0])
            return
        self._replay.end(prepared.lease.batch.first, well=verdict_ is not Verdict.FAILED)
        if verdict_ is Verdict.FAILED:
            self.failed.append(prepared.tried[0].for_good)
        self.skipped += verdict_ is Verdict.SKIPPED

    def _judge(self, lease: Lease, verdict_: Verdict, tried: Tried) -> None:
        """Do with a job as the verdict says; the caller settles it where that is part of it."""
        index = tried.failure.index
        match verdict_:
            case Verdict.SKIPPED:
                self.skipped += 1
            case Verdict.BACK:
                self._redelivery.give_back(lease.batch, [index])
                self._abort(tried.failure)
            case Verdict.FAILED:
                self.failures += 1
                self.failed.append(tried.for_good)
            case _:
                single = lease.batch.part(index, index + 1)
                single.attempts = with_attempt(single.attempts, tried.attempt)
                if verdict_ is Verdict.SPLIT:
                    self._write_ahead.ask_split(single)
                else:
                    self._wait(single, lease, tried.failure, len(single.attempts))

    def _abort(self, failure: Failure) -> None:
        self.stop = self.stop or f"the callback raised Abort: {failure.message}"

    def _wait(self, batch: Batch, lease: Lease, failure: Failure, attempt: int) -> None:
        """Let jobs wait for another attempt."""
        asked = failure.after
        batch.avoid, batch.worker = lease.slave, failure.worker
        self._redelivery.wait(batch, asked if asked >= 0 else backoff(self._limits.backoff, attempt, self._chance))
        self._save(batch)

    def _save(self, batch: Batch) -> None:
        """Have the next checkpoint park a job with what was tried, so that a restart does not
        forget that.
        """
        if batch.attempts and batch.kind is not BatchKind.REPLAYED:
            self._parking.ask(batch.first, batch.jobs[0], batch.attempts)

    # -- jobs that may be to blame -----------------------------------------------------------------

    def _note_first(self, batch: Batch, attempt: Attempt) -> None:
        if not batch.attempts and not batch.tries:
            self.stop = self.stop or self._budget.failed_first(attempt, self.done)

    def _blame(self, prepared: Prepared) -> None:
        """Charge the job whose worker died. Of several that were running nobody knows which it was:
        each is run alone.
        """
        batch = prepared.lease.batch
        for index in prepared.suspects:
            single = batch.part(index, index + 1)
            single.alone = True
            if len(prepared.suspects) == 1:
                what = prepared.tried[index]
                self._note_first(batch, what.attempt)
                single.attempts = with_attempt(single.attempts, what.attempt)
                if prepared.blame is Verdict.SPLIT:
                    self._write_ahead.ask_split(single)
                    continue
                if prepared.blame is Verdict.FAILED:
                    self.fail(single, what.for_good)
                    continue
                self._save(single)
            # Last in line: what kills workers should not keep those from working that others wait
            # for.
            self._redelivery.append(single)

    def _blame_together(self, prepared: Prepared) -> None:
        """Try jobs together once more that were given to one call, which then failed, and then in
        halves: nobody knows whose fault it was, and only a job that fails alone is charged.
        """
        lease, suspects = prepared.lease, prepared.suspects
        what = prepared.tried[suspects[0]]
        if what.failure.kind is FailureKind.ABORT:
            self._redelivery.give_back(lease.batch, suspects)
            self._abort(what.failure)
            return
        self._note_first(lease.batch, what.attempt)
        for start, end in contiguous(suspects):
            whole = lease.batch.part(start, end)
            whole.tries += 1
            if whole.tries == 1 and what.failure.kind is not FailureKind.FINAL:
                self._wait(whole, lease, what.failure, 1)
                continue
            half = (end - start + 1) // 2
            self._redelivery.append(whole.split(half))
            if whole.jobs:
                self._redelivery.append(whole)


def _fault(report: Report, suspect: int) -> Failure:
    """Return what is held against the suspects of a report, the first of which is given."""
    if report.end is ReportEnd.RAISED and report.failures:
        # Before it, there may be those of jobs that could not be unpickled.
        return next((f for f in reversed(report.failures) if f.index == suspect), report.failures[-1])
    name = "TimedOut" if report.end is ReportEnd.TIMEOUT else "WorkerDied"
    return Failure(suspect, name, report.detail, "", FailureKind.TIMEOUT)
