"""Jobs that go out again: given back, lost with their slave, failed, or parked by an earlier
session.

Jobs that wait for another attempt wait here, without holding a slot. After some losses of slaves,
whatever was among their batches is handed out in ever smaller company and in ever smaller batches,
until a job that takes its slave down is alone, and charged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from taskmaster.master.broker.batch_limit import BatchLimit
from taskmaster.master.broker.batches import Batch, BatchKind, contiguous
from taskmaster.master.broker.leases import Lease, LeaseTable
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.returned import Returned
from taskmaster.master.broker.slaves import ConnectedSlave, ConnectedSlaves
from taskmaster.master.broker.waiting import Waiting
from taskmaster.master.records.job_records import ParkedJob

__all__ = ["Redelivery"]

# Slaves are killed for reasons that have nothing to do with their jobs: only after this many losses
# in a row are the jobs handed out in halves, to find the one that takes its slave down.
HALVE_AFTER = 2
ELSEWHERE_SECONDS = 2.0  # how long a failed job is kept for another slave than the one where it failed
SUSPECTS_EVERY = 16  # batches; one of them may be a job that is tried again after its worker died
INHERITED_JOBS = 1024  # most jobs of a batch of parked ones: to cut one job out of it copies no more than these
LONGEST_RECLAIM = 12  # times ``reclaim`` that jobs are kept while slaves come back that were at them
MOST_BATCHES_EXAMINED = 100  # most batches that are searched at once for one that a slave may have


class Redelivery:
    """The jobs that are handed out again, and when each of them may be.

    Args:
        limits: the caps.
        slaves: all that are connected.
        leases: what they hold.
        batch_limit: gets the reason why a batch is small.
        came_back: called with the positions of jobs that no slave runs any more.

    Attributes:
        waiting: jobs that wait for another attempt.
        doomed: single jobs with which too many slaves were lost, to be failed.
        running_lost: Jobs that ran on slaves that were lost, at a guess: one in each batch in hand.
    """

    def __init__(
        self,
        limits: Limits,
        slaves: ConnectedSlaves,
        leases: LeaseTable,
        batch_limit: BatchLimit,
        came_back: Callable[[range], None],
    ) -> None:
        self.waiting = Waiting()
        self.doomed: list[Batch] = []
        self._limits = limits
        self._slaves = slaves
        self._leases = leases
        self._batch_limit = batch_limit
        self._came_back = came_back
        self._returned = Returned()
        self._withheld = Returned()  # what an earlier session parked, kept for the slaves that may still run it
        self._now = 0.0
        self._withholds = False
        self._withhold_until: float | None = None
        self._withhold_most = 0.0
        self.running_lost = 0
        self._has_companies = False  # a batch has wanted little company once
        self._ward: str | None = None  # slave that gets nothing until a job that others were lost with fits
        # Leases whose jobs are all in line still, with the batches that they are now.
        self._lost: dict[str, tuple[Lease, list[Batch]]] = {}

    def __len__(self) -> int:
        return self.jobs + len(self.waiting) + len(self.doomed)

    def __iter__(self) -> Iterator[Batch]:
        yield from self._withheld
        yield from self._returned
        yield from self.waiting
        yield from self.doomed

    @property
    def jobs(self) -> int:
        """How many jobs can be handed out again now."""
        return self._returned.jobs + self._withheld.jobs

    @property
    def texts(self) -> int:
        """Characters of what was tried of them."""
        return self._returned.texts + self._withheld.texts

    def between(self, low: int, high: int) -> list[Batch]:
        """Return the batches with jobs from the position ``low`` to before ``high``."""
        others = (batch for batch in (*self.waiting, *self.doomed) if batch.first < high and batch.end > low)
        return [*self._withheld.between(low, high), *self._returned.between(low, high), *others]

    @property
    def next_due(self) -> float | None:
        """Seconds until a job that waits is tried again; None if none waits."""
        due = self.waiting.next_due
        return None if due is None else max(0.0, due - self._now)

    def tick(self, now: float) -> None:
        """Make jobs ready whose time has come."""
        self._now = now
        if self._withhold_until is None:
            self._withhold_until = now + self._limits.reclaim
            self._withhold_most = now + LONGEST_RECLAIM * self._limits.reclaim
        if self._withholds and now >= self._withhold_until:
            self._withholds = False
            # The long line stays as it is, and takes the other one over.
            self._withheld.take_over(self._returned)
            self._returned, self._withheld = self._withheld, self._returned
        self.append(*self.waiting.due(now))

    # -- jobs come ---------------------------------------------------------------------------------

    def inherit(self, parked: Sequence[ParkedJob], first: int) -> None:
        """Hand out what an earlier session parked; those that have been tried come last, one by
        one.

        Args:
            parked: the jobs.
            first: the position of the first of them, below 0.
        """
        self._withholds = self._limits.reclaim > 0 and bool(parked)
        plain = [job for job in parked if not job.attempts]
        for start in range(0, len(plain), INHERITED_JOBS):
            jobs = plain[start : start + INHERITED_JOBS]
            self.append(Batch(first + start, jobs, BatchKind.PARKED, separate=True))
        for position, job in enumerate(parked[len(plain) :], first + len(plain)):
            tried = Batch(position, [job], BatchKind.PARKED, separate=True, attempts=job.attempts)
            tried.alone = job.attempts[-1].crash
            self.append(tried)

    def append(self, *batches: Batch, first: bool = False) -> None:
        """Hand these out again, last in line, or before all others."""
        for batch in batches:
            line = self._withheld if self._withholds and batch.kind is BatchKind.PARKED else self._returned
            if first:
                line.append_first(batch)
            else:
                line.append(batch)

    def give_back(
        self, batch: Batch, indices: Iterable[int], *, separate: bool = False, origin: str | None = None
    ) -> None:
        """Put jobs of a batch back at the head of the line, in their order.

        Args:
            batch: what they were handed out in.
            indices: which of its jobs.
            separate: whether to pickle them one by one from now on.
            origin: the lease that they were lost with.
        """
        for start, end in reversed(contiguous(indices)):
            back = batch.part(start, end)
            back.separate = separate or batch.separate
            back.origin = origin
            self._came_back(range(back.first, back.end))
            self.append(back, first=True)
            if origin is not None:
                self._lost[origin][1].append(back)

    def wait(self, batch: Batch, delay: float) -> None:
        """Let jobs wait for another attempt."""
        batch.due = self._now + delay
        self.waiting.add(batch)

    def retry_now(self, batch: Batch) -> None:
        """Hand jobs out again that need not wait, last in line."""
        batch.due = self._now
        self.append(batch)

    def clear(self) -> None:
        """Leave all that could be handed out again to another session."""
        self._returned, self._withheld, self._lost = Returned(), Returned(), {}

    # -- slaves come and go ------------------------------------------------------------------------

    def release(self, lease: Lease, origin: str | None = None) -> None:
        """End a lease; what has not ended of it goes back, without blame."""
        self._leases.close(lease)
        self.give_back(lease.batch, lease.unended(), origin=origin)

    def lose(self, slave: ConnectedSlave) -> None:
        """Take back what a lost slave held."""
        held = self._leases.held_by(slave)
        busy = sum(lease.open > 0 for lease in held)
        self.running_lost += min(busy, slave.slots)
        for lease in held:
            batch, indices = lease.batch, lease.unended()
            lease.before = (batch.losses, batch.solo, batch.company)
            if self._note_loss(batch, busy, alone=busy == 1 and len(indices) == 1):
                self._leases.close(lease)
                self.doomed.append(batch.part(indices[0], indices[0] + 1))
                continue
            self._lost[lease.token] = (lease, [])
            self.release(lease, origin=lease.token)
        self._slaves.drop(slave.id)

    def lose_running(self, batch: Batch, indices: Sequence[int], beside: int) -> None:
        """Take back jobs that were running when all workers of their slave were killed at once. If
        one of them does that, it is found as one is that takes its slave down.

        Args:
            batch: what they were handed out in.
            indices: which of its jobs.
            beside: in how many batches of the slave jobs were running.
        """
        for start, end in contiguous(indices):
            back = batch.part(start, end)
            self._came_back(range(back.first, back.end))
            if self._note_loss(back, beside, alone=beside == 1 and len(indices) == 1):
                self.doomed.append(back)
            else:
                self.append(back)  # last in line: what kills workers should not keep those from working

    def _note_loss(self, batch: Batch, beside: int, *, alone: bool) -> bool:
        """Note that a slave, or all its workers, were lost while jobs of a batch ran.

        Args:
            batch: it is to run in half the company from now on, after some losses.
            beside: in how many batches of the slave jobs were running.
            alone: whether nothing but one job of the batch ran there.

        Returns:
            Whether that one job is to be failed, because it was lost alone often enough.
        """
        batch.losses += 1
        if batch.losses >= HALVE_AFTER:
            batch.company = (beside + 1) // 2
            self._has_companies = True
        batch.solo += alone
        return alone and batch.solo >= self._limits.losses

    def revive(self, slave: ConnectedSlave, token: str) -> None:
        """Give a slave that was taken for lost its batch back, if nobody else has been given a job
        of it meanwhile.
        """
        lease, batches = self._lost.get(token, (None, []))
        if lease is None or lease.slave != slave.id:
            return
        for batch in batches:
            (self._returned if batch in self._returned else self._withheld).remove(batch)
        self._lost.pop(token)
        # It was away, not lost: that is nobody's fault.
        lease.batch.losses, lease.batch.solo, lease.batch.company = lease.before
        self._leases.restore(slave, lease)

    def _forget_lost(self, token: str | None) -> None:
        if token is not None and token in self._lost:
            for batch in self._lost.pop(token)[1]:
                batch.origin = None

    # -- jobs go -----------------------------------------------------------------------------------

    def cut_out(self, position: int, tried: int) -> Batch | None:
        """Take the one job at a position out, for a slave that has it; None if it is not here, or
        has been tried more often than ``tried``.

        Others are kept for their slaves for a while from now on: a large fleet does not come back
        within seconds.
        """
        for line in (self._withheld, self._returned):
            holder = line.holder(position)
            if holder is not None and len(holder.attempts) <= tried:
                self._forget_lost(holder.origin)
                if self._withhold_until is not None:
                    self._withhold_until = min(self._withhold_most, self._now + self._limits.reclaim)
                return line.cut_out(holder, position)
        return None

    def isolates(self, slave: ConnectedSlave) -> bool:
        """Return whether the slave is kept free for a job that slaves were lost with, or has one
        and may hold no more.
        """
        held = len(slave.leases)
        if self._ward == slave.id:
            if not self._returned.companies:
                self._ward = None
            elif held >= max(batch.company for batch in self._returned):
                return True
        if not self._has_companies:
            return False
        company = [lease.batch.company for lease in self._leases.held_by(slave) if lease.batch.company]
        return bool(company) and held >= min(company)

    def take(self, slave: ConnectedSlave, size: Callable[[int], int], *, others: bool) -> Batch | None:
        """Take out what is next for a slave, None if nothing is.

        Args:
            slave: gets it.
            size: gives the most jobs for a batch, out of a number of jobs.
            others: whether there are jobs that were not handed out before.
        """
        batch = self._next(slave, others=others) if len(self._returned) else None
        if batch is None:
            return None
        length = len(batch)
        count = size(length)
        self._forget_lost(batch.origin)
        if batch.alone:
            count = self._batch_limit.cut(1, "it was running when its worker died")
        elif batch.losses >= HALVE_AFTER and count > (length + 1) // 2:
            count = self._batch_limit.cut((length + 1) // 2, "half of what lost slaves held")
        if count < length:
            return self._returned.split(batch, max(1, count))
        self._returned.remove(batch)
        if self._ward == slave.id and batch.company:
            self._ward = None
        return batch

    def _next(self, slave: ConnectedSlave, *, others: bool) -> Batch | None:
        """Return which batch is next for a slave. Jobs whose worker died come between many others:
        whatever killed it may have been none of their doing, and should not meet them again at
        once.
        """
        plain = alone = None
        passed: list[Batch] = []
        for batch in self._returned:
            if len(passed) >= MOST_BATCHES_EXAMINED:
                break
            if not self._may_have(slave, batch):
                passed.append(batch)
            elif batch.alone:
                alone = alone or batch
                passed.append(batch)
            else:
                plain = batch
                break
        if plain is None and len(passed) >= MOST_BATCHES_EXAMINED:
            for batch in passed:  # others are looked at the next time
                self._returned.postpone(batch)
        waits = self._leases.lent % SUSPECTS_EVERY != 0
        if plain is None:
            return None if waits and others else alone
        return plain if waits or alone is None else alone

    def _may_have(self, slave: ConnectedSlave, batch: Batch) -> bool:
        if self._ward == slave.id and not batch.company:
            return False
        if batch.company and batch.company <= len(slave.leases):
            # One slave at a time is kept free for it, or it would wait as long as there is anything
            # else to do.
            if self._ward is None or self._slaves.get(self._ward) is None:
                self._ward = slave.id
            return False
        elsewhere = batch.avoid == slave.id and len(self._slaves) > 1
        return not (elsewhere and self._now < batch.due + ELSEWHERE_SECONDS)
