"""Which attempt at a job runs here, so that what it gives away is known for its own.

A job that fails is done again, and with it all that it has given to executors, pools and processes:
that some of it has failed, too, and that nobody has looked at it, is no loss. ``for future in
as_completed(...): future.result()`` leaves the other futures alone as soon as one has failed.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, Self

from taskmaster.outcomes import Skip
from taskmaster.runtime.put_back import put_back

__all__ = [
    "AttemptHere",
    "InTurn",
    "attempt_here",
    "attempt_of",
    "begin_attempt",
    "keep_attempt",
    "watch_threads",
    "within_attempt",
]


class AttemptHere:
    """One attempt at a job. Any thread may use it, also in a ``__del__`` in the midst of anything,
    so that it has no lock.
    """

    __slots__ = ("_failed", "_over", "_waiting")

    def __init__(self) -> None:
        self._over = self._failed = False
        self._waiting: list[Callable[[], None]] = []

    def end(self, exc: BaseException | None) -> None:
        """Note what it has ended with, None if well; a second call changes nothing. A job that is
        left out (``Skip``) is not done again.
        """
        if not self._over:
            self._failed = exc is not None and not isinstance(exc, Skip)
            self._over = True
        self._say_what_waits()

    def say(self, say: Callable[[], None]) -> None:
        """Say something as soon as the attempt has ended, unless it has failed."""
        self._waiting.append(say)
        if self._over:
            self._say_what_waits()

    def _say_what_waits(self) -> None:
        while self._waiting:
            try:
                say = self._waiting.pop(0)
            except IndexError:  # another thread was faster
                return
            if not self._failed:
                say()

    def current(self) -> AttemptHere:
        """Return this one, which is the only one in its context."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Be nothing in another process, which gets it with a process of ``multiprocessing``."""
        return type(None), ()


class _Attempts(Protocol):
    """What a context has."""

    def current(self) -> AttemptHere | None:
        """Return the attempt that runs now."""


_here: ContextVar[_Attempts | None] = ContextVar("taskmaster_attempts", default=None)


def attempt_here() -> AttemptHere | None:
    """Return the attempt that runs here; None where that is not known, as in a callback's
    threads.
    """
    attempts = _here.get()
    return None if attempts is None else attempts.current()


def keep_attempt(given: Any) -> None:
    """Note with what stands for work that the attempt which runs here gives it away."""
    given._attempt_at_job = attempt_here()  # noqa: SLF001  # a name that nobody else has


def attempt_of(given: Any) -> AttemptHere | None:
    """Return the attempt that has given some work away; None if that is not known."""
    found: AttemptHere | None = getattr(given, "_attempt_at_job", None)
    return found


@contextmanager
def within_attempt(attempt: AttemptHere | None) -> Iterator[None]:
    """Do something, in whatever thread, as a part of an attempt; None if it is not known of
    which.
    """
    token = _here.set(attempt)
    try:
        yield
    finally:
        _here.reset(token)


def watch_threads() -> Callable[[], None]:
    """From now on, have each thread know which attempt has started it; return what takes that
    back.
    """
    start = threading.Thread.start

    @functools.wraps(start)
    def noting(thread: threading.Thread) -> None:
        keep_attempt(thread)
        start(thread)

    def undo() -> None:
        put_back(threading.Thread, "start", noting, start)

    threading.Thread.start = noting  # type: ignore[assignment, method-assign]
    return undo


def begin_attempt() -> AttemptHere:
    """Begin an attempt, for this thread or this task and all that it begins."""
    attempt = AttemptHere()
    _here.set(attempt)
    return attempt


class InTurn:
    """The attempts at the jobs of a batch that are run one after the other in this thread. A job
    pays for none of it, unless it gives something away or fails.

    Args:
        head: The scoreboard's, whose second number says which job it is.
    """

    def __init__(self, head: Any) -> None:
        self._head = head
        self._thread = threading.get_ident()
        self._at = -1
        self._attempt: AttemptHere | None = None

    def __enter__(self) -> Self:
        _here.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _here.set(None)
        self._end()

    def current(self) -> AttemptHere | None:
        """Return the attempt at the job that runs now; None in another thread, which may belong to
        an earlier one.
        """
        if threading.get_ident() != self._thread:
            return None
        if self._attempt is None or self._at != self._head[1]:
            self._end()
            self._at, self._attempt = self._head[1], AttemptHere()
        return self._attempt

    def fail(self, exc: BaseException) -> None:
        """Note that the job that runs now has failed."""
        if self._attempt is not None and self._at == self._head[1]:
            self._attempt.end(exc)

    def _end(self) -> None:
        if self._attempt is not None:
            self._attempt.end(None)
