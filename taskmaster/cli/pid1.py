"""A command as the first process of a container, where it stands in for ``init``.

The first process inherits every orphan of the container, such as what a callback leaves running,
and has to take note of its end, or it stays in the list of processes for ever. And a signal does
nothing to it until it has said what it should do. So the command runs in a child, and the first
process passes signals on to that, takes note of all ends, and ends with the child's exit code.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

__all__ = ["leave_first_process"]

PASSED_ON = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip


def leave_first_process() -> None:
    """Go on in a child, if this is the first process; must be called while there is one thread."""
    if os.getpid() != 1:
        return
    # Blocked, they wait until they are asked for: none is lost before the child is there, and none
    # comes twice.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    child = os.fork()
    if child:
        _stand_in_for_init(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stand_in_for_init(child: int) -> NoReturn:
    while True:
        number = signal.sigwait(PASSED_ON | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            # Its end may not have been noted yet, but then nobody else has its number.
            os.kill(child, number)
            continue
        while True:
            pid, status = _next_end()
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
            if not pid:
                break


def _next_end() -> tuple[int, int]:
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0
