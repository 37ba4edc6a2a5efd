"""The settlement: reports are applied, and the counters of the session kept."""

from __future__ import annotations

from taskmaster.master.broker.batches import Batch, BatchKind, contiguous
from taskmaster.master.broker.failure_policy import FailurePolicy
from taskmaster.master.broker.intake import Intake
from taskmaster.master.broker.leases import Lease, LeaseTable
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.prepared import Prepared
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.replay import Replay
from taskmaster.master.broker.unwritten import Unwritten
from taskmaster.master.broker.verdicts import Tried, Verdict, with_attempt
from taskmaster.master.broker.watermark import SettledRange, Watermark
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.model import Failure, FailureKind, ReportEnd

__all__ = ["Settlement"]


class Settlement:
    """Applies reports, and counts what they settle.

    Args:
        policy: says when jobs are tried again, and when too much fails.
        watermark: gets the settled jobs.
        leases: what slaves hold.
        redelivery: takes what goes out again.
        parking: what is parked.
        replay: failed jobs that are run again.
        intake: is asked to have jobs split.

    Attributes:
        settled: jobs settled in this session.
        failures: those of them that failed.
        skipped: those of them that the callback left out.
        stop: why the run has to stop, to be resumed later; "" if it need not.
        failed: failed jobs that the store does not have.
    """

    def __init__(
        self,
        policy: FailurePolicy,
        watermark: Watermark,
        leases: LeaseTable,
        redelivery: Redelivery,
        parking: Parking,
        replay: Replay,
        intake: Intake,
    ) -> None:
        self.settled = 0
        self.failures = 0
        self.skipped = 0
        self.stop = ""
        self.failed: Unwritten[FailedJob] = Unwritten()
        self._policy = policy
        self._budget = policy.budget
        self._outage = policy.outage
        self._watermark = watermark
        self._leases = leases
        self._redelivery = redelivery
        self._parking = parking
        self._replay = replay
        self._intake = intake
        self._write_ahead = intake.write_ahead

    @property
    def done(self) -> int:
        """Jobs that went well in this session."""
        return self.settled - self.failures - self.skipped

    @property
    def example(self) -> Attempt | None:
        """An attempt that has failed in this session."""
        return self._budget.example

    def change_budget(self, limits: Limits) -> None:
        """Stop from now on when more has failed than these limits allow."""
        self._budget.allow(limits.max_failures, limits.max_failed_fraction)

    @property
    def budget_used(self) -> tuple[float, str] | None:
        """What is used of the failure budget, and what that allows; see ``Budget.used``."""
        return self._budget.used(self.failures, self.settled, self._intake.known)

    # -- what a slave reports ----------------------------------------------------------------------

    def apply(self, prepared: Prepared) -> None:
        """Apply a report; nothing has moved since it was prepared."""
        lease, report = prepared.lease, prepared.report
        if lease.batch.kind is BatchKind.REPLAYED:
            self._count_again(prepared)
        else:
            self._count(prepared)
        given_back = self._leases.note(lease, report)
        for settled in prepared.ranges:
            self._watermark.settle(settled)
        if given_back:
            self._redelivery.give_back(lease.batch, given_back)
        if report.end:
            self._end(prepared)
        elif lease.open == 0:
            self._leases.close(lease)
        if self.failures and not self.stop:
            self.stop = self._over_budget()

    def _over_budget(self) -> str:
        return self._budget.over(self.failures, self.settled, self._intake.known)

    def _end(self, prepared: Prepared) -> None:
        """End a lease whose batch the slave has done with."""
        lease, suspects = prepared.lease, prepared.suspects
        self._leases.close(lease)
        if suspects or lease.open:
            self._end_rest(prepared)
        if self._write_ahead.on and prepared.report.end is ReportEnd.FINISHED and not prepared.report.failures:
            self._write_ahead.took(lease.batch.jobs[: prepared.report.keep], prepared.report.seconds)

    def _end_rest(self, prepared: Prepared) -> None:
        """Do with the jobs of a lease that had not ended with it."""
        lease, suspects = prepared.lease, prepared.suspects
        rest = [index for index in lease.unended() if index not in suspects]
        separate = prepared.report.end is ReportEnd.UNREADABLE
        self._redelivery.give_back(lease.batch, rest, separate=separate)
        if prepared.report.end is ReportEnd.LOST:
            self._redelivery.lose_running(lease.batch, suspects, prepared.report.beside)
        elif prepared.report.together and len(suspects) > 1:
            self._blame_together(prepared)
        else:
            self._blame(prepared)

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
        self.stop = self.stop or self._over_budget()
        if not self._parking.settle(batch.first):
            self._watermark.settle(SettledRange(batch.first, batch.end, failed.key, 1, None, 0, batch.jobs))

    # -- jobs that have ended ----------------------------------------------------------------------

    def _count(self, prepared: Prepared) -> None:
        batch = prepared.lease.batch
        ended = failed = 0
        for start, end in prepared.ended:
            ended += end - start
        for _, verdict in prepared.verdicts.values():
            failed += verdict is not Verdict.SKIPPED
        self.settled += ended
        if ended > failed:
            self._outage.went_well(trial=batch.trial)
        for index, (_, verdict) in prepared.verdicts.items():
            self.settled -= not verdict.settles
            self._judge(prepared.lease, verdict, prepared.tried[index])
        for index, (failure, verdict) in prepared.verdicts.items():  # now that it is known how many went well
            if verdict not in (Verdict.BACK, Verdict.SKIPPED, Verdict.HELD):
                self._note_first(batch, prepared.tried[index].attempt, failure)
        if self._parking.pending:
            for start, end in prepared.ended:
                for index in range(start, end):
                    if index not in prepared.verdicts or prepared.verdicts[index][1].settles:
                        self._parking.settle(batch.first + index)

    def _count_again(self, prepared: Prepared) -> None:
        """Note that a failed job that was run again has ended: it counts as settled already."""
        if not prepared.ended:
            return
        _, verdict = prepared.verdicts.get(0, (None, None))
        if verdict in (Verdict.AGAIN, Verdict.BACK, Verdict.HELD):
            self._judge(prepared.lease, verdict, prepared.tried[0])
            return
        well = verdict in (None, Verdict.SKIPPED)
        self._replay.end(prepared.lease.batch.first, well=well)
        if well:
            self._outage.went_well(trial=prepared.lease.batch.trial)
        if verdict is Verdict.FAILED:
            self.failed.append(prepared.tried[0].for_good)
        self.skipped += verdict is Verdict.SKIPPED

    def _judge(self, lease: Lease, verdict: Verdict, tried: Tried) -> None:
        """Do with a job as the verdict says; the caller settles it where that is part of it."""
        index = tried.failure.index
        match verdict:
            case Verdict.SKIPPED:
                self.skipped += 1
            case Verdict.BACK:
                self._redelivery.give_back(lease.batch, [index])
                self._abort(tried.failure)
            case Verdict.HELD:
                self._redelivery.append(lease.batch.part(index, index + 1))
            case Verdict.FAILED:
                self.failures += 1
                self.failed.append(tried.for_good)
            case _:
                single = lease.batch.part(index, index + 1)
                single.attempts = with_attempt(single.attempts, tried.attempt)
                if verdict is Verdict.SPLIT:
                    self._write_ahead.ask_split(single)
                else:
                    self._wait(single, lease, tried.failure, len(single.attempts))

    def _abort(self, failure: Failure) -> None:
        self.stop = self.stop or f"the callback raised Abort: {failure.message}"

    def _wait(self, batch: Batch, lease: Lease, failure: Failure, attempt: int) -> None:
        """Let jobs wait for another attempt."""
        batch.avoid, batch.worker = lease.slave, failure.worker
        self._redelivery.wait(batch, self._policy.delay(failure.after, attempt))
        self._save(batch)

    def _save(self, batch: Batch) -> None:
        """Have the next checkpoint park a job with what was tried, so that a restart does not
        forget that.
        """
        if batch.attempts and batch.kind is not BatchKind.REPLAYED:
            self._parking.ask(batch.first, batch.jobs[0], batch.attempts)

    # -- jobs that may be to blame -----------------------------------------------------------------

    def _note_first(self, batch: Batch, attempt: Attempt, failure: Failure) -> None:
        """Note that a job has failed alone, if it is the first time."""
        if not batch.attempts:
            self._outage.failed_first(attempt)
            if failure.kind is not FailureKind.RETRY:
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
                self._note_first(batch, what.attempt, what.failure)
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
        final, excused = what.failure.kind is FailureKind.FINAL, self._policy.excuses(what.failure)
        if not lease.batch.tries:
            self._outage.failed_first(what.attempt)
        for start, end in contiguous(suspects):
            whole = lease.batch.part(start, end)
            if excused:
                self._redelivery.append(whole)
                continue
            whole.tries += 1
            if whole.tries == 1 and not final:
                self._wait(whole, lease, what.failure, 1)
            else:
                self._halve(whole)

    def _halve(self, whole: Batch) -> None:
        """Hand the jobs of a failed call out in halves: last in line; but first, if nothing has
        gone well so far. When everything fails, single jobs have to show it, and soon.
        """
        half = (len(whole) + 1) // 2
        parts = [(0, half), (half, len(whole))]
        if not self.done:
            for start, end in reversed(parts):
                self._redelivery.give_back(whole, range(start, end))
        else:
            self._redelivery.append(*(whole.part(*part) for part in parts if part[0] < part[1]))
