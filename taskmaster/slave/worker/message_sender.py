"""The worker's side of its socket: what it says of its jobs, and how an exception becomes a
failure.

What a callback has printed is flushed before anything is said of its job.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

from taskmaster.model import Failure, FailureKind
from taskmaster.records import changing
from taskmaster.runtime.child_process import end_child
from taskmaster.runtime.exhaustion import Reserve, is_exhausted
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.ipc.messages import (
    BatchUnreadable,
    CallRaised,
    CannotRun,
    Exhausted,
    JobFailed,
    ToSupervisor,
    to_plain,
    too_long,
)
from taskmaster.slave.ipc.scoreboard import Scoreboard
from taskmaster.slave.ipc.unusable import Cause
from taskmaster.slave.worker.stopwatch import CLOCK
from taskmaster.transport.channel import Channel

__all__ = ["MessageSender", "WorkerBatch", "capped", "flush", "message_of"]

KindOf = Callable[[BaseException], tuple[FailureKind, float]]

MESSAGE_CHARACTERS = 1024  # kept of an exception's message
TRACEBACK_CHARACTERS = 8192  # kept of its traceback: the beginning and the end
NOT_THERE = " (what the script had opened before start() is not there in workers: open it in setup())"


@changing()
class WorkerBatch:
    """A batch as the worker has it.

    Attributes:
        region: The scoreboard's region that shows how far the batch has got.
        jobs: The jobs; each is a pickle of its own if ``separate``.
        separate: Whether the jobs were pickled one by one.
        alone: Whether nothing else may run in this worker meanwhile.
        unpickle: Opens one job; None unless the jobs are separate.
        timeout: Seconds that a job may take, None for any time.
        began: When the batch began, by the ``stopwatch``.
    """

    region: int
    jobs: Sequence[Any]
    separate: bool
    alone: bool
    unpickle: Callable[[bytes], Any] | None = None
    timeout: float | None = None
    began: float = field(default_factory=CLOCK)

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
        forked: Whether the callback comes from a script that was forked, whose files are not all
            there.
        elsewhere: Whether this worker runs on an engine, which may not have all of the user's
            files.

    Attributes:
        exhausted: Whether the worker has run out of memory or the like, and starts no more jobs.
        end_by: The monotonic time by which the worker is to have ended, once it was told to quit.
    """

    def __init__(
        self,
        channel: Channel,
        kind_of: KindOf = lambda _: (FailureKind.ERROR, -1.0),
        scoreboard: Scoreboard | None = None,
        *,
        forked: bool = False,
        elsewhere: bool = False,
    ) -> None:
        self.exhausted = False
        self.end_by = 0.0
        self._channel = channel
        self._kind_of = kind_of
        self._scoreboard = scoreboard
        self._forked = forked
        self._elsewhere = elsewhere
        self._reserve = Reserve() if scoreboard is not None else None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def end_if_child(self, exc: BaseException | None = None) -> None:
        """End a process that the callback has forked and that has come back from it."""
        if os.getpid() != self._pid:
            end_child(exc)

    def say(self, message: ToSupervisor) -> None:
        """Send a message; end this process if the supervisor is gone."""
        self.end_if_child()
        try:
            with self._lock:
                self._channel.send(to_plain(message))
        except OSError:
            os._exit(1)

    def failed(self, region: int, index: int, exc: BaseException) -> None:
        """Say that a job has failed."""
        self.end_if_child(exc)
        flush()
        self._give_up_if_exhausted(exc)
        self.say(JobFailed(region, self._failure(index, exc)))

    def raised(self, region: int, indices: Sequence[int], exc: BaseException) -> None:
        """Say that the one call that was given these jobs has raised."""
        self.end_if_child(exc)
        flush()
        self._give_up_if_exhausted(exc)
        self.say(CallRaised(region, tuple(indices), self._failure(indices[0], exc)))

    def unreadable(self, region: int, exc: BaseException) -> None:
        """Say that a batch as a whole cannot be unpickled."""
        self._give_up_if_exhausted(exc)
        self.say(BatchUnreadable(region, f"{type(exc).__qualname__}: {message_of(exc)}{self._missing(exc)}"))

    def timed_out(self, region: int, index: int, seconds: float) -> None:
        """Say that a job was cancelled because it took too long."""
        flush()
        failure = Failure(index, "TimedOut", too_long(seconds), "", FailureKind.TIMEOUT, -1.0, os.getpid())
        self.say(JobFailed(region, failure))

    def cannot_run(self, cause: Cause, sentence: str, exc: BaseException, traceback: str) -> None:
        """Say that this worker can run no jobs."""
        flush()
        if missing := self._missing(exc):
            sentence = f"{sentence.removesuffix('.')}{missing}."
        self.say(CannotRun(cause, sentence, capped(traceback)))

    def _missing(self, exc: BaseException) -> str:
        if not self._elsewhere:
            return ""
        from taskmaster.slave.worker.elsewhere import cure_elsewhere

        return cure_elsewhere(exc)

    def _give_up_if_exhausted(self, exc: BaseException) -> None:
        """Start no more jobs in this worker if what has happened would happen to all of them."""
        if self.exhausted or self._scoreboard is None or not is_exhausted(exc):
            return
        self.exhausted = True
        if self._reserve is not None:
            self._reserve.release()
        self._scoreboard.start_no_more()
        message = message_of(exc)
        self.say(Exhausted(f"a job has raised {type(exc).__qualname__}" + f": {message}" * bool(message)))

    def _failure(self, index: int, exc: BaseException) -> Failure:
        kind, after = self._kind_of(exc)
        traceback = capped(users_traceback(exc))
        message = message_of(exc) + _cure(exc) + self._missing(exc)
        if self._forked and os.strerror(errno.EBADF) in message:
            message += NOT_THERE
        return Failure(index, type(exc).__qualname__, message, traceback, kind, after, os.getpid())


def _cure(exc: BaseException) -> str:
    """Return what to do where a callback has asked somebody who is not there."""
    if type(exc).__module__ == "bdb":
        return (
            "the debugger was left before the job had ended; `tm-run TARGET --job KEY` runs one job in the foreground, "
            "where somebody can type"
        )
    if isinstance(exc, EOFError) and "reading a line" in str(exc):
        return " (workers have no standard input; `tm-run TARGET --job KEY` runs one job in the foreground)"
    return ""


def flush() -> None:
    """Write out what the callback has printed, before a message that may end this process."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: S110  # a callback may have put anything in their place
            pass


def message_of(exc: BaseException) -> str:
    """Return an exception's message, cut to length, whatever its ``__str__`` does."""
    try:
        # A plain str: str() may return the user's own subclass of it, which the supervisor refuses.
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
