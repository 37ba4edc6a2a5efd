"""Handing out: which batch a slave gets next."""

from __future__ import annotations

from taskmaster.master.broker.batch_limit import BatchLimit
from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.intake import Intake
from taskmaster.master.broker.leases import Lease, LeaseTable
from taskmaster.master.broker.outage import Outage
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.slaves import ConnectedSlave, ConnectedSlaves
from taskmaster.model import Want

__all__ = ["HandOut"]

BATCHES_EACH = 2  # most batches of a worker: one that it runs, and one that waits


class HandOut:
    """Hands out what was handed out before, and then what is new.

    Args:
        slaves: all that are connected.
        leases: what they hold.
        redelivery: what waits to be handed out again.
        intake: what was not handed out before.
        batch_limit: says how many jobs go into a batch.
        outage: tells when only one job may be tried, now and then.

    Attributes:
        held: Whether an operator holds the run: nothing is handed out.
    """

    def __init__(
        self,
        slaves: ConnectedSlaves,
        leases: LeaseTable,
        redelivery: Redelivery,
        intake: Intake,
        batch_limit: BatchLimit,
        outage: Outage,
    ) -> None:
        self.held = False
        self._slaves = slaves
        self._leases = leases
        self._redelivery = redelivery
        self._intake = intake
        self._batch_limit = batch_limit
        self._outage = outage

    def take(self, slave: ConnectedSlave, want: Want) -> Lease | None:
        """Hand out a batch, None if there is nothing for this slave now."""
        if self.held or slave.quiet or self._intake.seeking:
            return None
        if len(slave.leases) >= BATCHES_EACH * slave.workers:
            return None
        if not self._slaves.is_current(slave):
            return None  # an answer over the old connection would not reach it
        if self._redelivery.isolates(slave):
            return None
        holding = self._outage.holding
        batch = self._trial(slave, want) if holding else self._again(slave, want) or self._new(slave, want)
        if batch is None:
            return None
        batch.trial = holding
        self._batch_limit.last = len(batch)
        self._intake.write_ahead.handed_out(len(batch))
        return self._leases.lend(slave, batch)

    def hold(self, *, held: bool) -> None:
        """Hand out nothing while an operator wants it so; what has not begun is asked back
        meanwhile.
        """
        self.held = held

    def asks_all_back(self, slave: ConnectedSlave) -> bool:
        """Return whether a slave is to give back all that it has not begun."""
        return self.held or slave.quiet

    def _again(self, slave: ConnectedSlave, want: Want) -> Batch | None:
        if not self._redelivery.jobs:
            return None
        queued, limit = self._intake.queued, self._batch_limit
        return self._redelivery.take(
            slave, lambda length: limit.size(slave, want, length + queued), others=self._intake.can_hand_out
        )

    def _new(self, slave: ConnectedSlave, want: Want) -> Batch | None:
        self._intake.settle_known()
        return self._intake.take(self._batch_limit.size(slave, want, self._intake.queued))

    def _trial(self, slave: ConnectedSlave, want: Want) -> Batch | None:
        """Return the one job that is to be tried now, if it is time for one."""
        if not self._outage.trial_is_due():
            return None
        one = want._replace(jobs=1, small=0, reason="one job is tried while everything fails")
        if self._outage.wants_fresh:
            batch = self._new(slave, one) or self._again(slave, one)
        else:
            batch = self._again(slave, one) or self._new(slave, one)
        if batch is not None:
            self._outage.tried_one()
        return batch
