"""Take-over of parked jobs, which run for long or were parked before they were handed out: their
slaves are told a ticket, by which a restarted master recognises a job instead of starting it again.
"""

from __future__ import annotations

from taskmaster.master.broker.batches import BatchKind
from taskmaster.master.broker.leases import NO_INDICES, Lease, LeaseTable
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.model import Report

__all__ = ["Takeover"]

_ONLY_JOB = frozenset({0})
TRIED_BITS = 16  # of what a slave is given, below the ticket: how often the job had been tried before
TRIED_MASK = (1 << TRIED_BITS) - 1


class Takeover:
    """Names the tickets of parked jobs to their slaves, and takes over jobs by them.

    Args:
        leases: the batches that slaves have.
        parking: the parked jobs, by their tickets.
        redelivery: the jobs that this master has not handed out yet.
    """

    def __init__(self, leases: LeaseTable, parking: Parking, redelivery: Redelivery) -> None:
        self._leases = leases
        self._parking = parking
        self._redelivery = redelivery

    def lent(self, slave: ConnectedSlave, lease: Lease) -> None:
        """Have the job of a batch named in the answer that hands it out, if it is parked already.

        Of many jobs in a batch, none takes long, and to name them would take longer than to hand
        them out again.
        """
        batch = lease.batch
        if len(batch) == 1 and batch.first in self._parking and batch.kind is not BatchKind.REPLAYED:
            lease.long = _ONLY_JOB
            slave.long[lease.token] = None

    def note(self, lease: Lease, report: Report) -> None:
        """Have jobs parked that run for long, as the report says."""
        if not (lease.long or report.long) or lease.batch.kind is BatchKind.REPLAYED:
            return
        if self._leases.is_current(lease):
            lease.long = lease.long.union(report.long).intersection(lease.unended())
            slave = self._leases.holder(lease)
            if lease.long and slave is not None:
                slave.long[lease.token] = None
            for index in lease.long:
                self._parking.ask_running(lease.batch.first + index, lease.batch.jobs[index], lease.batch.attempts)

    def tickets(self, slave: ConnectedSlave) -> tuple[tuple[str, int, int], ...]:
        """Return what the slave is to show to the next master: token, index, and a number that
        names the job and its attempt. Each is returned once.
        """
        if not slave.long:
            return ()
        found: list[tuple[str, int, int]] = []
        for token in list(slave.long):
            lease = self._leases.held_as(slave, token)
            if lease is not None:
                tried = min(len(lease.batch.attempts), TRIED_MASK)
                tickets = ((index, self._parking.ticket(lease.batch.first + index)) for index in sorted(lease.long))
                named = [(index, ticket) for index, ticket in tickets if ticket is not None]
                found += [(token, index, ticket << TRIED_BITS | tried) for index, ticket in named]
                without = lease.long.difference(index for index, _ in named)
                lease.long = without or NO_INDICES  # one of each lease's own would be a fifth of its memory
            if lease is None or not lease.long:
                del slave.long[token]
        return tuple(found)

    def reclaim(self, slave: ConnectedSlave, number: int) -> str | None:
        """Let a slave go on with a job that it was given by an earlier master.

        A report may have been taken of which the slave has not heard: the attempt that failed then
        would count once more.

        Returns:
            The token of the new lease; None if the job has been settled, or handed out to somebody
                else, or if this attempt of it has failed.
        """
        position = self._parking.position_of(number >> TRIED_BITS)
        single = None if position is None else self._redelivery.cut_out(position, number & TRIED_MASK)
        return None if single is None else self._leases.lend(slave, single).token
