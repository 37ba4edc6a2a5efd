"""The broker: which job is where. It keeps the queue and the leases, and says what a report
settles.

Called by ``taskmaster.master.service`` (for slaves), ``taskmaster.master.reading.reader`` (the
source) and ``taskmaster.master.checkpointer`` (checkpoints), always under the master's one lock.
Pure: no thread, socket, file or clock inside, and none of the user's code; ``now`` is passed in. ::

    source ─► queue ──take──► lease ──report──► watermark ──► checkpoint
                 ▲               │                  ▲
                 └── returned ◄──┴── failed ────────┘

Jobs that failed and are to be tried again wait between ``failed`` and ``returned``.

Guarantees: a job is in one place at a time; a report counts only while its token is the newest of
the job; the queue, what was returned, what waits and what is parked together stay within ``size``;
what was read and is not behind the watermark stays within ``span``.

The source's thread adds to the queue without the lock, so that a job can be handed out the moment
it is yielded.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from taskmaster.master.broker.failure_policy import (
    Budget,
    Tried,
    Verdict,
    Waiting,
    backoff,
    verdict,
    with_attempt,
)
from taskmaster.master.broker.leases import Lease, Session, Sessions, Stretch, ranges
from taskmaster.master.broker.limits import Changes, Limits
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.queue import Queue
from taskmaster.master.broker.replay import Replay
from taskmaster.master.broker.watermark import Settled, Watermark
from taskmaster.master.broker.write_ahead import Plan
from taskmaster.master.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.model import MAX_BATCH, Failure, FailureKind, Report, ReportEnd, Want

__all__ = ["Broker", "Changes", "Limits"]


# Slaves are killed for reasons that have nothing to do with their jobs: only after this many losses
# in a row are the jobs handed out in halves, to find the one that takes its slave down.
HALVE_AFTER = 2
FEW = 64  # leases
ELSEWHERE = 2.0  # seconds that a job waits for another slave than the one where it failed
SUSPECTS_EVERY = 16  # batches; one of them may be a job that is tried again after its worker died


class Broker:
    """See the module.

    Args:
        incarnation: random text of this start of the master; part of every token.
        limits: the caps.
        mark: encoded key that an earlier session had reached.
        parked: jobs that an earlier session parked; they are handed out first.
    """

    def __init__(
        self, incarnation: str, limits: Limits, mark: str | None = None, parked: Sequence[ParkedJob] = ()
    ) -> None:
        self.limits = limits
        self.watermark = Watermark(mark)
        self.queue = Queue()
        self.sessions = Sessions()
        self.leases: dict[str, Lease] = {}
        self.exhausted = False
        self.refused = False  # a job has no key that can be stored: the run cannot finish, only stop
        self.draining = False
        self.paused = ""
        self.stalled_since: float | None = None  # since when the service has not heard anybody
        self.stop = ""  # why the run has to stop, to be resumed later
        self._most = sys.maxsize if limits.jobs is None else limits.jobs
        self._allowance = self._most  # jobs that may still be handed out for the first time
        self.settled = 0
        self.failures = 0
        self.skipped = 0
        self.bytes_per_job = float(limits.batch_bytes)
        self.batch = 0  # jobs of the batch that was handed out last,
        self.batch_reason = ""  # and why it was no larger
        self._incarnation = incarnation
        self._tokens = 0
        self._next = 0  # position of the job at the head of the queue
        self._known: deque[Settled] = deque()  # read, and settled by an earlier session
        self._returned: deque[Stretch] = deque()
        self._waiting = Waiting()
        self._budget = Budget(limits.max_failures, limits.max_share)
        self._chance = random.Random(incarnation)
        self._now = 0.0
        self.replay = Replay()
        self._parking = Parking(parked)
        self.plan = Plan(-len(parked))
        self.bound: str | None = None  # where the source said at its start that it ends
        self._inherited = -len(parked)  # positions from here to 0: what an earlier session parked
        self._withhold = limits.reclaim > 0 and bool(parked)
        self._withhold_until: float | None = None
        self._ward: str | None = None  # session that gets nothing until a job that others were lost with fits
        self._ended: dict[str, Lease] = {}  # leases whose jobs are all in _returned still
        self._doomed: list[Stretch] = []
        self._failed: list[FailedJob] = []
        self._recognised: list[Settled] = []
        self._ticked: float | None = None
        if parked:
            self._take_over(parked)

    def _take_over(self, parked: Sequence[ParkedJob]) -> None:
        plain = [job for job in parked if not job.attempts]
        # What is more than this session may hand out stays in the store.
        parked = [*plain, *(job for job in parked if job.attempts)][: self._most]
        plain = plain[: self._most]
        self._allowance -= len(parked)
        if plain:
            self._returned.append(Stretch(-len(parked), plain, separate=True))
        for first, job in enumerate(parked[len(plain) :], len(plain) - len(parked)):
            tried = Stretch(first, [job], True, attempts=job.attempts)
            tried.alone = job.attempts[-1].crash
            self._returned.append(tried)
        self._parking.take_over((index - len(parked), job) for index, job in enumerate(parked))

    # -- the source's side -------------------------------------------------------------------------

    @property
    def read(self) -> int:
        """How many jobs this session has read."""
        return self._next + len(self.queue)

    @property
    def span(self) -> int:
        """Jobs from the watermark to the newest job read."""
        return self.read - self.watermark.cut

    @property
    def returned(self) -> int:
        """Jobs that wait to be handed out again."""
        return sum(len(stretch.jobs) for stretch in self._returned)

    @property
    def waiting(self) -> int:
        """Jobs that have failed and wait for another attempt."""
        return len(self._waiting)

    @property
    def done(self) -> int:
        """Jobs that went well in this session."""
        return self.settled - self.failures - self.skipped

    @property
    def example(self) -> Attempt | None:
        """An attempt that has failed in this session."""
        return self._budget.example

    @property
    def parked(self) -> int:
        """Parked jobs that are not settled."""
        return len(self._parking)

    def room(self) -> int:
        """How many jobs may be read now."""
        waiting = len(self.queue) + self.returned + len(self._waiting) + self._parking.backlog
        # One job more than may be handed out: its key says whether the watermark can pass the one
        # before it.
        fresh = self._allowance + 1 - (len(self.queue) - len(self._known))
        return max(0, min(self.limits.size - waiting, self.limits.span - self.span, fresh))

    def plan_room(self) -> int:
        """How many jobs may be planned now."""
        waiting = self.returned
        room = self.plan.room(self.sessions.slots, waiting)
        return max(0, min(room, self.limits.size - waiting - self._parking.backlog, self._allowance))

    def add_planned(self, jobs: Sequence[ParkedJob]) -> None:
        """Plan jobs that the source has made: the next checkpoint parks them, after which they are
        handed out.
        """
        self._allowance -= len(jobs)
        self.watermark.jump(jobs[-1].key)
        self._park_first(jobs)

    def _park_first(self, jobs: Sequence[ParkedJob]) -> None:
        first = self.plan.add(jobs).first
        for position, job in enumerate(jobs, first):
            self._parking.add(position, job)

    def split(self, stretch: Stretch, parts: Sequence[ParkedJob]) -> None:
        """Put the parts of a job in its place.

        Args:
            stretch: what ``plan.next_split`` gave.
            parts: none if it cannot be split: then it is tried as any other job is.
        """
        self.plan.split(stretch)
        if not parts:
            stretch.whole, stretch.attempts, stretch.due = True, (), self._now
            self._returned.append(stretch)
            return
        self._parking.settle(stretch.first)
        for part in parts:
            self._park_first([replace(part, attempts=stretch.attempts[-1:])])

    @property
    def may_split(self) -> bool:
        """A job may have to be split before the run is over."""
        return self.plan.splits and not self.finished

    @property
    def spent(self) -> bool:
        """All jobs that this session may hand out are settled."""
        return self.settled >= self._most

    @property
    def stuck(self) -> bool:
        """The span is full although all that was read is settled: the keys allow no cut."""
        full = self.span >= self.limits.span
        return full and not (self.queue or self.leases or self._returned or self._waiting or self._doomed)

    def add_known(self, job: Any, piece: Settled) -> None:
        """Queue a job that an earlier session settled: it is never handed out, but has its place in
        the order.

        Args:
            job: the job.
            piece: the job as a settled piece, with its position ``read``.
        """
        self._known.append(piece)
        self.queue.extend([job])

    def head_at_low(self) -> list[Any]:
        """The first job that is not settled, if it is still in the queue; else nothing."""
        return self.queue.head() if self.watermark.low == self._next else []

    # -- handing out -------------------------------------------------------------------------------

    def enter(self, session: Session, held: Collection[str]) -> None:
        """A slave says hello, for the first time or again after it lost its connection.

        Args:
            session: the slave; it takes the place of what was known of it.
            held: tokens of the batches that it has. The answer that carried any other batch was
                lost on its way: those jobs would wait for ever for a slave that does not know of
                them. A batch that ended with the slave's silence is its again while nobody else was
                given one of the jobs.
        """
        known = self.sessions.get(session.id)
        if known is not None:
            session.leases = known.leases
            session.connections += known.connections
            for token in [token for token in session.leases if token not in held]:
                lease = self.leases[token]
                self._return(lease.stretch, lease.unended())
                self._close(lease)
        self.sessions.add(session)
        for token in held:
            ended = self._ended.get(token)
            if ended is not None and ended.session == session.id:
                self._revive(session, ended)

    def _revive(self, session: Session, lease: Lease) -> None:
        """A slave that was given up is back, and nobody else has been given a job of this batch
        meanwhile.
        """
        self._returned = deque(stretch for stretch in self._returned if stretch.origin != lease.token)
        self._forget_ended(lease.token)
        # It was away, not lost: that is nobody's fault.
        lease.stretch.losses, lease.stretch.solo, lease.stretch.company = lease.before
        self.leases[lease.token] = lease
        session.leases[lease.token] = None

    def replay_only(self, *, was_finished: bool) -> None:
        """Run failed jobs again in this session, and nothing else: what is parked stays so."""
        self.replay.on, self.replay.was_finished = True, was_finished
        self._returned.clear()
        self._parking.clear()

    def add_failed(self, jobs: Sequence[FailedJob]) -> None:
        """Hand out failed jobs again."""
        self._returned.extend(self.replay.add(jobs))

    def close(self, session: Session, now: float) -> None:
        """A connection of the slave has ended; it may have another already."""
        session.connections -= 1
        if session.connections <= 0:
            session.closed = now

    def take(self, session: Session, want: Want) -> Lease | None:
        """Hand out a batch, None if there is nothing to hand out now."""
        if self.draining or self.paused or self.stop or len(session.leases) >= 2 * session.workers:
            return None
        if self.sessions.get(session.id) is not session:
            return None  # the slave has a new connection: an answer over the old one would not reach it
        if self._isolated(session):
            return None
        stretch = self._take_returned(session, want) or self._take_queued(session, want)
        if stretch is None:
            return None
        self.batch = len(stretch.jobs)
        self.plan.handed_out(self.batch)
        return self._lend(session, stretch)

    def _lend(self, session: Session, stretch: Stretch) -> Lease:
        session.idle = 0
        self.sessions.unfed.discard(session.id)
        self._tokens += 1
        lease = Lease(f"{self._incarnation}.{self._tokens}", session.id, stretch, len(stretch.jobs))
        self.leases[lease.token] = lease
        session.leases[lease.token] = None
        return lease

    def _isolated(self, session: Session) -> bool:
        """Whether the slave is kept free for a job that slaves were lost with, or has one and may
        hold no more.
        """
        held = len(session.leases)
        if self._ward == session.id:
            suspects = [stretch.company for stretch in self._returned if stretch.company]
            if not suspects:
                self._ward = None
            elif held >= max(suspects):
                return True
        company = [self.leases[token].stretch.company for token in session.leases]
        return held >= min(filter(None, company), default=held + 1)

    def _take_returned(self, session: Session, want: Want) -> Stretch | None:
        at = self._next_returned(session)
        if at is None:
            return None
        stretch = self._returned[at]
        length = len(stretch.jobs)
        count = self._size(session, want, length + len(self.queue))
        if stretch.origin is not None:
            self._forget_ended(stretch.origin)
        if stretch.alone:
            count, self.batch_reason = 1, "it was running when its worker died"
        elif stretch.losses >= HALVE_AFTER and count > (length + 1) // 2:
            count, self.batch_reason = (length + 1) // 2, "half of what lost slaves held"
        if count < length:
            return stretch.split(max(1, count))
        del self._returned[at]
        if self._ward == session.id and stretch.company:
            self._ward = None
        return stretch

    def _next_returned(self, session: Session) -> int | None:
        """Which stretch is next for a slave. Jobs whose worker died come between many others:
        whatever killed it may have been none of their doing, and should not meet them again at
        once.
        """
        held = len(session.leases)
        plain = alone = None
        for at, stretch in enumerate(self._returned):
            if self._withhold and self._inherited <= stretch.first < 0:
                continue
            if self._ward == session.id and not stretch.company:
                continue
            if stretch.company and stretch.company <= held:
                # One slave at a time is kept free for it, or it would wait as long as there is
                # anything else to do.
                if self._ward is None or self.sessions.get(self._ward) is None:
                    self._ward = session.id
                continue
            if stretch.avoid == session.id and len(self.sessions) > 1 and self._now < stretch.due + ELSEWHERE:
                continue
            if stretch.alone:
                alone = at if alone is None else alone
            else:
                plain = at
                break
        waits = self._tokens % SUSPECTS_EVERY != 0
        if plain is None:
            return None if waits and self.queue and self._allowance else alone
        return plain if waits or alone is None else alone

    def _take_queued(self, session: Session, want: Want) -> Stretch | None:
        self.settle_known()
        count = self._size(session, want, len(self.queue))
        if self._known:
            count = min(count, self._known[0].first - self._next)
        jobs = self.queue.take(min(count, self._allowance))
        if not jobs:
            return None
        self._allowance -= len(jobs)
        stretch = Stretch(self._next, jobs)
        self._next += len(jobs)
        return stretch

    def _size(self, session: Session, want: Want, waiting: int) -> int:
        """Most jobs for one batch, so that every worker finds work and a blob stays small."""
        # A worker that runs many jobs at once gets one for each, as long as there are as many for
        # the others.
        each = session.slots // session.workers
        once = min(each, -(-waiting * each // max(1, self.sessions.slots)))
        share = max(waiting // max(1, self.sessions.workers), want.small, once)
        per_job = max(1.0, self.bytes_per_job)
        fit = int(max(self.limits.batch_bytes / per_job, min(want.small, self.limits.small_bytes / per_job)))
        size = max(1, min(want.jobs, MAX_BATCH, share, fit))
        if size == share:
            self.batch_reason = "a fair share of what waits"
        elif size == fit:
            self.batch_reason = f"about {fit * per_job / 1000:.0f} KB, at {per_job:.0f} bytes a job"
        else:
            self.batch_reason = want.reason
        return size

    # -- reports -----------------------------------------------------------------------------------

    def holder(self, session: Session, token: str) -> Lease | None:
        """The lease that a session's report may speak for, None if it is not, or no longer, the
        session's.
        """
        lease = self.leases.get(token)
        return lease if lease is not None and lease.session == session.id else None

    def verdict(self, lease: Lease, failure: Failure) -> Verdict:
        """What becomes of a job that the slave says has failed; see
        ``taskmaster.master.broker.failure_policy``.
        """
        plain = verdict(lease.stretch, failure, self.limits.retries, self.limits.crashes)
        return self.plan.verdict(lease.stretch, failure, plain)

    def newly_settled(self, lease: Lease, report: Report) -> list[tuple[int, int]]:
        """Index ranges of the lease that the report settles and that the watermark has not passed
        already.
        """
        ended = lease.newly_ended(report)
        open_ = {f.index for f in report.failures if not self.verdict(lease, f).settles}
        if lease.stretch.first in self.replay:
            return []
        if not len(self._parking) and not open_:
            return ended
        first = lease.stretch.first
        indices = (i for start, end in ended for i in range(start, end))
        return ranges(i for i in indices if first + i not in self._parking and i not in open_)

    def settle(self, lease: Lease, report: Report, pieces: Sequence[Settled], tried: dict[int, Tried]) -> bool:
        """Apply a report.

        Args:
            lease: what ``holder`` gave for the report's token.
            report: what the slave says.
            pieces: a piece for each range of ``newly_settled``.
            tried: what to note of each job that failed, and of each suspect, by index.

        Returns:
            False if the books have moved since ``newly_settled`` was asked; nothing was changed
            then.
        """
        first = lease.stretch.first
        if self.leases.get(lease.token) is not lease:
            return False
        settled = self.newly_settled(lease, report)
        if [(piece.first - first, piece.end - first) for piece in pieces] != settled:
            return False
        for start, end in lease.newly_ended(report):
            self._count(lease, range(start, end), report, tried)
        lease.note_ended(report)
        self._note_long(lease, report)
        for piece in pieces:
            self.watermark.settle(piece)
        if report.keep < lease.keep:
            self._return(lease.stretch, lease.unended(report.keep))
            lease.keep = max(report.keep, lease.upto)
            lease.extra = {index for index in lease.extra if index < lease.keep}
        if report.end:
            blamed = report.end in (ReportEnd.CRASHED, ReportEnd.TIMEOUT, ReportEnd.RAISED)
            suspects = set(report.suspects).intersection(lease.unended()) if blamed else set()
            rest = [index for index in lease.unended() if index not in suspects]
            self._return(lease.stretch, rest, separate=report.end is ReportEnd.UNREADABLE)
            if suspects and report.together and len(suspects) > 1:
                self._blame_together(lease, sorted(suspects), tried)
            else:
                self._blame(lease, sorted(suspects), tried)
            self._close(lease)
        elif lease.open == 0:
            self._close(lease)
        if self.failures and not self.stop:
            self.stop = self._budget.over(self.failures, self.settled)
        return True

    def _count(self, lease: Lease, indices: range, report: Report, tried: dict[int, Tried]) -> None:
        if lease.stretch.first in self.replay:
            self._count_again(lease, report, tried)
            return
        self.settled += len(indices)
        open_: set[int] = set()
        first: list[Attempt] = []
        for failure in report.failures:
            if failure.index not in indices:
                continue
            verdict = self.verdict(lease, failure)
            if not verdict.settles:
                open_.add(failure.index)
                self.settled -= 1
            if verdict not in (Verdict.BACK, Verdict.SKIPPED) and failure.kind is not FailureKind.RETRY:
                first.append(tried[failure.index].attempt)
            self._judge(lease, verdict, tried[failure.index])
        for attempt in first:  # now that it is known how many went well
            self._note_first(lease.stretch, attempt)
        if self._parking.pending:
            for index in indices:
                if index not in open_:
                    self._parking.settle(lease.stretch.first + index)

    def _count_again(self, lease: Lease, report: Report, tried: dict[int, Tried]) -> None:
        """A failed job that was run again has ended: it counts as settled already."""
        verdict = self.verdict(lease, report.failures[0]) if report.failures else None
        if verdict in (Verdict.AGAIN, Verdict.BACK):
            self._judge(lease, verdict, tried[0])
            return
        self.replay.end(lease.stretch.first, well=verdict is not Verdict.FAILED)
        if verdict is Verdict.FAILED:
            self._failed.append(tried[0].for_good)
        self.skipped += verdict is Verdict.SKIPPED

    def _judge(self, lease: Lease, verdict: Verdict, tried: Tried) -> None:
        """Do with a job as the verdict says; it is settled by the caller where that is part of
        it.
        """
        index = tried.failure.index
        if verdict is Verdict.SKIPPED:
            self.skipped += 1
        elif verdict is Verdict.BACK:
            self._return(lease.stretch, [index])
            self.stop = self.stop or f"the callback raised Abort: {tried.failure.message}"
        elif verdict is Verdict.FAILED:
            self.failures += 1
            self._failed.append(tried.for_good)
        else:
            single = lease.stretch.part(index, index + 1)
            single.attempts = with_attempt(single.attempts, tried.attempt)
            if verdict is Verdict.SPLIT:
                self.plan.ask_split(single)
            else:
                self._wait(single, lease, tried.failure, len(single.attempts))

    def _wait(self, stretch: Stretch, lease: Lease, failure: Failure, attempt: int) -> None:
        """Let jobs wait for another attempt."""
        asked = failure.after
        delay = asked if asked >= 0 else backoff(self.limits.backoff, attempt, self._chance)
        stretch.due = self._now + delay
        stretch.avoid, stretch.worker = lease.session, failure.worker
        self._waiting.add(stretch)
        self._save(stretch)

    def _save(self, stretch: Stretch) -> None:
        """Have the next checkpoint park a job with what was tried, so that a restart does not
        forget that.
        """
        if stretch.attempts and stretch.first not in self.replay:
            self._parking.ask(stretch.first, stretch.jobs[0], stretch.attempts)

    def _note_long(self, lease: Lease, report: Report) -> None:
        """Have jobs parked that run for long, so that a restarted master can take them over."""
        if not (lease.long or report.long) or lease.stretch.first in self.replay:
            return
        lease.long = lease.long.union(report.long).intersection(lease.unended())
        for index in lease.long:
            job, attempts = lease.stretch.jobs[index], lease.stretch.attempts
            self._parking.ask_running(lease.stretch.first + index, job, attempts)

    def tickets(self, session: Session) -> tuple[tuple[str, int, int], ...]:
        """What this slave is to show to the next master; each once."""
        found = []
        for token in session.leases:
            lease = self.leases[token]
            for index in sorted(lease.long):
                number = self._parking.ticket(lease.stretch.first + index)
                if number is not None:
                    found.append((token, index, number))
                    lease.long.discard(index)
        return tuple(found)

    def reclaim(self, session: Session, number: int) -> str | None:
        """A slave shows a ticket of an earlier session; the token of its new lease, None if that
        job has been settled, or handed out to somebody else.
        """
        position = self._parking.position_of(number)
        for at, stretch in enumerate(self._returned):
            if position is None or not stretch.first <= position < stretch.first + len(stretch.jobs):
                continue
            if stretch.origin is not None:
                self._forget_ended(stretch.origin)
            index = position - stretch.first
            parts = [(0, index), (index, index + 1), (index + 1, len(stretch.jobs))]
            before, single, after = (stretch.part(start, stop) for start, stop in parts)
            self._returned[at] = before
            self._returned.insert(at + 1, after)
            self._returned = deque(part for part in self._returned if part.jobs)
            return self._lend(session, single).token
        return None

    def _note_first(self, stretch: Stretch, attempt: Attempt) -> None:
        if not stretch.attempts and not stretch.tries:
            self.stop = self.stop or self._budget.failed_first(attempt, self.done)

    def _blame(self, lease: Lease, suspects: list[int], tried: dict[int, Tried]) -> None:
        """Charge the job whose worker died. Of several that were running nobody knows which it was:
        each is run alone.
        """
        for index in suspects:
            single = lease.stretch.part(index, index + 1)
            single.alone = True
            if len(suspects) == 1:
                what = tried[index]
                self._note_first(lease.stretch, what.attempt)
                single.attempts = with_attempt(single.attempts, what.attempt)
                last = single.crashes >= self.limits.crashes
                plain = Verdict.FAILED if last else Verdict.AGAIN
                if self.plan.verdict(lease.stretch, what.failure, plain) is Verdict.SPLIT:
                    self.plan.ask_split(single)
                    continue
                if what.failed is not None and single.crashes >= self.limits.crashes:
                    self.fail(single, what.failed)
                    continue
                self._save(single)
            # Last in line: what kills workers should not keep those from working that others wait
            # for.
            self._returned.append(single)

    def _blame_together(self, lease: Lease, suspects: list[int], tried: dict[int, Tried]) -> None:
        """Of jobs that were given to one call, which then failed, nobody knows whose fault it was:
        all are tried together once more, then in halves. Only who fails alone is charged.
        """
        what = tried[suspects[0]]
        if what.failure.kind is FailureKind.ABORT:
            self._return(lease.stretch, suspects)
            self.stop = self.stop or f"the callback raised Abort: {what.failure.message}"
            return
        self._note_first(lease.stretch, what.attempt)
        for start, end in ranges(suspects):
            whole = lease.stretch.part(start, end)
            whole.tries += 1
            if whole.tries == 1 and what.failure.kind is not FailureKind.FINAL:
                self._wait(whole, lease, what.failure, 1)
                continue
            half = (end - start + 1) // 2
            self._returned.append(whole.split(half))
            if whole.jobs:
                self._returned.append(whole)

    def fail(self, stretch: Stretch, failed: FailedJob) -> None:
        """Settle a job as failed that no worker has brought to an end."""
        if stretch in self._doomed:
            self._doomed.remove(stretch)
        if stretch.first in self.replay:
            self.replay.end(stretch.first, well=False)
            self._failed.append(failed)
            return
        self.settled += 1
        self.failures += 1
        self._failed.append(failed)
        self.stop = self.stop or self._budget.over(self.failures, self.settled)
        if not self._parking.settle(stretch.first):
            key = failed.key
            tail = Settled(stretch.first, stretch.first + 1, key, 1, None, 0, stretch.jobs)
            self.watermark.settle(tail)

    def _return(
        self,
        stretch: Stretch,
        indices: list[int],
        *,
        separate: bool = False,
        origin: str | None = None,
    ) -> None:
        """Put jobs of a stretch back at the head of the line, in their order."""
        for start, end in reversed(ranges(indices)):
            back = stretch.part(start, end)
            back.separate = separate or stretch.separate
            back.origin = origin
            self._parking.came_back(range(back.first, back.first + len(back.jobs)))
            self._returned.appendleft(back)

    def _close(self, lease: Lease) -> None:
        self.leases.pop(lease.token, None)
        session = self.sessions.get(lease.session)
        if session is not None:
            session.leases.pop(lease.token, None)

    # -- time --------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[str]:
        """Take the jobs of lost slaves back; called several times a second.

        Returns:
            The names of the slaves that were lost with jobs in their hands.
        """
        self._now = now
        if self._withhold_until is None:
            self._withhold_until = now + self.limits.reclaim
        self._withhold = self._withhold and now < self._withhold_until
        self._returned.extend(self._waiting.due(now))
        self.plan.tick(now)
        patience = max(1.0, self.limits.lease / 10)
        stood_still = self._ticked is not None and now - self._ticked > patience
        # Or the thread that hears the slaves is inside the user's code.
        stood_still = stood_still or (self.stalled_since is not None and now - self.stalled_since > patience)
        self._ticked = now
        lost = []
        for session in self.sessions:
            if stood_still:
                # The silence may be ours: what the slaves sent meanwhile waits in the sockets.
                session.renewed = now
                session.closed = now if session.closed is not None else None
            silent = now - session.renewed > self.limits.lease
            gone = session.closed is not None and now - session.closed > self.limits.grace
            if silent or gone:
                if session.leases:
                    lost.append(session.name)
                self._lose(session)
        return lost

    def leave(self, session: Session) -> None:
        """A slave says goodbye: what it still holds goes back at once, without blame."""
        for token in list(session.leases):
            lease = self.leases[token]
            self._return(lease.stretch, lease.unended())
            self._close(lease)
        self.sessions.drop(session.id)

    def _lose(self, session: Session) -> None:
        """Take back what a lost slave held. After some losses, whatever was among it is handed out
        in ever smaller company and in ever smaller batches, until a job that takes its slave down
        is alone, and charged.
        """
        held = [(self.leases[token], self.leases[token].unended()) for token in session.leases]
        busy = [lease for lease, indices in held if indices]
        for lease, indices in held:
            self._close(lease)
            stretch = lease.stretch
            lease.before = (stretch.losses, stretch.solo, stretch.company)
            stretch.losses += 1
            if stretch.losses >= HALVE_AFTER:
                stretch.company = (len(busy) + 1) // 2
            if len(busy) == 1 and len(indices) == 1:
                stretch.solo += 1
                if stretch.solo >= self.limits.losses:
                    self._doomed.append(stretch.part(indices[0], indices[0] + 1))
                    continue
            self._return(stretch, indices, origin=lease.token)
            self._ended[lease.token] = lease
        self.sessions.drop(session.id)

    def _forget_ended(self, token: str) -> None:
        self._ended.pop(token, None)
        for stretch in self._returned:
            if stretch.origin == token:
                stretch.origin = None

    # -- jobs that others wait for -----------------------------------------------------------------

    def recalls(self, session: Session) -> tuple[tuple[str, int], ...]:
        """What this slave is asked to give back, if it has not started it."""
        asked = []
        for token in session.leases:
            lease = self.leases[token]
            if lease.wanted is not None:
                asked.append((token, lease.wanted))
                lease.wanted, lease.asked = None, True
        return tuple(asked)

    def starve(self, session: Session) -> None:
        """The slave has asked for a batch, and there was none."""
        session.idle += 1
        self.sessions.unfed.add(session.id)
        if len(self.leases) <= FEW:  # of many, the fullest is looked for when time passes, not for each that is hungry
            self.ask_back()

    def _starving(self) -> bool:
        """Whether a worker has nothing to do, as far as its slave has said."""
        unfed = map(self.sessions.get, self.sessions.unfed)
        return any(session is not None and len(session.leases) < session.workers for session in unfed)

    def ask_back(self) -> None:
        """Ask jobs back that sit unstarted in a batch while a worker has nothing to do, or while
        the span fills up.
        """
        if self._starving() and not (self.queue and self._allowance) and not self._returned:
            fullest = max(filter(self._can_spare, self.leases.values()), key=lambda lease: lease.open, default=None)
            if fullest is not None:
                # The holder keeps the larger half, and so at least the job that it may be running.
                fullest.wanted = fullest.upto + fullest.open - fullest.open // 2 - (fullest.open == 1)
        if self.span > self.limits.span // 4:
            low = self.watermark.low
            for lease in self.leases.values():
                if lease.stretch.first <= low < lease.stretch.first + lease.keep and lease.open > 1:
                    lease.wanted = lease.upto + 1

    def _can_spare(self, lease: Lease) -> bool:
        """Whether asking for a part of the batch helps: a slave's only job for a worker would just
        change hands.
        """
        if lease.wanted is not None:
            return False
        session = self.sessions[lease.session]
        return lease.open > 1 or (len(session.leases) > session.workers and not lease.asked)

    def to_park(self) -> list[tuple[int, Any, tuple[Attempt, ...]]]:
        """Position, job and attempts of what the next checkpoint has to park: what has been tried
        in vain, and what keeps the watermark from moving on although the span fills up.
        """
        found = list(self._parking.asked())
        asked = {position for position, _, _ in found}
        if self.span > self.limits.span // 2:
            low, high = self.watermark.hole()
            for position, job in self._unsettled(low, high):
                if position not in self._parking and position not in asked:
                    found.append((position, job, ()))
        return found

    def _unsettled(self, low: int, high: int) -> Iterator[tuple[int, Any]]:
        held = [(lease.stretch, lease.unended()) for lease in self.leases.values()]
        others = [*self._returned, *self._waiting, *self._doomed]
        waiting = [(stretch, range(len(stretch.jobs))) for stretch in others]
        for stretch, indices in [*held, *waiting]:
            if stretch.first < high and stretch.first + len(stretch.jobs) > low:
                for index in indices:
                    if low <= stretch.first + index < high:
                        yield stretch.first + index, stretch.jobs[index]

    def park(self, jobs: Sequence[tuple[Settled | None, int, ParkedJob]]) -> None:
        """Let the watermark pass jobs that are not settled; the next checkpoint writes them down
        with their payload.

        Args:
            jobs: for each of ``to_park``, a piece of that one job, None if it was parked before;
                its position; and what to write down, whatever its id.
        """
        wanted = {position: tried for position, _, tried in self.to_park()}
        for piece, position, job in jobs:
            if wanted.get(position) != job.attempts:
                continue  # it has been settled or tried again meanwhile
            if position not in self._parking:
                if piece is None:
                    continue
                self.watermark.settle(piece)
            self._parking.add(position, job)

    # -- checkpoints -------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """The source is exhausted, and nothing is queued, handed out, waiting or parked; never what
        was limited.
        """
        return self.exhausted and not (
            self.spent
            or self.refused
            or self.queue
            or self.leases
            or self._returned
            or self._waiting
            or self.parked
            or self._doomed
        )

    @property
    def over(self) -> bool:
        """This session has nothing left to do."""
        return self.finished or self.replay.over

    @property
    def at_rest(self) -> bool:
        """Nothing that was read waits or runs."""
        return not (self.queue or self.leases or self._returned or self._waiting or self._doomed)

    def settle_known(self) -> None:
        """Take the jobs at the head of the queue out that an earlier session settled."""
        while self._known and self._known[0].first == self._next and self.queue:
            self.queue.take(1)
            self._next += 1
            piece = self._known.popleft()
            self._recognised.append(piece)
            self.watermark.settle(piece)

    @property
    def doomed(self) -> list[Stretch]:
        """Single jobs with which too many slaves were lost; to be failed by the caller."""
        return list(self._doomed)

    def collect(self) -> Changes:
        """All that the next checkpoint has to say; ``confirm`` it once it is durable."""
        self.settle_known()
        mark = self.watermark
        recognised, self._recognised = self._recognised, []
        return Changes(
            mark=mark.mark,
            bound=self.bound,
            cut=mark.cut,
            edge=mark.edge(),
            pieces=mark.unwritten(),
            recognised=recognised,
            failed=list(self._failed),
            park=list(self._parking.to_write),
            unpark=list(self._parking.to_forget),
            settled=self.settled,
            cleared=list(self.replay.cleared),
            failures=self.failures - self.replay.mended,
            skipped=self.skipped,
            finished=self.finished or self.replay.was_finished,
        )

    def confirm(self, changes: Changes) -> None:
        """The store has these changes."""
        for piece in changes.pieces:
            piece.written = True
        self._parking.written(changes.park, changes.unpark)
        self._returned.extend(self.plan.written(self._parking.ticket))
        del self.replay.cleared[: len(changes.cleared)]
        del self._failed[: len(changes.failed)]
