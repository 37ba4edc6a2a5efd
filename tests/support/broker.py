"""A broker for tests, without a reader, a service or a slave."""

from __future__ import annotations

from collections.abc import Collection

from support.master import settle
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.run_record import RunRecord
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want


def broker_with(jobs: Collection[int], **limits: int) -> Broker:
    """A broker that has read some jobs."""
    broker = Broker("i", Limits(**limits))
    broker.intake.add(jobs)
    broker.batch_limit.note(1.0)
    return broker


def enter(broker: Broker, name: str = "s", workers: int = 2, held: Collection[str] = ()) -> ConnectedSlave:
    """A slave that has said hello."""
    session = ConnectedSlave(name, name, workers, workers, 0.0)
    broker.enter(session, held)
    return session


def take(broker: Broker, session: ConnectedSlave, count: int) -> Lease:
    """A batch that a slave takes."""
    lease = broker.take(session, Want(1, count))
    assert lease is not None
    return lease


def resumed(mark: str, parked: list[ParkedJob]) -> RunRecord:
    """A run with parked jobs."""
    return RunRecord("run", resumed=True, mark=mark, parked=parked)


def counted(broker: Broker) -> tuple[int, int, int, int]:
    """Settled, failed and waiting jobs, and the watermark."""
    counts = broker.counts()
    return counts.settled, counts.failed, counts.waiting, broker.watermark.low


# -- attempts --------------------------------------------------------------------------------------


def fail(broker: Broker, lease: Lease, kind: str = "error", after: float = -1.0) -> None:
    """The first job of the batch fails, the others go well."""
    count = len(lease.batch.jobs)
    failure = Failure(0, "E", "why", "", FailureKind(kind), after, 77)
    settle(broker, lease, Report(lease.token, count, failures=(failure,), end=ReportEnd.FINISHED))
