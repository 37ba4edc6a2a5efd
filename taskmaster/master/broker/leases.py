"""The leases: batches in the hands of slaves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from taskmaster.master.broker.batches import Batch, contiguous
from taskmaster.master.broker.counts import RunningJob
from taskmaster.master.broker.positions import Positions
from taskmaster.master.broker.slaves import ConnectedSlave, ConnectedSlaves
from taskmaster.model import LONG_JOB_SECONDS, Report
from taskmaster.records import changing

__all__ = ["Lease", "LeaseTable"]

NO_INDICES: frozenset[int] = frozenset()  # of a million leases, sets of their own would take half a gigabyte
COMPARED_LEASES = 64  # of about the same size, for the fullest of them


@changing()
class Lease:
    """A batch in a slave's hands.

    Attributes:
        token: names it; never used twice.
        slave: id of the slave.
        batch: the jobs.
        keep: the slave works on the jobs before this index; those after it were given back.
        upto: every job before this index has ended.
        extra: indices at or above ``upto`` that have ended.
        wanted: what the slave is to be asked to keep, where jobs are wanted back.
        asked: whether it was asked once.
        long: indices that run for long, or are parked, of which the slave has no ticket yet.
        before: what was held against the jobs before the lease was taken for lost: losses, solo and
            company.
        moved: when a job of it ended last, or began, or when it was handed out (master's monotonic
            clock): the later one of what is known.
        worker: process id of the worker in which a job of it has been running for long; 0 if the
            slave has not said so.
        version: counts what has changed in it since it was handed out.
    """

    token: str
    slave: str
    batch: Batch
    keep: int
    upto: int = 0
    extra: frozenset[int] = NO_INDICES
    wanted: int | None = None
    asked: bool = False
    long: frozenset[int] = NO_INDICES
    before: tuple[int, int, int] = (0, 0, 0)
    moved: float = 0.0
    worker: int = 0
    version: int = 0

    def newly_ended(self, report: Report) -> list[tuple[int, int]]:
        """Return the index ranges that ended since the last report of this lease."""
        upto = min(report.upto, self.keep)
        if not self.extra and not report.extra:
            return [(self.upto, upto)] if upto > self.upto else []
        fresh = (index for index in range(self.upto, upto) if index not in self.extra)
        found = contiguous(fresh) if self.extra else ([(self.upto, upto)] if upto > self.upto else [])
        beyond = sorted({i for i in report.extra if upto <= i < self.keep and i not in self.extra})
        return found + contiguous(beyond)

    def unended(self, start: int = 0, stop: int | None = None) -> list[int]:
        """Return the indices from ``start`` to ``stop`` (default: all that the slave keeps) that
        have not ended.
        """
        stop = self.keep if stop is None else stop
        return [index for index in range(max(self.upto, start), stop) if index not in self.extra]

    @property
    def number(self) -> int:
        """How many leases there were when it was made, this one included."""
        return int(self.token.rpartition(".")[2])

    @property
    def first(self) -> int:
        """The position of its first job."""
        return self.batch.first

    @property
    def end(self) -> int:
        """The position after its last job."""
        return self.batch.first + len(self.batch.jobs)

    @property
    def open(self) -> int:
        """How many jobs of it have not ended."""
        return self.keep - self.upto - len(self.extra)


class LeaseTable:
    """All leases.

    Args:
        incarnation: random text of this start of the master; part of every token.
        slaves: those that may hold leases.

    Attributes:
        lent: how many batches were handed out.
        open: jobs handed out that have not ended.
    """

    def __init__(self, incarnation: str, slaves: ConnectedSlaves) -> None:
        self.lent = 0
        self.open = 0
        self._now = 0.0
        self._incarnation = incarnation
        self._slaves = slaves
        self._by_token: dict[str, Lease] = {}
        self._positions: Positions[Lease] = Positions()
        # Those with several open jobs, by the number of digits of that number.
        self._by_size: list[dict[Lease, None]] = []

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_token.values())

    def __getitem__(self, token: str) -> Lease:
        return self._by_token[token]

    def tick(self, now: float) -> None:
        """Let time pass."""
        self._now = now

    def running(self) -> RunningJob | None:
        """Return the first job that has not ended of the batch that was handed out first."""
        lease = next(iter(self._by_token.values()), None)
        if lease is None or not lease.open:
            return None
        index = next(index for index in range(lease.upto, lease.keep) if index not in lease.extra)
        slave = self._slaves.get(lease.slave)
        name = "" if slave is None else slave.name
        return RunningJob(lease.batch.jobs[index], max(0.0, self._now - lease.moved), name, lease.worker)

    def lend(self, slave: ConnectedSlave, batch: Batch) -> Lease:
        """Hand a batch to a slave."""
        slave.idle = 0
        self._slaves.unfed.discard(slave.id)
        self.lent += 1
        lease = Lease(f"{self._incarnation}.{self.lent}", slave.id, batch, len(batch), moved=self._now)
        self.restore(slave, lease)
        return lease

    def restore(self, slave: ConnectedSlave, lease: Lease) -> None:
        """Put a lease back that was taken for lost."""
        self._by_token[lease.token] = lease
        if lease.batch.first >= 0:  # others have no position in the order of the jobs
            self._positions.add(lease)
        slave.leases[lease.token] = None
        if lease.wanted is not None:
            slave.asked[lease.token] = None
        if lease.long:
            slave.long[lease.token] = None
        open_ = lease.open
        self.open += open_
        self._sort(lease, 0, open_)

    def close(self, lease: Lease) -> None:
        """End a lease."""
        if self._by_token.pop(lease.token, None) is not None:
            if lease.batch.first >= 0:
                self._positions.remove(lease)
            open_ = lease.open
            self.open -= open_
            self._sort(lease, open_, 0)
        slave = self._slaves.get(lease.slave)
        if slave is not None:
            slave.leases.pop(lease.token, None)

    def held_by(self, slave: ConnectedSlave) -> list[Lease]:
        """Return the leases of a slave."""
        return [self._by_token[token] for token in slave.leases]

    def held_as(self, slave: ConnectedSlave, token: str) -> Lease | None:
        """Return the lease that a report of the slave may speak for, None if it is not, or no
        longer, the slave's.
        """
        lease = self._by_token.get(token)
        return lease if lease is not None and lease.slave == slave.id else None

    def is_current(self, lease: Lease) -> bool:
        """Return whether the lease has not ended."""
        return self._by_token.get(lease.token) is lease

    def note(self, lease: Lease, report: Report) -> list[int]:
        """Note which jobs of a lease have ended; see ``Lease.newly_ended``.

        Returns:
            The indices that the slave gives back.
        """
        before = lease.open
        lease.upto = max(lease.upto, min(report.upto, lease.keep))
        if lease.extra or report.extra:
            extra = lease.extra.union(index for index in report.extra if index < lease.keep)
            lease.extra = frozenset(index for index in extra if index >= lease.upto) or NO_INDICES
        given_back = lease.unended(report.keep) if report.keep < lease.keep else []
        if report.keep < lease.keep:
            lease.keep = max(report.keep, lease.upto)
            lease.extra = frozenset(index for index in lease.extra if index < lease.keep) or NO_INDICES
        lease.version += 1
        open_ = lease.open
        if open_ + len(given_back) < before:  # what is given back has not ended
            lease.moved = self._now
        if report.worker and not lease.worker:
            # A slave is handed batches ahead: this one has begun only now.
            lease.moved = max(lease.moved, self._now - LONG_JOB_SECONDS)
        lease.worker = report.worker or lease.worker
        self.open += open_ - before
        self._sort(lease, before, open_)
        return given_back

    def between(self, low: int, high: int) -> list[Lease]:
        """Return the leases of batches with jobs from the position ``low`` to before ``high``."""
        return self._positions.between(low, high)

    def holder(self, lease: Lease) -> ConnectedSlave | None:
        """Return the slave of a lease, None if it has gone."""
        return self._slaves.get(lease.slave)

    def fullest(self) -> Lease | None:
        """Return the lease with the most open jobs of which none was asked back yet, None if none
        has several; among very many, one with about as many.
        """
        for size in reversed(self._by_size):
            some = islice((lease for lease in size if lease.wanted is None), COMPARED_LEASES)
            found = max(some, key=lambda lease: lease.open, default=None)
            if found is not None:
                return found
        return None

    def _sort(self, lease: Lease, before: int, now: int) -> None:
        """Note that the number of open jobs of a lease has changed; one or none is not noted."""
        if before <= 1 and now <= 1:
            return
        was, is_ = before.bit_length(), now.bit_length()
        if was == is_:
            return
        if was > 1:
            del self._by_size[was][lease]
        if is_ > 1:
            while len(self._by_size) <= is_:
                self._by_size.append({})
            self._by_size[is_][lease] = None
