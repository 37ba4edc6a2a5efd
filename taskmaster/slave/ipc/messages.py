"""What a worker and its supervisor say to each other: one typed protocol for both sides.

A message is a named tuple here and a plain tuple on the socket, ``(kind, *fields)``: ``to_plain``
and the two functions that read it are the only places that know that form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from taskmaster.job_times import NO_TIMES, JobTimes
from taskmaster.model import Failure
from taskmaster.slave.ipc.scoreboard import REGIONS
from taskmaster.slave.ipc.unusable import Cause

__all__ = [
    "AboutRun",
    "BatchEnded",
    "BatchUnreadable",
    "CallRaised",
    "CannotRun",
    "Exhausted",
    "JobFailed",
    "Quit",
    "Ready",
    "RunBatch",
    "WorkerClosed",
    "to_plain",
    "to_supervisor",
    "to_worker",
    "too_long",
]


class Ready(NamedTuple):
    """The worker has loaded the target and set up.

    Attributes:
        slots: How many jobs run at once.
        several: Whether the scoreboard's table says which jobs run.
        together: Whether one call gets all jobs of a batch.
        coroutines: Whether jobs are awaited; the worker itself cancels those that take too long.
    """

    slots: int
    several: bool
    together: bool
    coroutines: bool


class CannotRun(NamedTuple):
    """The worker cannot run jobs, and ends.

    Attributes:
        cause: What is at fault.
        sentence: What happened, for people.
        traceback: The user's traceback.
    """

    cause: Cause
    sentence: str
    traceback: str


class JobFailed(NamedTuple):
    """A job has failed; said before the scoreboard's position moves past it."""

    region: int
    failure: Failure


class CallRaised(NamedTuple):
    """The one call that was given the jobs at ``indices`` has raised; this ends the batch."""

    region: int
    indices: tuple[int, ...]
    failure: Failure


class BatchEnded(NamedTuple):
    """The worker has stopped before the job at ``stop``, after ``seconds``; ``times`` are those of
    single jobs, where they were measured.
    """

    region: int
    stop: int
    seconds: float
    times: JobTimes = NO_TIMES


class BatchUnreadable(NamedTuple):
    """The batch as a whole could not be unpickled."""

    region: int
    text: str


class WorkerClosed(NamedTuple):
    """The last word of a worker that was told to quit.

    Attributes:
        problems: What it could not do at its end, "" if it has done all.
        remarks: A sentence for each thing that may have lost something.
    """

    problems: str
    remarks: tuple[str, ...] = ()


class RunBatch(NamedTuple):
    """A batch for the worker.

    Attributes:
        region: The scoreboard's region that is prepared for it.
        separate: Whether it is a pickled list of pickles, one a job.
        alone: Whether nothing else may run in the worker meanwhile.
        timeout: Seconds that a job may take, None for any time.
        blob: The pickle, or its offset and size in the shared buffers.
    """

    region: int
    separate: bool
    alone: bool
    timeout: float | None
    blob: bytes | tuple[int, int]


class AboutRun(NamedTuple):
    """What the worker works for, as in ``taskmaster.runtime.context``.

    Attributes:
        run: Id of the run.
        slave: Name of the slave.
        job_timeout: Seconds that a job may take, None for any time.
        project: Django's settings and databases where the master is, which must be the worker's.
    """

    run: str
    slave: str
    job_timeout: float | None
    project: Any = None


class Quit(NamedTuple):
    """Tear down and end, once the jobs at hand have ended.

    Attributes:
        seconds: How long the end may take.
    """

    seconds: float


class Exhausted(NamedTuple):
    """The worker has run out of something, and starts no more jobs: it is to be replaced.

    Attributes:
        why: What a job has raised, in words.
    """

    why: str


ToSupervisor = Ready | CannotRun | JobFailed | CallRaised | BatchEnded | BatchUnreadable | Exhausted | WorkerClosed
ToWorker = RunBatch | AboutRun | Quit

_KIND_NAMES: dict[type, str] = {
    Ready: "ready",
    CannotRun: "cannot run",
    JobFailed: "failed",
    CallRaised: "raised",
    BatchEnded: "ended",
    BatchUnreadable: "unreadable",
    Exhausted: "exhausted",
    WorkerClosed: "closed",
    RunBatch: "run",
    AboutRun: "about",
    Quit: "quit",
}


def to_plain(message: ToSupervisor | ToWorker) -> tuple[Any, ...]:
    """Return a message as the socket carries it."""
    kind = _KIND_NAMES[type(message)]
    if isinstance(message, JobFailed | CallRaised):
        *fields, failure = message
        return (kind, *fields, failure.to_wire())
    if isinstance(message, BatchEnded):
        return kind, *message[:-1], message.times.to_wire()
    if isinstance(message, CannotRun):
        return kind, str(message.cause), message.sentence, message.traceback
    return (kind, *message)


def to_supervisor(plain: Any) -> ToSupervisor:
    """Return the message of a worker.

    Raises:
        ValueError: It is not a message. The user's code may write to any descriptor of the worker.
    """
    try:
        kind, *fields = plain
        message = _FROM_WORKER[kind](*fields)
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"not a worker's message: {exc!r}") from None
    if not isinstance(message, Ready | CannotRun | Exhausted | WorkerClosed) and message.region not in range(REGIONS):
        raise ValueError("not a worker's message: it names no region of the scoreboard")
    return message


_FROM_WORKER: dict[str, Callable[..., ToSupervisor]] = {
    "ended": lambda region, stop, seconds, times: BatchEnded(
        region, int(stop), float(seconds), JobTimes.from_wire(times)
    ),
    "failed": lambda region, failure: JobFailed(region, Failure.from_wire(failure)),
    "raised": lambda region, indices, failure: CallRaised(region, tuple(indices), Failure.from_wire(failure)),
    "ready": lambda slots, several, together, coroutines: Ready(
        int(slots), bool(several), bool(together), bool(coroutines)
    ),
    "cannot run": lambda cause, sentence, traceback: CannotRun(Cause(cause), str(sentence), str(traceback)),
    "unreadable": lambda region, text: BatchUnreadable(region, str(text)),
    "exhausted": lambda why: Exhausted(str(why)),
    "closed": lambda problems, remarks: WorkerClosed(str(problems), tuple(map(str, remarks))),
}


def to_worker(plain: Any) -> ToWorker:
    """Return the message of the supervisor, which is trusted."""
    kind, *fields = plain
    if kind == "run":
        return RunBatch(*fields)
    return AboutRun(*fields) if kind == "about" else Quit(*fields)


def too_long(seconds: float) -> str:
    """Return the sentence for a job, or a call, that took longer than it may."""
    return f"it took longer than the {seconds:g} s of --job-timeout"
