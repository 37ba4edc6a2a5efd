"""What passes between a worker and its supervisor: batches in, words out.

Called by ``taskmaster.slave.worker.worker`` and ``taskmaster.slave.worker.concurrency``. What a
worker says is plain:

- ``("ready", slots, several, together, coroutines)``: how many jobs run at once; whether the
  scoreboard's table says which of them run; whether one call gets all jobs of a batch; whether
  jobs are awaited;
- ``("unusable", what, sentence, traceback)``;
- ``("failed", region, *failure)`` and ``("raised", region, indices, *failure)``, with the fields of
  a ``Failure``: said before the position moves past the job;
- ``("ended", region, stop, seconds)``, ``("unreadable", region, text)``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskmaster.model import Failure, FailureKind
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.transport.channel import Channel

__all__ = ["MessageSender", "WorkerBatch", "capped", "flush", "message_of", "too_long"]

MESSAGE = 1024  # characters of an exception's message that are kept
TRACEBACK = 8192  # of its traceback: the beginning and the end


@dataclass(slots=True, eq=False)
class WorkerBatch:
    """A batch as the worker has it.

    Attributes:
        region: where on the scoreboard it is.
        jobs: the jobs; each a pickle of its own where ``separate``.
        separate: see there.
        alone: nothing else runs beside it.
        unpickle: opens one of the jobs where they are separate.
        timeout: seconds that a job may take, None for as long as it likes.
        began: when it began.
    """

    region: int
    jobs: Sequence[Any]
    separate: bool
    alone: bool
    unpickle: Callable[[bytes], Any] | None = None
    timeout: float | None = None
    began: float = field(default_factory=time.perf_counter)

    def opening(self, handle: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The callback for these jobs: one that cannot be unpickled where they are separate fails
        alone.
        """
        unpickle = self.unpickle
        return handle if unpickle is None else lambda blob: handle(unpickle(blob))


class MessageSender:
    """Says things to the supervisor; from any thread.

    Args:
        channel: the socket to it.

    Attributes:
        kind: what an exception says about its job; see ``Callbacks.kind``.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.kind: Callable[[BaseException], tuple[FailureKind, float]] = lambda _: (FailureKind.ERROR, -1.0)
        self._lock = threading.Lock()

    def say(self, *message: Any) -> None:
        """Send a message; a supervisor that is gone ends this process."""
        try:
            with self._lock:
                self._channel.send(message)
        except OSError:
            os._exit(1)

    def failed(self, region: int, index: int, exc: BaseException) -> None:
        """Say that a job has failed."""
        flush()
        self.say("failed", region, *self._failure(index, exc).to_wire())

    def raised(self, region: int, indices: Sequence[int], exc: BaseException) -> None:
        """Say that the one call that was given these jobs has raised."""
        flush()
        self.say("raised", region, tuple(indices), *self._failure(indices[0], exc).to_wire())

    def timed_out(self, region: int, index: int, seconds: float) -> None:
        """Say that a job was cancelled because it took too long."""
        flush()
        late = Failure(index, "TimedOut", too_long(seconds), "", FailureKind.TIMEOUT, -1.0, os.getpid())
        self.say("failed", region, *late.to_wire())

    def _failure(self, index: int, exc: BaseException) -> Failure:
        kind, after = self.kind(exc)
        traceback = capped(users_traceback(exc))
        return Failure(index, type(exc).__qualname__, message_of(exc), traceback, kind, after, os.getpid())


def too_long(seconds: float) -> str:
    """That a job, or a call, took longer than it may."""
    return f"it took longer than the {seconds:g} s of --job-timeout"


def flush() -> None:
    """Let what the callback has printed out, before something is said that may end this process."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass


def message_of(exc: BaseException) -> str:
    """An exception's message, not too long, whatever its ``__str__`` does."""
    try:
        # Exactly a str: the message may be one of a class of the user's, which the supervisor does
        # not read.
        text = str.__str__(str(exc))
    except BaseException as inner:
        text = f"<its message cannot be shown: str() raised {type(inner).__name__}>"
    return text if len(text) <= MESSAGE else text[: MESSAGE - 3] + "..."


def capped(text: str) -> str:
    """A text with its middle left out if it is too long."""
    if len(text) <= TRACEBACK:
        return text
    half = TRACEBACK // 2
    return f"{text[:half]}\n  ... {len(text) - TRACEBACK} characters left out ...\n{text[-half:]}"
