"""``os._exit(0)`` in the middle of a run, which would look like "all done" from outside.

The user's code runs in the master's process, too: ``get_jobs``, ``job_key``, the ``__reduce__`` of
a job. Ending the process there is its right; with the exit code of success it is not. What C code
does cannot be seen.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["exit_guarded"]

EXIT_CODE = 1


@contextmanager
def exit_guarded() -> Iterator[None]:
    """Let ``os._exit(0)`` end this process with 1 and a sentence; children that it
    forks are left alone.
    """
    real, owner = os._exit, os.getpid()

    def guarded(status: int) -> NoReturn:
        if os.getpid() == owner and int(status) == 0:
            where = traceback.extract_stack(limit=2)[0]
            text = (
                f"taskmaster: {where.name}, in {where.filename}:{where.lineno}, called os._exit(0) before the run was "
                f"over: it ends with exit code {EXIT_CODE}, and the same command goes on at the last checkpoint.\n"
            )
            try:
                os.write(2, text.encode(errors="backslashreplace"))
            except OSError:
                pass
            real(EXIT_CODE)
        real(status)

    os._exit = guarded
    try:
        yield
    finally:
        os._exit = real
