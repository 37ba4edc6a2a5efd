"""The connected slaves: their names and workers, what they hold, which have fallen silent, and
which are to get no more jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Any, NamedTuple

from taskmaster.master.broker.limits import Limits
from taskmaster.records import changing

__all__ = ["ConnectedSlave", "ConnectedSlaves", "Quieted"]

MOST_QUIETED = 1000  # beyond, those are forgotten that are not connected, the oldest first


class Quieted(NamedTuple):
    """What is remembered of a slave that gets nothing more, connected or not.

    Attributes:
        name: "host:pid", for people.
        ends: Whether it ends when it holds nothing.
        by: Who made it quiet, "" if that is not known.
        reason: Why.
    """

    name: str
    ends: bool
    by: str = ""
    reason: str = ""


@changing()
class ConnectedSlave:
    """A slave, from its first hello until it is lost or says goodbye.

    Attributes:
        id: random, chosen by the slave's process.
        name: "host:pid", for people.
        workers: its worker processes.
        slots: how many jobs it runs at once.
        renewed: when it was last heard of (master's monotonic clock).
        closed: when its last connection closed, None while one is open.
        connections: how many it has; two for a moment, when a new one comes before the old one is
            seen to end.
        leases: tokens of the batches in its hands.
        asked: tokens of the batches of which jobs are being asked back.
        long: tokens of the batches with a job for which it is to have a ticket, and has none yet.
        idle: how often in a row it has asked for work and got none.
        turn: when it is to ask again by what the throttle has told it last.
        quiet: Whether it gets nothing more, because an operator wants it so.
        ends: Whether it ends when it holds nothing, because an operator wants it so.
        recalled: Batches up to this number are asked back already, see ``Recalls``.
        told: What it was told of the limits, see ``Limits.told_slaves``.
    """

    id: str
    name: str
    workers: int
    slots: int
    renewed: float
    closed: float | None = None
    connections: int = 1
    leases: dict[str, None] = field(default_factory=dict)
    asked: dict[str, None] = field(default_factory=dict)
    long: dict[str, None] = field(default_factory=dict)
    idle: int = 0
    turn: float = 0.0
    quiet: bool = False
    ends: bool = False
    recalled: int = 0
    told: tuple[float | None, float] = (None, 0.0)

    @property
    def may_end(self) -> bool:
        """Whether it is to end now."""
        return self.ends and not self.leases


class ConnectedSlaves:
    """All connected slaves, with what has to be known of all of them for every batch.

    Args:
        limits: how long they may be silent, or without a connection.

    Attributes:
        workers: worker processes of all of them.
        slots: how many jobs they run at once.
        fed_workers: worker processes of the slaves that are given jobs, as quiet ones are not.
        fed_slots: how many jobs the slaves that are given jobs run at once.
        unfed: ids of those that asked for a batch and got none, until they get one.
        quieted: Those that get nothing more, by id. One that is lost and comes back is one of them
            still; one that says goodbye is forgotten.
    """

    def __init__(self, limits: Limits) -> None:
        self.workers = self.slots = self.fed_workers = self.fed_slots = 0
        self.unfed: set[str] = set()
        self.quieted: dict[str, Quieted] = {}
        self._limits = limits
        self._by_id: dict[str, ConnectedSlave] = {}
        self._away: set[str] = set()  # those without a connection
        self._ticked: float | None = None
        self._stalled_since: float | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[ConnectedSlave]:
        return iter(list(self._by_id.values()))

    def __getitem__(self, ident: str) -> ConnectedSlave:
        return self._by_id[ident]

    @property
    def connected(self) -> int:
        """How many have a connection; until the others are lost, they keep their batches."""
        return len(self._by_id) - len(self._away)

    def workers_of(self, name: str = "") -> int:
        """Return how many workers the slave with this name has; "": all slaves together."""
        return sum(slave.workers for slave in self if slave.name == name) if name else self.workers

    @property
    def resting(self) -> int:
        """How many of the worker processes are those of slaves that get nothing more, and hold
        nothing.
        """
        quiet = (self._by_id.get(ident) for ident in self.quieted)
        return sum(slave.workers for slave in quiet if slave is not None and not slave.leases)

    def is_connected(self, ident: str) -> bool:
        """Return whether a slave with this id has a connection."""
        return ident in self._by_id and ident not in self._away

    def get(self, ident: Any) -> ConnectedSlave | None:
        """Return the slave with this id, None if there is none."""
        return self._by_id.get(ident)

    def is_current(self, slave: ConnectedSlave) -> bool:
        """Return whether the slave has not said hello again meanwhile, over another connection."""
        return self._by_id.get(slave.id) is slave

    def add(self, slave: ConnectedSlave) -> None:
        """Add a slave; it takes the place of one with its id."""
        self.drop(slave.id)
        self._by_id[slave.id] = slave
        quieted = self.quieted.get(slave.id)
        slave.quiet, slave.ends = quieted is not None, quieted is not None and quieted.ends
        self._count(slave, 1)

    def drop(self, ident: str) -> None:
        """Remove a slave that has gone, if it is not removed already."""
        slave = self._by_id.pop(ident, None)
        self.unfed.discard(ident)
        self._away.discard(ident)
        if slave is not None:
            self._count(slave, -1)

    def silence(self, ident: str, quieted: Quieted | None) -> None:
        """Give a slave nothing more, also when it comes back after it was lost; None: give it jobs
        again.
        """
        self.quieted.pop(ident, None)
        if quieted is not None:
            self.quieted[ident] = quieted
        slave = self._by_id.get(ident)
        if slave is not None:
            self._count(slave, -1)
            slave.quiet, slave.ends = quieted is not None, quieted is not None and quieted.ends
            self._count(slave, 1)
        if len(self.quieted) > MOST_QUIETED:
            absent = next((known for known in self.quieted if known not in self._by_id), None)
            self.quieted.pop(absent or "", None)

    def _count(self, slave: ConnectedSlave, sign: int) -> None:
        self.workers += sign * slave.workers
        self.slots += sign * slave.slots
        if not slave.quiet:
            self.fed_workers += sign * slave.workers
            self.fed_slots += sign * slave.slots

    # -- silence -----------------------------------------------------------------------------------

    def heard(self, ident: Any, now: float) -> ConnectedSlave | None:
        """Note that a slave has said something; None if it is not known."""
        slave = self._by_id.get(ident)
        if slave is not None:
            slave.renewed = now
            if slave.closed is not None:
                slave.closed = None  # a connection that was seen to end late was not its last one
                self._away.discard(slave.id)
        return slave

    def closed(self, ident: Any, now: float) -> None:
        """Note that a connection of a slave has ended; it may have another already."""
        slave = self._by_id.get(ident)
        if slave is not None:
            slave.connections -= 1
            if slave.connections <= 0:
                slave.closed = now
                self._away.add(slave.id)

    def stalled(self, since: float | None) -> None:
        """Note that no slave is heard from now on, because the user's code runs in the thread that
        hears them; or, with None, that they are heard again.
        """
        self._stalled_since = since

    def tick(self, now: float) -> list[ConnectedSlave]:
        """Return the slaves that have been silent, or without a connection, for too long."""
        longest = max(1.0, self._limits.lease / 10)
        stood_still = any(since is not None and now - since > longest for since in (self._ticked, self._stalled_since))
        self._ticked = now
        if stood_still:
            # The silence may be ours: what the slaves sent meanwhile waits in the sockets.
            for slave in self._by_id.values():
                slave.renewed = now
                slave.closed = now if slave.closed is not None else None
        return [slave for slave in self._by_id.values() if self._is_gone(slave, now)]

    def _is_gone(self, slave: ConnectedSlave, now: float) -> bool:
        silent = now - slave.renewed > self._limits.lease
        return silent or (slave.closed is not None and now - slave.closed > self._limits.lease_grace)
