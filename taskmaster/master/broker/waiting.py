"""Jobs that wait for another attempt, the earliest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from taskmaster.master.broker.batches import Batch

__all__ = ["Waiting"]


class Waiting:
    """Jobs that wait for another attempt, without holding a slot."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Batch]] = []
        self._added = 0
        self._jobs = 0

    def __len__(self) -> int:
        return self._jobs

    def __iter__(self) -> Iterator[Batch]:
        return (batch for _, _, batch in self._heap)

    def add(self, batch: Batch) -> None:
        """Let these jobs wait until they are due."""
        self._added += 1
        self._jobs += len(batch.jobs)
        heapq.heappush(self._heap, (batch.due, self._added, batch))

    def due(self, now: float) -> list[Batch]:
        """Take out what has waited long enough."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            batch = heapq.heappop(self._heap)[2]
            self._jobs -= len(batch.jobs)
            found.append(batch)
        return found
