"""What a worker and its supervisor say to each other: one typed protocol for both sides.

A message is a named tuple here and a plain tuple on the socket, ``(kind, *fields)``: ``to_plain``
and the two functions that read it are the only places that know that form.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskmaster.model import Failure, FailureKind
from taskmaster.runtime.exhaustion import is_exhausted
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.scoreboard import REGIONS, Scoreboard
from taskmaster.slave.unusable import Cause
from taskmaster.transport.channel import Channel

__all__ = [
    "AboutRun",
    "BatchEnded",
    "BatchUnreadable",
    "CallRaised",
    "CannotRun",
    "Exhausted",
    "JobFailed",
    "MessageSender",
    "Quit",
    "Ready",
    "RunBatch",
    "WorkerBatch",
    "capped",
    "flush",
    "message_of",
    "to_plain",
    "to_supervisor",
    "to_worker",
    "too_long",
]

MESSAGE_CHARACTERS = 1024  # of an exception's message that are kept
TRACEBACK_CHARACTERS = 8192  # of its traceback that are kept: the beginning and the end


class Ready(NamedTuple):
    """The worker has loaded the target and set up.

    Attributes:
        slots: How many jobs run at once.
        several: The scoreboard's table says which jobs run.
        together: One call gets all jobs of a batch.
        coroutines: Jobs are awaited; the worker itself cancels those that take too long.
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
    """The worker has stopped before the job at ``stop``, after ``seconds``."""

    region: int
    stop: int
    seconds: float


class BatchUnreadable(NamedTuple):
    """The batch as a whole could not be unpickled."""

    region: int
    text: str


class RunBatch(NamedTuple):
    """A batch for the worker.

    Attributes:
        region: The scoreboard's region that is prepared for it.
        separate: It is a pickled list of pickles, one a job.
        alone: Nothing else may run in the worker meanwhile.
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
    """Tear down and end, once the jobs at hand have ended."""


class Exhausted(NamedTuple):
    """The worker has run out of something, and starts no more jobs: it is to be replaced.

    Attributes:
        why: The exception that says so.
    """

    why: str


ToSupervisor = Ready | CannotRun | JobFailed | CallRaised | BatchEnded | BatchUnreadable | Exhausted
ToWorker = RunBatch | AboutRun | Quit
KindOf = Callable[[BaseException], tuple[FailureKind, float]]

_KINDS: dict[type, str] = {
    Ready: "ready",
    CannotRun: "cannot run",
    JobFailed: "failed",
    CallRaised: "raised",
    BatchEnded: "ended",
    BatchUnreadable: "unreadable",
    Exhausted: "exhausted",
    RunBatch: "run",
    AboutRun: "about",
    Quit: "quit",
}


def to_plain(message: ToSupervisor | ToWorker) -> tuple[Any, ...]:
    """Return a message as the socket carries it."""
    kind = _KINDS[type(message)]
    if isinstance(message, JobFailed | CallRaised):
        *fields, failure = message
        return (kind, *fields, failure.to_wire())
    if isinstance(message, CannotRun):
        return kind, str(message.cause), message.sentence, message.traceback
    return (kind, *message)


def to_supervisor(plain: Any) -> ToSupervisor:
    """Return the message of a worker.

    Raises:
        ValueError: It is none. User code runs in the worker and may write to any descriptor.
    """
    try:
        kind, *fields = plain
        message = _FROM_WORKER[kind](*fields)
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"not a worker's message: {exc!r}") from None
    if not isinstance(message, Ready | CannotRun | Exhausted) and message.region not in range(REGIONS):
        raise ValueError("not a worker's message: it names no region of the scoreboard")
    return message


_FROM_WORKER: dict[str, Callable[..., ToSupervisor]] = {
    "ended": lambda region, stop, seconds: BatchEnded(region, int(stop), float(seconds)),
    "failed": lambda region, failure: JobFailed(region, Failure.from_wire(failure)),
    "raised": lambda region, indices, failure: CallRaised(region, tuple(indices), Failure.from_wire(failure)),
    "ready": lambda slots, several, together, coroutines: Ready(
        int(slots), bool(several), bool(together), bool(coroutines)
    ),
    "cannot run": lambda cause, sentence, traceback: CannotRun(Cause(cause), str(sentence), str(traceback)),
    "unreadable": lambda region, text: BatchUnreadable(region, str(text)),
    "exhausted": lambda why: Exhausted(str(why)),
}


def to_worker(plain: Any) -> ToWorker:
    """Return the message of the supervisor, which is trusted."""
    kind, *fields = plain
    if kind == "run":
        return RunBatch(*fields)
    return AboutRun(*fields) if kind == "about" else Quit()


@dataclass(slots=True, eq=False)
class WorkerBatch:
    """A batch as the worker has it.

    Attributes:
        region: The scoreboard's region that shows how far the batch has got.
        jobs: The jobs; each is a pickle of its own if ``separate``.
        separate: The jobs were pickled one by one.
        alone: Nothing else may run in this worker meanwhile.
        unpickle: Opens one job; None unless the jobs are separate.
        timeout: Seconds that a job may take, None for any time.
        began: When the batch began, by ``time.perf_counter``.
    """

    region: int
    jobs: Sequence[Any]
    separate: bool
    alone: bool
    unpickle: Callable[[bytes], Any] | None = None
    timeout: float | None = None
    began: float = field(default_factory=time.perf_counter)

    def opening(self, handle: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the callback for these jobs; where they are separate it opens each of them itself,
        so that a job that cannot be unpickled fails alone.
        """
        unpickle = self.unpickle
        return handle if unpickle is None else lambda blob: handle(unpickle(blob))


