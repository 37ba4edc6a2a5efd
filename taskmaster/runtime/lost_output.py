"""What could not be written to standard output or error, because a disk is full; a reader that has
gone away is no failure.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["failure_of", "sentence_about"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def failure_of(exc: OSError, descriptor: int) -> str:
    """Return why nothing could be written, as the system says it; "" where there is nobody any more
    who would read it.
    """
    failed = exc.errno in FULL or (exc.errno == errno.EIO and _is_file(descriptor))
    return (exc.strerror or str(exc)) if failed else ""


def sentence_about(name: str, why: str) -> str:
    """Return what a person should know of an output in which lines are missing.

    Args:
        name: What people call it, "standard output".
        why: Why they could not be written.
    """
    return f"what was printed could not all be written to {name}: {why}. Lines are missing there."


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
