"""How a run stands: what is shown while it goes on, and what it comes to.

It asks for keys, which runs the user's code: never under the master's lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from taskmaster import keys
from taskmaster.master.broker.broker import Broker
from taskmaster.master.completion import Completion
from taskmaster.master.condition import Condition
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.standing import Standing
from taskmaster.master.steer_service import SteerService
from taskmaster.master.summary import Summary
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.records import record
from taskmaster.runtime.log import clean_logger
from taskmaster.view.snapshot import RunState, Snapshot

__all__ = ["RunParts", "RunStatus"]

logger = clean_logger(__name__)


@record()
class RunParts:
    """What a run is made of, for what tells how it stands.

    Attributes:
        broker: Knows which job is where.
        lock: Guards the broker.
        reader: Says whether the source is waited for.
        source: Counts its jobs, where it can.
        throttle: Says why nothing is handed out.
        completion: Says which fraction of the work is settled.
        record: The run as it was at the start of this session.
        checks: Have checked the jobs, and give their keys.
        steers: What an operator has changed.
    """

    broker: Broker
    lock: threading.Lock
    reader: Reader
    source: Source
    throttle: Throttle
    completion: Completion
    record: RunRecord
    checks: JobChecks
    steers: SteerService


class RunStatus:
    """Makes snapshots of a run, and its summary.

    Args:
        parts: What the run is made of.
        target: What the user named, for display.
        total: How many jobs there are, if the user said so.
        facts: Gives what other parts know of why the run is no faster.

    Attributes:
        condition: What the run is doing, and why not more.
    """

    def __init__(self, parts: RunParts, *, target: str, total: int | None, facts: Callable[[], dict[str, Any]]) -> None:
        self._broker, self._lock = parts.broker, parts.lock
        self._reader, self._source = parts.reader, parts.source
        self._throttle, self._completion = parts.throttle, parts.completion
        self._checks, self._steers = parts.checks, parts.steers
        self._standing = Standing(parts.checks.identity)
        steering = parts.steers.steering
        self.condition = Condition(parts.broker, parts.throttle, parts.reader, parts.source, self._standing, steering)
        self._facts = facts
        self._record = parts.record
        self._target = target
        self._total = total
        self._counted = total is not None  # not estimated
        self._address = ""
        self._began = time.monotonic()

    @property
    def counted(self) -> int | None:
        """How many jobs there are, None where that is not known, or only estimated."""
        return self._total if self._counted else None

    @property
    def elapsed(self) -> float:
        """Seconds of this session."""
        return time.monotonic() - self._began

    def serves_at(self, address: str) -> None:
        """Note where slaves reach the run."""
        self._address = address

    def count_jobs(self) -> None:
        """Count the jobs, unless the user has said how many there are; this may take long."""
        self._reader.started_reading.wait()
        try:
            self._total = self._source.total()
            self._counted = self._source.counted
        except Exception:
            logger.exception("count_jobs failed; the progress is shown without a total")

    def snapshot(self, end: RunState | None = None) -> Snapshot:
        """Return the run at this moment, which is its end where one is named."""
        now = time.monotonic()
        with self._lock:
            counts = self._broker.counts()
            found = self.condition.observe(end, counts, now)
            settled = self._completion.settled
        facts = self._facts()
        reason, why = self.condition.explain(found, counts, now, facts)
        return Snapshot(
            run=self._record.id,
            target=self._target,
            state=found.state,
            reason=reason,
            elapsed=now - self._began,
            total=self._total,
            share=settled,
            share_here=max(0.0, (settled or 0.0) - self._completion.before),
            watermark=keys.show(counts.mark) if counts.mark is not None else "",
            address=self._address,
            why=str(why.code),
            why_sentence=why.sentence,
            cure=why.cure,
            why_since=round(time.time() - (now - self.condition.since), 3),
            working=self._steers.work_time.working(now),
            engine=self._steers.engine,
            rate_limit=self._throttle.rate,
            pace_searches=self._throttle.searches,
            most_job_seconds=facts.get("most_job_seconds") or 0.0,
            **counts.shown(),
            **self._standing.running(counts),
        )

    def summary(self, location: str) -> Summary:
        """Return the summary of the run as it would be if the run ended now.

        Args:
            location: the path of the state.
        """
        snapshot = self.snapshot()
        return Summary(
            run=self._record.id,
            exit_code=1 if self._checks.left_out else 3 if snapshot.failed else 0,
            settled=snapshot.settled,
            failed=snapshot.failed,
            settled_here=snapshot.settled_here,
            elapsed=snapshot.elapsed,
            state=location,
            left_out=self._checks.left_out,
            expected=self.counted,
        )
