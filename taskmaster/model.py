"""The frozen values that travel between the parts of Taskmaster.

``Job`` comes from the user's source. ``Report`` and ``Answer`` cross the wire as plain tuples
(``to_wire`` and ``from_wire``): a slave's supervisor and the master exchange nothing but None,
bool, int, float, str, bytes, tuple, list and dict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from taskmaster.job_times import MOST_SECONDS, NO_TIMES, JobTimes

__all__ = [
    "BATCH_SECONDS",
    "GATHERING_WORKERS",
    "LONG_JOB_SECONDS",
    "MAX_BATCH",
    "PROTOCOL",
    "Answer",
    "AnswerState",
    "Failure",
    "FailureKind",
    "Job",
    "Report",
    "ReportEnd",
    "Want",
    "WireBatch",
]

PROTOCOL = 6
"""Version of what ``hello`` and ``exchange`` carry; master and slave must agree."""

MAX_BATCH = 32_768
"""Most jobs in a batch: the size of a worker's table of running jobs."""

BATCH_SECONDS = 0.5
"""How much work a batch should be, unless the master says more, for its many workers."""

GATHERING_WORKERS = 8
"""Worker processes from which on a slave asks for several batches at once, as long as none of them
is idle, or the fleet is very large.
"""

LONG_JOB_SECONDS = 3.0
"""After which a slave says which worker a job runs in; a restarted master takes such a job over."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job whose key is given apart from what the callback gets.

    Args:
        key: Identifies the job; what ``get_jobs`` is given as ``last`` when the run is resumed
            after it.
        payload: What the callback is called with.

    Example::

        def get_jobs(last=0):
            for row in rows_after(last):
                yield Job(key=row["id"], payload=row)
    """

    key: Any
    payload: Any = None


class FailureKind(StrEnum):
    """What the end of an execution says about its job."""

    ERROR = "error"
    """An exception like any other: the job is tried again while attempts are left."""
    FINAL = "final"
    """An exception that is not worth another attempt."""
    RETRY = "retry"
    """The callback asks for another attempt (``Retry``)."""
    SKIP = "skip"
    """The callback leaves the job out (``Skip``)."""
    ABORT = "abort"
    """The callback wants the run to stop (``Abort``)."""
    TIMEOUT = "timeout"
    """The job was cancelled because it took too long."""


class Failure(NamedTuple):
    """One execution of the job at ``index`` of its batch that did not end well; texts are capped by
    the worker.

    Attributes:
        index: The index of the job in its batch.
        type: The exception's class.
        message: What it said.
        traceback: The traceback of the user's code.
        kind: What it says about the job.
        after: Seconds that the callback asks to wait before the next attempt, -1 if it does not
            say.
        worker: Process id of the worker.
    """

    index: int  # type: ignore[assignment]  # a field, not the tuple method that nobody calls here
    type: str
    message: str
    traceback: str
    kind: FailureKind = FailureKind.ERROR
    after: float = -1.0
    worker: int = 0

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as plain values."""
        return (*self[:4], str(self.kind), *self[5:])

    @classmethod
    def from_wire(cls, value: Any) -> Failure:
        """Check and rebuild what ``to_wire`` gave; the sender is not trusted.

        Raises:
            ValueError: The value is not a failure.
        """
        try:
            index, type_, message, traceback, kind, after, worker = value
        except (TypeError, ValueError) as exc:
            raise ValueError(f"not a failure: {exc}") from None
        if not all(type(text) is str for text in (type_, message, traceback, kind)):
            raise ValueError("not a failure: a text is expected where something else came")
        if kind not in _FAILURE_KINDS or type(after) is not float or type(worker) is not int:
            raise ValueError("not a failure: it is of no known kind")
        if type(index) is not int or not 0 <= index <= MAX_BATCH:
            raise ValueError(f"not a failure: an index is not between 0 and {MAX_BATCH}")
        if not -1.0 <= after < math.inf:
            raise ValueError(f"not a failure: a job cannot wait for {after} s")
        return cls(index, type_, message, traceback, _FAILURE_KINDS[kind], after, worker)


class ReportEnd(StrEnum):
    """How a batch ended in a slave's hands."""

    OPEN = ""
    """It has not: the batch is being worked on."""
    FINISHED = "finished"
    """The worker has done all that the slave keeps: ``upto == keep``."""
    CRASHED = "crashed"
    """The worker died: ``suspects`` were running, the other jobs go back without blame."""
    LOST = "lost"
    """All workers of the slave were killed at once: ``suspects`` were running, in ``beside`` of its
    batches. None of them is charged, unless it keeps happening while nothing else runs there.
    """
    TIMEOUT = "timeout"
    """The worker was killed because the suspect took too long."""
    RAISED = "raised"
    """The one call that was given all the suspects raised: ``failures`` has what, at the first."""
    UNREADABLE = "unreadable"
    """The worker could not unpickle the batch as a whole: all goes back, to be sent job by job."""
    DROPPED = "dropped"
    """The slave gives back all that has not ended, without blame."""


