"""Errors that say that this process has run out of something which it will not get back.

A leak of memory, of open files or of threads makes all that comes later fail, too; another process
begins anew.
"""

from __future__ import annotations

import errno

__all__ = ["is_exhausted"]

_ERRNOS = (errno.ENOMEM, errno.EMFILE)


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


def _text(exc: BaseException) -> str:
    return exc.args[0] if exc.args and type(exc.args[0]) is str else ""
