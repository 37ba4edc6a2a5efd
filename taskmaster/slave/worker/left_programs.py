"""The programs that callbacks have started and that run on when their worker ends: they are in its
process group, and are ended with it.

They are waited for, some only for a moment; the worker names those that still run then. A program
with a session of its own is let go on.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import time
from pathlib import Path

__all__ = ["wait_for_forgotten", "wait_for_others", "wait_for_readers"]

PIPE_SECONDS = 5.0  # for a program to end after its standard input was closed
OTHERS_SECONDS = 5.0  # for any other to end
END_CHECK_SECONDS = 0.01  # between two checks whether they have ended
SHOWN = 3  # programs that are named

# Processes that Python itself starts, and which clean up after others.
HELPERS = (b"resource_tracker", b"multiprocessing.forkserver")


def wait_for_readers() -> None:
    """Wait for programs that a callback writes to: their standard input has just been closed.

    What runs in a worker's process group is ended with the worker, and would lose what it has read.
    """
    deadline = time.monotonic() + PIPE_SECONDS
    for one in gc.get_objects():
        if issubclass(type(one), subprocess.Popen) and one.returncode is None and one.stdin is not None:
            try:
                one.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return


def wait_for_forgotten() -> None:
    """Wait for programs whose ``Popen`` was thrown away while they ran: they would be ended with
    the worker, in the midst of their work. One that somebody has kept may be a server.
    """
    for one in list(getattr(subprocess, "_active", None) or ()):
        one.wait()


def wait_for_others() -> str:
    """Wait a moment for all others, also for those that another program has left behind
    (``os.system("... &")``).

    Returns:
        A sentence if some still run, "" if not.
    """
    deadline = time.monotonic() + OTHERS_SECONDS
    while left := _running():
        if time.monotonic() >= deadline:
            names = sorted(set(left))
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            return (
                f"programs that callbacks have started still ran when their worker ended, and were ended with it: "
                f"{', '.join(names[:SHOWN])}{more}. Wait for them in the callback or in teardown(), or give them a "
                "session of their own (start_new_session=True)"
            )
        time.sleep(END_CHECK_SECONDS)
    return ""


def _running() -> list[str]:
    """Return the commands in this process's group but for itself: on Linux all, elsewhere those
    that ``subprocess`` knows.
    """
    own, group = os.getpid(), os.getpgrp()
    if Path(f"/proc/{own}/stat").exists():
        running = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  # there may be thousands
        return [text for pid in running if pid != own and (text := _command_of(pid, group))]
    programs = [one for one in gc.get_objects() if issubclass(type(one), subprocess.Popen)]
    return [str(one.args) for one in programs if one.pid and one.poll() is None and _group_of(one.pid) == group]


def _group_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return -1


def _command_of(pid: int, group: int) -> str:
    """Return the command of a process; "" if it is in another group, has ended, or is a helper."""
    if _group_of(pid) != group:
        return ""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""  # it has just ended
    if state in b"ZX" or any(helper in command for helper in HELPERS):
        return ""
    return command.replace(b"\0", b" ").decode(errors="backslashreplace").strip()[:80] or f"process {pid}"
