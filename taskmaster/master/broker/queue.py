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

BLOCK_JOBS = 1024  # jobs of a block before the next one is begun: shortening a list moves what is left in it


class Queue:
    """First in, first out, by the batch.

    Taken one at a time from a deque, a job costs as much again as to read it; a slice of a list
    costs next to nothing. So the queue is a row of lists, of which only the last is being filled.
    That ``list.extend`` adds each job the moment the iterator gives it, and that the list may be
    shortened meanwhile, is what CPython does and guards with its own lock; none of the user's code
    is called by any of the methods but ``extend``.
    """

    def __init__(self) -> None:
        self._blocks: deque[list[Any]] = deque([[]])

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def extend(self, jobs: Iterable[Any]) -> None:
        """Add jobs; each can be taken as soon as it is yielded, also when the next one takes an
        hour.
        """
        if len(self._blocks[-1]) >= BLOCK_JOBS:
            self._blocks.append([])
        self._blocks[-1].extend(jobs)

    def take(self, count: int) -> list[Any]:
        """Remove the first ``count`` jobs, or as many as there are."""
        jobs: list[Any] = []
        while len(jobs) < count and (first := self._first()):
            part = first[: count - len(jobs)]
            del first[: len(part)]
            if jobs:
                jobs += part
            else:
                jobs = part
        return jobs

    def head(self) -> list[Any]:
        """Return the first job in a list; an empty one if there is none."""
        return self._first()[:1]

    def newest(self) -> list[Any]:
        """Return the last job in a list; an empty one if it has been taken."""
        return self._blocks[-1][-1:]

    def some(self, count: int, chance: random.Random) -> list[Any]:
        """Return a few of the newest jobs, by chance; fewer than were asked for, or one twice,
        where few are there.
        """
        block = self._blocks[-1]
        chosen = [block[at : at + 1] for at in (chance.randrange(len(block) or 1) for _ in range(count))]
        return [job for one in chosen for job in one]

    def _first(self) -> list[Any]:
        while not self._blocks[0] and len(self._blocks) > 1:
            self._blocks.popleft()
        return self._blocks[0]