class MessageSender:
    """Says things to the supervisor; from any thread.

    Args:
        channel: The socket to it.
        kind_of: Says what an exception means for its job; see ``Callbacks.kind``.
        scoreboard: Where the worker's own limits are lowered once it is exhausted.

    Attributes:
        exhausted: The worker has run out of memory or the like, and starts no more jobs.
    """

    def __init__(
        self,
        channel: Channel,
        kind_of: KindOf = lambda _: (FailureKind.ERROR, -1.0),
        scoreboard: Scoreboard | None = None,
    ) -> None:
        self.exhausted = False
        self._channel = channel
        self._kind_of = kind_of
        self._scoreboard = scoreboard
        self._lock = threading.Lock()

    def say(self, message: ToSupervisor) -> None:
        """Send a message; end this process if the supervisor is gone."""
        try:
            with self._lock:
                self._channel.send(to_plain(message))
        except OSError:
            os._exit(1)

    def failed(self, region: int, index: int, exc: BaseException) -> None:
        """Say that a job has failed."""
        flush()
        self._give_up_if_exhausted(exc)
        self.say(JobFailed(region, self._failure(index, exc)))

    def raised(self, region: int, indices: Sequence[int], exc: BaseException) -> None:
        """Say that the one call that was given these jobs has raised."""
        flush()
        self._give_up_if_exhausted(exc)
        self.say(CallRaised(region, tuple(indices), self._failure(indices[0], exc)))

    def unreadable(self, region: int, exc: BaseException) -> None:
        """Say that a batch as a whole cannot be unpickled."""
        self._give_up_if_exhausted(exc)
        self.say(BatchUnreadable(region, f"{type(exc).__qualname__}: {message_of(exc)}"))

    def timed_out(self, region: int, index: int, seconds: float) -> None:
        """Say that a job was cancelled because it took too long."""
        flush()
        failure = Failure(index, "TimedOut", too_long(seconds), "", FailureKind.TIMEOUT, -1.0, os.getpid())
        self.say(JobFailed(region, failure))

    def _give_up_if_exhausted(self, exc: BaseException) -> None:
        """Start no more jobs in this worker if what has happened would happen to all of them."""
        if self.exhausted or self._scoreboard is None or not is_exhausted(exc):
            return
        self.exhausted = True
        self._scoreboard.start_no_more()
        self.say(Exhausted(f"a job has raised {type(exc).__qualname__}: {message_of(exc)}"))

    def _failure(self, index: int, exc: BaseException) -> Failure:
        kind, after = self._kind_of(exc)
        traceback = capped(users_traceback(exc))
        return Failure(index, type(exc).__qualname__, message_of(exc), traceback, kind, after, os.getpid())


def too_long(seconds: float) -> str:
    """Return the sentence for a job, or a call, that took longer than it may."""
    return f"it took longer than the {seconds:g} s of --job-timeout"


def flush() -> None:
    """Write out what the callback has printed, before a message that may end this process."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass


def message_of(exc: BaseException) -> str:
    """Return an exception's message, cut to length, whatever its ``__str__`` does."""
    try:
        # Exactly a str: the message may be one of a class of the user's, which the supervisor does
        # not read.
        text = str.__str__(str(exc))
    except BaseException as inner:
        text = f"<its message cannot be shown: str() raised {type(inner).__name__}>"
    return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 3] + "..."


def capped(text: str) -> str:
    """Return a text, without its middle if it is too long."""
    if len(text) <= TRACEBACK_CHARACTERS:
        return text
    half = TRACEBACK_CHARACTERS // 2
    return f"{text[:half]}\n  ... {len(text) - TRACEBACK_CHARACTERS} characters left out ...\n{text[-half:]}"
