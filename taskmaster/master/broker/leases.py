"""The values that the broker keeps its books with: stretches of jobs, leases, sessions.

Pure data with a little arithmetic; only the broker changes them, under the master's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from taskmaster.master.job_records import Attempt
from taskmaster.model import Report

__all__ = ["Lease", "Session", "Sessions", "Stretch", "ranges"]


def ranges(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending indices as half-open contiguous ranges.

    Example::

        ranges([1, 2, 5]) == [(1, 3), (5, 6)]
    """
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found


@dataclass(slots=True)
class Stretch:
    """A contiguous run of jobs that are not settled.

    Attributes:
        first: position of the first job; negative for jobs that an earlier session parked.
        jobs: the jobs as the source yielded them, or ``ParkedJob`` where ``first`` is negative.
        separate: pickle them one by one, because pickling or unpickling them together failed.
        alone: the job was running when its worker died, among others: it runs with nothing beside
            it.
        attempts: what was tried, oldest first; of a single job only.
        tries: how often a call that was given all these jobs at once has failed.
        losses: how many slaves were lost with these jobs,
        solo: and how many of them while they held nothing but this one job.
        company: how many batches a slave may hold at most while it holds this one; 0: as many as it
            likes.
        avoid: id of the session, and
        worker: process id of the worker, that failed last at this job.
        due: when it may be handed out again.
        origin: token of the lease that they were last in, while nobody else has been given them.
        whole: the source has said that it cannot split the job.
    """

    first: int
    jobs: list[Any]
    separate: bool = False
    alone: bool = False
    attempts: tuple[Attempt, ...] = ()
    tries: int = 0
    losses: int = 0
    solo: int = 0
    company: int = 0
    avoid: str = ""
    worker: int = 0
    due: float = 0.0
    origin: str | None = None
    whole: bool = False

    def part(self, start: int, stop: int) -> Stretch:
        """The jobs from index ``start`` to ``stop``, with all that is known of them; origin is left
        out.
        """
        return replace(self, first=self.first + start, jobs=self.jobs[start:stop], origin=None)

    def split(self, count: int) -> Stretch:
        """Take the first ``count`` jobs off; what is taken is returned."""
        head = self.part(0, count)
        self.first += count
        self.jobs = self.jobs[count:]
        return head

    @property
    def crashes(self) -> int:
        """Attempts that ended with the worker's death or a time-out."""
        return sum(attempt.crash for attempt in self.attempts)

    @property
    def errors(self) -> int:
        """Attempts that ended with an exception."""
        return len(self.attempts) - self.crashes


@dataclass(slots=True)
class Lease:
    """A batch in a slave's hands.

    Attributes:
        token: names it; never used twice.
        session: the slave.
        stretch: the jobs.
        keep: the slave works on the jobs before this index; those after it were given back.
        upto: every job before this index has ended.
        extra: indices at or above ``upto`` that have ended.
        wanted: what the slave is to be asked to keep, where jobs are wanted back.
        asked: it was asked once.
        long: indices that run for long and have no ticket yet.
        before: what was held against the jobs before the lease was taken for lost: losses, solo and
            company.
    """

    token: str
    session: str
    stretch: Stretch
    keep: int
    upto: int = 0
    extra: set[int] = field(default_factory=set)
    wanted: int | None = None
    asked: bool = False
    long: set[int] = field(default_factory=set)
    before: tuple[int, int, int] = (0, 0, 0)

    def newly_ended(self, report: Report) -> list[tuple[int, int]]:
        """The index ranges that ended since the last report of this lease."""
        upto = min(report.upto, self.keep)
        fresh = (index for index in range(self.upto, upto) if index not in self.extra)
        found = ranges(fresh) if self.extra else ([(self.upto, upto)] if upto > self.upto else [])
        beyond = sorted({i for i in report.extra if upto <= i < self.keep and i not in self.extra})
        return found + ranges(beyond)

    def note_ended(self, report: Report) -> None:
        """Remember what ``newly_ended`` gave."""
        self.upto = max(self.upto, min(report.upto, self.keep))
        self.extra.update(i for i in report.extra if i < self.keep)
        self.extra = {i for i in self.extra if i >= self.upto}

    def unended(self, start: int = 0, stop: int | None = None) -> list[int]:
        """Indices from ``start`` to ``stop`` (default: all that the slave keeps) that have not
        ended.
        """
        stop = self.keep if stop is None else stop
        return [index for index in range(max(self.upto, start), stop) if index not in self.extra]

    @property
    def open(self) -> int:
        """How many jobs of it have not ended."""
        return self.keep - self.upto - len(self.extra)


@dataclass(slots=True)
class Session:
    """A connected slave, from its first hello until it is lost or says goodbye.

    Attributes:
        id: random, chosen by the slave's process.
        name: "host:pid", for people.
        workers: its worker processes.
        slots: how many jobs it runs at once.
        renewed: when it was last heard of (master's monotonic clock).
        closed: when its last connection closed, None while one is open.
        connections: how many it has; two for a moment, when a new one comes before the old one is
            seen to end.
        leases: tokens of the batches in its hands.
        idle: how often in a row it has asked for work and got none.
    """

    id: str
    name: str
    workers: int
    slots: int
    renewed: float
    closed: float | None = None
    connections: int = 1
    leases: dict[str, None] = field(default_factory=dict)
    idle: int = 0


class Sessions:
    """The connected slaves, with what has to be known of all of them for every batch.

    Attributes:
        workers: worker processes of all of them.
        slots: how many jobs they run at once.
        unfed: ids of those that asked for a batch and got none, until they get one.
    """

    def __init__(self) -> None:
        self.workers = self.slots = 0
        self.unfed: set[str] = set()
        self._by_id: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    def __getitem__(self, ident: str) -> Session:
        return self._by_id[ident]

    @property
    def connected(self) -> int:
        """How many have a connection: the others may come back, and keep their batches for so
        long.
        """
        return sum(session.closed is None for session in self._by_id.values())

    def get(self, ident: Any) -> Session | None:
        """The session with this id, if there is one."""
        return self._by_id.get(ident)

    def add(self, session: Session) -> None:
        """A slave has come; it takes the place of one with its id."""
        self.drop(session.id)
        self._by_id[session.id] = session
        self.workers += session.workers
        self.slots += session.slots

    def drop(self, ident: str) -> None:
        """A slave has gone, if it is not gone already."""
        session = self._by_id.pop(ident, None)
        self.unfed.discard(ident)
        if session is not None:
            self.workers -= session.workers
            self.slots -= session.slots