class Report(NamedTuple):
    """What a slave says of one batch. Reports are cumulative: saying the same twice changes
    nothing.

    Attributes:
        token: Names the lease.
        upto: Every job of the batch before this index has ended.
        extra: Indices at or above ``upto`` that have ended too (several jobs at once in a worker).
        failures: Those of the ended jobs that failed; the others are done. A failure is repeated in
            later reports of the lease or not, as the slave likes.
        keep: The slave works on the jobs before this index only; the rest was not started and goes
            back.
        end: How the batch ended, if it has.
        suspects: Indices that were running when the worker died, or that were given to the call.
        detail: How the worker died, as text ("crashed by SIGSEGV").
        together: Whether the suspects were given to one call.
        long: Indices of jobs that have been running long enough to be worth taking over by a master
            that is restarted.
        seconds: What the worker took for the batch, where it has finished.
        worker: Process id of the worker in which a job has been running for long; 0 if none has.
        beside: In how many of the slave's batches jobs were running when all its workers were
            killed at once, this one included; 0 otherwise.
        times: How long each of its jobs took, where the worker has measured that.
    """

    token: str
    upto: int
    extra: tuple[int, ...] = ()
    failures: tuple[Failure, ...] = ()
    keep: int = MAX_BATCH
    end: ReportEnd = ReportEnd.OPEN
    suspects: tuple[int, ...] = ()
    detail: str = ""
    together: bool = False
    long: tuple[int, ...] = ()
    seconds: float = 0.0
    worker: int = 0
    beside: int = 0
    times: JobTimes = NO_TIMES

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as plain tuples."""
        return (
            self.token,
            self.upto,
            tuple(self.extra),
            tuple(failure.to_wire() for failure in self.failures),
            self.keep,
            str(self.end),
            tuple(self.suspects),
            self.detail,
            self.together,
            tuple(self.long),
            self.seconds,
            self.worker,
            self.beside,
            self.times.to_wire(),
        )

    @classmethod
    def from_wire(cls, value: Any) -> Report:
        """Check and rebuild what ``to_wire`` gave; the sender is not trusted.

        Raises:
            ValueError: The value is not a report.
        """
        try:
            token, upto, extra, failures, keep, end, suspects, detail, together, long, *more = value
            seconds, worker, beside, times = more
            if not (type(token) is type(detail) is type(end) is str) or end not in _ENDS:
                raise ValueError("a text is expected where something else came")
            if type(worker) is not int or type(seconds) not in (int, float):
                raise ValueError("a number is expected where something else came")
            report = cls(
                token,
                upto,
                tuple(extra),
                tuple(map(Failure.from_wire, failures)) if failures != () else (),
                keep,
                _ENDS[end],
                tuple(suspects),
                detail[:LONGEST_DETAIL],
                bool(together),
                tuple(long),
                float(seconds),
                worker,
                beside,
                JobTimes.from_wire(times) if times else NO_TIMES,
            )
        except (TypeError, ValueError, OverflowError) as exc:
            raise ValueError(f"not a report: {exc}") from None
        numbers = (upto, keep, beside, *report.extra, *report.suspects, *report.long)
        for number in numbers:
            if type(number) is not int or not 0 <= number <= MAX_BATCH:
                raise ValueError(f"not a report: a number is not between 0 and {MAX_BATCH}")
        if not 0.0 <= report.seconds < MOST_SECONDS:
            raise ValueError("not a report: it took no time that there is")
        return report


LONGEST_DETAIL = 1000  # characters of how a worker died
_FAILURE_KINDS = {str(kind): kind for kind in FailureKind}
_ENDS = {str(end): end for end in ReportEnd}  # to call the class would take three times as long


class WireBatch(NamedTuple):
    """A batch on its way to a slave.

    Attributes:
        token: Names the lease in reports.
        count: How many jobs.
        separate: whether ``blob`` is a pickled list of bytes, one pickle a job, instead of one
            pickled list of jobs.
        alone: Whether to run nothing else in the same worker meanwhile.
        avoid: Process id of a worker that should not get it if there is another, 0 if any may.
        blob: The pickled jobs, which only the worker process opens: bytes, or what the transport
            uses instead of bytes.
    """

    token: str
    count: int  # type: ignore[assignment]  # a field, not the tuple method that nobody calls here
    separate: bool
    alone: bool
    avoid: int
    blob: Any


class Want(NamedTuple):
    """What a slave asks for.

    Attributes:
        batches: How many its workers can take now.
        jobs: Most jobs in each.
        small: So few jobs are done so soon that sharing them out among slaves is not worth its
            cost.
        reason: Why it wants no larger ones, for people.
    """

    batches: int
    jobs: int
    small: int = 0
    reason: str = ""

    @classmethod
    def from_wire(cls, value: Any) -> Want:
        """Check and rebuild what was sent; the sender is not trusted.

        Raises:
            ValueError: The value asks for nothing that there is.
        """
        try:
            batches, jobs, small, reason = value
        except (TypeError, ValueError) as exc:
            raise ValueError(f"not a wish: {exc}") from None
        if not (type(batches) is type(jobs) is type(small) is int and type(reason) is str):
            raise ValueError("not a wish: a number or a text is expected where something else came")
        return cls(batches, jobs, small, reason[:100])


class AnswerState(StrEnum):
    """What a slave is to do."""

    RUN = "run"
    """Go on."""
    DRAIN = "drain"
    """Hand back what is not started, let what is running end, report it and go on asking."""
    OVER = "over"
    """Nothing is left: end."""
    LEAVE = "leave"
    """An operator wants it to get nothing more: end, although the run goes on."""
    UNKNOWN = "unknown"
    """This master does not know the slave: say hello again."""


class Answer(NamedTuple):
    """What the master says to an exchange.

    Attributes:
        state: What the slave is to do.
        pause: Seconds after which the slave asks again if it has asked for batches and got none, or
            else reports again if it has no reason to do so earlier.
        batches: The batches that are handed out, at most as many as were asked for.
        recalls: (token, keep): jobs of that lease from index ``keep`` on are wanted back if not
            started.
        stale: Tokens whose leases are no longer the slave's: what has not started of them is not
            started any more, and what comes of the rest is not reported.
        tickets: (token, index, number): that job is parked, and the number names it. A slave that
            still has it when the master is restarted shows this to the new one.
        rest: How long a worker rests after a batch from now on, in multiples of the time that the
            batch took.
        work: Seconds of work that a batch should be.
    """

    state: AnswerState
    pause: float = 0.5
    batches: tuple[WireBatch, ...] = ()
    recalls: tuple[tuple[str, int], ...] = ()
    stale: tuple[str, ...] = ()
    tickets: tuple[tuple[str, int, int], ...] = ()
    rest: float = 0.0
    work: float = BATCH_SECONDS

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as plain tuples."""
        return (
            str(self.state),
            self.pause,
            tuple(map(tuple, self.batches)),
            tuple(self.recalls),
            tuple(self.stale),
            tuple(self.tickets),
            self.rest,
            self.work,
        )

    @classmethod
    def from_wire(cls, value: Any) -> Answer:
        """Rebuild what ``to_wire`` gave.

        Raises:
            ValueError: The value is not an answer.
        """
        try:
            state, pause, batches, recalls, stale, tickets, rest, work = value
            return cls(
                AnswerState(state),
                float(pause),
                tuple(WireBatch(*batch) for batch in batches),
                tuple((str(token), int(keep)) for token, keep in recalls),
                tuple(str(token) for token in stale),
                tuple((str(token), int(index), int(number)) for token, index, number in tickets),
                float(rest),
                float(work),
            )
        except (TypeError, ValueError, OverflowError) as exc:
            raise ValueError(f"not an answer: {exc}") from None
