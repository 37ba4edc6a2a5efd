"""A batch in a slave's hands, and what a report says of it. Pure."""

from __future__ import annotations

from dataclasses import field, replace

from taskmaster.job_times import NO_TIMES, JobTimes
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, WireBatch
from taskmaster.records import changing, record

__all__ = ["HeldBatch", "ReportState"]

SHORT_MESSAGE_CHARACTERS = 100  # kept of each failure's message when those of a batch are too large
MOST_FAILURE_BYTES = 4 * 1024 * 1024  # most for the unreported failures of a batch; above it, texts are left out


@record()
class ReportState:
    """What a report says, without its texts: there is news where two of these differ.

    Attributes:
        upto: Every job before this index has ended.
        extra: Indices beyond ``upto`` that have ended.
        failures: How many failures it has.
        keep: Jobs from this index on were given back.
        end: How the batch ended, "" while it is worked on.
        long: How many jobs have been running for long.
        worker: Process id of the worker in which one has been; 0 if none has.
    """

    upto: int
    extra: tuple[int, ...]
    failures: int
    keep: int
    end: ReportEnd
    long: int
    worker: int


@changing()
class HeldBatch:
    """A batch in this slave's hands.

    Attributes:
        lent: What the master sent, without the jobs themselves.
        keep: Jobs from this index on were given back.
        upto: Every job before this index has ended.
        extra: Indices beyond ``upto`` that have ended.
        failures: Failed jobs that the master does not know of for certain.
        end: How the batch ended, as in ``Report``; "" while it is worked on.
        suspects: Indices that were running when the worker died, or that the failed call was given.
        detail: How the worker died.
        beside: In how many batches jobs were running when all workers were killed at once; else 0.
        stale: Whether the lease is no longer this slave's; nothing is reported.
        told: What the last answered report said, None if the master may know nothing.
        failed: How many of its jobs failed here.
        texts: Bytes of ``failures``, at most.
        together: Whether its jobs are given to one call.
        long: Indices of jobs that have been running for long, in the order in which that was seen.
        tickets: By index, the numbers that name those of its jobs that the master has parked.
        seconds: What the worker took for the batch, once it has finished.
        times: How long its jobs took, each of them, once it has finished.
        worker: Process id of the worker in which a job has been running for long; 0 if none has.
        heirs: By index, jobs of a stale batch that another master has leased to this slave anew.
        may_be_heard: Its end was said, and the connection broke before the answer.
        origin: The batch that the worker has, of which this is an heir; None if it has this one.
    """

    lent: WireBatch
    keep: int
    upto: int = 0
    extra: tuple[int, ...] = ()
    failures: list[Failure] = field(default_factory=list)
    end: ReportEnd = ReportEnd.OPEN
    suspects: tuple[int, ...] = ()
    detail: str = ""
    beside: int = 0
    stale: bool = False
    told: ReportState | None = None
    failed: int = 0
    texts: int = 0
    together: bool = False
    long: dict[int, None] = field(default_factory=dict)
    tickets: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    times: JobTimes = NO_TIMES
    worker: int = 0
    heirs: dict[int, HeldBatch] = field(default_factory=dict)
    may_be_heard: bool = False
    origin: HeldBatch | None = None

    @property
    def state(self) -> ReportState:
        """What a report would say now."""
        return ReportState(self.upto, self.extra, len(self.failures), self.keep, self.end, len(self.long), self.worker)

    def report(self) -> Report:
        """Return the report of this batch."""
        return Report(
            self.lent.token,
            self.upto,
            self.extra,
            tuple(self.failures),
            self.keep,
            self.end,
            self.suspects,
            self.detail,
            self.together,
            tuple(self.long),
            self.seconds,
            self.worker,
            self.beside,
            self.times,
        )

    def fail(self, failure: Failure) -> None:
        """Note that a job has failed; it counts once the batch's progress passes the job."""
        if failure.index >= self.keep:
            return  # it was started at the moment it was given back, and runs elsewhere
        if self.texts > MOST_FAILURE_BYTES:
            left_out = "(left out: many other jobs of this batch have failed at once)\n"
            message = failure.message[:SHORT_MESSAGE_CHARACTERS] if self.texts < 2 * MOST_FAILURE_BYTES else ""
            failure = failure._replace(message=message, traceback=left_out)
        self.failures.append(failure)
        self.failed += failure.kind is not FailureKind.SKIP
        self.texts += _length(failure)

    def call_raised(self, failure: Failure) -> None:
        """Note that the one call that was given the jobs has raised."""
        self.failures.append(failure)
        self.texts += _length(failure)

    def runs_long(self, index: int, worker: int = 0) -> None:
        """Note that a job has been running for long in a worker; the master is told once."""
        self.worker = worker
        if index not in self.long and index not in self.tickets and not self.stale:
            self.long[index] = None

    def answered(self, sent: ReportState) -> None:
        """Note that the master has the report that said ``sent``.

        A failure counts in the report that says that its job has ended; until then it is reported
        again. The failure of a job that another master may take over is kept for that one, too.
        """
        beyond = set(sent.extra)
        kept = [
            failure
            for failure in self.failures[: sent.failures]
            if not (failure.index < sent.upto or failure.index in beyond) or failure.index in self.tickets
        ]
        self.failures[: sent.failures] = kept
        self.texts = sum(map(_length, self.failures))
        self.told = replace(sent, failures=len(kept))


def _length(failure: Failure) -> int:
    """Return the bytes that a failure takes in a frame, at most."""
    texts = failure.type, failure.message, failure.traceback
    return 256 + sum(len(text) if text.isascii() else 4 * len(text) for text in texts)
