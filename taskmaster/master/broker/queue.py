"""The queue: jobs that were read and not handed out, in their order.

Made for a reader and a broker: one thread adds, without a lock and while the user's generator runs;
one at a time, which may be another, takes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

__all__ = ["Queue"]

BLOCK_JOBS = 1024  # jobs of a block before the next one is begun: as long as one is taken from, its list stays
_TAKEN: Any = object()


class Queue:
    """First in, first out, by the batch.

    Taken one at a time from a deque, a job costs as much again as to read it; a slice of a list
    costs next to nothing. So the queue is a row of lists, of which only the last is being filled.
    No list is ever shortened: what was taken of the first one is replaced, so that its job can be
    forgotten, and the number of jobs is known without a look at all lists. That ``list.extend``
    adds each job the moment the iterator gives it is what CPython does, and guards with its own
    lock; none of the user's code is called by any of the methods but ``extend``.
    """

    def __init__(self) -> None:
        last: list[Any] = []
        self._blocks: deque[list[Any]] = deque([last])
        self._tail = (0, last)  # how many jobs there were in the blocks before the last one; and that: never half new
        self._at = 0  # how many of the first block are taken
        self._taken = 0  # and of all

    def __len__(self) -> int:
        before, last = self._tail
        return before + len(last) - self._taken

    def extend(self, jobs: Iterable[Any]) -> None:
        """Add jobs; each can be taken as soon as it is yielded, also when the next one takes an
        hour.
        """
        before, last = self._tail
        if len(last) >= BLOCK_JOBS:
            before += len(last)
            last = []
            self._blocks.append(last)
            self._tail = before, last
        last.extend(jobs)

    def take(self, count: int) -> list[Any]:
        """Remove the first ``count`` jobs, or as many as there are."""
        jobs: list[Any] = []
        while (missing := count - len(jobs)) > 0:
            first, at = self._first(), self._at
            part = first[at : at + missing]
            if not part:
                break
            number = len(part)
            first[at : at + number] = [_TAKEN] * number
            self._at = at + number
            self._taken += number
            if jobs:
                jobs += part
            else:
                jobs = part
        return jobs

    def head(self) -> list[Any]:
        """Return the first job in a list; an empty one if there is none."""
        first = self._first()
        return first[self._at : self._at + 1]

    def newest(self) -> list[Any]:
        """Return the last job in a list; an empty one if it has been taken."""
        return [job for job in self._tail[1][-1:] if job is not _TAKEN]

    def some(self, count: int, chance: random.Random) -> list[Any]:
        """Return a few of the newest jobs, by chance; fewer than were asked for, or one twice,
        where few are there.
        """
        block = self._tail[1]
        length, left = len(block), len(self)
        if not length or left <= 0:
            return []
        # All at the end of the block that are not taken.
        chosen = [block[chance.randrange(max(0, length - left), length)] for _ in range(count)]
        return [job for job in chosen if job is not _TAKEN]

    def _first(self) -> list[Any]:
        # A block is not filled any more once there is another one behind it.
        while len(self._blocks) > 1 and self._at >= len(self._blocks[0]):
            self._blocks.popleft()
            self._at = 0
        return self._blocks[0]
