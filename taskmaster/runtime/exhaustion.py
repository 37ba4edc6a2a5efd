"""Errors that say that this process has run out of something which it will not get back.

A leak of memory, of open files or of threads makes all that comes later fail, too; another process
begins anew.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress

from taskmaster.runtime.tracebacks import one_line

__all__ = ["Reserve", "cure_of", "exhausted", "is_exhausted"]

RESERVED_BYTES = 32 * 1024 * 1024  # of address space, kept for a thread's stack and what is written at the end
SPARE_DESCRIPTORS = 4

_ERRNOS = (errno.ENOMEM, errno.EMFILE)


class Reserve:
    """What a process keeps back for its good end: addresses that take no memory, and descriptors.

    A process that has run out must still be able to say so, and to write what it has left to write.
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self._memory: mmap.mmap | None = None
        with suppress(OSError, ValueError):
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
            self._memory = mmap.mmap(-1, RESERVED_BYTES, flags=flags, prot=0)
        with suppress(OSError):
            for _ in range(SPARE_DESCRIPTORS):
                self._descriptors.append(os.open(os.devnull, os.O_RDONLY))

    def release(self) -> None:
        """Give it up, to be used."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        while self._descriptors:
            os.close(self._descriptors.pop())


def is_exhausted(exc: BaseException) -> bool:
    """Return whether an exception, or one that it was raised from, says so."""
    seen: set[int] = set()
    found: BaseException | None = exc
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, MemoryError):
            return True
        if isinstance(found, OSError) and found.errno in _ERRNOS:
            return True
        if isinstance(found, RuntimeError) and str.startswith(_text(found), "can't start new thread"):
            return True
        found = found.__cause__ or found.__context__
    return False


def exhausted(exc: BaseException) -> str:
    """Return what such an exception says, for the person at the terminal, without a full stop."""
    return (
        f"the system gives this process no more than it has: {one_line(exc)} (`ulimit -a` shows its limits; a run can "
        "be resumed when there is more)"
    )


def cure_of(exc: BaseException, otherwise: str) -> str:
    """Return what cures an error of the system: another limit of open files where they are too
    many, else what the caller knows.
    """
    too_many = isinstance(exc, OSError) and exc.errno == errno.EMFILE
    return "Raise the limit (ulimit -n)." if too_many else otherwise


def _text(exc: BaseException) -> str:
    return exc.args[0] if exc.args and type(exc.args[0]) is str else ""
