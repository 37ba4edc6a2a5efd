"""The batches in flight: what the slave holds, and what it has to report of it. Pure.

There is one entry for each batch in this slave's hands, from its arrival until the master has
answered the report of its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskmaster.job_times import NO_TIMES, JobTimes
from taskmaster.model import Failure, Report, ReportEnd, WireBatch
from taskmaster.slave.pool.held_batch import HeldBatch, ReportState

__all__ = ["InFlight"]

# Of what one exchange carries, beside the last batch in it: the master takes 16 MiB at once, and
# 600,000 values, of which a failure has up to 13, and each job that has ended out of turn one.
FAILURE_VALUES = 13
MOST_REPORTED_BYTES = 2 * 1024 * 1024
MOST_REPORTED_VALUES = 100_000


class InFlight:
    """All batches of the slave.

    Attributes:
        done: Jobs that ended well here.
        failed: Attempts here that raised; not those that killed a worker, nor calls of several.
        singly: Whether reports are made one at a time, to see which of them the master does not
            accept.
    """

    def __init__(self) -> None:
        self.singly = False
        self.done = 0
        self.failed = 0
        self._held: dict[str, HeldBatch] = {}
        self._sent: dict[str, ReportState] = {}

    def __len__(self) -> int:
        return sum(1 for held in self._held.values() if not held.end)

    @property
    def tokens(self) -> list[str]:
        """Return the tokens of the batches whose leases are this slave's, for a hello."""
        return [token for token, held in self._held.items() if not held.stale]

    @property
    def settled(self) -> bool:
        """Whether everything was reported, and the reports answered."""
        return not self._held

    def take(self, lent: WireBatch) -> HeldBatch:
        """Note that a batch has arrived."""
        held = HeldBatch(lent, lent.count)
        held.told = held.state  # which the master knows already
        self._held[lent.token] = held
        return held

    def by_token(self, token: str) -> HeldBatch | None:
        """Return the batch of a token, None if it is not here."""
        return self._held.get(token)

    def progress(self, held: HeldBatch, upto: int, extra: Sequence[int] = ()) -> None:
        """Note how far a batch has got; it never goes back."""
        held.upto = max(held.upto, min(upto, held.keep))
        held.extra = tuple(index for index in extra if index >= held.upto)
        self._pass_on(held)

    def finish(self, held: HeldBatch, stop: int, seconds: float = 0.0, times: JobTimes = NO_TIMES) -> None:
        """Note that the worker has stopped before the job at ``stop``: all before have ended."""
        held.seconds, held.times = seconds, times
        held.keep = min(held.keep, stop)
        self.progress(held, stop)
        self._end(held, ReportEnd.FINISHED)

    def crash(
        self, held: HeldBatch, suspects: Iterable[int], detail: str, *, timed_out: bool = False, beside: int = 0
    ) -> None:
        """Note that the worker has died while the suspects ran.

        Args:
            held: The batch.
            suspects: Indices of the jobs that ran.
            detail: How the worker died.
            timed_out: Whether it was killed because they took too long.
            beside: In how many batches jobs were running, if all workers were killed at once.
        """
        # It may have died between saying that a job has failed and moving on: that job has ended.
        failed = {failure.index for failure in held.failures}
        held.extra = tuple(sorted(failed.union(held.extra).difference(range(held.upto))))
        held.suspects, held.detail = tuple(index for index in suspects if index not in failed), detail
        held.beside = beside
        how = ReportEnd.LOST if beside else ReportEnd.TIMEOUT if timed_out else ReportEnd.CRASHED
        self._end(held, how if held.suspects else ReportEnd.DROPPED)

    def raised(self, held: HeldBatch, suspects: Iterable[int], failure: Failure) -> None:
        """Note that the one call that was given these jobs has raised."""
        held.extra = tuple(sorted({f.index for f in held.failures}.union(held.extra)))
        held.suspects = tuple(suspects)
        held.call_raised(failure)
        self._end(held, ReportEnd.RAISED)

    def unreadable(self, held: HeldBatch) -> None:
        """Note that the worker could not unpickle the batch."""
        self._end(held, ReportEnd.UNREADABLE)

    def drop(self, held: HeldBatch) -> None:
        """Give back all that has not ended."""
        self._end(held, ReportEnd.DROPPED)

    @property
    def offers(self) -> list[tuple[str, int, int]]:
        """Return token, index and ticket of what another master might take over."""
        return [
            (token, index, number)
            for token, held in self._held.items()
            for index, number in held.tickets.items()
            if not held.stale
        ]

    def ticket(self, token: str, index: int, number: int) -> None:
        """Note that the master has parked a job, and what it is called."""
        held = self._held.get(token)
        if held is not None:
            held.tickets[index] = number

    def adopt(self, token: str, index: int, new: str) -> None:
        """Note that another master has leased a job anew that this slave has had before."""
        held = self._held.get(token)
        heir = self.take(WireBatch(new, 1, separate=False, alone=False, avoid=0, blob=b""))
        if held is None or index not in held.tickets:
            self.drop(heir)
            return
        heir.tickets[0] = held.tickets[index]
        heir.origin, heir.together = held.origin or held, held.together
        held.heirs[index] = heir
        counted = self.done, self.failed
        self._pass_on(held)
        if held.end:  # what came of it was counted then
            self.done, self.failed = counted

    def gave_back(self, held: HeldBatch, keep: int) -> None:
        """Note that the jobs of a batch from ``keep`` on have not been started, and will not be."""
        held.keep = min(held.keep, keep)
        self._pass_on(held)

    def _pass_on(self, held: HeldBatch) -> None:
        """Tell the heirs of a batch what has become of their job."""
        for index, heir in list(held.heirs.items()):
            if index >= held.keep:
                self.gave_back(heir, 0)
            ended = index < held.upto or index in held.extra
            if not (ended or held.end):
                continue
            del held.heirs[index]
            if ended:
                for failure in held.failures:
                    if failure.index == index:
                        heir.fail(failure._replace(index=0))
                self.finish(heir, 1)
            elif index in held.suspects and held.end is ReportEnd.RAISED:
                self.raised(heir, [0], held.failures[-1]._replace(index=0))
            elif held.end is ReportEnd.LOST and held.may_be_heard:
                # Its number does not tell that: said again, one loss would count against it twice.
                self.drop(heir)
            elif index in held.suspects:
                self.crash(heir, [0], held.detail, timed_out=held.end is ReportEnd.TIMEOUT, beside=held.beside)
            else:
                self.drop(heir)

    def void(self, tokens: Iterable[str] | None = None) -> list[HeldBatch]:
        """Note that these leases (None: all) are not the slave's any more; return the batches that
        are still worked on.
        """
        working = []
        for token in list(self._held) if tokens is None else tokens:
            held = self._held.get(token)
            if held is not None and not held.stale:
                held.stale = True
                if held.end:
                    del self._held[token]
                else:
                    working.append(held)
        return working

    def news(self) -> bool:
        """Return whether there is something that the master has not heard."""
        return any(held.state != held.told for held in self._held.values() if not held.stale)

    def urgent(self, *, gathers: bool = False) -> bool:
        """Return whether the master should hear the news at once.

        A batch has ended, and its worker wants another one, unless such ends are gathered; or jobs
        were given back, for which another worker may be waiting.
        """
        can_wait = (ReportEnd.OPEN, ReportEnd.FINISHED) if gathers else (ReportEnd.OPEN,)
        return any(
            held.end not in can_wait or held.told is None or held.keep != held.told.keep
            for held in self._held.values()
            if not held.stale
        )

    def reports(self) -> list[Report]:
        """Return a report for each batch of which there is news; ``answered`` notes their arrival.

        Reports that would make one exchange too large are left for the next one.
        """
        self._sent = {}
        texts = values = 0
        for token, held in self._held.items():
            fits = texts <= MOST_REPORTED_BYTES and values <= MOST_REPORTED_VALUES
            if fits and not held.stale and held.state != held.told:
                self._sent[token] = held.state
                texts += held.texts
                values += len(held.extra) + len(held.long) + FAILURE_VALUES * len(held.failures)
                if self.singly:
                    break
        self.singly = self.singly and bool(self._sent)
        return [self._held[token].report() for token in self._sent]

    def answered(self) -> None:
        """Note that the master has the last reports."""
        for token, sent in self._sent.items():
            held = self._held.get(token)
            if held is None:
                continue
            if sent.end:
                del self._held[token]
            else:
                held.answered(sent)
        self._sent = {}

    def refused(self, why: str) -> str | None:
        """Note that the master does not accept the last reports. It would not accept the same ones
        the next time, either.

        From now on one report is made at a time, and no batch is asked for beside it. A report that
        is refused by itself is made again with the bare facts: that jobs have failed, and why their
        exceptions are unknown. This counts as an attempt of each job.

        Returns:
            None if something else will be said next; "" if nothing was said; else the token of a
            batch whose bare facts were refused, too: its lease has to be given up, together with
            the connection.
        """
        sent, self._sent = list(self._sent), {}
        if not (self.singly and sent):
            self.singly = bool(sent)
            return None if sent else ""
        self.singly = False
        held = self._held.get(sent[0])
        if held is None:
            return None
        message = f"the master did not accept what was reported of this job's failure ({why})"[:1000]
        bare = [Failure(f.index, "ReportRefused", message, "", worker=f.worker) for f in held.failures]
        if (bare, 0.0) == (held.failures, held.seconds):
            return sent[0]
        held.failures, held.seconds, held.times = bare, 0.0, NO_TIMES
        return None

    def unanswered(self) -> None:
        """Note that the connection broke: the master may have heard nothing of what was said."""
        for token, sent in self._sent.items():
            if sent.end and token in self._held:
                self._held[token].may_be_heard = True
        self._sent = {}
        for held in self._held.values():
            held.told = None

    def _end(self, held: HeldBatch, how: ReportEnd) -> None:
        held.end = how
        self._pass_on(held)
        ended = held.upto + len(held.extra)
        if held.stale:
            self._held.pop(held.lent.token, None)
        else:
            self.done += ended - held.failed
            self.failed += held.failed
