"""Jobs that are asked back: they sit unstarted in one slave's batch while others wait for them."""

from __future__ import annotations

from taskmaster.master.broker.intake import Intake
from taskmaster.master.broker.leases import Lease, LeaseTable
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.slaves import ConnectedSlave, ConnectedSlaves
from taskmaster.master.broker.watermark import Watermark

__all__ = ["Recalls"]

FEW_LEASES = 64


class Recalls:
    """See the module.

    Args:
        limits: the caps.
        slaves: all that are connected.
        leases: what they hold.
        intake: what is queued.
        redelivery: what waits to be handed out again.
        watermark: how far all is settled.
    """

    def __init__(
        self,
        limits: Limits,
        slaves: ConnectedSlaves,
        leases: LeaseTable,
        intake: Intake,
        redelivery: Redelivery,
        watermark: Watermark,
    ) -> None:
        self._limits = limits
        self._slaves = slaves
        self._leases = leases
        self._intake = intake
        self._redelivery = redelivery
        self._watermark = watermark

    def of(self, slave: ConnectedSlave) -> tuple[tuple[str, int], ...]:
        """Return what this slave is asked to keep of its batches, if it has not started the rest.
        Each is returned once.
        """
        asked = []
        for lease in self._leases.held_by(slave):
            if lease.wanted is not None:
                asked.append((lease.token, lease.wanted))
                lease.wanted, lease.asked = None, True
        return tuple(asked)

    def starve(self, slave: ConnectedSlave) -> None:
        """Note that the slave has asked for a batch, and there was none."""
        slave.idle += 1
        self._slaves.unfed.add(slave.id)
        if len(self._leases) <= FEW_LEASES:
            # Of many, the fullest is looked for when time passes, not for each slave that is
            # hungry.
            self.ask_back()

    def ask_back(self, *, all_unstarted: bool = False) -> None:
        """Ask jobs back that sit unstarted in a batch while a worker has nothing to do, or while
        the span fills up; or all that are not started.
        """
        if all_unstarted:
            for lease in self._leases:
                if lease.open > 1 and not lease.asked:
                    lease.wanted = lease.upto + 1
            return
        if self._is_starving() and not self._intake.can_hand_out and not self._redelivery.jobs:
            fullest = max(filter(self._can_spare, self._leases), key=lambda lease: lease.open, default=None)
            if fullest is not None:
                # The holder keeps the larger half, and so at least the job that it may be running.
                fullest.wanted = fullest.upto + fullest.open - fullest.open // 2 - (fullest.open == 1)
        if self._intake.span > self._limits.span // 4:
            low = self._watermark.low
            for lease in self._leases:
                if lease.batch.first <= low < lease.batch.first + lease.keep and lease.open > 1:
                    lease.wanted = lease.upto + 1

    def _is_starving(self) -> bool:
        """Return whether a worker has nothing to do, as far as its slave has said."""
        unfed = map(self._slaves.get, self._slaves.unfed)
        return any(slave is not None and len(slave.leases) < slave.workers for slave in unfed)

    def _can_spare(self, lease: Lease) -> bool:
        """Return whether asking for a part of the batch helps: a slave's only job for a worker
        would just change hands.
        """
        if lease.wanted is not None:
            return False
        slave = self._slaves[lease.slave]
        return lease.open > 1 or (len(slave.leases) > slave.workers and not lease.asked)
