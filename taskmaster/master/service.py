"""The service: what a slave can ask of the master, and how the broker's books follow.

Called by ``taskmaster.transport.server`` from a thread for each connection. Takes the master's lock
for the books only: pickling, keys and reprs, which run the user's code, happen outside it. Nothing
that a slave sends is trusted to be well-formed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskmaster import __version__
from taskmaster.django_orm.integration import project_facts
from taskmaster.errors import StateBusy
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease, Session, Stretch
from taskmaster.master.broker.watermark import settled_piece
from taskmaster.master.job_identity import Identity
from taskmaster.master.job_records import FailedJob
from taskmaster.master.pickling import MAX_JOB_BYTES, pickle_all, pickle_value, pickled
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.records import Records
from taskmaster.master.skew import Skew
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.model import (
    PROTOCOL,
    Answer,
    AnswerState,
    Failure,
    FailureKind,
    Report,
    ReportEnd,
    Want,
    WireBatch,
)
from taskmaster.runtime.backoff import pause_after
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.transport.frames import Pieces

__all__ = ["Service"]

logger = logging.getLogger(__name__)

ANSWER_BYTES = 16 * 1024 * 1024
"""No further batch goes into an answer that has this many bytes already."""

MAX_WORKERS = 4096
MAX_OFFERS = 100_000
PAGE = 200  # failed jobs,
PAGE_BYTES = 1024 * 1024  # and about so many characters of them, in one answer
PATIENCE = 0.1  # seconds that who asks for them is let wait for a checkpoint: nobody else is heard meanwhile
IDLE = (0.001, 0.05)  # seconds after which a slave that got nothing asks again: at first, and when it often got nothing
IDLE_EACH = 0.008  # of many such slaves, one asks every so many seconds: what they ask in vain costs the master little,
IDLE_MOST = 8.0  # and each of them asks at least this often
# Seconds after which a slave reports that has no other reason to: while others wait for what it
# holds, or soon may; and while much is queued: where all processors are busy, each word takes time
# from a job.
BUSY = (0.1, 0.5)
BUSY_EACH = 0.002  # but of many slaves, one every so many seconds


def _other_protocol(info: dict[str, Any]) -> str:
    theirs, spoken = str(info.get("version"))[:50], str(info.get("protocol"))[:50]
    return (
        f"It runs Taskmaster {theirs}, which speaks protocol {spoken}, and the master runs Taskmaster {__version__}, "
        f"which speaks protocol {PROTOCOL}. Install Taskmaster {__version__} on the slave's machine, or the slave's "
        "version on the master's."
    )


class Service:
    """The object that the server serves.

    Args:
        broker: the books.
        lock: guards them.
        identity: tells jobs apart.
        run: id of the run.
        incarnation: of this master.
        next_failed: an id for the first job that fails.
        took: called when jobs were handed out or reported: there may be room in the queue, or
            nothing left to do.
        status: gives what ``status()`` answers.
        failures: gives a page of the failed jobs, as ``Store.failed``.
        throttle: says whether jobs may be handed out now; None: always.
        checks: looks at each job before it is handed out for the first time.
        clock: monotonic seconds.
    """

    def __init__(  # noqa: PLR0913  # what the run is made of, each part once
        self,
        broker: Broker,
        lock: threading.Lock,
        identity: Identity,
        *,
        run: str,
        incarnation: str,
        next_failed: int = 1,
        took: Callable[[], None],
        status: Callable[[], dict[str, Any]],
        failures: Callable[[int, int, str | None, float], Sequence[FailedJob]] = lambda *_: (),
        throttle: Throttle | None = None,
        checks: JobChecks | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._lock = lock
        self._identity = identity
        self._run = run
        self._incarnation = incarnation
        self._took = took
        self._status = status
        self._failures = failures
        self._throttle = throttle or Throttle()
        self._checks = checks or JobChecks(identity)
        self._clock = clock
        self._records = Records(broker, identity, next_failed)
        self.over = False
        self.skew = Skew()

    # -- what slaves call --------------------------------------------------------------------------

    def hello(self, info: Any) -> dict[str, Any]:
        """A slave introduces itself; see the transport's description for what ``info`` holds."""
        if not isinstance(info, dict) or info.get("protocol") != PROTOCOL:
            return {"ok": False, "why": _other_protocol(info if isinstance(info, dict) else {})}
        session, name = info.get("session"), info.get("name")
        workers, slots = info.get("workers"), info.get("slots")
        texts = isinstance(session, str) and isinstance(name, str) and 0 < len(session) <= 64
        if not texts or type(workers) is not int or type(slots) is not int:
            return {"ok": False, "why": "The slave's hello lacks its session, name, workers or slots."}
        with self._lock:
            connected = {one.id for one in self._broker.sessions if one.closed is None}
        verdict = self.skew.look(info, str(name)[:200], connected)
        if verdict.refusal:
            return {"ok": False, "why": verdict.refusal}
        workers = min(max(1, workers), MAX_WORKERS)
        with self._lock:
            entered = Session(str(session), str(name)[:200], workers, max(1, slots), self._clock())
            self._broker.enter(entered, [token for token in info.get("held", ()) if isinstance(token, str)])
            taken = self._take_over(entered, info)
        return {
            "ok": True,
            "run": self._run,
            "incarnation": self._incarnation,
            "lease": self._broker.limits.lease,
            "job_timeout": self._broker.limits.job_timeout,
            "taken": taken,
            "warn": verdict.warning,
            "project": project_facts(),
        }

    def exchange(self, session: Any, reports: Any, want: Any) -> tuple[Any, ...]:
        """A slave says how its batches fare and asks for more; the answer never waits."""
        wish = Want.from_wire(want)
        with self._lock:
            known = self._broker.sessions.get(session)
            if known is not None:
                known.renewed = self._clock()
                known.closed = None  # a connection that was seen to end late was not its last one
        if known is None:
            return Answer(AnswerState.UNKNOWN).to_wire()
        stale = [report.token for report in map(Report.from_wire, reports) if not self._report(known, report)]
        if reports:
            self._took()
        if self.over:
            return Answer(AnswerState.OVER, stale=tuple(stale)).to_wire()
        lent: list[WireBatch] = []
        # One more batch after the last look fits into a frame, whatever its size; what is left is
        # asked for again.
        most = min(wish.batches, 2 * known.workers)
        while len(lent) < most and sum(len(batch.blob) for batch in lent) < ANSWER_BYTES:
            batch = self._lend(known, wish)
            if batch is None:
                break
            lent.append(batch)
        with self._lock:
            held = self._throttle.turn(wish, self._clock()) if wish.batches and not lent else 0.0
            if wish.batches and not lent and not held:
                self._broker.starve(known)
            answer = Answer(
                AnswerState.DRAIN if self._broker.draining else AnswerState.RUN,
                held or self._pause(known),
                tuple(lent),
                self._broker.recalls(known),
                tuple(stale),
                self._broker.tickets(known),
            )
        return answer.to_wire()

    def bye(self, session: Any) -> None:
        """A slave ends; what it holds goes back."""
        with self._lock:
            known = self._broker.sessions.get(session)
            if known is not None:
                self._broker.leave(known)

    def status(self) -> dict[str, Any]:
        """The run at this moment, as plain values."""
        return self._status()

    def failures(self, after: Any, kind: Any) -> list[tuple[Any, ...]] | None:
        """A page of the run's failed jobs, by their id: (id, key, job, attempts). The last
        checkpoint has them.

        Args:
            after: ids above this one.
            kind: only those that failed with this class of exception at last; None: all.

        Returns:
            Empty at the end; None while a checkpoint is being written: ask again.
        """
        if type(after) is not int or not 0 <= after < 2**62 or not (kind is None or isinstance(kind, str)):
            raise ValueError("failures(after, kind): an id and a class are expected")
        try:
            page = self._failures(after, PAGE, kind, PATIENCE)
        except StateBusy:
            return None
        found: list[tuple[Any, ...]] = []
        size = 0
        for job in page:
            if size > PAGE_BYTES:
                break
            size += len(job.job) + sum(len(a.message) + len(a.traceback) for a in job.attempts)
            found.append((job.id, job.key, job.job, [tuple(attempt) for attempt in job.attempts]))
        return found

    def closed(self, session: str) -> None:
        """A session's connection has ended; it has a short grace to come back."""
        with self._lock:
            known = self._broker.sessions.get(session)
            if known is not None:
                self._broker.close(known, self._clock())

    # -- what the master calls ---------------------------------------------------------------------

    def fail_doomed(self) -> None:
        """Write down as failed the jobs with which slave after slave was lost."""
        for stretch in self._broker.doomed:
            failed = self._records.lost(stretch)
            with self._lock:
                self._broker.fail(stretch, failed)

    # -- inside ------------------------------------------------------------------------------------

    def _take_over(self, session: Session, info: dict[str, Any]) -> list[tuple[str, int, str]]:
        """The leases of what the slave has been running since before this master was started."""
        taken: list[tuple[str, int, str]] = []
        if info.get("run") != self._run:
            return taken
        for offer in info.get("offers", ())[:MAX_OFFERS]:
            token, index, number = offer
            new = self._broker.reclaim(session, number) if type(number) is int else None
            if new is not None and isinstance(token, str) and type(index) is int:
                taken.append((token, index, new))
        return taken

    def _pause(self, session: Session) -> float:
        """When the slave asks again: soon if there may just be a gap in the queue, or if others
        wait for what it holds; seldom if there are many slaves.
        """
        sessions = self._broker.sessions
        unfed = len(sessions.unfed)
        if session.id not in sessions.unfed:
            # Another batch for every worker.
            plenty = not unfed and len(self._broker.queue) > sessions.workers * self._broker.batch
            return max(BUSY[plenty], BUSY_EACH * len(sessions))
        first, longest = IDLE
        most = min(IDLE_MOST, max(longest, IDLE_EACH * unfed))
        return pause_after(session.idle, first, most)

    def _report(self, session: Session, report: Report) -> bool:
        """Settle what the report says; False if its lease is no longer the slave's."""
        while True:
            with self._lock:
                lease = self._broker.holder(session, report.token)
                if lease is None:
                    return False
                settled = self._broker.newly_settled(lease, report)
            first, jobs = lease.stretch.first, lease.stretch.jobs
            pieces = []
            if first >= 0:
                text = self._identity.text
                whole = [(0, len(jobs))]
                pieces = [
                    settled_piece(first + start, jobs if settled == whole else jobs[start:end], text)
                    for start, end in settled
                ]
            tried = {f.index: self._records.tried(lease, f, session.name) for f in report.failures}
            if report.suspects:
                tried.update(self._records.suspects(lease, report, session.name))
            with self._lock:
                kept = lease.keep
                if self._broker.settle(lease, report, pieces, tried):
                    self._throttle.spend(lease.keep - kept)  # what was not begun
                    if report.end is ReportEnd.FINISHED and self._broker.plan.on and not report.failures:
                        keys = tuple(job.key for job in jobs[: report.keep])
                        if keys:
                            self._broker.plan.times.append((keys, report.seconds))
                    return True

    def _lend(self, session: Session, want: Want) -> WireBatch | None:
        """Hand out a batch, pickled; jobs that cannot be pickled fail here, one by one, until there
        is one that can.
        """
        while True:
            with self._lock:
                allowed = self._throttle.allow(want, self._clock())
                lease = self._broker.take(session, allowed) if allowed is not None else None
                if lease is None:
                    return None
                self._throttle.spend(lease.keep)
            self._broker.stalled_since = self._clock()  # from here on, the user's code runs, and nobody is heard
            self._took()  # now, so that the source is read while this is pickled and sent
            stretch = lease.stretch
            try:
                if self._refuses(stretch):
                    self._report(session, Report(lease.token, 0, end=ReportEnd.DROPPED))
                    return None
                blob = None if stretch.separate else self._pickle_together(stretch)
                if blob is None:
                    blob = self._pickle_apart(lease, session)
            except BaseException:
                self._report(session, Report(lease.token, 0, end=ReportEnd.DROPPED))
                raise
            finally:
                self._broker.stalled_since = None
            if blob is not None:
                avoid = stretch.worker if stretch.avoid == session.id else 0
                return WireBatch(lease.token, lease.keep, stretch.separate, stretch.alone, avoid, blob)

    def _refuses(self, stretch: Stretch) -> bool:
        """Whether a job of the batch has no key that can be stored: then none of it is run, and
        nothing more is handed out.
        """
        error = self._checks.look(stretch.first, stretch.jobs)
        if error is None:
            return False
        with self._lock:
            self._broker.refused = self._broker.draining = True
        self._checks.error = self._checks.error or error
        return True

    def _pickle_together(self, stretch: Stretch) -> Pieces | None:
        """One pickle of all payloads; None if one of them cannot be pickled, or together they are
        too large.
        """
        jobs = stretch.jobs
        try:
            blob = pickle_all(jobs)
        except BaseException:  # the user's __reduce__ may raise SystemExit
            stretch.separate = True
            return None
        per_job = len(blob) / len(jobs)
        with self._lock:
            known = self._broker.bytes_per_job
            self._broker.bytes_per_job = per_job if per_job > known else 0.7 * known + 0.3 * per_job
        if len(blob) > MAX_JOB_BYTES:
            stretch.separate = True
            return None
        return blob

    def _pickle_apart(self, lease: Lease, session: Session) -> Pieces | None:
        """A pickle for each job; those that cannot be sent fail, and what does not fit goes back.
        None if none is left.
        """
        stretch = lease.stretch
        blobs: list[bytes] = []
        failures: list[Failure] = []
        total = 0
        for index, job in enumerate(stretch.jobs):
            blob, failure = self._pickle_one(index, job)
            if failure is not None:
                failures.append(failure)
            elif total + len(blob) > MAX_JOB_BYTES and blobs:
                # An empty blob is never opened: the slave is told below that it does not hold these
                # jobs.
                break
            total += len(blob)
            blobs.append(blob)
        bad = tuple(failure.index for failure in failures)
        if failures or len(blobs) < len(stretch.jobs):
            self._report(session, Report(lease.token, 0, bad, tuple(failures), keep=len(blobs)))
        if failures:
            # Positions of a batch are fixed when it is sent: the good ones go back and come as a
            # batch without the bad.
            self._report(session, Report(lease.token, 0, end=ReportEnd.DROPPED))
            return None
        return pickle_value(blobs)

    def _pickle_one(self, index: int, job: Any) -> tuple[bytes, Failure | None]:
        try:
            blob = pickled(job)
        except BaseException as exc:
            return b"", Failure(
                index,
                type(exc).__qualname__,
                f"the job cannot be pickled: {exc}",
                users_traceback(exc),
                FailureKind.FINAL,
            )
        if len(blob) > MAX_JOB_BYTES:
            return b"", Failure(
                index,
                "JobTooLarge",
                f"the job is {len(blob):,} bytes when pickled, and at most {MAX_JOB_BYTES:,} are sent: yield a key "
                "or a file name, and let the callback fetch the rest",
                "",
                FailureKind.FINAL,
            )
        return blob, None
