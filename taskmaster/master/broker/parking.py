"""Which jobs are parked: behind the watermark, although they still run or wait. Pure.

Jobs are named by position here, and by an id in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from taskmaster.master.broker.unwritten import Unwritten
from taskmaster.master.records.job_records import Attempt, ParkedJob

__all__ = ["Parking"]

ID_SHIFT = 128  # bits of a ticket that are the job's fingerprint


class Parking:
    """The parked jobs of a run.

    Args:
        known: what an earlier session parked.

    Attributes:
        to_write: parked jobs that the store does not have, or not with their last attempts.
        to_forget: ids of parked jobs that are settled.
        version: counts the jobs that were parked.
        backlog: parked jobs without those that run for long, which are as many as there are
            workers.
    """

    def __init__(self, known: Sequence[ParkedJob]) -> None:
        self.to_write: Unwritten[ParkedJob] = Unwritten()
        self.to_forget: list[int] = []
        self.version = 0
        self.backlog = 0
        # By position, what a slave that runs the job for long is given; the id in the store is part
        # of it.
        self._tickets: dict[int, int] = {}
        self._positions: dict[int, int] = {}  # by id
        self._next = max((job.id for job in known), default=-1) + 1
        self._unwritten: set[int] = set()  # ids that the store does not have yet
        self._asked: dict[int, tuple[Any, tuple[Attempt, ...]]] = {}  # by position: job and attempts, to be parked
        self._running: set[int] = set()  # positions: parked because a slave has been at them for long

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, position: int) -> bool:
        return position in self._tickets

    @property
    def pending(self) -> bool:
        """Whether something is parked, or to be parked."""
        return bool(self._tickets or self._asked)

    def take_over(self, jobs: Iterable[tuple[int, ParkedJob]]) -> None:
        """Give what an earlier session parked its positions."""
        for position, job in jobs:
            self._name(position, job)

    def clear(self) -> None:
        """Leave all that is parked to another session."""
        self._tickets.clear()
        self._positions.clear()
        self.backlog = 0

    def ask(self, position: int, job: Any, attempts: tuple[Attempt, ...]) -> None:
        """Have a job parked with what was tried; one that is parked already is written down
        anew.
        """
        self._asked[position] = (job, attempts)

    def ask_running(self, position: int, job: Any, attempts: tuple[Attempt, ...]) -> None:
        """Have a job parked that a slave has been running for long, unless it is."""
        if position not in self._tickets and position not in self._asked:
            self._asked[position] = (job, attempts)
            self._running.add(position)

    def asked(self) -> Iterator[tuple[int, Any, tuple[Attempt, ...]]]:
        """Yield position, job and attempts of what is to be parked."""
        return ((position, job, attempts) for position, (job, attempts) in self._asked.items())

    def add(self, position: int, job: ParkedJob) -> None:
        """Park a job, whatever its id says; or write it down anew."""
        known = self._tickets.get(position)
        number = self._next if known is None else known >> ID_SHIFT
        parked = ParkedJob(number, job.key, job.payload, job.fingerprint, job.attempts)
        if known is None:
            self._next += 1
            self.version += 1
            self._unwritten.add(number)
            self._name(position, parked)
        else:
            self._tickets[position] = _ticket(parked)
        self._asked.pop(position, None)
        self.to_write.append(parked)

    def _name(self, position: int, job: ParkedJob) -> None:
        self._tickets[position], self._positions[job.id] = _ticket(job), position
        self.backlog += position not in self._running

    def settle(self, position: int) -> bool:
        """Note that a job is settled; return whether it was parked, in which case the store is to
        forget it.
        """
        self._asked.pop(position, None)
        known = self._tickets.pop(position, None)
        if known is not None:
            number = known >> ID_SHIFT
            self.backlog -= position not in self._running
            self._positions.pop(number, None)
            self._unwritten.discard(number)
            self.to_forget.append(number)
        self._running.discard(position)
        return known is not None

    def came_back(self, positions: range) -> None:
        """Note that no slave runs these jobs any more."""
        for position in positions if self._running else ():
            if position in self._running:
                self._running.discard(position)
                self.backlog += position in self._tickets

    def ticket(self, position: int) -> int | None:
        """Return what names a parked job, in this session and later ones, once the store has it."""
        known = self._tickets.get(position)
        return None if known is None or known >> ID_SHIFT in self._unwritten else known

    def position_of(self, number: int) -> int | None:
        """Return where the job of a ticket stands, None if it is settled."""
        position = self._positions.get(number >> ID_SHIFT)
        return position if position is not None and self._tickets[position] == number else None

    def written(self, park: Sequence[ParkedJob], forget: Sequence[int]) -> None:
        """Note that the store has written these jobs, and forgotten those."""
        self._unwritten.difference_update(job.id for job in park)
        self.to_write.written(len(park))
        del self.to_forget[: len(forget)]


def _ticket(job: ParkedJob) -> int:
    """Return id and fingerprint in one: when all that was parked is settled, the ids begin again,
    and a slave that was away for long must not be taken to run the job that has the id now.
    """
    return job.id << ID_SHIFT | int.from_bytes(job.fingerprint)
