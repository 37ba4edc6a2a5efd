"""Coroutines that a job makes and nobody awaits: ``save(row)`` where ``save`` is an ``async def``.

Python warns of each when it is thrown away; nothing of it has run, so that its job has failed.
Those that a library throws away within itself are its own affair.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any, Self

from taskmaster.runtime.tracebacks import OURS
from taskmaster.slave.worker.results import NothingRan

__all__ = ["Unawaited", "count_as_users", "is_users_code"]

HOOK = "_warn_unawaited_coroutine"  # what Python calls; it is replaced in no other way


class Unawaited:
    """Notices coroutines that are thrown away, while it is entered.

    Args:
        say: Called at once with what a job has failed with, in the thread that runs it, which is
            this one; None: ``check`` raises it.
    """

    def __init__(self, say: Callable[[NothingRan], None] | None = None) -> None:
        self._say = say
        self._owner = threading.get_ident()
        self._found: dict[Any, NothingRan] = {}
        self._original: Callable[[Any], None] = getattr(warnings, HOOK, lambda _: None)

    def __enter__(self) -> Self:
        setattr(warnings, HOOK, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        setattr(warnings, HOOK, self._original)

    def check(self) -> None:
        """Check that the job that has just ended in this task or thread has thrown none away.

        Raises:
            NothingRan: It has.
        """
        if self._found and (found := self._found.pop(_here(), None)) is not None:
            raise found

    def _note(self, coroutine: Any) -> None:
        self._original(coroutine)
        code, frame = getattr(coroutine, "cr_code", None), sys._getframe(1)  # noqa: SLF001  # where it was thrown away
        if not is_users_code(code) and not is_users_code(frame.f_code):
            return
        name = getattr(coroutine, "__qualname__", "a coroutine")
        why = f"{name}() was called and not awaited, so that nothing of it was run"
        found = NothingRan(f"{why}: await it, or return what it gives.")
        if self._say is None:
            self._found.setdefault(_here(), found)
        elif threading.get_ident() == self._owner:
            self._say(found)


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


def _here() -> Any:
    """Return what names the job that runs here: its task, or its thread."""
    asyncio = sys.modules.get("asyncio")
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else task


_own: set[str] = set()  # what begins the names of the files of the callback's package


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Return the folders of Python's own modules and of installed ones; finding them takes
    milliseconds, which few workers have to spend.
    """
    import sysconfig

    return (OURS, *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
