"""The broker: which job is where. It keeps the queue and the leases, and says what a report settles.

Called by ``taskmaster.master.service`` (for slaves), ``taskmaster.master.reader`` (the source) and
``taskmaster.master.keeper`` (checkpoints), always under the master's one lock. Pure: no thread, socket, file or clock
inside, and none of the user's code; ``now`` is passed in. ::

    source ─► queue ──take──► lease ──report──► watermark ──► checkpoint
                 ▲               │                  ▲
                 └── returned ◄──┴── failed ────────┘

Guarantees: a job is in one place at a time; a report counts only while its token is the newest of the job; the queue,
    what was
returned and what is parked together stay within ``size``; what was read and is not behind the watermark stays within
``span``.

The source's thread adds to the queue without the lock, so that a job can be handed out the moment it is yielded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from taskmaster.master.lease import Lease, Session, Sessions, Stretch, ranges
from taskmaster.master.queue import Queue
from taskmaster.master.stores import FailedJob, ParkedJob
from taskmaster.master.watermark import Settled, Watermark
from taskmaster.model import MAX_BATCH, Report, Want

__all__ = ["Broker", "Changes", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps of a broker; durations in seconds.

    Attributes:
        size: jobs queued, returned and parked.
        span: jobs from the watermark to the newest job read.
        batch_bytes: about how large a batch of several jobs may become,
        small_bytes: and one of jobs that are done within milliseconds.
        lease: silence after which a slave's leases end.
        grace: how long a closed connection keeps its leases.
        crashes: workers that a job may kill before it counts as failed.
        losses: slaves that may be lost with a job that they were given alone, before it counts as failed.
    """

    size: int = 10_000
    span: int = 100_000
    batch_bytes: int = 250_000
    small_bytes: int = 1_000_000
    lease: float = 60.0
    grace: float = 2.0
    crashes: int = 3
    losses: int = 5


