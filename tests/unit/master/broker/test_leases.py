"""Which report speaks for a batch: only that of the newest lease of its jobs."""

from __future__ import annotations

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.model import Want


def lent(broker: Broker, slave: ConnectedSlave) -> Lease:
    """Let a slave have a batch."""
    lease = broker.take(slave, Want(1, 5))
    assert lease is not None
    return lease


def entered(broker: Broker, name: str) -> ConnectedSlave:
    """Let a slave come in."""
    slave = ConnectedSlave(name, name, 1, 1, 0.0)
    broker.enter(slave, ())
    return slave


def broker_with(number: int) -> Broker:
    """A broker with jobs in its queue."""
    broker = Broker("i", Limits())
    broker.intake.add(range(number))
    broker.batch_limit.note(1.0)
    return broker


def test_a_report_of_an_old_lease_does_not_count() -> None:
    """When the jobs of a lost slave were handed out again, its token speaks for none of them."""
    broker = broker_with(5)
    lost, other = entered(broker, "lost"), entered(broker, "other")
    old = lent(broker, lost)
    broker.redelivery.lose(lost)
    new = lent(broker, other)

    assert broker.leases.held_as(lost, old.token) is None
    assert not broker.leases.is_current(old)
    assert broker.leases.held_as(other, new.token) is new


def test_a_report_counts_for_the_slave_s_own_leases_alone() -> None:
    """Another slave's token, and one that nobody was given, speak for nothing."""
    broker = broker_with(20)
    one, other = entered(broker, "one"), entered(broker, "other")
    theirs = lent(broker, one)

    assert broker.leases.held_as(one, theirs.token) is theirs
    assert broker.leases.held_as(other, theirs.token) is None
    assert broker.leases.held_as(one, "i-99") is None


def test_no_token_is_used_twice() -> None:
    """Not even when a lease has ended."""
    broker = broker_with(50)
    slave = entered(broker, "s")
    tokens = []
    for _ in range(5):
        lease = lent(broker, slave)
        tokens.append(lease.token)
        broker.leases.close(lease)

    assert len(set(tokens)) == 5
