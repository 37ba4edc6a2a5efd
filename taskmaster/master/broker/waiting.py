"""Jobs that wait for another attempt, the earliest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from taskmaster.master.broker.batches import Batch

__all__ = ["Waiting"]


class Waiting:
    """Jobs that wait for another attempt, without holding a slot.

    Attributes:
        texts: characters of what was tried of them.
    """

    def __init__(self) -> None:
        self.texts = 0
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
        self.texts += batch.texts
        heapq.heappush(self._heap, (batch.due, self._added, batch))

    @property
    def next_due(self) -> float | None:
        """When the earliest of them is due; None if there are none."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Batch]:
        """Take out what has waited long enough."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            batch = heapq.heappop(self._heap)[2]
            self._jobs -= len(batch.jobs)
            self.texts -= batch.texts
            found.append(batch)
        return found
