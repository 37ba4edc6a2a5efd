"""The line of the jobs that can be handed out again now. Pure.

However many stand in it, each is found by its position, and goes without the others being looked
at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.positions import Positions

__all__ = ["Returned"]


class Returned:
    """The batches that can be handed out again now, in their order.

    Attributes:
        jobs: How many jobs there are.
        texts: Characters of what was tried of them.
        companies: Batches that want little company.
    """

    def __init__(self) -> None:
        self.jobs = self.texts = self.companies = 0
        self._line: OrderedDict[Batch, None] = OrderedDict()
        self._positions: Positions[Batch] = Positions()

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._line)

    def __contains__(self, batch: Batch) -> bool:
        return batch in self._line

    def append(self, batch: Batch) -> None:
        """Put a batch last in line."""
        self._line[batch] = None
        self._positions.add(batch)
        self._count(batch, 1)

    def append_first(self, batch: Batch) -> None:
        """Put a batch at the head of the line."""
        self.append(batch)
        self._line.move_to_end(batch, last=False)

    def postpone(self, batch: Batch) -> None:
        """Put a batch that is in the line at its end."""
        self._line.move_to_end(batch)

    def remove(self, batch: Batch) -> None:
        """Take a batch out."""
        del self._line[batch]
        self._positions.remove(batch)
        self._count(batch, -1)

    def split(self, batch: Batch, count: int) -> Batch:
        """Take the first ``count`` jobs of a batch out; the others stay where they are in the
        order.
        """
        self._positions.remove(batch)
        head = batch.split(count)
        self._positions.add(batch)
        self.jobs -= count
        return head

    def cut_out(self, batch: Batch, position: int) -> Batch:
        """Take the one job at a position out of a batch that is here. Those after it in the batch
        stay where they are in the order, those before it come next.
        """
        if position > batch.first:
            self.append_first(self.split(batch, position - batch.first))
        if len(batch) > 1:
            return self.split(batch, 1)
        self.remove(batch)
        return batch

    def holder(self, position: int) -> Batch | None:
        """Return the batch with the job at a position, None if it is not here."""
        return self._positions.at(position)

    def between(self, low: int, high: int) -> list[Batch]:
        """Return the batches with jobs from ``low`` to before ``high``."""
        return self._positions.between(low, high)

    def take_over(self, other: Returned) -> None:
        """Put all that stands in another line behind what stands here."""
        for batch in list(other):
            other.remove(batch)
            self.append(batch)

    def _count(self, batch: Batch, sign: int) -> None:
        self.jobs += sign * len(batch)
        self.texts += sign * batch.texts
        self.companies += sign * (batch.company > 0)
