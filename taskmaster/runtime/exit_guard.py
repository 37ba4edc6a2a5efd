"""``os._exit(0)`` and ``os.execv()`` in the middle of a run, which would look like "all done" from
outside.

The user's code runs in the master's process, too: ``get_jobs``, ``job_key``, the ``__reduce__`` of
a job. Ending the process there is its right; with the exit code of success, or of another program,
it is not. What C code does cannot be seen.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from taskmaster.runtime.put_back import put_back
from taskmaster.runtime.tracebacks import OURS

__all__ = ["end_without_threads", "ends_without_threads", "exit_guarded", "keep_exit_code"]

EXIT_CODE = 1
EXECS = ("execv", "execve")  # the others of ``os`` call these

_kept: list[int] = []  # the exit code of this process, once it is known
_given_up: list[bool] = []  # filled if threads are not waited for


def end_without_threads() -> None:
    """Have this command end although threads of the user's are still alive: Python would wait for
    them without a limit. Exit functions (``atexit``) do not run then, as in a worker.
    """
    _given_up[:] = [True]


def ends_without_threads() -> bool:
    """Return whether ``end_without_threads`` was called."""
    return bool(_given_up)


def keep_exit_code(code: int) -> None:
    """Let this process end with a code, also where an exit function of the user's (``atexit``) ends
    it by ``os._exit(0)``. Children that it forks are left alone.
    """
    real, owner = os._exit, os.getpid()
    _kept[:] = [code]

    def kept(status: int) -> NoReturn:
        real(int(status) or code if os.getpid() == owner else status)

    os._exit = kept


@contextmanager
def exit_guarded(*, execs: bool = True) -> Iterator[None]:
    """Let ``os._exit()`` say that the run is not over, and end this process with 1 where it would
    end with 0; let no other program take this process's place. Children that it forks are left
    alone.

    Args:
        execs: Whether other programs are kept out. A module that is imported may start its command
            anew, in another environment.
    """
    real, owner = os._exit, os.getpid()
    programs = {name: getattr(os, name) for name in (EXECS if execs else ())}
    over: list[bool] = []  # filled at the end: somebody may have replaced these functions on top

    def guarded(status: int) -> NoReturn:
        if os.getpid() != owner:
            real(status)
        if _kept:  # also when the run is over: an exit function may have this very function
            real(int(status) or _kept[0])
        if over:
            real(status)
        where = traceback.extract_stack(limit=2)[0]
        if where.filename.startswith(OURS):  # such as the end at a signal that has come again
            real(status)
        code = int(status) or EXIT_CODE
        text = (
            f"taskmaster: {where.name}, in {where.filename}:{where.lineno}, called os._exit({int(status)}) before the "
            f"run was over: it ends with exit code {code}, and the same command goes on at the last checkpoint.\n"
        )
        try:
            os.write(2, text.encode(errors="backslashreplace"))
        except OSError:
            pass
        real(code)

    def refusing(name: str) -> Callable[..., NoReturn]:
        def refused(path: Any, *rest: Any) -> NoReturn:
            if over or os.getpid() != owner:
                programs[name](path, *rest)
            raise PermissionError(
                f"os.{name}({path!r}, ...) would end the run in the middle, and its exit code would be that program's: "
                "start it with subprocess.run(), or after the run"
            )

        return refused

    os._exit = guarded
    refusals = {name: refusing(name) for name in programs}
    for name, refusal in refusals.items():
        setattr(os, name, refusal)
    try:
        yield
    finally:
        over.append(True)
        put_back(os, "_exit", guarded, real)
        for name, function in programs.items():
            put_back(os, name, refusals[name], function)
