"""Coroutines that a job makes and nobody awaits: ``save(row)`` where ``save`` is an ``async def``.

Python warns of each when it is thrown away; nothing of it has run, so that its job has failed. One
that no job can be charged with, because another thread or task has thrown it away, or that is still
there when the worker ends, is said at that end. Those that a library throws away within itself are
its own affair.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from inspect import CORO_CREATED, getcoroutinestate
from types import CodeType, CoroutineType, FrameType
from typing import Any, Self

from taskmaster.runtime.tracebacks import OURS
from taskmaster.slave.worker.results import NothingRan

__all__ = ["Unawaited", "count_as_users", "is_users_code", "never_awaited"]

HOOK = "_warn_unawaited_coroutine"  # what Python calls; it is replaced in no other way
MOST_CHARGES = 10_000  # that wait for the job to end which they belong to: those of other tasks wait for ever


class Unawaited:
    """Notices coroutines that are thrown away, while it is entered.

    Args:
        say: Called at once with what a job has failed with, in the thread that runs it, which is
            this one; None: ``check`` raises it.

    Attributes:
        original: What Python called before.
        left: Whether it has been exited.
    """

    def __init__(self, say: Callable[[NothingRan], None] | None = None) -> None:
        self._say = say
        self._owner = threading.get_ident()
        self._found: dict[Any, NothingRan] = {}
        self.left = False
        self.original: Callable[[Any], None] = getattr(warnings, HOOK, lambda _: None)

    def __enter__(self) -> Self:
        setattr(warnings, HOOK, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        self.left = True
        # Another thread may have entered its own since, and leave it later.
        hook = getattr(warnings, HOOK)
        while isinstance(one := getattr(hook, "__self__", None), Unawaited) and one.left:
            hook = one.original
        setattr(warnings, HOOK, hook)
        self._leave_to_the_end()

    def check(self) -> None:
        """Check that the job that has just ended in this task or thread has thrown none away.

        Raises:
            NothingRan: It has.
        """
        if self._found and (found := self._found.pop(_here(), None)) is not None:
            raise found

    def forget(self) -> None:
        """Forget what a job that has failed has thrown away: it is run again."""
        self._found.pop(_here(), None)

    def _note(self, coroutine: Any) -> None:
        try:
            self.original(coroutine)
        finally:  # it raises where warnings are errors
            if not self.left:
                self._charge(coroutine, sys._getframe(1))  # noqa: SLF001  # where it was thrown away

    def _charge(self, coroutine: Any, frame: FrameType) -> None:
        """Let the job fail that runs here."""
        code = getattr(coroutine, "cr_code", None)
        if not is_users_code(code) and not is_users_code(frame.f_code):
            return
        found = NothingRan(f"{_why(coroutine)}: await it, or return what it gives.")
        if self._say is None:
            if len(self._found) >= MOST_CHARGES:
                self._leave_to_the_end()
            self._found.setdefault(_here(), found)
        elif threading.get_ident() == self._owner:
            self._say(found)
        else:
            _unclaimed.add(str(found))

    def _leave_to_the_end(self) -> None:
        """Keep what no job was charged with: tasks and threads that a job has started run as no
        job.
        """
        _unclaimed.update(map(str, self._found.values()))
        self._found.clear()


def never_awaited(objects: Iterable[Any]) -> list[str]:
    """Return a sentence for each function whose coroutines were not awaited, and with which no job
    was charged; asked when a worker ends.

    Args:
        objects: Those that the garbage collector knows: a coroutine that is kept is not thrown
            away.
    """
    kept = {
        f"{_why(one)}: await it, or return what it gives"
        for one in objects
        if type(one) is CoroutineType and getcoroutinestate(one) == CORO_CREATED and is_users_code(one.cr_code)
    }
    return sorted({one.removesuffix(".") for one in _unclaimed} | kept)


def count_as_users(callback: Callable[..., Any]) -> None:
    """Take the package of a callback for the user's, also where it is installed like a library, as
    in a container.
    """
    name = getattr(callback, "__module__", None) or type(callback).__module__
    top = sys.modules.get(str(name).partition(".")[0])
    _own.update(f"{folder}{os.sep}" for folder in getattr(top, "__path__", ()))
    if not hasattr(top, "__path__") and (file := getattr(top, "__file__", None)):
        _own.add(file)


def is_users_code(code: CodeType | None) -> bool:
    """Return whether code is neither Python's nor that of an installed library."""
    if code is None:
        return False
    return code.co_filename.startswith(tuple(_own)) or not code.co_filename.startswith((*_libraries(), "<frozen"))


def _why(coroutine: Any) -> str:
    name = getattr(coroutine, "__qualname__", "a coroutine")
    return f"{name}() was called and not awaited, so that nothing of it was run"


def _here() -> Any:
    """Return what names the job that runs here: its task, or its thread."""
    asyncio = sys.modules.get("asyncio")
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else task


_unclaimed: set[str] = set()  # sentences about coroutines with which no job could be charged
_own: set[str] = set()  # what begins the names of the files of the callback's package


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Return the folders of Python's own modules and of installed ones; finding them takes
    milliseconds, which few workers have to spend.
    """
    import sysconfig

    return (OURS, *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
