"""Which jobs the next checkpoint parks: what was tried in vain, what runs for long, and what holds
the watermark back although the span fills up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from taskmaster.master.broker.intake import Intake
from taskmaster.master.broker.leases import LeaseTable
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.watermark import SettledRange, Watermark
from taskmaster.master.records.job_records import Attempt, ParkedJob

__all__ = ["Relief"]


class Relief:
    """Chooses the jobs that the next checkpoint parks.

    Args:
        watermark: is let pass what is parked.
        leases: what slaves hold.
        intake: how full the span is.
        redelivery: what waits to be handed out again.
        parking: what is parked, and what was asked to be.
    """

    def __init__(
        self,
        watermark: Watermark,
        leases: LeaseTable,
        intake: Intake,
        redelivery: Redelivery,
        parking: Parking,
    ) -> None:
        self._watermark = watermark
        self._leases = leases
        self._intake = intake
        self._redelivery = redelivery
        self._parking = parking

    def wanted(self) -> list[tuple[int, Any, tuple[Attempt, ...]]]:
        """Return position, job and attempts of what the next checkpoint has to park."""
        found = list(self._parking.asked())
        asked = {position for position, _, _ in found}
        if self._intake.span > self._intake.span_limit // 2:
            for position, job in self._unsettled(*self._watermark.hole()):
                if position not in self._parking and position not in asked:
                    found.append((position, job, ()))
        return found

    def _unsettled(self, low: int, high: int) -> Iterator[tuple[int, Any]]:
        """Yield position and job of what was handed out once and is not settled, between two
        positions.
        """
        held = ((lease.batch, lease.unended()) for lease in self._leases.between(low, high))
        others = ((batch, range(len(batch))) for batch in self._redelivery.between(low, high))
        for batch, indices in (*held, *others):
            yield from ((batch.first + i, batch.jobs[i]) for i in indices if low <= batch.first + i < high)

    def park(self, jobs: Sequence[tuple[SettledRange | None, int, ParkedJob]]) -> None:
        """Let the watermark pass jobs that are not settled; the next checkpoint writes them down
        with their payload.

        Args:
            jobs: for each of ``wanted``, a range of that one job, None if it was parked before; its
                position; and what to write down, whatever its id.
        """
        wanted = {position: tried for position, _, tried in self.wanted()}
        for single, position, job in jobs:
            if wanted.get(position) != job.attempts:
                continue  # it has been settled or tried again meanwhile
            if position not in self._parking:
                if single is None:
                    continue
                self._watermark.settle(single)
            self._parking.add(position, job)
