"""The way out: batches are pickled and handed to slaves, and slaves are told when to ask again.

Keys and pickling run the user's code, so they never happen under the master's lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.records.pickling import MAX_JOB_BYTES, TooLarge, pickle_all, pickle_value, pickled
from taskmaster.master.reports import Reports
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.model import BATCH_SECONDS, GATHERING_WORKERS, Failure, FailureKind, Report, ReportEnd, Want, WireBatch
from taskmaster.runtime.backoff import pause_after
from taskmaster.runtime.tracebacks import has_users_frame, reason, users_traceback
from taskmaster.transport.frames import SegmentedBytes

__all__ = ["Dispatch"]

ANSWER_BYTES = 16 * 1024 * 1024
"""No further batch goes into an answer that has this many bytes already."""

# Seconds after which a slave that got nothing asks again.
FIRST_IDLE_SECONDS = 0.001
LONGEST_IDLE_SECONDS = 0.05  # longest pause of a slave that has got nothing several times, while few do
IDLE_SPACING_SECONDS = 0.008  # between the requests of two idle slaves, so that many of them cost the master little
MOST_IDLE_SECONDS = 8.0  # longest pause of an idle slave, however many slaves there are

# Seconds after which a slave reports that has no other reason to.
REPORT_SECONDS = 0.1  # while other slaves wait for jobs that this one holds, or may soon wait
RELAXED_REPORT_SECONDS = 0.5  # while many jobs are queued: each message takes processor time from jobs
REPORT_SPACING_SECONDS = 0.002  # between the reports of two slaves, where there are many
NEWS_SECONDS = 1.0  # longest pause of a slave that waits for its turn under a rate, where there are few
NEWS_SPACING_SECONDS = 0.016  # between the requests of two such slaves, where there are many

# To take a batch back and to hand out another one costs the master 30 us of its one core in
# bundles, and 110 us one at a time.
BATCHES_A_SECOND = 8000  # as many as all workers should ask for, where slaves bundle
SINGLE_BATCHES_A_SECOND = 4000  # and where they do not
LONGEST_BATCH_SECONDS = 300.0

PICKLABLE = (
    "Let the source yield what can be: dict(row) or tuple(row) for a row, bytes(view) for a view, a path for an open "
    "file, or a key from which the callback fetches the rest"
)


class Dispatch:
    """Hands batches out.

    Args:
        broker: which job is where.
        lock: guards the broker.
        reports: takes what cannot be sent.
        took: called when jobs were handed out: there may be room in the queue.
        throttle: says whether jobs may be handed out now; None: always.
        checks: checks each job before it is handed out for the first time.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        broker: Broker,
        lock: threading.Lock,
        reports: Reports,
        *,
        took: Callable[[], None],
        checks: JobChecks,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._lock = lock
        self._reports = reports
        self._took = took
        self._throttle = throttle or Throttle()
        self._checks = checks
        self._clock = clock

    def batches(self, slave: ConnectedSlave, want: Want) -> tuple[WireBatch, ...]:
        """Hand out as many batches as there are, and at most as many as are wanted."""
        found: list[WireBatch] = []
        # One more batch after the last count fits into a frame, whatever its size; what is left is
        # asked for again.
        most, size = min(want.batches, 2 * slave.workers), 0
        while len(found) < most and size < ANSWER_BYTES:
            leases = self._lend(slave, want, most - len(found), ANSWER_BYTES - size)
            if not leases:
                break
            self._took()  # now, so that the source is read while these are pickled and sent
            try:
                while leases and size < ANSWER_BYTES:
                    if self._refuses(leases[0].batch):
                        return tuple(found)
                    batch = self._pickle(leases[0], slave)
                    del leases[0]
                    if batch is not None:
                        found.append(batch)
                        size += len(batch.blob)
            finally:
                # Something is wrong with the first of them, or they are larger than others were.
                for lease in reversed(leases):  # each goes to the head of the line, and is not counted by a rate
                    self._reports.take(slave, Report(lease.token, 0, keep=0, end=ReportEnd.DROPPED))
                self._broker.slaves.stalled(None)
        return tuple(found)

    def pause(self, slave: ConnectedSlave, want: Want, *, fed: bool) -> float:
        """Return when a slave is to ask or to report again, in seconds; under the lock.

        Soon if there may just be a gap in the queue, or if others wait for what it holds; seldom if
        there are many slaves.

        Args:
            slave: the slave.
            want: what it asked for.
            fed: whether it got a batch.
        """
        if want.batches and not fed:
            now = self._clock()
            held = self._throttle.poll_pause(want, now, slave.turn)
            if held:
                slave.turn = now + held
                # It keeps its turn, and learns soon that there is another rate.
                return min(held, max(NEWS_SECONDS, NEWS_SPACING_SECONDS * len(self._broker.slaves)))
            self._broker.recalls.starve(slave)
        slaves = self._broker.slaves
        unfed = len(slaves.unfed)
        if slave.id not in slaves.unfed:
            # Another batch for every worker.
            plenty = not unfed and self._broker.intake.queued > slaves.fed_workers * self._broker.batch_limit.last
            report = RELAXED_REPORT_SECONDS if plenty else REPORT_SECONDS
            return max(report, REPORT_SPACING_SECONDS * len(slaves))
        most = min(MOST_IDLE_SECONDS, max(LONGEST_IDLE_SECONDS, IDLE_SPACING_SECONDS * unfed))
        return pause_after(slave.idle, FIRST_IDLE_SECONDS, most)

    @property
    def rest(self) -> float:
        """How long workers rest after a batch now, in multiples of the time that it took."""
        return max(self._broker.limits.nice, self._throttle.rest)

    @property
    def work(self) -> float:
        """Seconds of work that a batch should be: the more workers there are, the longer."""
        slaves = self._broker.slaves
        bundled = slaves.workers >= GATHERING_WORKERS * len(slaves)
        most = BATCHES_A_SECOND if bundled else SINGLE_BATCHES_A_SECOND
        return min(LONGEST_BATCH_SECONDS, max(BATCH_SECONDS, slaves.fed_workers / most))

    def _lend(self, slave: ConnectedSlave, want: Want, most: int, left: int) -> list[Lease]:
        """Hand out batches, as many as are wanted, or as will probably fit into what is left of the
        answer, in bytes.
        """
        leases: list[Lease] = []
        broker, throttle = self._broker, self._throttle
        with self._lock:
            per_job = broker.batch_limit.bytes_per_job
            while len(leases) < most and left > 0:
                allowed = throttle.allow(want, self._clock())
                lease = broker.take(slave, allowed) if allowed is not None else None
                if lease is None:
                    break
                throttle.spend(lease.keep)
                broker.takeover.lent(slave, lease)
                leases.append(lease)
                left -= int(per_job * lease.keep) + 1
            if leases:
                # From here on, the user's code runs, and nobody is heard.
                broker.slaves.stalled(self._clock())
        return leases

    def _pickle(self, lease: Lease, slave: ConnectedSlave) -> WireBatch | None:
        """Return a batch as it is sent; jobs that cannot be pickled fail here, one by one, and
        there is nothing to send if the others went back.
        """
        batch = lease.batch
        blob = None if batch.separate else self._pickle_together(batch)
        if blob is None:
            blob = self._pickle_apart(lease, slave)
        if blob is None:
            return None
        avoid = batch.worker if batch.avoid == slave.id else 0
        return WireBatch(lease.token, lease.keep, batch.separate, batch.alone, avoid, blob)

    def _refuses(self, batch: Batch) -> bool:
        """Return whether a job of the batch has no key that can be stored: then none of it is run,
        and nothing more is handed out.
        """
        error = self._checks.check(batch.first, batch.jobs)
        if error is None:
            return False
        with self._lock:
            self._broker.refuse()
        self._checks.error = self._checks.error or error
        return True

    def _pickle_together(self, batch: Batch) -> bytes | SegmentedBytes | None:
        """Return one pickle of all payloads; None if one of them cannot be pickled, or together
        they are too large.
        """
        blob: bytes | SegmentedBytes | None = None
        size = MAX_JOB_BYTES
        try:
            blob = pickle_all(batch.jobs)
            size = len(blob)
        except TooLarge:
            pass
        except BaseException:  # the user's __reduce__ may raise SystemExit
            batch.separate = True
            return None
        with self._lock:
            self._broker.batch_limit.note(size / len(batch))
        batch.separate = batch.separate or blob is None
        return blob

    def _pickle_apart(self, lease: Lease, slave: ConnectedSlave) -> bytes | SegmentedBytes | None:
        """Return a pickle for each job; those that cannot be sent fail, and what does not fit goes
        back. None if none is left.
        """
        blobs: list[bytes] = []
        failures: list[Failure] = []
        total = 0
        for index, job in enumerate(lease.batch.jobs):
            blob, failure = _pickle_one(index, job)
            if failure is not None:
                failures.append(failure)
            elif total + len(blob) > MAX_JOB_BYTES and blobs:
                # An empty blob is never opened: the slave is told below that it does not hold these
                # jobs.
                break
            total += len(blob)
            blobs.append(blob)
        bad = tuple(failure.index for failure in failures)
        if failures or len(blobs) < len(lease.batch):
            self._reports.take(slave, Report(lease.token, 0, bad, tuple(failures), keep=len(blobs)))
        if failures:
            # Positions of a batch are fixed when it is sent: the good ones go back and come as a
            # batch without the bad.
            self._reports.take(slave, Report(lease.token, 0, end=ReportEnd.DROPPED))
            return None
        return pickle_value(blobs)


def _pickle_one(index: int, job: Any) -> tuple[bytes, Failure | None]:
    try:
        blob = pickled(job)
    except BaseException as exc:
        why = f"the job cannot be pickled: {reason(exc)}. {PICKLABLE}"
        traceback = users_traceback(exc) if has_users_frame(exc) else ""
        return b"", Failure(index, type(exc).__qualname__, why, traceback, FailureKind.FINAL)
    if len(blob) > MAX_JOB_BYTES:
        why = (
            f"the job is {len(blob):,} bytes when pickled, and at most {MAX_JOB_BYTES:,} are sent: yield a key or a "
            "file name, and let the callback fetch the rest"
        )
        return b"", Failure(index, "JobTooLarge", why, "", FailureKind.FINAL)
    return blob, None
