"""Work that callbacks give away, and that fails where no job can hear of it: to threads, executors,
pools, and processes of ``multiprocessing``.

Python says something of threads alone, and nobody counts that. So a worker notices all of it, and
so does a run in the process itself, for as long as it lasts.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from taskmaster.runtime.put_back import put_back
from taskmaster.slave.worker.attempts import AttemptHere, attempt_of, watch_threads
from taskmaster.slave.worker.dropped_futures import ProcessFailed, watch_futures
from taskmaster.slave.worker.unawaited import is_users_code

__all__ = ["GivenAway"]

Note = Callable[[str, BaseException | None], None]


class GivenAway:
    """Notices it, from now on; of several that are there, as where a job starts a run of its own,
    the newest does.

    Args:
        note: Called with a sentence, and with the exception where Python has not shown it, by
            whichever thread finds it.
        ending: Says whether the end has begun: a daemon thread may miss then what ``teardown()``
            has closed.
    """

    def __init__(self, note: Note, ending: Callable[[], bool] = lambda: False) -> None:
        self._note = note
        self._ending = ending
        _patches.enter(self)

    def end(self) -> None:
        """Notice no more."""
        _patches.leave(self)

    def thread_raised(self, raised: Any) -> None:
        """Look at what a thread has raised."""
        counts = raised.thread is None or not raised.thread.daemon or (not self._ending() and _is_users(raised))
        is_end = issubclass(raised.exc_type, SystemExit) and not getattr(raised.exc_value, "code", None)
        if counts and not is_end:
            self._say(
                attempt_of(raised.thread),
                f"a thread that a callback has started raised {raised.exc_type.__qualname__}",
            )

    def call_failed(self, exc: BaseException) -> None:
        """Look at what a call, or a process, has failed with at whose outcome nobody has looked."""
        if isinstance(exc, ProcessFailed):
            self._note(f"{exc}, and nobody looked at that: wait for it, and look at its exitcode, or return it", None)
            return
        sentence = f"a call that a callback has given to an executor or a pool raised {type(exc).__qualname__}"
        self._note(f"{sentence}, and nobody asked for its result: wait for it, or return what stands for it", exc)

    def _say(self, attempt: AttemptHere | None, sentence: str) -> None:
        """Say it as soon as it is known that the job does not run again, and all of it with it."""
        if attempt is None:
            self._note(sentence, None)
        else:
            attempt.say(functools.partial(self._note, sentence, None))


class _Patches:
    """What has to be changed of Python's own modules, once, however many want to notice."""

    def __init__(self) -> None:
        self._here: list[GivenAway] = []
        self._undo: list[Callable[[], None]] = []
        self._owner = 0

    def enter(self, one: GivenAway) -> None:
        if self._owner != os.getpid():  # in a fork, what the parent notices is the parent's
            self._take_back()
            self._owner = os.getpid()
        self._here.append(one)
        if not self._undo:
            self._undo = [_watch_exceptions(self._raised), watch_threads(), watch_futures(self._failed)]

    def leave(self, one: GivenAway) -> None:
        if one in self._here and self._owner == os.getpid():
            self._here.remove(one)
            if not self._here:
                self._take_back()

    def _take_back(self) -> None:
        self._here.clear()
        while self._undo:
            self._undo.pop()()

    def _raised(self, raised: Any) -> None:
        if self._here and self._owner == os.getpid():
            self._here[-1].thread_raised(raised)

    def _failed(self, exc: BaseException) -> None:
        if self._here:
            self._here[-1].call_failed(exc)


_patches = _Patches()


def _watch_exceptions(raised: Callable[[Any], None]) -> Callable[[], None]:
    """Notice what threads raise, beside what ``threading.excepthook`` says of it: that may be the
    user's, which writes to a log. Return what takes that back.
    """
    module: Any = threading
    make: Callable[[], Callable[[Any], None]] = module._make_invoke_excepthook  # noqa: SLF001

    def make_noting() -> Callable[[Any], None]:
        invoke = make()

        def note_and_invoke(thread: Any) -> None:
            raised(threading.ExceptHookArgs((*sys.exc_info(), thread)))
            invoke(thread)

        return note_and_invoke

    def undo() -> None:
        put_back(module, "_make_invoke_excepthook", make_noting, make)

    module._make_invoke_excepthook = make_noting  # noqa: SLF001
    return undo


def _is_users(raised: Any) -> bool:
    """Return whether a thread that has raised was made to run the user's code."""
    frame = raised.exc_traceback
    while frame is not None and frame.tb_frame.f_code.co_filename == threading.__file__:
        frame = frame.tb_next
    return frame is not None and is_users_code(frame.tb_frame.f_code)
