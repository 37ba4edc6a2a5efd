"""The frozen values that travel between the parts of Taskmaster.

``Job`` comes from the user's source. ``Report`` and ``Answer`` cross the wire as plain tuples
(``to_wire`` and ``from_wire``): a slave's supervisor and the master exchange nothing but None,
bool, int, float, str, bytes, tuple, list and dict. ``Snapshot`` is what every view reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["PROTOCOL", "Answer", "Failure", "Job", "Lent", "Report", "Snapshot", "Want"]

PROTOCOL = 3
"""Version of what ``hello`` and ``exchange`` carry; master and slave must agree."""

MAX_BATCH = 32_768
"""Most jobs in a batch: the size of a worker's table of running jobs."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job whose key is given apart from what the callback gets.

    Args:
        key: identifies the job; what ``get_jobs`` is given as ``last`` when the run is resumed
            after it.
        payload: what the callback is called with.

    Example::

        def get_jobs(last=0):
            for row in rows_after(last):
                yield Job(key=row["id"], payload=row)
    """

    key: Any
    payload: Any = None


KINDS = ("error", "final", "retry", "skip", "abort", "timeout")


class Failure(NamedTuple):
    """One execution of the job at ``index`` of its batch that did not end well; texts are capped by
    the worker.

    Attributes:
        index: of the job in its batch.
        type: the exception's class.
        message: what it said.
        traceback: of the user's code.
        kind: "error": an exception like any other; "final": one that is not worth another attempt;
            "retry": the callback asks for one (``Retry``); "skip": it leaves the job out
            (``Skip``); "abort": it wants the run to stop (``Abort``); "timeout": the job was
            cancelled because it took too long.
        after: seconds that the callback asks to wait before the next attempt, -1 if it does not
            say.
        worker: process id of the worker.
    """

    index: int  # type: ignore[assignment]  # a field, not the tuple method that nobody calls here
    type: str
    message: str
    traceback: str
    kind: str = "error"
    after: float = -1.0
    worker: int = 0


class Report(NamedTuple):
    """What a slave says of one batch. Reports are cumulative: saying the same twice changes
    nothing.

    Attributes:
        token: names the lease.
        upto: every job of the batch before this index has ended.
        extra: indices at or above ``upto`` that have ended too (several jobs at once in a worker).
        failures: those of the ended jobs that failed; the others are done. A failure is repeated in
            later reports of the lease or not, as the slave likes.
        keep: the slave works on the jobs before this index only; the rest was not started and goes
            back.
        end: "" while the batch is being worked on; "finished" when ``upto == keep``; "crashed" when
            the worker died: ``suspects`` are the indices that were running, the other jobs go back
            without blame; "timeout" when it was killed because the suspect took too long; "raised"
            when the one call that was given all the suspects raised: ``failures`` has what, at the
            first of them; "unreadable" when the worker could not unpickle the batch as a whole: all
            goes back, to be sent job by job; "dropped" when the slave gives back all that has not
            ended, without blame.
        suspects: indices that were running when the worker died, or that were given to the call.
        detail: how the worker died, as text ("crashed by SIGSEGV").
        together: the suspects were given to one call.
        long: indices that have been running for so long that they are worth taking over by a master
            that is restarted.
        seconds: what the worker took for the batch, where it has finished.
    """

    token: str
    upto: int
    extra: tuple[int, ...] = ()
    failures: tuple[Failure, ...] = ()
    keep: int = MAX_BATCH
    end: str = ""
    suspects: tuple[int, ...] = ()
    detail: str = ""
    together: bool = False
    long: tuple[int, ...] = ()
    seconds: float = 0.0

    def to_wire(self) -> tuple[Any, ...]:
        """As plain tuples."""
        return (
            self.token,
            self.upto,
            tuple(self.extra),
            tuple(tuple(failure) for failure in self.failures),
            self.keep,
            self.end,
            tuple(self.suspects),
            self.detail,
            self.together,
            tuple(self.long),
            self.seconds,
        )

    @classmethod
    def from_wire(cls, value: Any) -> Report:
        """Check and rebuild what ``to_wire`` gave; the sender is not trusted.

        Raises:
            ValueError: the value is not a report.
        """
        try:
            token, upto, extra, failures, keep, end, suspects, detail, together, long, seconds = value
            report = cls(
                token,
                upto,
                tuple(extra),
                tuple(Failure(*failure) for failure in failures),
                keep,
                end,
                tuple(suspects),
                detail,
                bool(together),
                tuple(long),
                float(seconds),
            )
        except (TypeError, ValueError, OverflowError) as exc:
            raise ValueError(f"not a report: {exc}") from None
        texts = [report.token, report.end, report.detail]
        numbers = [report.upto, report.keep, *report.extra, *report.suspects, *report.long]
        for failure in report.failures:
            numbers.append(failure.index)
            texts += [failure.type, failure.message, failure.traceback]
            if failure.kind not in KINDS or type(failure.after) is not float or type(failure.worker) is not int:
                raise ValueError("not a report: a failure is of no known kind")
            if not -1.0 <= failure.after < math.inf:
                raise ValueError(f"not a report: a job cannot wait for {failure.after} s")
        if not all(type(text) is str for text in texts):
            raise ValueError("not a report: a text is expected where something else came")
        if not all(type(number) is int and 0 <= number <= MAX_BATCH for number in numbers):
            raise ValueError(f"not a report: a number is not between 0 and {MAX_BATCH}")
        if not 0.0 <= report.seconds < math.inf:
            raise ValueError("not a report: it took no time that there is")
        if report.end not in ("", "finished", "crashed", "unreadable", "dropped", "timeout", "raised"):
            raise ValueError(f"not a report: unknown end {report.end!r}")
        return report


class Lent(NamedTuple):
    """A batch on its way to a slave.

    Attributes:
        token: names the lease in reports.
        count: how many jobs.
        separate: ``blob`` is a pickled list of bytes, one pickle a job, instead of one pickled list
            of jobs.
        alone: run nothing else in the same worker meanwhile.
        avoid: process id of a worker that should not get it if there is another, 0 if any may.
        blob: opened by the worker process alone: bytes, or whatever the transport takes or gives in
            their place.
    """

    token: str
    count: int  # type: ignore[assignment]  # likewise
    separate: bool
    alone: bool
    avoid: int
    blob: Any


class Want(NamedTuple):
    """What a slave asks for.

    Attributes:
        batches: how many its workers can take now.
        jobs: most jobs in each.
        small: so few jobs are done so soon that sharing them out among slaves is not worth its
            cost.
        reason: why it wants no larger ones, for people.
    """

    batches: int
    jobs: int
    small: int = 0
    reason: str = ""

    @classmethod
    def from_wire(cls, value: Any) -> Want:
        """Check and rebuild what was sent; the sender is not trusted.

        Raises:
            ValueError: the value asks for nothing that there is.
        """
        try:
            batches, jobs, small, reason = value
            return cls(int(batches), int(jobs), int(small), str(reason)[:100])
        except (TypeError, ValueError, OverflowError) as exc:
            raise ValueError(f"not a wish: {exc}") from None


class Answer(NamedTuple):
    """What the master says to an exchange.

    Attributes:
        state: "run"; "drain": hand back what is not started, let what is running end, report it and
            go on asking; "over": nothing is left, end; "unknown": this master does not know the
            session, say hello again.
        pause: seconds after which the slave asks again if it has asked for batches and got none, or
            else reports again if it has no reason to do so earlier.
        batches: as many as the master had, at most as many as were asked for.
        recalls: (token, keep): jobs of that lease from index ``keep`` on are wanted back if not
            started.
        stale: tokens whose leases are no longer the slave's: what has not started of them is not
            started any more, and what comes of the rest is not reported.
        tickets: (token, index, number): that job is parked now, and the number names it. A slave
            that still runs it when the master is restarted shows this to the new one.
    """

    state: str
    pause: float = 0.5
    batches: tuple[Lent, ...] = ()
    recalls: tuple[tuple[str, int], ...] = ()
    stale: tuple[str, ...] = ()
    tickets: tuple[tuple[str, int, int], ...] = ()

    def to_wire(self) -> tuple[Any, ...]:
        """As plain tuples."""
        return (
            self.state,
            self.pause,
            tuple(tuple(lent) for lent in self.batches),
            tuple(self.recalls),
            tuple(self.stale),
            tuple(self.tickets),
        )

    @classmethod
    def from_wire(cls, value: Any) -> Answer:
        """Rebuild what ``to_wire`` gave.

        Raises:
            ValueError: the value is not an answer.
        """
        try:
            state, pause, batches, recalls, stale, tickets = value
            return cls(
                str(state),
                float(pause),
                tuple(Lent(*lent) for lent in batches),
                tuple((str(token), int(keep)) for token, keep in recalls),
                tuple(str(token) for token in stale),
                tuple((str(token), int(index), int(number)) for token, index, number in tickets),
            )
        except (TypeError, ValueError) as exc:
            raise ValueError(f"not an answer: {exc}") from None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The run at one moment; what every view shows. Durations in seconds.

    Attributes:
        run: id of the run.
        target: what the user named on the command line.
        state: "running", "throttled", "paused", "draining", "stopped" or "finished".
        reason: why the run waits, or goes no faster, as a sentence for a person; "" when it does
            not.
        settled: jobs done or written down as failed, over the whole run, restarts included.
        failed: those of them that failed.
        settled_here: settled in this session, without what earlier sessions did.
        elapsed: seconds of this session.
        total: how many jobs the run has, if known.
        queued: jobs read and not handed out.
        leased: jobs handed out and not settled.
        parked: jobs that the watermark has passed while they still run or wait.
        waiting: jobs that failed and wait for another attempt.
        skipped: jobs that the callback left out; they count as settled.
        slaves: connected slaves.
        workers: worker processes of these.
        batch: jobs in the batch that was handed out last; 0 if none was.
        batch_reason: why it was not larger.
        watermark: the key up to which all is settled or parked, as text; "" when there is none.
        address: where the master serves, ``HOST:PORT``.
        share: which share of the work is settled, from 0 to 1, if the source can tell by the keys,
        share_here: and how much of that in this session.
    """

    run: str
    target: str
    state: str
    reason: str
    settled: int
    failed: int
    settled_here: int
    elapsed: float
    total: int | None
    queued: int
    leased: int
    parked: int
    waiting: int
    skipped: int
    slaves: int
    workers: int
    batch: int
    batch_reason: str
    watermark: str
    address: str
    share: float | None = None
    share_here: float = 0.0
