"""Jobs that are asked back: they sit unstarted in one slave's batch while others wait for them."""

from __future__ import annotations

from taskmaster.master.broker.intake import Intake
from taskmaster.master.broker.leases import Lease, LeaseTable
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.slaves import ConnectedSlave, ConnectedSlaves
from taskmaster.master.broker.watermark import Watermark

__all__ = ["Recalls"]

FEW_LEASES = 64
MOST_SLAVES_EXAMINED = 256  # most slaves that are searched at once for one that has a batch to spare


class Recalls:
    """Asks slaves for jobs that they have not started, while other slaves wait for jobs.

    Args:
        slaves: all that are connected.
        leases: what they hold.
        intake: what is queued.
        redelivery: what waits to be handed out again.
        watermark: how far all is settled.
    """

    def __init__(
        self,
        slaves: ConnectedSlaves,
        leases: LeaseTable,
        intake: Intake,
        redelivery: Redelivery,
        watermark: Watermark,
    ) -> None:
        self._slaves = slaves
        self._leases = leases
        self._intake = intake
        self._redelivery = redelivery
        self._watermark = watermark
        self._recalled = 0  # as many batches as had been lent when all that is not started was asked back last
        self._left_to_look_at: list[ConnectedSlave] = []

    def of(self, slave: ConnectedSlave) -> tuple[tuple[str, int], ...]:
        """Return what this slave is asked to keep of its batches, if it has not started the rest.
        Each is returned once.
        """
        if slave.recalled < self._recalled:
            slave.recalled = self._recalled
            for lease in self._leases.held_by(slave):
                if lease.number <= self._recalled and lease.open > 1 and not lease.asked:
                    self._ask(lease, lease.upto + 1)
        if not slave.asked:
            return ()
        asked = []
        for token in slave.asked:
            wanting = self._leases.held_as(slave, token)
            if wanting is not None and wanting.wanted is not None:
                asked.append((token, wanting.wanted))
                wanting.wanted, wanting.asked = None, True
        slave.asked.clear()
        return tuple(asked)

    def _ask(self, lease: Lease, keep: int) -> None:
        """Ask the slave, in the answer to its next request, to keep no more than this number of
        jobs.
        """
        lease.wanted = keep
        slave = self._leases.holder(lease)
        if slave is not None:
            slave.asked[lease.token] = None

    def starve(self, slave: ConnectedSlave) -> None:
        """Note that the slave has asked for a batch, and there was none."""
        slave.idle += 1
        self._slaves.unfed.add(slave.id)
        if len(self._leases) <= FEW_LEASES:
            # Of many, the fullest is looked for when time passes, not for each slave that is
            # hungry.
            self._ask_back()

    def ask_back(self, *, all_unstarted: bool = False) -> None:
        """Ask jobs back that sit unstarted in a batch while a worker has nothing to do, or while
        the span fills up; or all that are not started.
        """
        if all_unstarted:
            self._recalled = self._leases.lent  # each slave is asked when it says something
        else:
            self._ask_back()

    def _ask_back(self) -> None:
        if self._is_starving() and not self._intake.can_hand_out and not self._redelivery.jobs:
            fullest = self._leases.fullest() or self._spare()
            if fullest is not None:
                # The holder keeps the larger half, and so at least the job that it may be running.
                self._ask(fullest, fullest.upto + fullest.open - fullest.open // 2 - (fullest.open == 1))
        if self._intake.span > self._intake.span_limit // 4:
            low = self._watermark.low
            for lease in self._leases.between(low, low + 1):
                if low < lease.batch.first + lease.keep and lease.open > 1:
                    self._ask(lease, lease.upto + 1)

    def _is_starving(self) -> bool:
        """Return whether a worker has nothing to do, as far as its slave has said."""
        unfed = map(self._slaves.get, self._slaves.unfed)
        return any(slave is not None and len(slave.leases) < slave.workers for slave in unfed)

    def _spare(self) -> Lease | None:
        """Return a batch of one job that waits behind another one: a slave's only job for a worker
        would just change hands.
        """
        slaves = self._left_to_look_at or list(self._slaves)
        some, self._left_to_look_at = slaves[:MOST_SLAVES_EXAMINED], slaves[MOST_SLAVES_EXAMINED:]
        for slave in some:
            if len(slave.leases) > slave.workers:
                for lease in self._leases.held_by(slave):
                    if lease.open == 1 and lease.wanted is None and not lease.asked:
                        return lease
        return None
