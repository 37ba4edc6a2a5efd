"""What the status of a run says beside its snapshot: clocks, rates, the source, the holder of the
watermark, the longest jobs, kinds of failure, settings.

Counted per report and per second; the rest is gathered when somebody looks. Nothing in it grows
with the run: texts and lists are cut, and the whole has at most ``MOST_STATUS_BYTES``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from taskmaster import keys
from taskmaster.master.broker.batches import BatchKind
from taskmaster.master.broker.counts import Counts
from taskmaster.master.broker.leases import Lease
from taskmaster.master.checkpointer import Checkpointer
from taskmaster.master.records.minute_row import HISTORY_COLUMNS
from taskmaster.master.reports import Reports
from taskmaster.master.run_status import RunParts
from taskmaster.master.tally.durations import upper_bound
from taskmaster.master.tally.history import HELD_NAMES
from taskmaster.master.tally.speeds import Speeds
from taskmaster.master.why import SLOW_SOURCE_SECONDS, WhyCode
from taskmaster.master.work_time import HELD_BY
from taskmaster.view.snapshot import FailedBy, Snapshot
from taskmaster.view.status import Rate, to_json

__all__ = ["MOST_STATUS_BYTES", "RunDetails"]

MOST_STATUS_BYTES = 64 * 1024  # largest status, as JSON
LONGEST_STATUS_TEXT = 300  # characters
LONGEST_COMMAND = 4000  # characters; one that is cut would be another command, and is left out
LONGEST_STATUS_TRACEBACK = 1000  # characters in a status: the end, which says what was raised
MOST_KINDS_ANSWERED = 20  # in a status, and in one answer of ``look("kinds")``
MOST_LONGEST = 10  # most jobs in the list of those that have run longest
LISTED_SECONDS = 1.0  # a job that has run for less is not listed: reports come twice a second
MOST_LEASES_EXAMINED = 1000  # the oldest leases, which have the jobs that have run for longest
LAST_BUCKET = 34  # of the histogram that is shown: five hours


class RunDetails:
    """Makes the parts of a status that are not in the snapshot.

    Args:
        parts: What the run is made of.
        checkpointer: Says how old the last checkpoint is.
        reports: Knows what slaves have done.
        refusals: Gives the number of slaves that were refused.
        incarnation: The incarnation of this master.
        resume: The command that resumes the run.

    Attributes:
        history: The run's numbers over time.
        rate: How fast the run was in the last ten seconds.
    """

    def __init__(
        self,
        parts: RunParts,
        *,
        checkpointer: Checkpointer,
        reports: Reports,
        refusals: Callable[[], int],
        incarnation: str,
        resume: str,
    ) -> None:
        self._broker, self._lock = parts.broker, parts.lock
        self._reader, self._throttle = parts.reader, parts.throttle
        self._steers, self._identity = parts.steers, parts.checks.identity
        self._record = record = parts.record
        self._checkpointer = checkpointer
        self._reports = reports
        self._refusals = refusals
        self._incarnation = incarnation
        self._resume = resume
        self._began, self._began_at = time.monotonic(), time.time()
        self._speeds = Speeds(self._began)
        self.history = parts.steers.history
        self.rate = Rate()
        self._busy_before = record.history[-1].values()[HISTORY_COLUMNS.index("busy")] if record.history else 0.0

    def tick(self, code: WhyCode) -> None:
        """Note the numbers of a second, once it has passed; under the lock.

        Args:
            code: What holds the run, or limits it.
        """
        now, settled = time.monotonic(), self._broker.settlement.settled + self._broker.replay.ended
        if not self._speeds.note(now, settled, self._read):
            return
        self.rate.add(now - self._began, settled, self._steers.work_time.working(now), limit=self._throttle.rate)
        counts, figures = self._broker.counts(), self._reports.figures
        self.history.add(
            (
                time.time(),
                counts.settled,
                counts.failed,
                counts.queued,
                counts.leased,
                counts.waiting,
                counts.parked,
                counts.workers,
                self._busy_before + figures.whole.seconds,
                figures.whole.quantile(0.95),
                HELD_NAMES.index(HELD_BY.get(code, "")),
                self._throttle.rate,
            )
        )

    # -- what clients look at ----------------------------------------------------------------------

    def status(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return the status of the run: the snapshot, and all that is beside it."""
        found = {**to_json(snapshot, self.rate), **self.beside(snapshot)}
        # Only texts that users have named can make it too long.
        for name in ("kinds", "settings", "longest"):
            if len(json.dumps(found)) <= MOST_STATUS_BYTES:
                break
            found[name] = _without_long_texts(found[name])
        return found

    def look_history(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``look("history")``: rows after ``since_seq`` of the ``span`` 10m, 6h or all."""
        span, since = arguments.get("span"), arguments.get("since_seq")
        with self._lock:
            page = self.history.page(span if isinstance(span, str) else "", since if type(since) is int else 0)
        return {"columns": list(HISTORY_COLUMNS), "held": list(HELD_NAMES), **page._asdict()}

    def look_kinds(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``look("kinds")``: the kinds of failure, the most frequent first."""
        after = arguments.get("after")
        with self._lock:
            kinds = self._reports.kinds
            found = kinds.top(MOST_KINDS_ANSWERED, after if type(after) is int else 0)
            rows = [one.describe(len(one.traceback)) for one in found]
            return {"rows": rows, "kinds": len(kinds), "others": kinds.others}

    def beside(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return what a status has beside the snapshot."""
        now = time.monotonic()
        with self._lock:
            counts, resting = self._broker.counts(), self._broker.slaves.resting
            holder, longest = self._holder(now), self._longest(now)
            kinds, others = self._reports.kinds.top(MOST_KINDS_ANSWERED), self._kinds_left_out()
            bytes_queued = int(self._broker.batch_limit.bytes_per_job * counts.queued)
            ended = self._broker.settlement
            settled = {"done": ended.done, "failed": ended.failures, "skipped": ended.skipped}
            steered = dict(self._steers.steering.applied)
            budget = ended.budget_used
        cpu, memory = _usage()
        return {
            **self._steers.describe(),
            "incarnation": self._incarnation,
            "seq": self.history.seq,
            "done": counts.settled - counts.failed - counts.skipped,
            "settled_by_outcome": settled,
            "retries": self._reports.attempts.retries,
            "attempts_failed": self._attempts_failed(),
            "clock": self._clock(now),
            "rates": self._rates(snapshot, now),
            "source": self._source(counts, now),
            "queue": {"now": counts.queued, "most": self._broker.limits.size, "bytes": bytes_queued},
            "span": {"now": self._broker.intake.span, "most": self._broker.intake.span_limit},
            "holder": None if holder is None else self._named(*holder),
            "watermark_age_seconds": round(self._checkpointer.watermark_age, 3),
            "checkpoint": self._checkpoint(),
            "job_seconds": self._job_seconds(),
            "longest": [self._named(*one) for one in longest],
            "kinds": [one.describe(LONGEST_STATUS_TRACEBACK) for one in kinds],
            "kinds_left_out": others,
            "budget": None if budget is None else {"used": round(budget[0], 4), "allows": budget[1]},
            "next_retry_seconds": None if counts.next_due is None else round(counts.next_due, 3),
            "settings": _cut_rows(self._steers.settings()),
            "resume": self._resume if len(self._resume) <= LONGEST_COMMAND else "",
            "slaves_lost": self._reports.figures.lost,
            "slaves_refused": self._refusals(),
            "workers_busy": min(counts.workers - resting, counts.leased),
            "guards": self._throttle.guards(),
            "pace": self._throttle.pace(),
            "steered": steered,
            "memory_bytes": memory,
            "cpu_seconds": cpu,
        }

    # -- its parts ---------------------------------------------------------------------------------

    @property
    def _read(self) -> int:
        return self._broker.intake.read + self._broker.intake.write_ahead.made

    def _attempts_failed(self) -> dict[str, int]:
        failed = {str(reason): count for reason, count in self._reports.attempts.failed.items()}
        failed[str(FailedBy.LOST)] += self._broker.redelivery.running_lost
        return failed

    def _kinds_left_out(self) -> int:
        return max(0, len(self._reports.kinds) - MOST_KINDS_ANSWERED)

    def _clock(self, now: float) -> dict[str, Any]:
        session = now - self._began
        return {
            "run_seconds": round(self._record.seconds + session, 3),
            "session_seconds": round(session, 3),
            "working_seconds": round(self._steers.work_time.working(now), 3),
            "held_seconds": {str(by): round(seconds, 3) for by, seconds in self._steers.work_time.held.items()},
            "started_at": round(self._record.started or self._began_at, 3),
            "session_at": round(self._began_at, 3),
        }

    def _rates(self, snapshot: Snapshot, now: float) -> dict[str, float]:
        working = self._steers.work_time.working(now)
        spans = {"10s": 10.0, "1m": 60.0, "10m": 600.0}
        return {
            **{name: round(self._speeds.settled(seconds), 3) for name, seconds in spans.items()},
            "session": round(snapshot.settled_here / max(now - self._began, 1e-3), 3),
            "working": round(snapshot.settled_here / max(working, 1e-3), 3),
        }

    def _source(self, counts: Counts, now: float) -> dict[str, Any]:
        intake, waits = self._broker.intake, self._reader.waits(now)
        skipped = self._reader.skipped
        if self._reader.error is not None:
            state = "failed"
        elif intake.exhausted:
            state = "ended"
        elif skipped is not None:
            state = "skipping"
        elif waits >= SLOW_SOURCE_SECONDS:
            state = "slow"
        else:
            # The reader reads again as soon as the queue is half empty.
            full = 2 * counts.queued >= self._broker.limits.size or intake.span >= intake.span_limit
            state = "full" if full else "reading"
        return {
            "state": state,
            "read": self._read,
            "rate": round(self._speeds.read(10.0), 3),
            "in_call_seconds": round(waits, 3),
            "skipped_to_resume": skipped,
        }

    def _checkpoint(self) -> dict[str, Any]:
        checkpointer = self._checkpointer
        return {
            "age_seconds": round(checkpointer.age, 3),
            "took_seconds": round(checkpointer.took, 6),
            "failing_seconds": round(checkpointer.failing_seconds, 3),
            "why": self._broker.paused[:LONGEST_STATUS_TEXT],
            "trail_saved": self._steers.steering.trail.saved,
        }

    def _job_seconds(self) -> dict[str, Any]:
        durations = self._reports.figures.whole
        with self._lock:
            counts, seconds, averaged = list(durations.counts), durations.seconds, durations.averaged
        found: dict[str, Any] = {}
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
            quantile = durations.quantile(share)
            found[name] = None if quantile is None else round(quantile, 9)
        total, buckets = 0, []
        for bucket, jobs in enumerate(counts):
            total += jobs
            if bucket % 2 == 0 and bucket <= LAST_BUCKET:
                buckets.append([upper_bound(bucket), total])
        return {
            **found,
            "longest": round(durations.longest, 9) if total else None,
            "count": total,
            "basis": "batches" if averaged else "jobs",
            "sum": round(seconds, 6),
            "buckets": buckets,
        }

    def _holder(self, now: float) -> tuple[Any, dict[str, Any]] | None:
        """Return the job that keeps the watermark, with what is known of it."""
        low = self._broker.watermark.low
        for lease in islice(self._broker.leases, MOST_LEASES_EXAMINED):
            batch = lease.batch
            if batch.kind is BatchKind.READ and batch.first <= low < batch.first + lease.keep:
                return batch.jobs[low - batch.first], self._of(lease, now)
        return None

    def _longest(self, now: float) -> list[tuple[Any, dict[str, Any]]]:
        """Return the jobs that have been running for longest, with what is known of them. A lease
        also has jobs that have not begun; its slave says which of them runs.
        """
        known = islice(self._broker.leases, MOST_LEASES_EXAMINED)
        leases = [lease for lease in known if lease.open and lease.worker]
        found = []
        for lease in sorted(leases, key=lambda lease: lease.moved)[:MOST_LONGEST]:
            if now - lease.moved < LISTED_SECONDS:
                break
            index = next(index for index in range(lease.upto, lease.keep) if index not in lease.extra)
            found.append((lease.batch.jobs[index], self._of(lease, now)))
        return found

    def _of(self, lease: Lease, now: float) -> dict[str, Any]:
        slave = self._broker.slaves.get(lease.slave)
        return {
            "seconds": round(max(0.0, now - lease.moved), 3),
            "slave": "" if slave is None else slave.name,
            "attempt": len(lease.batch.attempts) + 1,
        }

    def _named(self, job: Any, known: dict[str, Any]) -> dict[str, Any]:
        """Add the job's key; outside the lock, because that may run the user's code."""
        text = self._identity.text(job)
        return {"key": (self._identity.show(job) if text is None else keys.show(text))[:LONGEST_STATUS_TEXT], **known}


def _cut_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value[:LONGEST_STATUS_TEXT] if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]


def _without_long_texts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows whose texts are so short that they fit in any case."""
    short = 40
    return [{name: value[:short] if isinstance(value, str) else value for name, value in row.items()} for row in rows]


def _usage() -> tuple[float, int]:
    """Return the processor seconds that this process has used, and the bytes of its memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    try:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # the most that it was
    return round(used.ru_utime + used.ru_stime, 3), memory
