"""The master's parts put together as a run does, and what it does with a report, in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from taskmaster.master.broker.batches import BatchKind
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.verdicts import Tried
from taskmaster.master.broker.watermark import settled_range
from taskmaster.master.dispatch import Dispatch
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.reports import Reports
from taskmaster.master.service import Service
from taskmaster.master.skew import Skew
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.model import Failure, FailureKind, Report

__all__ = ["Master", "settle"]


class Master:
    """The service of a broker, with what it needs."""

    def __init__(
        self,
        broker: Broker,
        identity: JobIdentity | None = None,
        *,
        lock: threading.Lock | None = None,
        next_failed: int = 1,
        throttle: Throttle | None = None,
        skew: Skew | None = None,
        checks: JobChecks | None = None,
        clock: Callable[[], float] | None = None,
        **about: Any,
    ) -> None:
        identity, lock = identity or JobIdentity(), lock or threading.Lock()
        timed = {} if clock is None else {"clock": clock}
        took = about.pop("took", lambda: None)
        self.broker = broker
        self.reports = Reports(broker, lock, identity, next_failed, throttle)
        self.dispatch = Dispatch(
            broker, lock, self.reports, took=took, checks=checks or JobChecks(identity), throttle=throttle, **timed
        )
        settings = {"run": "r", "incarnation": "i", "status": dict, **about}
        self.service = Service(broker, lock, self.dispatch, self.reports, took=took, skew=skew, **settings, **timed)


def settle(
    broker: Broker,
    lease: Lease,
    report: Report,
    text_of: Callable[[Any], str | None] = repr,
    payload: bytes = b"",
) -> bool:
    """Prepare, fill in and apply a report, as the service does; give whether it was applied."""
    prepared = broker.prepare(broker.slaves[lease.slave], report)
    if prepared is None:
        return False
    batch = lease.batch
    read = batch.kind is BatchKind.READ
    ranges = [settled_range(batch.first + a, batch.jobs[a:b], text_of) for a, b in prepared.settled if read]
    failures = {index: failure for index, (failure, _) in prepared.verdicts.items()}
    if prepared.fault is not None:
        failures.update(dict.fromkeys(prepared.suspects, prepared.fault))
    tried = {index: _tried(batch.jobs[index], failure, payload) for index, failure in failures.items()}
    return broker.apply(prepared._replace(ranges=ranges, tried=tried))


def _tried(job: Any, failure: Failure, payload: bytes) -> Tried:
    crash = failure.kind is FailureKind.TIMEOUT
    attempt = Attempt(0.0, "s", failure.type, failure.message, failure.traceback, crash)
    return Tried(attempt, failure, FailedJob(1, str(job), str(job), payload, (attempt,)))
