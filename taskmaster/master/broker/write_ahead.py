"""Write-ahead: jobs that are in the store before anybody gets them. Pure.

The borders of key ranges depend on the rows that were there, and on how long ranges took; a resumed
source would draw others. So such jobs are parked before anybody gets them: the state knows each as
it is, with its payload, and a restarted master hands those out first. The source goes on after the
last one. ::

    source ──► planned ──(the store has them)──► handed out ──► settled
                  ▲                                   │
                  └──── parts ◄── to be split ◄───── failed

Where the source can split a job, one that fails is handed out once more, and is then split until it
is known which of its parts fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from taskmaster.master.broker.batches import Batch, BatchKind
from taskmaster.master.broker.verdicts import Verdict
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.model import Failure, FailureKind

__all__ = ["WriteAhead"]

LEAST_AHEAD = 2  # jobs planned beyond two for each worker slot
PLANNED_SECONDS = 1.0  # seconds' worth of jobs that is planned at least, at the pace at which they are handed out
PACE_SECONDS = 0.5  # seconds over which the pace is measured
MOST_TIMES = 1000  # measured times that wait for the source to look at them


class WriteAhead:
    """Keeps what is planned and cannot be handed out yet, and what is to be split.

    Args:
        lowest: the position below which planned jobs get theirs; they are not in the order of the
            watermark.

    Attributes:
        on: whether the source wants its jobs parked first.
        splits: whether the source can split a job.
        made: jobs planned in this session.
        times: keys of jobs that ended together, and the seconds that they took.
    """

    def __init__(self, lowest: int) -> None:
        self.on = False
        self.splits = False
        self.made = 0
        self.times: deque[tuple[tuple[str, ...], float]] = deque(maxlen=MOST_TIMES)
        self._lowest = lowest
        self._unwritten: deque[Batch] = deque()
        self._to_split: list[Batch] = []
        self._handed = 0
        self._since: float | None = None
        self._pace = 0.0

    def __len__(self) -> int:
        return sum(len(batch.jobs) for batch in self._unwritten)

    def reserve(self, count: int) -> int:
        """Set ``count`` positions aside that no job has, and return the first of them."""
        self._lowest -= count
        return self._lowest

    def add(self, jobs: Sequence[ParkedJob]) -> Batch:
        """Give jobs their positions; they are handed out when the store has them."""
        self.made += len(jobs)
        batch = Batch(self.reserve(len(jobs)), list(jobs), BatchKind.PLANNED, separate=True, attempts=jobs[0].attempts)
        batch.alone = bool(batch.attempts) and batch.attempts[-1].crash
        self._unwritten.append(batch)
        return batch

    def written(self, known: Callable[[int], int | None]) -> list[Batch]:
        """Take out what the store has by now.

        Args:
            known: gives what names the job at a position in the store; None if it is not there.
        """
        found = []
        while self._unwritten and known(self._unwritten[0].first) is not None:
            found.append(self._unwritten.popleft())
        return found

    def handed_out(self, count: int) -> None:
        """Note that ``count`` jobs have been handed out."""
        self._handed += count

    def took(self, jobs: Sequence[Any], seconds: float) -> None:
        """Note that these jobs of a batch ended together, and took that time."""
        if self.on and jobs:
            self.times.append((tuple(job.key for job in jobs), seconds))

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self._since is None:
            self._since = now
        elif now - self._since >= PACE_SECONDS:
            self._pace = self._handed / (now - self._since)
            self._handed, self._since = 0, now

    def room(self, slots: int, waiting: int) -> int:
        """Return how many jobs to plan now: enough to keep workers busy, and no more, so that a
        source that follows the measured times hears of them before it has made very many.

        Args:
            slots: jobs that all slaves run at once.
            waiting: planned jobs that can be handed out.
        """
        wanted = LEAST_AHEAD + 2 * slots + int(PLANNED_SECONDS * self._pace)
        return max(0, wanted - waiting - len(self))

    def verdict(self, batch: Batch, failure: Failure, plain: Verdict) -> Verdict:
        """Return the verdict on a failed job whose plain verdict is known: a job that has failed
        twice, or for good, is split.
        """
        if not self.splits or batch.whole or plain not in (Verdict.AGAIN, Verdict.FAILED):
            return plain
        if plain is Verdict.AGAIN and (failure.kind is FailureKind.RETRY or not batch.attempts):
            return plain
        return Verdict.SPLIT

    def ask_split(self, batch: Batch) -> None:
        """Have the source split a job."""
        self._to_split.append(batch)

    def next_split(self) -> Batch | None:
        """Return the job to split next, None if there is none; it stays here until ``split`` says
        that it was.
        """
        return self._to_split[0] if self._to_split else None

    def split(self, batch: Batch) -> None:
        """Note that a job was split, or turned out to be as small as can be."""
        self._to_split.remove(batch)
