"""The intake: what the source has yielded, how much more of it may be read, and what of it is new.

The reader's side of the broker. Positions count from 0 in the order in which this session reads.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.queue import Queue
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.watermark import SettledRange, Watermark
from taskmaster.master.broker.write_ahead import WriteAhead
from taskmaster.master.records.job_records import ParkedJob

__all__ = ["Intake"]

# The span, where it follows the jobs in the hands of slaves: this many times their number. Jobs are
# parked once half of the span is used, which one that runs twice as long as others does not reach.
SPANS_IN_HAND = 4


class Seeking:
    """Whether the source has still to come to where the run goes on."""

    def __init__(self) -> None:
        self._on = False

    def note(self, *, on: bool) -> None:
        """Note that it has to, or that it has."""
        self._on = on

    def __bool__(self) -> bool:
        return self._on


class Intake:
    """The jobs that were read and not handed out yet, and how many more may be read.

    Args:
        limits: the caps.
        watermark: how far all is settled.
        parking: what is parked.
        redelivery: what waits to be handed out again.
        bound: where the source said, when the run was new, that it ends; encoded.
        parked: what an earlier session parked; what of it is more than this one may hand out stays
            in the store, until it may.
        in_hand: gives the number of jobs in the hands of slaves.

    Attributes:
        bound: where the source ends, encoded like a key; None if it did not say.
        exhausted: whether the source has yielded all its jobs.
        refused: whether a job cannot be run, or not be resumed at: the run cannot finish, only
            stop.
        write_ahead: jobs that are parked before anybody gets them.
        known: jobs read so far that an earlier session had settled.
        seeking: The source has not come to where the run goes on, and may never: nothing is handed
            out, and nothing in the state changes, before it has.
    """

    def __init__(
        self,
        limits: Limits,
        watermark: Watermark,
        parking: Parking,
        redelivery: Redelivery,
        *,
        bound: str | None = None,
        parked: Sequence[ParkedJob] = (),
        in_hand: Callable[[], int] = lambda: 0,
    ) -> None:
        self._in_hand = in_hand
        self.bound = bound
        self.exhausted = False
        self.refused = False
        self.write_ahead = WriteAhead(0)
        self.known = 0
        self.seeking = Seeking()
        self._limits = limits
        self._watermark = watermark
        self._parking = parking
        self._redelivery = redelivery
        self._queue = Queue()
        self._next = 0  # position of the job at the head of the queue
        # Jobs that may still be handed out for the first time.
        self._allowance = sys.maxsize if limits.limit is None else limits.limit
        self._left = deque(parked)
        self._known: deque[SettledRange] = deque()  # read, and settled by an earlier session
        self._recognised: list[SettledRange] = []
        self._inherit()

    # -- reading -----------------------------------------------------------------------------------

    def add(self, jobs: Iterable[Any]) -> None:
        """Queue jobs of the source. The one method that needs no lock: a job can be handed out the
        moment it is yielded, also when the next one takes an hour.
        """
        self._queue.extend(jobs)

    def add_known(self, job: Any, settled: SettledRange) -> None:
        """Queue a job that an earlier session settled: it is never handed out, but keeps its
        position in the order.

        Args:
            job: the job.
            settled: the job as a settled range, with its position ``read``.
        """
        self._known.append(settled)
        self.add([job])

    def exhaust(self) -> None:
        """Note that the source has yielded all its jobs."""
        self.exhausted = True

    def bind(self, bound: str) -> None:
        """Note where the source says that it ends, encoded like a key."""
        self.bound = bound

    def refuse(self) -> None:
        """Note that a job cannot be run, or not be resumed at: the run cannot finish, only stop."""
        self.refused = True

    @property
    def queued(self) -> int:
        """Jobs read and not handed out."""
        return len(self._queue)

    @property
    def read(self) -> int:
        """How many jobs this session has read."""
        return self._next + len(self._queue)

    @property
    def span(self) -> int:
        """Jobs from the watermark to the newest job read."""
        return self.read - self._watermark.cut

    @property
    def span_limit(self) -> int:
        """How many these may be: what slaves hold and have lost counts several times, where nobody
        has said how many.
        """
        if not self._limits.span_follows:
            return self._limits.span
        return max(self._limits.span, SPANS_IN_HAND * (self._in_hand() + self._redelivery.jobs))

    def allow_more(self, jobs: int | None) -> None:
        """Note that this session may hand out another number of jobs; None: all that there are.
        What an earlier session parked comes first.
        """
        former = self._limits.limit
        self._allowance += (sys.maxsize if jobs is None else jobs) - (sys.maxsize if former is None else former)
        self._inherit()

    def _inherit(self) -> None:
        more = [self._left.popleft() for _ in range(min(len(self._left), max(0, self._allowance)))]
        if more:
            self._allowance -= len(more)
            first = self.write_ahead.reserve(len(more))
            self._redelivery.inherit(more, first)
            self._parking.take_over(enumerate(more, first))

    def room(self) -> int:
        """Return how many jobs may be read now."""
        queued = len(self._queue)
        waiting = queued + self._again
        # One job more than may be handed out: its key says whether the watermark can pass the one
        # before it.
        fresh = self._allowance + 1 - (queued - len(self._known))
        return max(0, min(self._limits.size - waiting, self.span_limit - self.span, fresh))

    @property
    def _again(self) -> int:
        """How many jobs wait to be handed out again."""
        return self._redelivery.jobs + len(self._redelivery.waiting) + self._parking.backlog

    @property
    def crowded(self) -> bool:
        """Whether nothing is read because too many jobs wait to be handed out again."""
        return not self._queue and not self.exhausted and self._again >= self._limits.size

    def newest(self, count: int, chance: random.Random) -> list[Any]:
        """Return the last job read, and ``count`` of the newest by chance; fewer where they have
        been handed out.
        """
        return [*self._queue.newest(), *self._queue.some(count, chance)]

    # -- jobs that are parked first ----------------------------------------------------------------

    def plan(self, *, parks: bool, splits: bool) -> None:
        """Note that the source wants its jobs parked first, and whether it can split them."""
        self.write_ahead.on, self.write_ahead.splits = parks, splits

    def plan_room(self, slots: int) -> int:
        """Return how many jobs may be planned now, while all slaves run ``slots`` at once."""
        waiting = self._redelivery.jobs
        room = self.write_ahead.room(slots, waiting)
        # What slaves hold is parked, too: two jobs for each slot. What is ready counts
        # twice, so that there is one for every eighth slot.
        most = max(self._limits.size, 9 * slots // 4) if self._limits.span_follows else self._limits.size
        return max(0, min(room, most - waiting - self._parking.backlog, self._allowance))

    def add_planned(self, jobs: Sequence[ParkedJob]) -> None:
        """Plan jobs that the source has made: the next checkpoint parks them, after which they are
        handed out.
        """
        self._allowance -= len(jobs)
        self._watermark.jump(jobs[-1].key)
        _park_first(self.write_ahead, self._parking, jobs)

    def split(self, batch: Batch, parts: Sequence[ParkedJob]) -> None:
        """Replace a job by its parts.

        Args:
            batch: what ``write_ahead.next_split`` gave.
            parts: none if it cannot be split: then it is tried as any other job is.
        """
        self.write_ahead.split(batch)
        if not parts:
            batch.whole, batch.attempts = True, ()
            self._redelivery.retry_now(batch)
            return
        self._parking.settle(batch.first)
        for part in parts:
            _park_first(self.write_ahead, self._parking, [replace(part, attempts=batch.attempts[-1:])])

    # -- handing out -------------------------------------------------------------------------------

    @property
    def can_hand_out(self) -> bool:
        """Whether there are jobs that were not handed out before, and that may be."""
        return bool(self._queue) and self._allowance > 0

    def take(self, count: int) -> Batch | None:
        """Take a batch of at most ``count`` jobs off the queue, None if there are none."""
        if self._known:
            count = min(count, self._known[0].first - self._next)
        jobs = self._queue.take(min(count, self._allowance))
        if not jobs:
            return None
        self._allowance -= len(jobs)
        batch = Batch(self._next, jobs)
        self._next += len(jobs)
        return batch

    def settle_known(self) -> None:
        """Take the jobs at the head of the queue out that an earlier session settled."""
        while self._known and self._known[0].first == self._next and self._queue:
            self._queue.take(1)
            self._next += 1
            settled = self._known.popleft()
            self._recognised.append(settled)
            self.known += 1
            self._watermark.settle(settled)

    def recognised(self) -> list[SettledRange]:
        """Take out the jobs of earlier sessions that the source has yielded again."""
        found, self._recognised = self._recognised, []
        return found

    def head_at_low(self) -> list[Any]:
        """Return the first job that is not settled, if it is still in the queue; else nothing."""
        return self._queue.head() if self._watermark.low == self._next else []


def _park_first(write_ahead: WriteAhead, parking: Parking, jobs: Sequence[ParkedJob]) -> None:
    first = write_ahead.add(jobs).first
    for position, job in enumerate(jobs, first):
        parking.add(position, job)