# Slaves are killed for reasons that have nothing to do with their jobs: only after this many losses in a row are the
# jobs handed out in halves, to find the one that takes its slave down.
HALVE_AFTER = 2
FEW = 64  # leases
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
        self.settled = 0
        self.failures = 0
        self.bytes_per_job = float(limits.batch_bytes)
        self.batch = 0  # jobs of the batch that was handed out last,
        self.batch_reason = ""  # and why it was no larger
        self._incarnation = incarnation
        self._tokens = 0
        self._next = 0  # position of the job at the head of the queue
        self._known: deque[Settled] = deque()  # read, and settled by an earlier session
        self._returned: deque[Stretch] = deque()
        self._ended: dict[str, Lease] = {}  # leases whose jobs are all in _returned still
        self._parked: dict[int, int] = {}  # position -> id in the store
        self._next_parked = 0
        self._doomed: list[Stretch] = []
        self._failed: list[FailedJob] = []
        self._park: list[ParkedJob] = []
        self._unpark: list[int] = []
        self._recognised: list[Settled] = []
        self._ticked: float | None = None
        if parked:
            self._take_over(parked)

    def _take_over(self, parked: Sequence[ParkedJob]) -> None:
        self._returned.append(Stretch(-len(parked), list(parked), separate=True))
        self._parked = {index - len(parked): job.id for index, job in enumerate(parked)}
        self._next_parked = max(job.id for job in parked) + 1

    # -- the source's side ---------------------------------------------------------------------------------------

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
    def parked(self) -> int:
        """Parked jobs that are not settled."""
        return len(self._parked)

    def room(self) -> int:
        """How many jobs may be read now."""
        waiting = len(self.queue) + self.returned + len(self._parked)
        return max(0, min(self.limits.size - waiting, self.limits.span - self.span))

    @property
    def stuck(self) -> bool:
        """The span is full although all that was read is settled: the keys allow no cut."""
        full = self.span >= self.limits.span
        return full and not (self.queue or self.leases or self._returned or self._doomed)

    def add_known(self, job: Any, piece: Settled) -> None:
        """Queue a job that an earlier session settled: it is never handed out, but has its place in the order.

        Args:
            job: the job.
            piece: the job as a settled piece, with its position ``read``.
        """
        self._known.append(piece)
        self.queue.extend([job])

    def head_at_low(self) -> list[Any]:
        """The first job that is not settled, if it is still in the queue; else nothing."""
        return self.queue.head() if self.watermark.low == self._next else []

    # -- handing out -----------------------------------------------------------------------------------------------

    def enter(self, session: Session, held: Collection[str]) -> None:
        """A slave says hello, for the first time or again after it lost its connection.

        Args:
            session: the slave; it takes the place of what was known of it.
            held: tokens of the batches that it has. The answer that carried any other batch was lost on its way: those
                jobs would wait for ever for a slave that does not know of them. A batch that ended with the slave's
                silence is its again while nobody else was given one of the jobs.
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
        """A slave that was given up is back, and nobody else has been given a job of this batch meanwhile."""
        self._returned = deque(stretch for stretch in self._returned if stretch.origin != lease.token)
        self._forget_ended(lease.token)
        self.leases[lease.token] = lease
        session.leases[lease.token] = None

    def close(self, session: Session, now: float) -> None:
        """A connection of the slave has ended; it may have another already."""
        session.connections -= 1
        if session.connections <= 0:
            session.closed = now

    def take(self, session: Session, want: Want) -> Lease | None:
        """Hand out a batch, None if there is nothing to hand out now."""
        if self.draining or self.paused or len(session.leases) >= 2 * session.workers:
            return None
        if self.sessions.get(session.id) is not session:
            return None  # the slave has a new connection: an answer over the old one would not reach it
        stretch = self._take_returned(session, want) or self._take_queued(session, want)
        if stretch is None:
            return None
        self.batch = len(stretch.jobs)
        session.idle = 0
        self.sessions.unfed.discard(session.id)
        self._tokens += 1
        lease = Lease(f"{self._incarnation}.{self._tokens}", session.id, stretch, len(stretch.jobs))
        self.leases[lease.token] = lease
        session.leases[lease.token] = None
        return lease

    def _take_returned(self, session: Session, want: Want) -> Stretch | None:
        at = self._next_returned()
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
        return stretch

    def _next_returned(self) -> int | None:
        """Which stretch is next. Jobs whose worker died come between many others: whatever killed it may have been none
        of their doing, and should not meet them again at once.
        """
        plain = next((at for at, stretch in enumerate(self._returned) if not stretch.alone), None)
        waits = self._tokens % SUSPECTS_EVERY != 0
        if plain is None:
            return 0 if self._returned and not (waits and self.queue) else None
        return plain if waits or not self._returned[0].alone else 0

    def _take_queued(self, session: Session, want: Want) -> Stretch | None:
        self.settle_known()
        count = self._size(session, want, len(self.queue))
        if self._known:
            count = min(count, self._known[0].first - self._next)
        jobs = self.queue.take(count)
        if not jobs:
            return None
        stretch = Stretch(self._next, jobs)
        self._next += len(jobs)
        return stretch

    def _size(self, session: Session, want: Want, waiting: int) -> int:
        """Most jobs for one batch, so that every worker finds work and a blob stays small."""
        # A worker that runs many jobs at once gets one for each, as long as there are as many for the others.
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

    # -- reports ---------------------------------------------------------------------------------------------------

    def holder(self, session: Session, token: str) -> Lease | None:
        """The lease that a session's report may speak for, None if it is not, or no longer, the session's."""
        lease = self.leases.get(token)
        return lease if lease is not None and lease.session == session.id else None

    def newly_settled(self, lease: Lease, report: Report) -> list[tuple[int, int]]:
        """Index ranges of the lease that the report settles and that the watermark has not passed already."""
        ended = lease.newly_ended(report)
        if not self._parked:
            return ended
        first = lease.stretch.first
        return ranges(i for start, end in ended for i in range(start, end) if first + i not in self._parked)

    def settle(self, lease: Lease, report: Report, pieces: Sequence[Settled], failed: dict[int, FailedJob]) -> bool:
        """Apply a report.

        Args:
            lease: what ``holder`` gave for the report's token.
            report: what the slave says.
            pieces: a piece for each range of ``newly_settled``.
            failed: the record of each job that failed, and of each suspect in case it has failed for good, by index.

        Returns:
            False if the books have moved since ``newly_settled`` was asked; nothing was changed then.
        """
        first = lease.stretch.first
        if self.leases.get(lease.token) is not lease:
            return False
        settled = self.newly_settled(lease, report)
        if [(piece.first - first, piece.end - first) for piece in pieces] != settled:
            return False
        for start, end in lease.newly_ended(report):
            self._count(lease, range(start, end), report, failed)
        lease.note_ended(report)
        for piece in pieces:
            self.watermark.settle(piece)
        if report.keep < lease.keep:
            self._return(lease.stretch, lease.unended(report.keep))
            lease.keep = max(report.keep, lease.upto)
            lease.extra = {index for index in lease.extra if index < lease.keep}
        if report.end:
            suspects = set(report.suspects).intersection(lease.unended()) if report.end == "crashed" else set()
            rest = [index for index in lease.unended() if index not in suspects]
            self._return(lease.stretch, rest, separate=report.end == "unreadable")
            self._blame(lease, sorted(suspects), failed)
            self._close(lease)
        elif lease.open == 0:
            self._close(lease)
        return True

    def _count(self, lease: Lease, indices: range, report: Report, failed: dict[int, FailedJob]) -> None:
        self.settled += len(indices)
        found = [failed[failure.index] for failure in report.failures if failure.index in indices]
        self.failures += len(found)
        self._failed += found
        if self._parked:
            for index in indices:
                self._settle_parked(lease.stretch.first + index)

    def _settle_parked(self, position: int) -> bool:
        """Whether the job was parked; if it was, the store is to forget it."""
        parked = self._parked.pop(position, None)
        if parked is not None:
            self._unpark.append(parked)
        return parked is not None

    def _blame(self, lease: Lease, suspects: list[int], failed: dict[int, FailedJob]) -> None:
        """Charge the job whose worker died. Of several that were running nobody knows which it was: each is run
        alone.
        """
        stretch = lease.stretch
        crashes = stretch.crashes + (len(suspects) == 1)
        for index in suspects:
            position, job = stretch.first + index, stretch.jobs[index]
            single = Stretch(position, [job], stretch.separate, True, crashes)
            if crashes >= self.limits.crashes:
                self.fail(single, failed[index])
            else:
                # Last in line: what kills workers should not keep those from working that others wait for.
                self._returned.append(single)

    def fail(self, stretch: Stretch, failed: FailedJob) -> None:
        """Settle a job as failed that no worker has brought to an end."""
        if stretch in self._doomed:
            self._doomed.remove(stretch)
        self.settled += 1
        self.failures += 1
        self._failed.append(failed)
        if not self._settle_parked(stretch.first):
            key = failed.key
            tail = Settled(stretch.first, stretch.first + 1, key, 1, None, 0, stretch.jobs)
            self.watermark.settle(tail)

    def _return(
        self,
        stretch: Stretch,
        indices: list[int],
        *,
        separate: bool = False,
        losses: int | None = None,
        origin: str | None = None,
    ) -> None:
        """Put jobs of a stretch back at the head of the line, in their order."""
        for start, end in reversed(ranges(indices)):
            back = Stretch(stretch.first + start, stretch.jobs[start:end], separate or stretch.separate)
            back.alone = stretch.alone
            back.crashes = stretch.crashes
            back.losses = stretch.losses if losses is None else losses
            back.origin = origin
            self._returned.appendleft(back)

    def _close(self, lease: Lease) -> None:
        self.leases.pop(lease.token, None)
        session = self.sessions.get(lease.session)
        if session is not None:
            session.leases.pop(lease.token, None)

    # -- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[str]:
        """Take the jobs of lost slaves back; called several times a second.

        Returns:
            The names of the slaves that were lost with jobs in their hands.
        """
        stood_still = self._ticked is not None and now - self._ticked > max(1.0, self.limits.lease / 10)
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
        for token in list(session.leases):
            lease = self.leases[token]
            self._close(lease)
            indices = lease.unended()
            losses = lease.stretch.losses + 1
            if len(indices) != 1:
                losses = min(losses, HALVE_AFTER)
            elif losses >= HALVE_AFTER + self.limits.losses:
                job = lease.stretch.jobs[indices[0]]
                self._doomed.append(Stretch(lease.stretch.first + indices[0], [job], losses=losses))
                continue
            self._return(lease.stretch, indices, losses=losses, origin=token)
            self._ended[token] = lease
        self.sessions.drop(session.id)

    def _forget_ended(self, token: str) -> None:
        self._ended.pop(token, None)
        for stretch in self._returned:
            if stretch.origin == token:
                stretch.origin = None

    # -- jobs that others wait for -------------------------------------------------------------------------------

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
        """Ask jobs back that sit unstarted in a batch while a worker has nothing to do, or while the span fills up."""
        if self._starving() and not self.queue and not self._returned:
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
        """Whether asking for a part of the batch helps: a slave's only job for a worker would just change hands."""
        if lease.wanted is not None:
            return False
        session = self.sessions[lease.session]
        return lease.open > 1 or (len(session.leases) > session.workers and not lease.asked)

    def holding_back(self) -> list[tuple[int, Any]]:
        """Position and job of those that keep the watermark from moving on although the span fills up; to be parked."""
        if self.span <= self.limits.span // 2:
            return []
        low, high = self.watermark.hole()
        return [(position, job) for position, job in self._unsettled(low, high) if position not in self._parked]

    def _unsettled(self, low: int, high: int) -> Iterator[tuple[int, Any]]:
        held = [(lease.stretch, lease.unended()) for lease in self.leases.values()]
        waiting = [(stretch, range(len(stretch.jobs))) for stretch in [*self._returned, *self._doomed]]
        for stretch, indices in [*held, *waiting]:
            if stretch.first < high and stretch.first + len(stretch.jobs) > low:
                for index in indices:
                    if low <= stretch.first + index < high:
                        yield stretch.first + index, stretch.jobs[index]

    def park(self, jobs: Sequence[tuple[Settled, str, bytes, bytes]]) -> None:
        """Let the watermark pass jobs that are not settled; the next checkpoint writes them down with their payload.

        Args:
            jobs: for each of ``holding_back``, a piece of that one job, its encoded key, its pickled payload and its
                fingerprint.
        """
        still = {position for position, _ in self.holding_back()}
        for piece, key, payload, fingerprint in jobs:
            if piece.first in still:
                self._parked[piece.first] = self._next_parked
                self._park.append(ParkedJob(self._next_parked, key, payload, fingerprint))
                self._next_parked += 1
                self.watermark.settle(piece)

    # -- checkpoints -----------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """The source is exhausted, and nothing is queued, handed out, waiting or parked."""
        return self.exhausted and not (
            self.refused or self.queue or self.leases or self._returned or self._parked or self._doomed
        )

    @property
    def at_rest(self) -> bool:
        """Nothing that was read waits or runs."""
        return not (self.queue or self.leases or self._returned or self._doomed)

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
            cut=mark.cut,
            edge=mark.edge(),
            pieces=mark.unwritten(),
            recognised=recognised,
            failed=list(self._failed),
            park=list(self._park),
            unpark=list(self._unpark),
            settled=self.settled,
            failures=self.failures,
            finished=self.finished,
        )

    def confirm(self, changes: Changes) -> None:
        """The store has these changes."""
        for piece in changes.pieces:
            piece.written = True
            if piece.prints is not None:
                piece.jobs = None
        del self._failed[: len(changes.failed)]
        del self._park[: len(changes.park)]
        del self._unpark[: len(changes.unpark)]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a checkpoint is made of; see ``taskmaster.master.stores.Checkpoint``.

    Attributes:
        mark: encoded key of the watermark.
        cut: its position.
        edge: the jobs with that key.
        pieces: settled jobs above it that the store does not have.
        recognised: jobs of earlier sessions that the source has yielded again; each is collected once.
        failed: failed jobs that the store does not have.
        park: jobs to park.
        unpark: ids of parked jobs that are settled.
        settled: jobs settled by this session.
        failures: those of them that failed.
        finished: the run is over.
    """

    mark: str | None
    cut: int
    edge: list[Settled]
    pieces: list[Settled]
    recognised: list[Settled]
    failed: list[FailedJob]
    park: list[ParkedJob]
    unpark: list[int]
    settled: int
    failures: int
    finished: bool
